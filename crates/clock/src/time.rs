//! Wall time, which is data, and monotonic time, which drives timers.

use core::fmt::{self, Display};

macro_rules! milliseconds {
    ($name:ident) => {
        impl $name {
            /// The moment that many milliseconds after the zero of this scale.
            #[must_use]
            pub const fn from_millis(millis: u64) -> Self {
                Self(millis)
            }

            /// Milliseconds since the zero of this scale.
            #[must_use]
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// The moment `ms` milliseconds later, or `None` if it cannot be written.
            #[must_use]
            pub const fn checked_add(self, ms: u64) -> Option<Self> {
                match self.0.checked_add(ms) {
                    Some(millis) => Some(Self(millis)),
                    None => None,
                }
            }

            /// The moment `ms` milliseconds later, or the last that can be written.
            #[must_use]
            pub const fn saturating_add(self, ms: u64) -> Self {
                Self(self.0.saturating_add(ms))
            }

            /// The milliseconds from `earlier` to this moment, or zero if it is not earlier.
            #[must_use]
            pub const fn saturating_since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }
    };
}

/// A moment of wall time, in Unix milliseconds: data for tie-breaks and for people, never a timer.
///
/// It may jump in either direction, and two machines disagree about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct WallTime(u64);

milliseconds!(WallTime);

impl Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A moment of monotonic time, in milliseconds since a local start: for timers, and of no meaning to anybody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Timestamp(u64);

milliseconds!(Timestamp);

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} ms", self.0)
    }
}

/// Tells wall time. Injected, so that nothing in the core reads a clock by itself.
pub trait TimeSource {
    /// The wall time now.
    fn now(&self) -> WallTime;
}

impl<T: TimeSource + ?Sized> TimeSource for &T {
    fn now(&self) -> WallTime {
        (**self).now()
    }
}

/// The wall clock of the operating system. A moment before 1970 reads as zero.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemTimeSource;

#[cfg(feature = "std")]
impl SystemTimeSource {
    /// The wall clock of the operating system.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(feature = "std")]
impl TimeSource for SystemTimeSource {
    fn now(&self) -> WallTime {
        #[expect(clippy::disallowed_methods, reason = "this is the place where wall time enters")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        WallTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
