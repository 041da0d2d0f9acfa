//! Records: a key and its live versions.

use std::sync::Arc;

use reconvene_clock::Dot;

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
        for version in &siblings {
            if let Some(dead) = siblings.iter().find(|other| version.replaces(other.dot)) {
                return Err(RecordError::Dead { dot: dead.dot, by: version.dot, key });
            }
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
        let place = self.siblings.binary_search_by_key(&dot, |version| version.dot).ok()?;
        self.siblings.get(place)
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

pub(crate) fn context_of<'a>(versions: impl IntoIterator<Item = &'a Version>) -> KeyContext {
    let mut context = KeyContext::new();
    for version in versions {
        context.merge(&version.context);
        context.add(version.dot);
    }
    context
}

pub(crate) fn row_bytes(key: &Key, siblings: &[Version]) -> usize {
    siblings.iter().map(Version::byte_len).fold(key.as_bytes().len(), usize::saturating_add)
}
