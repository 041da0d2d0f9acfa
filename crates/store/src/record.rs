//! Records: a key and its live versions.

use std::sync::Arc;

use reconvene_clock::{Dot, VectorClock};

use crate::{Key, KeyContext, RecordError, Version};

/// A key and the versions of it that nothing here replaced: its siblings.
///
/// Cloning shares the versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    key: Key,
    siblings: Arc<[Version]>,
}

impl Record {
    /// The record of `key` with these live versions, in any order.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if there is none, if two have one dot, or if one replaces another or itself.
    pub fn new(key: Key, siblings: impl IntoIterator<Item = Version>) -> Result<Self, RecordError> {
        let mut siblings: Vec<Version> = siblings.into_iter().collect();
        siblings.sort_by_key(|version| version.dot);
        if siblings.is_empty() {
            return Err(RecordError::Empty { key });
        }
        for (left, right) in siblings.iter().zip(siblings.iter().skip(1)) {
            if left.dot == right.dot {
                return Err(RecordError::Repeated { key, dot: left.dot });
            }
        }
        let replaced = replaced_by(&siblings);
        if let Some(dead) = siblings.iter().find(|version| replaced.contains(version.dot)) {
            let by = siblings.iter().find(|version| version.replaces(dead.dot)).unwrap_or(dead);
            return Err(RecordError::Dead { dot: dead.dot, by: by.dot, key });
        }
        Ok(Self { key, siblings: siblings.into() })
    }

    /// The record of versions that the planner has already ordered; `None` if there are none.
    pub(crate) fn of_siblings(key: Key, siblings: &[Version]) -> Option<Self> {
        (!siblings.is_empty()).then(|| Self { key, siblings: siblings.into() })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The live versions, tombstones included, ascending by dot. Never empty.
    #[must_use]
    pub fn siblings(&self) -> &[Version] {
        &self.siblings
    }

    /// The live versions that are values, ascending by dot.
    pub fn values(&self) -> impl Iterator<Item = (&Version, &[u8])> {
        self.siblings.iter().filter_map(|version| Some((version, version.body.value()?)))
    }

    /// The live version with this dot.
    #[must_use]
    pub fn version(&self, dot: Dot) -> Option<&Version> {
        version_in(&self.siblings, dot)
    }

    /// What someone has seen who read the whole record: every sibling's dot and context.
    #[must_use]
    pub fn context(&self) -> KeyContext {
        context_of(self.siblings.iter())
    }

    /// The size that limits count: the key and the siblings.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        row_bytes(&self.key, &self.siblings)
    }
}

/// What someone has seen who read these versions.
pub(crate) fn context_of<'a>(versions: impl IntoIterator<Item = &'a Version, IntoIter: Clone>) -> KeyContext {
    let versions = versions.into_iter();
    let read = versions.clone().map(|version| version.dot);
    let replaced = replaced_by(versions);
    KeyContext::from_parts(read.chain(replaced.dots().iter().copied()), replaced.upto().clone())
}

/// What these versions replace.
fn replaced_by<'a>(versions: impl IntoIterator<Item = &'a Version, IntoIter: Clone>) -> KeyContext {
    let contexts = versions.into_iter().map(|version| &version.context);
    let mut upto = VectorClock::new();
    for context in contexts.clone() {
        upto.merge(context.upto());
    }
    KeyContext::from_parts(contexts.flat_map(KeyContext::dots).copied(), upto)
}

/// The version with this dot among versions that ascend by dot.
pub(crate) fn version_in(siblings: &[Version], dot: Dot) -> Option<&Version> {
    let place = siblings.binary_search_by_key(&dot, |version| version.dot).ok()?;
    siblings.get(place)
}

pub(crate) fn row_bytes(key: &Key, siblings: &[Version]) -> usize {
    siblings.iter().map(Version::byte_len).fold(key.as_bytes().len(), usize::saturating_add)
}
