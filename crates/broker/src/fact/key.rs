//! The keys under which facts are stored.

use core::fmt::{self, Display};
use core::slice::Split;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{AttemptId, EmergencyId, JobId, OwnershipEpoch, SubmissionId};
use reconvene_resolve::PolicyId;
use reconvene_store::Key;

use crate::fact::DataId;
use crate::fact::hex::{self, Text};

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
        Key::new(self.text().as_bytes()).expect("the longest fact key is far below the limit of a key")
    }

    /// The fact's name, or `None` for keys that are not facts of this crate.
    #[must_use]
    pub fn parse(key: &Key) -> Option<Self> {
        // One fact, one spelling: every part has its one width and small letters, and nothing follows the last.
        let mut segments = key.as_bytes().split(is_slash as fn(&u8) -> bool);
        let fact = match segments.next()? {
            b"job" => Self::parse_job(&mut segments)?,
            b"done" => Self::Done { admitted_by: replica(segments.next()?)?, by: replica(segments.next()?)? },
            b"exec" => {
                let executor = NodeId::new(hex::read_16_bytes(segments.next()?)?);
                Self::Executor { executor, home: replica(segments.next()?)? }
            }
            b"emg" => {
                let (declared_by, number) = pair(segments.next()?)?;
                Self::Emergency { id: EmergencyId { declared_by, number }, by: replica(segments.next()?)? }
            }
            b"data" => {
                let id = DataId(hex::read_16_bytes(segments.next()?)?);
                Self::Data { id, by: replica(segments.next()?)? }
            }
            b"policy" => match segments.next()? {
                b"def" => Self::PolicyDef(PolicyId(hex::read_16_bytes(segments.next()?)?)),
                b"cur" => Self::PolicyCurrent { by: replica(segments.next()?)? },
                _ => return None,
            },
            _ => return None,
        };
        segments.next().is_none().then_some(fact)
    }

    fn parse_job(segments: &mut Segments<'_>) -> Option<Self> {
        let (admitted_by, sequence) = pair(segments.next()?)?;
        let job = JobId::new(admitted_by, sequence);
        let kind = segments.next()?;
        let mut attempt = || {
            let (epoch, number) = (hex::read_u32(segments.next()?)?, hex::read_u32(segments.next()?)?);
            Some(AttemptId { job, epoch: OwnershipEpoch(epoch), owner: replica(segments.next()?)?, number })
        };
        match kind {
            b"spec" => Some(Self::Spec(job)),
            b"copy" => Some(Self::Copy { job, by: replica(segments.next()?)? }),
            b"own" => {
                let epoch = OwnershipEpoch(hex::read_u32(segments.next()?)?);
                Some(Self::Own { job, epoch, by: replica(segments.next()?)? })
            }
            b"att" => Some(Self::Attempt(attempt()?)),
            b"seen" => {
                let attempt = attempt()?;
                Some(Self::Seen { attempt, by: replica(segments.next()?)? })
            }
            b"sub" => {
                let accepted_by = replica(segments.next()?)?;
                let number = hex::read_u64(segments.next()?)?;
                Some(Self::Submission { job, id: SubmissionId { accepted_by, number } })
            }
            b"settle" => Some(Self::Settle { job, by: replica(segments.next()?)? }),
            b"cancel" => Some(Self::Cancel { job, by: replica(segments.next()?)? }),
            b"hold" => Some(Self::Hold { job, by: replica(segments.next()?)? }),
            b"pin" => Some(Self::Pin { job, by: replica(segments.next()?)? }),
            b"told" => Some(Self::Told { job, by: replica(segments.next()?)? }),
            _ => None,
        }
    }

    /// The key's text. Written out by hand, since the formatting of the standard library takes five times as long and
    /// every fact's key is spelled and read.
    fn text(&self) -> Text {
        let mut text = Text::default();
        let by = match self {
            Self::Spec(id) => {
                text.job(*id, "spec");
                return text;
            }
            Self::PolicyDef(PolicyId(id)) => {
                text.word("policy/def/").bytes(id);
                return text;
            }
            Self::Attempt(id) => {
                text.job(id.job, "att/").attempt(id);
                return text;
            }
            Self::Submission { job, id } => {
                text.job(*job, "sub/").replica(id.accepted_by).word("/").u64(id.number);
                return text;
            }
            Self::Copy { job, by } => {
                text.job(*job, "copy/");
                by
            }
            Self::Own { job, epoch, by } => {
                text.job(*job, "own/").u32(epoch.0).word("/");
                by
            }
            Self::Seen { attempt, by } => {
                text.job(attempt.job, "seen/").attempt(attempt).word("/");
                by
            }
            Self::Settle { job, by } => {
                text.job(*job, "settle/");
                by
            }
            Self::Cancel { job, by } => {
                text.job(*job, "cancel/");
                by
            }
            Self::Hold { job, by } => {
                text.job(*job, "hold/");
                by
            }
            Self::Pin { job, by } => {
                text.job(*job, "pin/");
                by
            }
            Self::Told { job, by } => {
                text.job(*job, "told/");
                by
            }
            Self::Executor { executor, home } => {
                text.word("exec/").bytes(executor.as_bytes()).word("/");
                home
            }
            Self::Emergency { id, by } => {
                text.word("emg/").replica(id.declared_by).word("-").u64(id.number).word("/");
                by
            }
            Self::Data { id, by } => {
                text.word("data/").bytes(&id.0).word("/");
                by
            }
            Self::PolicyCurrent { by } => {
                text.word("policy/cur/");
                by
            }
            Self::Done { admitted_by, by } => {
                text.word("done/").replica(*admitted_by).word("/");
                by
            }
        };
        text.replica(*by);
        text
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
        f.write_str(self.text().as_str())
    }
}

/// What lies between the slashes of a key.
type Segments<'a> = Split<'a, u8, fn(&u8) -> bool>;

const fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

fn replica(text: &[u8]) -> Option<ReplicaId> {
    ReplicaId::new(hex::read_u64(text)?)
}

/// An incarnation, and a number that it gave out.
fn pair(text: &[u8]) -> Option<(ReplicaId, u64)> {
    let (by, rest) = text.split_at_checked(16)?;
    Some((replica(by)?, hex::read_u64(rest.strip_prefix(b"-")?)?))
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
