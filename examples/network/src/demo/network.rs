//! What the script needs of a network, whether its time is real or virtual.

use std::collections::BTreeSet;

use anyhow::Result;
use reconvene_broker::{Node, NodeEvent};
use reconvene_executor::{AttemptId, EmergencyId, JobId, JobSpec, ResultDigest};
use reconvene_store::Record;

/// A running network of brokers and executors, numbered from 0.
pub(crate) trait Network {
    /// Counts time from now on: the workload starts.
    fn start_clock(&mut self);

    /// Milliseconds since [`start_clock`](Self::start_clock), or before it since the network was made.
    fn now_ms(&self) -> u64;

    /// Lets the network run until then.
    ///
    /// # Errors
    /// If a broker or an executor stopped.
    async fn run_until(&mut self, at_ms: u64) -> Result<()>;

    /// Submits a job to a broker; returns once it is durable there.
    ///
    /// # Errors
    /// If the broker refuses it.
    async fn submit(&mut self, broker: usize, spec: JobSpec) -> Result<JobId>;

    /// Declares an emergency at a broker.
    ///
    /// # Errors
    /// If the broker refuses it.
    async fn declare_emergency(&mut self, broker: usize, level: u8, region: &str) -> Result<EmergencyId>;

    /// Lets frames pass where `reach` says so from now on, and nowhere else.
    fn set_reach(&mut self, reach: &Reach);

    /// Looks at a broker between two of its inputs.
    ///
    /// # Errors
    /// If the broker stopped.
    async fn look<R: Send + 'static>(
        &mut self,
        broker: usize,
        look: impl FnOnce(&Node) -> R + Send + 'static,
    ) -> Result<R>;

    /// Every record in a broker's store, read past the broker.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn records(&mut self, broker: usize) -> Result<Vec<Record>>;

    /// What happened since the last call, in order of time for each broker and executor.
    fn happened(&mut self) -> Vec<Happened>;

    /// Ends the network.
    ///
    /// # Errors
    /// If something did not close.
    async fn finish(self) -> Result<()>;
}

/// Something that happened, as the driver saw it from outside.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A broker announced something.
    Event { broker: usize, event: NodeEvent },
    /// An executor began to run an attempt.
    RunStarted { executor: usize, attempt: AttemptId },
    /// The run ended, with a result or without.
    RunEnded { executor: usize, attempt: AttemptId, digest: Option<ResultDigest> },
    /// So many announcements were lost because nobody read them in time: the record has a hole.
    Missed { missed: u64 },
}

/// Who is out of whose reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// While the network is cut: the brokers of the second side.
    pub(crate) second_side: BTreeSet<usize>,
    /// While the network is cut: the executors of the second side.
    pub(crate) second_side_executors: BTreeSet<usize>,
    /// Executors that nobody reaches.
    pub(crate) vanished: BTreeSet<usize>,
}

impl Reach {
    /// Whether frames pass between two brokers.
    pub(crate) fn brokers(&self, a: usize, b: usize) -> bool {
        self.second_side.contains(&a) == self.second_side.contains(&b)
    }

    /// Whether frames pass between an executor and a broker.
    pub(crate) fn executor(&self, executor: usize, broker: usize) -> bool {
        !self.vanished.contains(&executor)
            && self.second_side_executors.contains(&executor) == self.second_side.contains(&broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_separates_the_sides_and_vanishing_separates_from_all() {
        let whole = Reach::default();
        assert!(whole.brokers(0, 2) && whole.executor(5, 0));
        let cut = Reach { second_side: [2].into(), second_side_executors: [5].into(), vanished: [1].into() };
        assert!(cut.brokers(0, 1) && !cut.brokers(1, 2));
        assert!(cut.executor(5, 2) && !cut.executor(5, 0) && cut.executor(0, 1) && !cut.executor(0, 2));
        assert!(!cut.executor(1, 0) && !cut.executor(1, 2));
    }
}
