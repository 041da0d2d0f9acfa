//! Following a namespace.

use core::marker::PhantomData;

use super::{KeyCodec, Namespace};
use crate::{Changes, Key, MetadataStore, PageLimit, Revision, Source, StoreError};

/// What changed in a namespace.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a reader that cannot go on from where it was must start again")]
pub enum Watched<K> {
    /// These keys changed, in the order of their last changes. Read them to learn what they hold now.
    Keys(Vec<(Key, Result<K, Source>)>),
    /// It is no longer known what changed: scan the namespace.
    Rescan,
}

/// Follows a namespace. A slow reader misses states in between, and never the last one.
#[derive(Debug)]
pub struct Watch<'a, S, K> {
    store: &'a S,
    namespace: Namespace,
    after: Revision,
    types: PhantomData<fn() -> K>,
}

impl<'a, S: MetadataStore, K: KeyCodec> Watch<'a, S, K> {
    pub(super) fn new(store: &'a S, namespace: Namespace, after: Revision) -> Self {
        Self { store, namespace, after, types: PhantomData }
    }

    /// Waits until something in the namespace changed, and says what. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read, or was closed.
    pub async fn next(&mut self) -> Result<Watched<K>, StoreError> {
        loop {
            match self.store.changes(self.after, PageLimit::default()).await? {
                Changes::Rescan { at } => {
                    self.after = at;
                    return Ok(Watched::Rescan);
                }
                Changes::Keys { keys, upto } => {
                    self.after = upto;
                    let decoded = |key: Key| Some((K::decode(self.namespace.strip(&key)?), key));
                    let mine: Vec<_> = keys.into_iter().filter_map(decoded).map(|(typed, key)| (key, typed)).collect();
                    if !mine.is_empty() {
                        return Ok(Watched::Keys(mine));
                    }
                }
            }
        }
    }
}
