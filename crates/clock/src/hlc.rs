//! Hybrid logical clocks.

use core::fmt::{self, Display};

use crate::{HlcError, TimeSource, WallTime};

/// A hybrid logical stamp: wall time where clocks behave, a logical count where they do not.
///
/// 48 bits of Unix milliseconds and 16 bits of logical count. If one stamp was taken with knowledge of another, it is
/// the greater one. Wall times after the year 10889 count as its last millisecond.
///
/// # Reference
/// Kulkarni et al. 2014, "Logical Physical Clocks".
///
/// ```
/// use reconvene_clock::{Hlc, MaxAhead, WallTime};
///
/// let bound = MaxAhead::default();
/// let sent = Hlc::default().tick_at(WallTime::from_millis(10), bound)?;
/// // The receiver's wall clock is behind, and still its stamp is above the sender's.
/// let received = Hlc::default().observe_at(WallTime::from_millis(1), sent, bound)?;
/// assert!(received > sent);
/// assert_eq!((received.millis(), received.logical()), (10, 1));
/// # Ok::<(), reconvene_clock::HlcError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Hlc(u64);

impl Hlc {
    /// The greatest stamp. No stamp is above it.
    pub const MAX: Self = Self(u64::MAX);

    /// The stamp with this wall time and logical count, or `None` if the wall time does not fit 48 bits.
    #[must_use]
    pub const fn from_parts(wall: WallTime, logical: u16) -> Option<Self> {
        if wall.as_millis() > MAX_MILLIS { None } else { Some(Self::pack(wall.as_millis(), logical)) }
    }

    /// The stamp with this number. Every number is a stamp.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The stamp as one number, milliseconds in the high 48 bits. Numbers order as stamps do.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The wall time part, in Unix milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The wall time part.
    #[must_use]
    pub const fn wall(self) -> WallTime {
        WallTime::from_millis(self.millis())
    }

    /// The logical part.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the logical part is the low 16 bits")]
    pub const fn logical(self) -> u16 {
        self.0 as u16
    }

    /// The stamp of a local event at wall time `now`: above `self`, and not below `now`.
    ///
    /// A full logical part carries one millisecond into the wall time part if that stays within the bound. A wall
    /// clock that was set back is waited for in the logical part, however far it went.
    ///
    /// # Errors
    /// [`CounterExhausted`](HlcError::CounterExhausted) if the logical part is full and the bound is reached; try
    /// again when wall time has moved on.
    pub const fn tick_at(self, now: WallTime, bound: MaxAhead) -> Result<Self, HlcError> {
        let now = if now.as_millis() > MAX_MILLIS { MAX_MILLIS } else { now.as_millis() };
        if now > self.millis() {
            return Ok(Self::pack(now, 0));
        }
        // Full logical part or not, the next number is the next stamp; only the carry needs leave.
        match self.0.checked_add(1) {
            Some(next) if self.logical() < u16::MAX || Self(next).millis().saturating_sub(now) <= bound.as_millis() => {
                Ok(Self(next))
            }
            _ => Err(HlcError::CounterExhausted),
        }
    }

    /// The stamp of receiving `remote` at wall time `now`: above both stamps, and not below `now`.
    ///
    /// # Errors
    /// [`AheadOfBound`](HlcError::AheadOfBound) if `remote` is further ahead of `now` than the bound (which is
    /// inclusive) allows. It then stays out of the local clock; the record that carries it is stored as it is, since
    /// "now" differs between replicas. [`CounterExhausted`](HlcError::CounterExhausted) as for
    /// [`tick_at`](Self::tick_at).
    pub const fn observe_at(self, now: WallTime, remote: Self, bound: MaxAhead) -> Result<Self, HlcError> {
        let by_ms = remote.wall().saturating_since(now);
        if by_ms > bound.as_millis() {
            return Err(HlcError::AheadOfBound { by_ms });
        }
        let latest = if remote.0 > self.0 { remote } else { self };
        latest.tick_at(now, bound)
    }

    const fn pack(millis: u64, logical: u16) -> Self {
        Self(millis << LOGICAL_BITS | logical as u64)
    }
}

const LOGICAL_BITS: u32 = 16;
const MAX_MILLIS: u64 = u64::MAX >> LOGICAL_BITS;

impl Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.logical())
    }
}

/// How far a stamp may be ahead of local wall time, in milliseconds, before the local clock refuses to follow it.
///
/// The default is 60 s: a tighter bound refuses every message of a peer that was offline with a drifting clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxAhead(u64);

impl MaxAhead {
    /// That many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The bound in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl Default for MaxAhead {
    fn default() -> Self {
        Self::from_millis(60_000)
    }
}

/// A hybrid logical clock that asks a [`TimeSource`] and remembers its last stamp.
#[derive(Clone, Debug)]
pub struct HlcClock<T> {
    source: T,
    last: Hlc,
    bound: MaxAhead,
}

impl<T: TimeSource> HlcClock<T> {
    /// A clock that has issued nothing yet.
    pub const fn new(source: T, bound: MaxAhead) -> Self {
        Self { source, last: Hlc::from_u64(0), bound }
    }

    /// A clock whose first stamp is above `persisted`, the last value of [`reserve`](Self::reserve) that was made
    /// durable.
    ///
    /// # Errors
    /// [`AheadOfBound`](HlcError::AheadOfBound) if `persisted` is further ahead of the wall clock than the bound
    /// allows: the wall clock was set back, and stamps would repeat or run ahead of it.
    pub fn resume(source: T, bound: MaxAhead, persisted: Hlc) -> Result<Self, HlcError> {
        let by_ms = persisted.wall().saturating_since(source.now());
        if by_ms > bound.as_millis() {
            return Err(HlcError::AheadOfBound { by_ms });
        }
        Ok(Self { source, last: persisted, bound })
    }

    /// The stamp of a local event.
    ///
    /// # Errors
    /// As [`Hlc::tick_at`]; the clock is unchanged.
    pub fn tick(&mut self) -> Result<Hlc, HlcError> {
        self.last = self.last.tick_at(self.source.now(), self.bound)?;
        Ok(self.last)
    }

    /// The stamp of receiving `remote`.
    ///
    /// # Errors
    /// As [`Hlc::observe_at`]; the clock is unchanged.
    pub fn observe(&mut self, remote: Hlc) -> Result<Hlc, HlcError> {
        self.last = self.last.observe_at(self.source.now(), remote, self.bound)?;
        Ok(self.last)
    }

    /// The stamp `ahead_ms` milliseconds after the last one, or after the wall time if that is later.
    ///
    /// Make it durable before stamps reach it, and hand it to [`resume`](Self::resume) after a restart; no stamp is
    /// then issued twice, and not every stamp costs a write.
    pub fn reserve(&self, ahead_ms: u32) -> Hlc {
        let latest = self.last.millis().max(self.source.now().as_millis());
        let until = WallTime::from_millis(latest).saturating_add(ahead_ms.into());
        Hlc::from_parts(until, 0).unwrap_or(Hlc::MAX)
    }

    /// The last stamp issued, or what the clock was resumed from; zero if there is none.
    pub fn last(&self) -> Hlc {
        self.last
    }
}
