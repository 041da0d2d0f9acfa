//! Sealing of values on the medium, by whatever the embedder brings.

use core::fmt::{self, Debug, Display};

use crate::Source;

/// Names the key that something was sealed with, so that keys can be changed while old rows stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// The id with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Why something was not sealed or unsealed: the wrong key, changed bytes, or a key store that is not there.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SealError(#[from] Source);

/// Seals the values of rows on their way to the medium. No cipher is included.
///
/// An implementation is an authenticated cipher: what was changed, or belongs to other associated data, must not open.
pub trait Seal: Debug + Send + Sync + 'static {
    /// Appends the sealed form of `plain` to `out`, and names the key it used. `aad` is authenticated with it: the table
    /// and the key of the row, so that values cannot be moved from one row to another.
    ///
    /// # Errors
    ///
    /// [`SealError`] with the implementation's own cause.
    fn seal(&self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<KeyId, SealError>;

    /// Appends what was sealed to `out`.
    ///
    /// # Errors
    ///
    /// [`SealError`] if it was not sealed with this key and this `aad`, or was changed.
    fn open(&self, key: KeyId, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), SealError>;
}
