//! The keys under which facts are stored.

use core::fmt::{self, Display};
use core::str::Split;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{AttemptId, EmergencyId, JobId, OwnershipEpoch, SubmissionId};
use reconvene_resolve::PolicyId;
use reconvene_store::Key;

use crate::fact::DataId;

/// What a fact speaks of, and who wrote it. Each key has one writer: the broker incarnation named in it.
///
/// The text is made of segments of fixed width, so that keys sort by job and a job's facts lie together.
///
/// ```
/// use reconvene_broker::FactKey;
/// use reconvene_store::Key;
///
/// let key = Key::new("job/000000000000000a-0000000000000003/spec")?;
/// let fact = FactKey::parse(&key).expect("a key of ours");
/// assert_eq!(fact.to_key(), key);
/// assert!(FactKey::parse(&Key::new("app/other/thing")?).is_none());
/// # Ok::<(), reconvene_store::KeyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FactKey {
    /// The immutable specification of a job; written by the broker that admitted it.
    Spec(JobId),
    /// The specification of a job as an executor had it; written by a broker that had never heard of the job.
    Copy {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// Who owns a job from this epoch on; written by the claimant, or by an owner that hands over.
    Own {
        /// The job.
        job: JobId,
        /// The epoch, at least 2: the first belongs to the admitting broker and needs no fact.
        epoch: OwnershipEpoch,
        /// The writer.
        by: ReplicaId,
    },
    /// One attempt to run a job; written by the owner of its epoch.
    Attempt(AttemptId),
    /// What another broker knows of an attempt: a later home of its executor, or an owner that gives it up.
    Seen {
        /// The attempt.
        attempt: AttemptId,
        /// The writer.
        by: ReplicaId,
    },
    /// A result that a broker has judged; written by that broker.
    Submission {
        /// The job.
        job: JobId,
        /// The broker and its number for the submission.
        id: SubmissionId,
    },
    /// No further challengers for a job; written by an owner.
    Settle {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// A job was cancelled; written by the broker that took the cancel.
    Cancel {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// Whether a job is in quarantine; written by its owner, or by the broker that took an operator's release.
    Hold {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// Which policy judges a job's results, if not that of its admission; written by the broker that took the command.
    Pin {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// Which result a broker has named as canonical; written by that broker.
    Told {
        /// The job.
        job: JobId,
        /// The writer.
        by: ReplicaId,
    },
    /// An executor registered at a broker; written by that broker.
    Executor {
        /// The executor.
        executor: NodeId,
        /// The broker it registered with.
        home: ReplicaId,
    },
    /// An emergency declared or revoked; written by the broker that took the command.
    Emergency {
        /// The declaration.
        id: EmergencyId,
        /// The writer.
        by: ReplicaId,
    },
    /// A broker holds data, or does not any more; written by that broker.
    Data {
        /// Stands for the name.
        id: DataId,
        /// The writer, which is the holder.
        by: ReplicaId,
    },
    /// Which jobs are over and forgotten; written by the broker that has deleted their facts.
    Done {
        /// The broker that admitted them.
        admitted_by: ReplicaId,
        /// The writer.
        by: ReplicaId,
    },
    /// A policy under its name. Written by any broker that uses it: the name is the digest of the content, so that all
    /// write the same.
    PolicyDef(PolicyId),
    /// Which policy is in force; written by the broker that took the command.
    PolicyCurrent {
        /// The writer.
        by: ReplicaId,
    },
}

impl FactKey {
    /// The key in the store.
    ///
    /// # Panics
    /// Never: the longest of these keys has 160 bytes.
    #[must_use]
    pub fn to_key(&self) -> Key {
        Key::new(self.to_string()).expect("the longest fact key is far below the limit of a key")
    }

    /// The fact's name, or `None` for keys that are not facts of this crate.
    #[must_use]
    pub fn parse(key: &Key) -> Option<Self> {
        let text = key.as_str()?;
        let mut segments = text.split('/');
        let fact = match segments.next()? {
            "job" => Self::parse_job(&mut segments)?,
            "done" => Self::Done { admitted_by: replica(segments.next()?)?, by: replica(segments.next()?)? },
            "exec" => Self::Executor { executor: segments.next()?.parse().ok()?, home: replica(segments.next()?)? },
            "emg" => {
                let (declared_by, number) = segments.next()?.split_once('-')?;
                let id = EmergencyId { declared_by: replica(declared_by)?, number: hex64(number)? };
                Self::Emergency { id, by: replica(segments.next()?)? }
            }
            "data" => Self::Data { id: segments.next()?.parse().ok()?, by: replica(segments.next()?)? },
            "policy" => match segments.next()? {
                "def" => Self::PolicyDef(segments.next()?.parse().ok()?),
                "cur" => Self::PolicyCurrent { by: replica(segments.next()?)? },
                _ => return None,
            },
            _ => return None,
        };
        // One fact, one spelling: capitals, signs and further segments are somebody else's keys.
        (fact.to_string() == text).then_some(fact)
    }

    fn parse_job(segments: &mut Split<'_, char>) -> Option<Self> {
        let (admitted_by, sequence) = segments.next()?.split_once('-')?;
        let job = JobId::new(replica(admitted_by)?, hex64(sequence)?);
        let kind = segments.next()?;
        let mut attempt = || {
            let (epoch, number) = (hex32(segments.next()?)?, hex32(segments.next()?)?);
            Some(AttemptId { job, epoch: OwnershipEpoch(epoch), owner: replica(segments.next()?)?, number })
        };
        match kind {
            "spec" => Some(Self::Spec(job)),
            "copy" => Some(Self::Copy { job, by: replica(segments.next()?)? }),
            "own" => {
                let epoch = OwnershipEpoch(hex32(segments.next()?)?);
                Some(Self::Own { job, epoch, by: replica(segments.next()?)? })
            }
            "att" => Some(Self::Attempt(attempt()?)),
            "seen" => {
                let attempt = attempt()?;
                Some(Self::Seen { attempt, by: replica(segments.next()?)? })
            }
            "sub" => {
                let accepted_by = replica(segments.next()?)?;
                Some(Self::Submission { job, id: SubmissionId { accepted_by, number: hex64(segments.next()?)? } })
            }
            "settle" => Some(Self::Settle { job, by: replica(segments.next()?)? }),
            "cancel" => Some(Self::Cancel { job, by: replica(segments.next()?)? }),
            "hold" => Some(Self::Hold { job, by: replica(segments.next()?)? }),
            "pin" => Some(Self::Pin { job, by: replica(segments.next()?)? }),
            "told" => Some(Self::Told { job, by: replica(segments.next()?)? }),
            _ => None,
        }
    }

    /// The job that the fact speaks of, if it speaks of one.
    #[must_use]
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::Spec(job)
            | Self::Copy { job, .. }
            | Self::Own { job, .. }
            | Self::Attempt(AttemptId { job, .. })
            | Self::Seen { attempt: AttemptId { job, .. }, .. }
            | Self::Submission { job, .. }
            | Self::Settle { job, .. }
            | Self::Cancel { job, .. }
            | Self::Hold { job, .. }
            | Self::Pin { job, .. }
            | Self::Told { job, .. } => Some(*job),
            Self::Executor { .. }
            | Self::Emergency { .. }
            | Self::Data { .. }
            | Self::Done { .. }
            | Self::PolicyDef(_)
            | Self::PolicyCurrent { .. } => None,
        }
    }
}

impl Display for FactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = |f: &mut fmt::Formatter<'_>, job: &JobId, kind: &str| {
            write!(f, "job/{}-{:016x}/{kind}", job.admitted_by, job.sequence)
        };
        let attempt = |f: &mut fmt::Formatter<'_>, attempt: &AttemptId, kind: &str| {
            job(f, &attempt.job, kind)?;
            write!(f, "/{:08x}/{:08x}/{}", attempt.epoch.0, attempt.number, attempt.owner)
        };
        match self {
            Self::Spec(id) => job(f, id, "spec"),
            Self::Copy { job: id, by } => {
                job(f, id, "copy")?;
                write!(f, "/{by}")
            }
            Self::Own { job: id, epoch, by } => {
                job(f, id, "own")?;
                write!(f, "/{:08x}/{by}", epoch.0)
            }
            Self::Attempt(id) => attempt(f, id, "att"),
            Self::Seen { attempt: id, by } => {
                attempt(f, id, "seen")?;
                write!(f, "/{by}")
            }
            Self::Submission { job: of, id } => {
                job(f, of, "sub")?;
                write!(f, "/{}/{:016x}", id.accepted_by, id.number)
            }
            Self::Settle { job: id, by } => {
                job(f, id, "settle")?;
                write!(f, "/{by}")
            }
            Self::Cancel { job: id, by } => {
                job(f, id, "cancel")?;
                write!(f, "/{by}")
            }
            Self::Hold { job: id, by } => {
                job(f, id, "hold")?;
                write!(f, "/{by}")
            }
            Self::Pin { job: id, by } => {
                job(f, id, "pin")?;
                write!(f, "/{by}")
            }
            Self::Told { job: id, by } => {
                job(f, id, "told")?;
                write!(f, "/{by}")
            }
            Self::Executor { executor, home } => write!(f, "exec/{executor}/{home}"),
            Self::Emergency { id, by } => write!(f, "emg/{}-{:016x}/{by}", id.declared_by, id.number),
            Self::Data { id, by } => write!(f, "data/{id}/{by}"),
            Self::PolicyDef(id) => write!(f, "policy/def/{id}"),
            Self::PolicyCurrent { by } => write!(f, "policy/cur/{by}"),
            Self::Done { admitted_by, by } => write!(f, "done/{admitted_by}/{by}"),
        }
    }
}

fn replica(text: &str) -> Option<ReplicaId> {
    ReplicaId::new(hex64(text)?)
}

fn hex64(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn hex32(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<FactKey> {
        let by = ReplicaId::new(0xab).unwrap();
        let job = JobId::new(by, 300);
        let attempt = AttemptId { job, epoch: OwnershipEpoch(2), owner: by, number: 7 };
        vec![
            FactKey::Spec(job),
            FactKey::Own { job, epoch: OwnershipEpoch(2), by },
            FactKey::Attempt(attempt),
            FactKey::Seen { attempt, by },
            FactKey::Submission { job, id: SubmissionId { accepted_by: by, number: 1 } },
            FactKey::Settle { job, by },
            FactKey::Cancel { job, by },
            FactKey::Told { job, by },
            FactKey::Hold { job, by },
            FactKey::Executor { executor: NodeId::new([9; 16]), home: by },
            FactKey::Emergency { id: EmergencyId { declared_by: by, number: 4 }, by },
            FactKey::Pin { job, by },
            FactKey::PolicyDef(PolicyId([0xa1; 16])),
            FactKey::PolicyCurrent { by },
            FactKey::Data { id: DataId([0xda; 16]), by },
            FactKey::Done { admitted_by: by, by },
            FactKey::Copy { job, by },
        ]
    }

    #[test]
    fn every_key_is_read_back() {
        for key in keys() {
            assert_eq!(FactKey::parse(&key.to_key()), Some(key), "{key}");
        }
    }

    #[test]
    fn keys_read_as_the_design_spells_them() {
        let spelled: Vec<String> = keys().iter().map(ToString::to_string).collect();
        let job = "job/00000000000000ab-000000000000012c";
        assert_eq!(spelled[0], format!("{job}/spec"));
        assert_eq!(spelled[3], format!("{job}/seen/00000002/00000007/00000000000000ab/00000000000000ab"));
        assert_eq!(spelled[4], format!("{job}/sub/00000000000000ab/0000000000000001"));
        assert_eq!(spelled[8], format!("{job}/hold/00000000000000ab"));
        assert_eq!(spelled[11], format!("{job}/pin/00000000000000ab"));
        assert_eq!(spelled[12], format!("policy/def/{}", "a1".repeat(16)));
        assert_eq!(spelled[13], "policy/cur/00000000000000ab");
        assert_eq!(spelled[14], format!("data/{}/00000000000000ab", "da".repeat(16)));
        assert_eq!(spelled[16], format!("{job}/copy/00000000000000ab"));
        assert_eq!(spelled[15], "done/00000000000000ab/00000000000000ab");
        assert_eq!(spelled[10], "emg/00000000000000ab-0000000000000004/00000000000000ab");
    }

    #[test]
    fn other_spellings_are_not_facts() {
        for text in [
            "job",
            "job/",
            "job/00000000000000ab-000000000000012c",
            "job/00000000000000AB-000000000000012c/spec",
            "job/00000000000000ab-12c/spec",
            "job/0000000000000000-000000000000012c/spec",
            "job/00000000000000ab-000000000000012c/spec/more",
            "job/00000000000000ab-000000000000012c/other",
            "exec/09090909090909090909090909090909",
            "data/name/00000000000000ab",
            "sys/member/00000000000000ab",
        ] {
            assert_eq!(FactKey::parse(&Key::new(text).unwrap()), None, "{text}");
        }
        assert_eq!(FactKey::parse(&Key::new([0xff, 0xfe]).unwrap()), None);
    }
}
