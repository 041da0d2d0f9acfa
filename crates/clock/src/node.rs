//! The name of a broker or executor for life.

use core::fmt::{self, Debug, Display};
use core::str::FromStr;

use crate::{DecodeError, DecodeKind};

/// The name of a node for life: 128 bits, a hash of its public key or drawn at random.
///
/// A node keeps its `NodeId` when it loses its store; the store's [`ReplicaId`](crate::ReplicaId) changes. Written as
/// 32 hexadecimal digits.
///
/// ```
/// use reconvene_clock::NodeId;
///
/// let node: NodeId = "000102030405060708090a0b0c0d0e0f".parse()?;
/// assert_eq!(node.as_bytes()[15], 0x0f);
/// assert_eq!(node.to_string().parse(), Ok(node));
/// # Ok::<(), reconvene_clock::DecodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The node with this name.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The node with this name; the same as [`new`](Self::new), for symmetry with [`as_bytes`](Self::as_bytes).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the name.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = DecodeError;

    /// Reads exactly 32 hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut number = 0_u128;
        for (offset, byte) in text.bytes().enumerate() {
            if offset == DIGITS {
                return Err(DecodeError::new(DecodeKind::Trailing, offset));
            }
            let digit =
                char::from(byte).to_digit(16).ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))?;
            number = number << 4 | u128::from(digit);
        }
        if text.len() < DIGITS {
            return Err(DecodeError::new(DecodeKind::Truncated, text.len()));
        }
        Ok(Self(number.to_be_bytes()))
    }
}

const DIGITS: usize = 32;
