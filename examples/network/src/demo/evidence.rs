//! The record that the demo keeps outside the brokers: what it submitted, what executors ran, what was seen, and at the
//! end what each broker says. The checks compare the two.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Causality, Hlc, Knowledge};
use reconvene_executor::{AttemptId, JobId, ResultDigest, SpecDigest, SubmissionId};

use super::report::BrokerName;

/// Everything that the checks look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Whether there were faults, so that a check without occasion is a check that does not hold.
    pub(crate) faults: bool,
    /// The silence after which an executor's attempts are lost.
    pub(crate) detection_ms: u64,
    /// How much longer two executors count as apart once they reach each other again: until orders given before that
    /// have arrived.
    pub(crate) grace_ms: u64,
    pub(crate) submitted: Vec<Submitted>,
    pub(crate) runs: Vec<Run>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) partings: Vec<Parting>,
    pub(crate) clocks: ClockWatch,
    pub(crate) emergency: Option<EmergencyRecord>,
    /// By broker.
    pub(crate) ends: Vec<BrokerEnd>,
}

/// A job that a broker acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
    pub(crate) job: JobId,
    pub(crate) spec: SpecDigest,
}

/// An attempt that an executor really ran.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) executor: usize,
    pub(crate) attempt: AttemptId,
    pub(crate) started_ms: u64,
    /// `None` while it runs.
    pub(crate) ended_ms: Option<u64>,
    /// Of the result; `None` if it was stopped, failed or still runs.
    pub(crate) digest: Option<ResultDigest>,
}

/// Something that a broker announced.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at_ms: u64,
    pub(crate) broker: usize,
    pub(crate) job: JobId,
    pub(crate) what: Announced,
}

/// What a broker announced about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It accepted this result when it came.
    Accepted(SubmissionId),
    /// What it had accepted is no longer what counts.
    Superseded {
        /// What it had named.
        old: SubmissionId,
        /// What counts now.
        new: SubmissionId,
    },
    /// An attempt was lost and the job was given to another executor.
    Redeployed,
}

/// A time during which some executors could not reach the others.
#[derive(Clone, Debug)]
pub(crate) struct Parting {
    pub(crate) from_ms: u64,
    /// Until the brokers had compared notes again; `None` while it lasts.
    pub(crate) until_ms: Option<u64>,
    /// These on one side, all others on the other.
    pub(crate) executors: BTreeSet<usize>,
}

/// The emergency that was declared, and when each broker first knew it.
#[derive(Clone, Debug)]
pub(crate) struct EmergencyRecord {
    pub(crate) declared_ms: u64,
    /// By broker.
    pub(crate) known_ms: Vec<Option<u64>>,
}

/// What a broker says at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerEnd {
    /// Fingerprint of its live values, worked out from the rows in its store.
    pub(crate) digest: String,
    /// The fingerprint that the broker itself goes by when it compares itself with others.
    pub(crate) claimed: String,
    pub(crate) jobs: BTreeMap<JobId, JobEnd>,
}

/// What a broker says of one job.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobEnd {
    /// `None` where it never got the specification.
    pub(crate) spec: Option<SpecDigest>,
    pub(crate) failed: bool,
    /// The result that counts.
    pub(crate) canonical: Option<SubmissionId>,
    /// Every accepted result that can still be read.
    pub(crate) versions: BTreeMap<SubmissionId, (AttemptId, ResultDigest)>,
}

impl JobEnd {
    /// The attempt and digest of the result that counts.
    pub(crate) fn result(&self) -> Option<(AttemptId, ResultDigest)> {
        self.versions.get(self.canonical.as_ref()?).copied()
    }
}

impl Evidence {
    /// An executor started an attempt.
    pub(crate) fn run_started(&mut self, at_ms: u64, executor: usize, attempt: AttemptId) {
        self.runs.push(Run { executor, attempt, started_ms: at_ms, ended_ms: None, digest: None });
    }

    /// An executor ended an attempt, with a result or without.
    pub(crate) fn run_ended(&mut self, at_ms: u64, executor: usize, attempt: AttemptId, digest: Option<ResultDigest>) {
        let open = |run: &&mut Run| run.executor == executor && run.attempt == attempt && run.ended_ms.is_none();
        if let Some(run) = self.runs.iter_mut().rev().find(open) {
            run.ended_ms = Some(at_ms);
            run.digest = digest;
        }
    }

    /// Executors that run something now.
    pub(crate) fn busy(&self) -> BTreeMap<usize, usize> {
        let mut busy: BTreeMap<usize, usize> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.ended_ms.is_none()) {
            let running = busy.entry(run.executor).or_default();
            *running = running.saturating_add(1);
        }
        busy
    }

    /// From `at_ms` on, `executors` and the others cannot reach each other.
    pub(crate) fn parted(&mut self, at_ms: u64, executors: BTreeSet<usize>) {
        self.partings.push(Parting { from_ms: at_ms, until_ms: None, executors });
    }

    /// The parting of exactly these executors ended.
    pub(crate) fn met(&mut self, at_ms: u64, executors: &BTreeSet<usize>) {
        for parting in self.partings.iter_mut().filter(|parting| parting.executors == *executors) {
            parting.until_ms.get_or_insert(at_ms);
        }
    }

    /// Whether the two executors were apart when one started something at `at_ms`, or shortly before, and had been for
    /// at least `least_ms`.
    pub(crate) fn were_apart(&self, a: usize, b: usize, at_ms: u64, least_ms: u64) -> bool {
        self.partings.iter().any(|parting| {
            let separates = parting.executors.contains(&a) != parting.executors.contains(&b);
            let end = parting.until_ms.unwrap_or(u64::MAX);
            let lasted = end.min(at_ms).saturating_sub(parting.from_ms);
            separates && lasted >= least_ms && at_ms <= end.saturating_add(self.grace_ms)
        })
    }
}

/// Watches that what a broker knows and the stamps it gives never go back.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockWatch {
    last: BTreeMap<usize, (Knowledge, Hlc)>,
    /// How often brokers were looked at.
    pub(crate) samples: u64,
    /// What went back, in words.
    pub(crate) wrong: Vec<String>,
}

impl ClockWatch {
    /// Compares with the last look at this broker.
    pub(crate) fn observe(&mut self, at_ms: u64, broker: usize, knowledge: Knowledge, hlc: Hlc) {
        self.samples = self.samples.saturating_add(1);
        if let Some((known, stamp)) = self.last.get(&broker) {
            let name = BrokerName(broker);
            match knowledge.compare(known) {
                Causality::Equal | Causality::After => {}
                order @ (Causality::Before | Causality::Concurrent) => {
                    self.wrong.push(format!("{name} at {at_ms} ms knows less than before ({order:?})"));
                }
            }
            if hlc < *stamp {
                self.wrong.push(format!("{name} at {at_ms} ms stamps {hlc:?} after {stamp:?}"));
            }
        }
        self.last.insert(broker, (knowledge, hlc));
    }
}
