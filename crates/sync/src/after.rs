//! Moments and the milliseconds between them.

use reconvene_clock::Timestamp;

/// The moment `ms` milliseconds after `start`, or the last one there is.
pub(crate) const fn after(start: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_millis(start.as_millis().saturating_add(ms))
}

/// The milliseconds from `earlier` to `later`; 0 if they are the wrong way round.
pub(crate) const fn millis_between(earlier: Timestamp, later: Timestamp) -> u64 {
    later.as_millis().saturating_sub(earlier.as_millis())
}
