//! Versions: what was written, by whom, in place of what.

use std::sync::Arc;

use reconvene_clock::digest::sha256;
use reconvene_clock::{Dot, Height, Hlc};

use crate::{ContentHash, Key, KeyContext};

/// How urgently a version travels. It has no bearing on which versions are live.
///
/// 0 to 31 are ours, 32 to 255 the user's. An unknown class is stored and passed on unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// Facts about the network itself, such as its members.
    pub const CONTROL: Self = Self(0);
    /// What should reach every broker at once.
    pub const URGENT: Self = Self(1);
    /// Everything without a reason to be otherwise.
    pub const NORMAL: Self = Self(2);
    /// Large or unimportant: goes after the rest.
    pub const BULK: Self = Self(3);

    /// The class with this number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number of this class.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What a version says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a version sets a value or deletes it; there is no third thing")]
pub enum Body {
    /// The key has this value.
    Value(Arc<[u8]>),
    /// The key was deleted.
    Tombstone,
}

impl Body {
    /// A value with these bytes.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::Value(bytes.as_ref().into())
    }

    /// The bytes of a value, or `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Value(bytes) => Some(bytes),
            Self::Tombstone => None,
        }
    }

    /// The number of bytes, 0 for a tombstone.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.value().map_or(0, <[u8]>::len)
    }
}

/// One write. Immutable: its dot names it for ever, and no store or relay stamps, trims or edits it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a version is exactly what travels; a new part is a new format")]
pub struct Version {
    /// The name of the write.
    pub dot: Dot,
    /// The versions of the same key that the write replaced, and all that their contexts name.
    pub context: KeyContext,
    /// One more than the greatest height that the writer had seen.
    pub height: Height,
    /// The writer's hybrid clock when it wrote.
    pub hlc: Hlc,
    /// How urgently it travels.
    pub class: Class,
    /// What it says.
    pub body: Body,
}

impl Version {
    /// Whether this version replaces the one that `dot` names, which is of the same key.
    #[must_use]
    pub fn replaces(&self, dot: Dot) -> bool {
        self.context.contains(dot)
    }

    /// What someone has seen who read this version alone: its dot and its context. Hand it back in
    /// [`Replaces::Context`](crate::Replaces::Context) to write in its place and leave its siblings standing.
    #[must_use]
    pub fn seen(&self) -> KeyContext {
        let mut seen = self.context.clone();
        seen.add(self.dot);
        seen
    }

    /// Names the content: the SHA-256 of the key and of everything in the version, in its canonical form.
    #[must_use]
    pub fn content_hash(&self, key: &Key) -> ContentHash {
        let mut bytes = Vec::with_capacity(self.byte_len().saturating_add(key.as_bytes().len()));
        bytes.extend_from_slice(&u64::try_from(key.as_bytes().len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        self.encode(&mut bytes);
        sha256(&bytes)
    }

    /// The canonical form: numbers of 8 bytes, big-endian; counts before lists; the body last.
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |numbers: &[u64]| {
            for number in numbers {
                out.extend_from_slice(&number.to_be_bytes());
            }
        };
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let (dots, upto) = (self.context.dots(), self.context.upto());
        put(&[self.dot.replica.get(), self.dot.counter.get(), self.height.get(), self.hlc.as_u64()]);
        put(&[self.class.get().into(), count(dots.len()), count(upto.len())]);
        for dot in dots.iter().copied().chain(upto.iter()) {
            put(&[dot.replica.get(), dot.counter.get()]);
        }
        match &self.body {
            Body::Tombstone => out.push(0),
            Body::Value(bytes) => {
                out.push(1);
                out.extend_from_slice(bytes);
            }
        }
    }

    /// The size that limits count: the body, 16 bytes for each entry of the context and 48 bytes for the rest.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        let entries = self.context.dots().len().saturating_add(self.context.upto().len());
        self.body.byte_len().saturating_add(entries.saturating_mul(16)).saturating_add(48)
    }
}

pub(crate) fn is_tombstone(version: &Version) -> bool {
    matches!(version.body, Body::Tombstone)
}
