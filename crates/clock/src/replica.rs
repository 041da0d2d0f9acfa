//! The identity of a replica, and what else a clock may be keyed by.

use core::fmt::{self, Debug, Display};
use core::hash::Hash;
use core::num::{NonZeroU32, NonZeroU64, NonZeroU128};

/// One incarnation of one broker's store.
///
/// Drawn at random by the caller when a store is created, restored or copied; never zero and never reused. It says
/// nothing about which broker it belongs to: that is what a replicated membership record is for.
///
/// ```
/// use reconvene_clock::ReplicaId;
///
/// let id = ReplicaId::new(0xa11ce).expect("not zero");
/// assert_eq!(id.get(), 0xa11ce);
/// assert_eq!(id.to_string(), "00000000000a11ce");
/// assert_eq!(ReplicaId::new(0), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ReplicaId(NonZeroU64);

impl ReplicaId {
    /// The id with this number, or `None` for zero.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number of this id.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaId({:x})", self.0)
    }
}

/// What a clock may be keyed by: a small, ordered, fixed-width id.
///
/// Law: the byte order of what [`write`](Self::write) produces equals `Ord`, and [`read`](Self::read) gives back what
/// was written. `WIDTH` is at most 16.
pub trait ReplicaKey: Copy + Ord + Hash + Debug + Send + Sync + 'static {
    /// The number of bytes of an id, 1 to 16.
    const WIDTH: usize;

    /// Writes the id big-endian. `out` has exactly [`WIDTH`](Self::WIDTH) bytes.
    fn write(self, out: &mut [u8]);

    /// The id that was written, or `None` if the width is wrong, or for zero and other reserved values.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Zero exactly if both are equal. Override it where the difference of two ids is a number, since passes over many
    /// entries gather it by OR.
    #[must_use]
    #[inline(always)]
    fn differs(self, other: Self) -> u64 {
        u64::from(self != other)
    }
}

impl ReplicaKey for ReplicaId {
    const WIDTH: usize = 8;

    #[inline]
    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.get().to_be_bytes());
    }

    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        NonZeroU64::read(bytes).map(Self)
    }

    #[inline(always)]
    fn differs(self, other: Self) -> u64 {
        self.get() ^ other.get()
    }
}

macro_rules! number_is_a_key {
    ($($number:ty: $bytes:expr, $of:ty, $differs:expr;)*) => {$(
        impl ReplicaKey for $number {
            const WIDTH: usize = $bytes;

            #[inline]
            fn write(self, out: &mut [u8]) {
                out.copy_from_slice(&self.get().to_be_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Option<Self> {
                Self::new(<$of>::from_be_bytes(bytes.try_into().ok()?))
            }

            #[inline(always)]
            fn differs(self, other: Self) -> u64 {
                $differs(self.get() ^ other.get())
            }
        }
    )*};
}

number_is_a_key! {
    NonZeroU32: 4, u32, u64::from;
    NonZeroU64: 8, u64, core::convert::identity;
    NonZeroU128: 16, u128, fold;
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half, after the high half was folded in")]
const fn fold(wide: u128) -> u64 {
    (wide >> 64) as u64 | wide as u64
}

/// The id as a number, for errors that serve every kind of key.
pub(crate) fn number_of<R: ReplicaKey>(replica: R) -> u128 {
    with_bytes(replica, |bytes| bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// The id as hexadecimal digits of its full width, for `Display`.
pub(crate) fn fmt_key<R: ReplicaKey>(replica: R, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    with_bytes(replica, |bytes| bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")))
}

fn with_bytes<R: ReplicaKey, T>(replica: R, read: impl FnOnce(&[u8]) -> T) -> T {
    let mut buffer = [0; 16];
    let bytes = buffer.get_mut(..R::WIDTH).expect("a key is at most 16 bytes wide");
    replica.write(bytes);
    read(bytes)
}
