//! Counters, dots and ranges of dots.

use core::fmt::{self, Display};
use core::num::NonZeroU64;

use crate::replica::fmt_key;
use crate::{ReplicaId, ReplicaKey};

/// The number of an event at its replica, `1 ..= 2^63 - 1`.
///
/// Zero would mean "no event" and cannot be written down, so that absence has one spelling. Bounded below `2^63`, so
/// that a difference of two counters fits a signed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(NonZeroU64);

impl Counter {
    /// The first event of a replica.
    pub const MIN: Self = Self(NonZeroU64::MIN);
    /// The last event that a replica can name, `2^63 - 1`.
    pub const MAX: Self = Self(NonZeroU64::new(u64::MAX >> 1).expect("not zero"));

    /// The counter with this number, or `None` if it is zero or above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) if number.get() <= Self::MAX.get() => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The counter after this one, or `None` after [`MAX`](Self::MAX).
    #[must_use]
    pub const fn checked_next(self) -> Option<Self> {
        Self::new(self.get().saturating_add(1))
    }

    /// The counter before this one, or `None` before [`MIN`](Self::MIN).
    #[must_use]
    pub const fn checked_previous(self) -> Option<Self> {
        Self::new(self.get().saturating_sub(1))
    }

    /// The counter after the last one, where absence counts as zero.
    pub(crate) const fn after(last: Option<Self>) -> Option<Self> {
        match last {
            Some(last) => last.checked_next(),
            None => Some(Self::MIN),
        }
    }
}

impl Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// The name of one write: which replica made it, and as its how-manyeth.
///
/// `Ord` is for sorting and says nothing about causality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a dot is exactly these two, and every pair of them is one")]
pub struct Dot<R = ReplicaId> {
    /// The replica that made the write.
    pub replica: R,
    /// The number of the write at that replica.
    pub counter: Counter,
}

impl<R> Dot<R> {
    /// The dot of `replica` with this counter.
    pub const fn new(replica: R, counter: Counter) -> Self {
        Self { replica, counter }
    }
}

impl<R: ReplicaKey> Display for Dot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_key(self.replica, f)?;
        write!(f, ":{}", self.counter)
    }
}

/// The dots of one replica from `first` to `last`, both included. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DotRange<R = ReplicaId> {
    replica: R,
    first: Counter,
    last: Counter,
}

impl<R: ReplicaKey> DotRange<R> {
    /// The dots of `replica` from `first` to `last`, or `None` if `last` is below `first`.
    #[must_use]
    pub fn new(replica: R, first: Counter, last: Counter) -> Option<Self> {
        (first <= last).then_some(Self { replica, first, last })
    }

    /// The replica that made the dots.
    #[must_use]
    pub fn replica(&self) -> R {
        self.replica
    }

    /// The first counter.
    #[must_use]
    pub fn first(&self) -> Counter {
        self.first
    }

    /// The last counter, at least [`first`](Self::first).
    #[must_use]
    pub fn last(&self) -> Counter {
        self.last
    }

    /// Whether `dot` is one of these.
    #[must_use]
    pub fn contains(&self, dot: Dot<R>) -> bool {
        self.replica == dot.replica && self.first <= dot.counter && dot.counter <= self.last
    }

    /// How many dots these are, at least 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.get().saturating_sub(self.first.get()).saturating_add(1)
    }

    /// The dots in ascending order. There may be `2^63 - 1` of them: bound the walk when a peer chose the range.
    pub fn dots(&self) -> impl Iterator<Item = Dot<R>> + use<R> {
        let (replica, last) = (self.replica, self.last);
        core::iter::successors(
            Some(self.first),
            move |counter| {
                if *counter == last { None } else { counter.checked_next() }
            },
        )
        .map(move |counter| Dot { replica, counter })
    }
}

impl<R: ReplicaKey> From<Dot<R>> for DotRange<R> {
    fn from(dot: Dot<R>) -> Self {
        Self { replica: dot.replica, first: dot.counter, last: dot.counter }
    }
}

impl<R: ReplicaKey> Display for DotRange<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_key(self.replica, f)?;
        if self.first == self.last { write!(f, ":{}", self.first) } else { write!(f, ":{}-{}", self.first, self.last) }
    }
}
