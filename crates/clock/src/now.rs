//! Both clocks at one instant.

use crate::{Timestamp, WallTime};

/// What time it is, as a driver tells a state machine: monotonic time for its timers, wall time for its stamps.
///
/// ```
/// use reconvene_clock::{Now, Timestamp, WallTime};
///
/// let now = Now::new(Timestamp::from_millis(5), WallTime::from_millis(1_700_000_000_000));
/// assert_eq!(now.mono.as_millis(), 5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "these two are what there is to know of time")]
pub struct Now {
    /// Drives timers; never goes back within one run of a process.
    pub mono: Timestamp,
    /// Data for stamps and for people; may jump.
    pub wall: WallTime,
}

impl Now {
    /// This moment on both clocks.
    #[must_use]
    pub const fn new(mono: Timestamp, wall: WallTime) -> Self {
        Self { mono, wall }
    }
}
