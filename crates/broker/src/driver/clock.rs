//! Where a driver's time comes from.

use reconvene_clock::{Now, Timestamp, WallTime};

/// Tells the driver what time it is. Injected, so that an embedder can test with a clock of its own.
pub trait Clock: core::fmt::Debug + Send + Sync + 'static {
    /// The time now: monotonic milliseconds from any fixed start, and wall time.
    fn now(&self) -> Now;
}

/// The machine's own clocks. The monotonic one is tokio's, which the driver's timers go by too: where a test pauses
/// tokio's time, both stand still and move on together.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic part starts at 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a driver is where time enters")]
    fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Before 1970 the wall clock is wrong anyway; zero keeps it data for tie-breaks and nothing more.
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Now { mono: Timestamp::from_millis(mono), wall: WallTime::from_millis(wall) }
    }
}
