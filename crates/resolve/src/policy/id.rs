//! The names of policies, and of moments at which they changed.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use reconvene_clock::digest::sha256;

use crate::emergency::FOUND_SHOWN;

/// The name of a policy: the first 16 bytes of SHA-256 of its canonical bytes.
///
/// Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "sixteen bytes")]
pub struct PolicyId(pub [u8; 16]);

impl PolicyId {
    /// The name of whatever policy these canonical bytes are.
    #[must_use]
    pub fn of_bytes(canonical: &[u8]) -> Self {
        let mut id = [0; 16];
        for (to, byte) in id.iter_mut().zip(sha256(canonical)) {
            *to = byte;
        }
        Self(id)
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyId({self})")
    }
}

/// Exactly 32 hexadecimal digits of either case.
impl FromStr for PolicyId {
    type Err = ParsePolicyIdError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyIdError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| ParsePolicyIdError { found: text.chars().take(FOUND_SHOWN).collect() })
    }
}

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no policy id: expected 32 hexadecimal digits")]
#[non_exhaustive]
pub struct ParsePolicyIdError {
    /// The text, cut after 64 characters.
    pub found: String,
}

/// Counts the switches of the current policy. Not to be confused with the epochs of rounds and ownerships.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct PolicyEpoch(pub u64);

impl fmt::Display for PolicyEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Under which policy a decision was made, and since which switch it was in force there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct PolicyRef {
    /// The switch.
    pub epoch: PolicyEpoch,
    /// The policy.
    pub id: PolicyId,
}
