//! Records: a key and its live versions.

use std::sync::Arc;

use reconvene_clock::{Dot, VectorClock};
use smallvec::SmallVec;

use crate::{Key, KeyContext, RecordError, Version};

/// A key and the versions of it that nothing here replaced: its siblings.
///
/// Cloning shares the versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    key: Key,
    /// The live versions, ascending by dot, then the evidence, ascending by dot and hash. Every piece of evidence has
    /// the dot of a live version, so that the first dot that is not above the one before it begins the evidence.
    versions: Arc<[Version]>,
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
        Ok(Self { key, versions: siblings.into() })
    }

    /// The same record with `evidence`: versions that have the dot of a live one and another content, in any order.
    ///
    /// # Errors
    ///
    /// [`RecordError::Stray`] if one has the dot of no live version, or the content of one that is there.
    pub fn with_evidence(self, evidence: impl IntoIterator<Item = Version>) -> Result<Self, RecordError> {
        let mut evidence: Vec<Version> = evidence.into_iter().collect();
        evidence.sort_by_cached_key(|version| (version.dot, version.content_hash(&self.key)));
        let again =
            |index: usize, version: &Version| index > 0 && evidence.get(index.saturating_sub(1)) == Some(version);
        for (index, version) in evidence.iter().enumerate() {
            let twin = self.version(version.dot);
            if twin.is_none_or(|twin| twin == version) || again(index, version) {
                return Err(RecordError::Stray { dot: version.dot, key: self.key });
            }
        }
        let versions = self.siblings().iter().chain(&evidence).cloned().collect();
        Ok(Self { key: self.key, versions })
    }

    /// The record of versions that the planner has already ordered; `None` if there are none.
    pub(crate) fn of_cell(key: Key, Cell { live, evidence }: Cell) -> Option<Self> {
        let versions: Arc<[Version]> = match live.into_inner() {
            Ok(only) if evidence.is_empty() => Arc::new(only),
            Ok(only) => only.into_iter().chain(evidence).collect(),
            Err(live) if live.is_empty() => return None,
            Err(live) => live.into_iter().chain(evidence).collect(),
        };
        Some(Self { key, versions })
    }

    /// The record of versions that were part of one.
    pub(crate) fn of_versions(key: Key, versions: Arc<[Version]>) -> Self {
        Self { key, versions }
    }

    /// The versions, which belong to [`of_versions`](Self::of_versions) alone.
    pub(crate) fn versions(&self) -> &Arc<[Version]> {
        &self.versions
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The live versions, tombstones included, ascending by dot. Never empty.
    #[must_use]
    pub fn siblings(&self) -> &[Version] {
        self.parts().0
    }

    /// Versions that have the dot of a live one and another content: proof that a replica gave one dot to two writes.
    /// The live one is the one with the lesser content hash. Nearly always none.
    #[must_use]
    pub fn evidence(&self) -> &[Version] {
        self.parts().1
    }

    fn parts(&self) -> (&[Version], &[Version]) {
        let ascending = |pair: &(&Version, &Version)| pair.0.dot < pair.1.dot;
        let rest = self.versions.iter().skip(1);
        let pairs = self.versions.iter().zip(rest).take_while(ascending).count();
        let live = pairs.saturating_add(1).min(self.versions.len());
        self.versions.split_at_checked(live).unwrap_or((&self.versions, &[]))
    }

    /// The live versions that are values, ascending by dot.
    pub fn values(&self) -> impl Iterator<Item = (&Version, &[u8])> {
        self.siblings().iter().filter_map(|version| Some((version, version.body.value()?)))
    }

    /// The live version with this dot.
    #[must_use]
    pub fn version(&self, dot: Dot) -> Option<&Version> {
        version_in(self.siblings(), dot)
    }

    /// What someone has seen who read the whole record: the dot and context of every version in it.
    #[must_use]
    pub fn context(&self) -> KeyContext {
        context_of(self.versions.iter())
    }

    /// The size that limits count: the key and the versions.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        row_bytes(&self.key, self.versions.iter())
    }
}

/// What someone has seen who read these versions.
pub(crate) fn context_of<'a>(versions: impl IntoIterator<Item = &'a Version, IntoIter: Clone>) -> KeyContext {
    let versions = versions.into_iter();
    if versions.clone().next().is_none() {
        return KeyContext::new();
    }
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

pub(crate) fn row_bytes<'a>(key: &Key, versions: impl IntoIterator<Item = &'a Version>) -> usize {
    versions.into_iter().map(Version::byte_len).fold(key.as_bytes().len(), usize::saturating_add)
}

/// Live versions, of which most keys have one.
pub(crate) type Live = SmallVec<[Version; 1]>;

/// The versions of one key while a plan works on them: those that are live, ascending by dot, and the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) live: Live,
    pub(crate) evidence: Vec<Version>,
}
