//! What this thread took of the processor.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A reading of the thread's processor time, which stands still while others have the processor. Everything measured
/// runs on the one thread that reads it.
pub(super) struct CpuTime(Timespec);

impl CpuTime {
    pub(super) fn now() -> Self {
        Self(clock_gettime(ClockId::ThreadCPUTime))
    }

    /// What was taken since.
    pub(super) fn elapsed(&self) -> Duration {
        let passed = clock_gettime(ClockId::ThreadCPUTime) - self.0;
        Duration::try_from(passed).unwrap_or_default()
    }
}
