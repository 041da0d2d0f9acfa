//! Keys and prefixes of keys.

use core::fmt::{self, Debug, Display};
use std::sync::Arc;

use crate::KeyError;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// What a record is filed under: 1 to 512 bytes, ordered bytewise.
///
/// Cloning shares the bytes.
///
/// ```
/// use reconvene_store::Key;
///
/// let key = Key::new("job/7/spec")?;
/// assert_eq!(key.as_bytes(), b"job/7/spec");
/// assert!(Key::new("").is_err());
/// # Ok::<(), reconvene_store::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key with these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there are none, or more than [`MAX_KEY_BYTES`].
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES {
            return Err(KeyError { len: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, never empty.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, or `None` if they are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0.escape_ascii(), f)
    }
}

impl Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{self}\")")
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::new(bytes)
    }
}

/// The keys that begin with certain bytes: 0 to 512 of them, none meaning every key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<[u8]>);

impl Prefix {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self(Arc::new([]))
    }

    /// The keys that begin with these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there are more than [`MAX_KEY_BYTES`].
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let bytes = bytes.as_ref();
        if bytes.len() > MAX_KEY_BYTES {
            return Err(KeyError { len: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `key` begins with this prefix.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        key.as_bytes().starts_with(&self.0)
    }
}

impl Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix(\"{}\")", self.0.escape_ascii())
    }
}
