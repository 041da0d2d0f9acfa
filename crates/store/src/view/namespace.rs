//! Parts of the key space that belong to somebody.

use crate::{Key, Prefix};

/// A part of the key space: the keys that begin with a name and a zero byte. No namespace contains another.
///
/// Names under `sys/` are ours, those under `app/` the user's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    prefix: Prefix,
}

/// Why a name is none of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a namespace has 1 to {} bytes, none of them zero", Namespace::MAX_BYTES)]
#[non_exhaustive]
pub struct NamespaceError;

impl Namespace {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The namespace of this name.
    ///
    /// # Errors
    ///
    /// [`NamespaceError`] if there is none, if it is too long or has a zero byte.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, NamespaceError> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > Self::MAX_BYTES || name.contains(&0) {
            return Err(NamespaceError);
        }
        let prefix = Prefix::new([name, &[0]].concat()).map_err(|_| NamespaceError)?;
        Ok(Self { prefix })
    }

    /// The namespace `app/<name>` of a user.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn app(name: &str) -> Result<Self, NamespaceError> {
        Self::new(format!("app/{name}"))
    }

    /// The keys in it, as for a quota.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix.clone()
    }

    /// The name and the zero byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.prefix.as_bytes()
    }

    /// What follows the namespace in `key`, or `None` if it is not in it.
    #[must_use]
    pub fn strip<'a>(&self, key: &'a Key) -> Option<&'a [u8]> {
        key.as_bytes().strip_prefix(self.as_bytes())
    }
}
