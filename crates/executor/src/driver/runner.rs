//! What runs attempts.

use std::future::Future;
use std::time::Duration;

use reconvene_clock::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::id::AttemptId;
use crate::report::Report;
use crate::spec::JobSpec;
use crate::trace::TraceJob;

/// Runs attempts: the part of an executor that its owner writes.
///
/// Each attempt runs in a task of its own. A stopped attempt's future is dropped at its next `await`; work that must
/// be undone belongs into `Drop`. A panic becomes a failure of the attempt and harms no other. Work that occupies a
/// thread belongs into `tokio::task::spawn_blocking`, where stopping cannot reach it.
pub trait Runner: Send + Sync + 'static {
    /// Runs one attempt to its end and says what came out.
    ///
    /// Execution is at least once: another executor may run another attempt at the same job at the same time. The
    /// attempt's name is unique, and jobs with side effects can pass it on.
    fn run(&self, attempt: AttemptId, spec: &JobSpec, control: RunControl) -> impl Future<Output = Report> + Send;
}

/// A running attempt's way to speak before it ends.
#[derive(Clone, Debug)]
pub struct RunControl {
    attempt: AttemptId,
    progress: Option<mpsc::Sender<(AttemptId, u16)>>,
}

impl RunControl {
    pub(super) const fn new(attempt: AttemptId, progress: mpsc::Sender<(AttemptId, u16)>) -> Self {
        Self { attempt, progress: Some(progress) }
    }

    /// One that nobody listens to, to call a runner without an executor.
    #[must_use]
    pub const fn detached(attempt: AttemptId) -> Self {
        Self { attempt, progress: None }
    }

    /// Says how far the attempt is, in basis points. Never waits; while the executor is busy, news may be dropped.
    pub fn progress(&self, bp: u16) {
        if let Some(progress) = &self.progress {
            let _ = progress.try_send((self.attempt, bp));
        }
    }
}

/// Runs [`TraceJob`]s: waits as long as the job says, reporting progress, and gives back its input.
#[derive(Clone, Copy, Debug)]
pub struct TraceRunner {
    executor: NodeId,
    quality_bp: u16,
}

impl TraceRunner {
    /// A runner for the executor with this name, whose results are of full quality.
    #[must_use]
    pub const fn new(executor: NodeId) -> Self {
        Self { executor, quality_bp: crate::limits::WHOLE_BP }
    }

    /// Says how good the results of this executor are, in basis points.
    #[must_use]
    pub const fn with_quality_bp(mut self, quality_bp: u16) -> Self {
        self.quality_bp = quality_bp;
        self
    }
}

impl Runner for TraceRunner {
    async fn run(&self, _: AttemptId, spec: &JobSpec, control: RunControl) -> Report {
        let job = match TraceJob::decode(&spec.payload) {
            Ok(job) => job,
            Err(error) => return Report::failure(format!("the payload is no trace job: {error}")),
        };
        let start = Instant::now();
        for tenth in 1..=10_u16 {
            let passed = Duration::from_millis(job.run_ms.saturating_mul(tenth.into()) / 10);
            match start.checked_add(passed) {
                Some(end) => sleep_until(end).await,
                None => return Report::failure(format!("no clock reaches the end of {} ms", job.run_ms)),
            }
            control.progress(tenth.saturating_mul(1_000));
        }
        job.report(self.executor).with_quality_bp(self.quality_bp)
    }
}
