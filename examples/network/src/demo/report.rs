//! What the demo reports, for programs and for people.
//!
//! The JSON fields and their order are a contract with scripts.

use std::{collections::BTreeMap, fmt};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Of the report's format.
    pub(crate) version: u32,
    pub(crate) seed: u64,
    pub(crate) strategy: String,
    pub(crate) transport: String,
    pub(crate) store: String,
    pub(crate) brokers: usize,
    pub(crate) executors: usize,
    /// Real time, also where the network ran in virtual time.
    pub(crate) elapsed_ms: u64,
    pub(crate) jobs: Jobs,
    pub(crate) results: Results,
    pub(crate) sync: Sync,
    pub(crate) emergency: Emergency,
    /// What each broker holds, as a fingerprint of its live values.
    pub(crate) digests: BTreeMap<BrokerName, String>,
    pub(crate) checks: Vec<Check>,
}

/// Jobs, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Jobs {
    /// Acknowledged by a broker as durable.
    pub(crate) submitted: u64,
    /// With a canonical result at the end.
    pub(crate) completed: u64,
    /// Given up after too many reported failures.
    pub(crate) failed: u64,
    /// Submitted, and at the end unknown to some broker.
    pub(crate) lost: u64,
    /// Given to another executor because the first fell silent.
    pub(crate) redeployed: u64,
    /// Ended early for a more urgent job.
    pub(crate) preempted: u64,
}

/// Results that executors submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Results {
    /// Accepted when they arrived, on any side.
    pub(crate) accepted: u64,
    /// Accepted once, and replaced by another after the sides compared notes.
    pub(crate) superseded: u64,
    pub(crate) duplicates: Duplicates,
}

/// Results for which a broker already had one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Duplicates {
    /// The same submission again.
    pub(crate) retransmission: u64,
    /// Another attempt, the same result.
    pub(crate) equivalent: u64,
    /// Another attempt, another result.
    pub(crate) divergent: u64,
    /// After the matter was closed.
    pub(crate) late: u64,
    /// For a job the broker had not heard of yet.
    pub(crate) parked: u64,
}

/// The exchange between brokers, summed over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sync {
    pub(crate) rounds: u64,
    pub(crate) sessions: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) records_sent: u64,
    /// Bytes both ways of an exchange that found nothing to do.
    pub(crate) converged_exchange_bytes: u64,
    /// From the end of the cut until every broker held all that any of them knew then; 0 without a cut. (Jobs keep
    /// coming, so there is no moment at which all hold the same.)
    pub(crate) heal_to_converged_ms: u64,
}

/// The emergency that the demo declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Emergency {
    pub(crate) declared: u64,
    /// From the declaration until every broker knew of it; the cut in between counts.
    pub(crate) reached_all_ms: u64,
}

/// One promise, and whether it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) held: bool,
    /// What was compared, or what was found instead.
    pub(crate) detail: String,
}

/// `broker-1`, `broker-2`, … in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BrokerName(
    /// From 0; shown from 1.
    pub(crate) usize,
);

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker-{}", self.0.saturating_add(1))
    }
}

impl Serialize for BrokerName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Report {
    /// The format's version.
    pub(crate) const VERSION: u32 = 1;

    /// Whether every promise held.
    pub(crate) fn all_held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// The report for a person.
    pub(crate) fn for_people(&self) -> String {
        let Self { jobs, results, sync, emergency, .. } = self;
        let again = &results.duplicates;
        let rows = [
            ("jobs submitted", jobs.submitted, "a broker said: durable here"),
            ("  completed", jobs.completed, "every broker can name the result"),
            ("  failed", jobs.failed, "executors reported errors until the budget was spent"),
            ("  lost", jobs.lost, "submitted, and some broker does not know it"),
            ("  redeployed", jobs.redeployed, "their executor fell silent, another one ran them"),
            ("results accepted", results.accepted, "each side of the cut accepts for itself"),
            ("  superseded", results.superseded, "replaced when the sides met again; kept and reported"),
            ("  sent again", again.retransmission, "the same submission, the same answer"),
            ("  equal twice", again.equivalent, "another attempt, the same result"),
            ("  divergent", again.divergent, "another attempt, another result; judged by the strategy"),
            ("  late", again.late, "after the matter was closed"),
            ("  parked", again.parked, "for a job not yet heard of"),
            ("sync sessions", sync.sessions, "exchanges between two brokers that ran to their end"),
            ("  bytes sent", sync.bytes_sent, "by all brokers together"),
            ("  records sent", sync.records_sent, "by all brokers together"),
            ("  bytes, nothing to do", sync.converged_exchange_bytes, "both ways, between brokers that agree"),
            ("  ms from heal to whole", sync.heal_to_converged_ms, "until all brokers held what any of them knew"),
            ("emergencies declared", emergency.declared, "on one side of the cut"),
            ("  ms to reach all", emergency.reached_all_ms, "the cut in between counts"),
        ];
        let mut counts = Table::new();
        counts.load_style(presets::NOTHING);
        for (what, count, meaning) in rows {
            counts.add_row([what.to_owned(), count.to_string(), meaning.to_owned()]);
        }
        if let Some(column) = counts.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }

        let mut held = Table::new();
        held.load_style(presets::NOTHING);
        for check in &self.checks {
            let mark = if check.held { "held" } else { "BROKEN" };
            held.add_row([mark, &check.name.replace('_', " "), &check.detail]);
        }
        let digests: Vec<String> =
            self.digests.iter().map(|(broker, digest)| format!("  {broker}  {digest}")).collect();
        let verdict = if self.all_held() {
            "Every check held: the parts of the network agree again, and nothing was lost."
        } else {
            "NOT every check held; see the lines marked BROKEN."
        };
        format!(
            "{} brokers, {} executors, strategy {}, over {}, seed {}; {}.{} s\n\n{counts}\n\nWhat each broker holds\n{}\n\n\
             What was checked, against a record kept outside the brokers\n{held}\n\n{verdict}\n",
            self.brokers,
            self.executors,
            self.strategy,
            self.transport,
            self.seed,
            self.elapsed_ms / 1000,
            self.elapsed_ms % 1000 / 100,
            digests.join("\n"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: Report::VERSION,
            seed: 7,
            strategy: "emergency".into(),
            transport: "quic".into(),
            store: "memory".into(),
            brokers: 11,
            executors: 6,
            elapsed_ms: 1_234,
            jobs: Jobs::default(),
            results: Results::default(),
            sync: Sync::default(),
            emergency: Emergency::default(),
            digests: (0..11).map(|broker| (BrokerName(broker), "00".into())).collect(),
            checks: vec![Check { name: "no_job_lost", held: true, detail: String::new() }],
        }
    }

    #[test]
    fn the_fields_and_their_order_are_the_contract() {
        let json = serde_json::to_string(&report()).unwrap();
        let expected = concat!(
            r#"{"version":1,"seed":7,"strategy":"emergency","transport":"quic","store":"memory","brokers":11,"#,
            r#""executors":6,"elapsed_ms":1234,"jobs":{"submitted":0,"completed":0,"failed":0,"lost":0,"#,
            r#""redeployed":0,"preempted":0},"results":{"accepted":0,"superseded":0,"duplicates":"#,
            r#"{"retransmission":0,"equivalent":0,"divergent":0,"late":0,"parked":0}},"sync":{"rounds":0,"#,
            r#""sessions":0,"bytes_sent":0,"records_sent":0,"converged_exchange_bytes":0,"#,
            r#""heal_to_converged_ms":0},"emergency":{"declared":0,"reached_all_ms":0},"digests":{"#,
            r#""broker-1":"00","broker-2":"00","#
        );
        assert!(json.starts_with(expected), "{json}");
        assert!(json.ends_with(r#""broker-11":"00"},"checks":[{"name":"no_job_lost","held":true,"detail":""}]}"#));
    }

    #[test]
    fn one_broken_check_changes_the_verdict() {
        let mut report = report();
        assert!(report.all_held() && report.for_people().contains("Every check held"));
        report.checks.push(Check { name: "all_broker_digests_equal", held: false, detail: "two differ".into() });
        assert!(!report.all_held());
        let text = report.for_people();
        assert!(text.contains("BROKEN") && text.contains("two differ") && text.contains("NOT every check"), "{text}");
    }
}
