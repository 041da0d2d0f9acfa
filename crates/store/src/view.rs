//! Typed views: part of a store as keys and values of the user's own types, with siblings in plain sight.

mod codec;
mod namespace;
mod watch;

use core::marker::PhantomData;

use reconvene_clock::{Dot, Hlc};

pub use self::codec::{KeyCodec, ValueCodec};
pub use self::namespace::{Namespace, NamespaceError};
pub use self::watch::{Watch, Watched};
use crate::{
    Body, Class, CommitError, Cursor, Key, KeyContext, KeyError, LocalWrite, MetadataStore, PageLimit, Plan, PlanError,
    Record, Replaces, Snapshot, Source, StoreError, Version,
};

/// A namespace of a store, as keys `K` and values `V`.
///
/// It reads every live value of a key, each with its dot, and never picks a winner among siblings. Tombstones are never
/// shown, since replicas collect one at different moments: a key with tombstones alone reads as absent. A value that does
/// not decode is an item of the answer, not the end of it.
///
/// Writing through a view commits to the store directly. Where a sync replica owns the store, hand it
/// [`entry`](Self::entry) instead.
///
/// ```
/// use reconvene_clock::{Hlc, NodeId, ReplicaId};
/// use reconvene_store::{Identity, Limits, MemoryStore, Namespace, View, WriteOptions, ready};
///
/// # let identity = Identity { node: NodeId::new([1; 16]), replica: ReplicaId::new(7).expect("not zero"), incarnation: 1 };
/// let store = MemoryStore::new(identity, Limits::default());
/// let temperatures: View<'_, _, u64, String> = View::new(&store, Namespace::app("temperatures")?);
///
/// ready(temperatures.put(&7, &"21 C".to_owned(), WriteOptions::at(Hlc::from_u64(1)))).expect("never waits")?;
/// let reading = ready(temperatures.get(&7)).expect("never waits")?;
/// assert_eq!(reading.only(), Some(&"21 C".to_owned()));
///
/// ready(temperatures.delete(&7, WriteOptions::at(Hlc::from_u64(2)))).expect("never waits")?;
/// assert!(ready(temperatures.get(&7)).expect("never waits")?.is_absent());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct View<'a, S, K, V> {
    store: &'a S,
    namespace: Namespace,
    types: PhantomData<fn(K) -> V>,
}

/// How a view writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The writer's hybrid clock.
    pub hlc: Hlc,
    /// How urgently the write travels. Default [`Class::NORMAL`].
    pub class: Class,
    /// What it replaces. Default: every live version.
    pub replaces: Replaces,
}

impl WriteOptions {
    /// A normal write at this stamp, which replaces everything live.
    #[must_use]
    pub fn at(hlc: Hlc) -> Self {
        Self { hlc, class: Class::NORMAL, replaces: Replaces::AllLive }
    }

    /// A write that replaces what was read and leaves alone what came since.
    #[must_use]
    pub fn over<V>(self, reading: &Reading<V>) -> Self {
        Self { replaces: Replaces::Context(reading.context.clone()), ..self }
    }
}

/// One live value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sibling<V> {
    /// Names the write.
    pub dot: Dot,
    /// The writer's hybrid clock.
    pub hlc: Hlc,
    /// How urgently it travelled.
    pub class: Class,
    /// The value, or why its bytes are none.
    pub value: Result<V, Source>,
}

/// What a key holds.
#[derive(Debug)]
pub struct Reading<V> {
    siblings: Vec<Sibling<V>>,
    context: KeyContext,
}

impl<V> Reading<V> {
    /// Every live value, ascending by dot.
    #[must_use]
    pub fn siblings(&self) -> &[Sibling<V>] {
        &self.siblings
    }

    /// The value, if there is exactly one and it decodes.
    #[must_use]
    pub fn only(&self) -> Option<&V> {
        match self.siblings.as_slice() {
            [Sibling { value: Ok(value), .. }] => Some(value),
            _ => None,
        }
    }

    /// Whether there is no value: nothing was written, or all of it was deleted.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.siblings.is_empty()
    }

    /// What was seen by reading this. Hand it back by [`WriteOptions::over`].
    #[must_use]
    pub fn context(&self) -> &KeyContext {
        &self.context
    }
}

/// A key, if its bytes decode, and what it holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row<K, V> {
    /// The key as it is in the store.
    pub raw: Key,
    /// The key, or why its bytes are none.
    pub key: Result<K, Source>,
    /// Its values, at least one.
    pub reading: Reading<V>,
}

/// Part of a scan.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rows<K, V> {
    /// Keys that hold a value, ascending by their bytes. There may be none although the scan goes on.
    pub rows: Vec<Row<K, V>>,
    /// Where to go on, or `None` at the end.
    pub next: Option<Key>,
}

/// Why a view did not answer. Nothing was written, except as [`CommitError::Unknown`] says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The key with its namespace is no key.
    #[error("the key does not fit into the store")]
    Key(#[from] KeyError),
    /// The value does not encode.
    #[error("the value does not encode")]
    Encode(#[source] Source),
    /// The write was refused.
    #[error("the write was refused")]
    Plan(#[from] PlanError),
    /// The store was not read.
    #[error("the store was not read")]
    Store(#[from] StoreError),
    /// The write was not committed.
    #[error("the write was not committed")]
    Commit(#[from] CommitError),
}

/// How often a write is planned again when others write in between.
const ATTEMPTS: usize = 16;

impl<'a, S: MetadataStore, K: KeyCodec, V: ValueCodec> View<'a, S, K, V> {
    /// The view of `namespace` in `store`.
    #[must_use]
    pub fn new(store: &'a S, namespace: Namespace) -> Self {
        Self { store, namespace, types: PhantomData }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key in the store.
    ///
    /// # Errors
    ///
    /// [`ViewError::Key`] if it would be too long.
    pub fn key(&self, key: &K) -> Result<Key, ViewError> {
        let mut bytes = self.namespace.as_bytes().to_vec();
        key.encode(&mut bytes);
        Ok(Key::new(bytes)?)
    }

    /// Key and body of a write, for whoever writes to the store instead of the view.
    ///
    /// # Errors
    ///
    /// [`ViewError::Key`] or [`ViewError::Encode`].
    pub fn entry(&self, key: &K, value: &V) -> Result<(Key, Body), ViewError> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).map_err(ViewError::Encode)?;
        Ok((self.key(key)?, Body::of(bytes)))
    }

    /// What `key` holds.
    ///
    /// # Errors
    ///
    /// [`ViewError::Key`] or [`ViewError::Store`].
    pub async fn get(&self, key: &K) -> Result<Reading<V>, ViewError> {
        let key = self.key(key)?;
        let snapshot = self.store.snapshot().await?;
        let record = snapshot.record(&key).await?;
        Ok(record
            .map_or_else(|| Reading { siblings: Vec::new(), context: KeyContext::new() }, |record| reading(&record)))
    }

    /// The keys behind `after` that hold a value, from the start of the namespace if there is none; at most `limit` rows
    /// are read, deleted ones included. Each call reads the newest snapshot.
    ///
    /// # Errors
    ///
    /// [`ViewError::Store`].
    pub async fn scan(&self, after: Option<&Key>, limit: PageLimit) -> Result<Rows<K, V>, ViewError> {
        let cursor = Cursor::new(self.namespace.prefix()).with_rows(limit.items).with_bytes(limit.bytes);
        let cursor = match after {
            Some(after) => cursor.resume_after(after.clone()),
            None => cursor,
        };
        let page = self.store.snapshot().await?.by_prefix(&cursor).await?;
        let next = page.next.and_then(|next| next.after().cloned());
        let held = page.items.iter().filter(|record| record.values().next().is_some());
        let rows = held.map(|record| Row {
            raw: record.key().clone(),
            key: K::decode(self.namespace.strip(record.key()).unwrap_or_default()),
            reading: reading(record),
        });
        Ok(Rows { rows: rows.collect(), next })
    }

    /// Writes a value, and returns the dot that names the write. Plans again if others write in between.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn put(&self, key: &K, value: &V, options: WriteOptions) -> Result<Dot, ViewError> {
        let (key, body) = self.entry(key, value)?;
        self.write(key, body, options).await
    }

    /// Deletes what is there, or what `options` say was read, and returns the dot of the delete; `None` if there is no
    /// value to delete.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn delete(&self, key: &K, options: WriteOptions) -> Result<Option<Dot>, ViewError> {
        if self.get(key).await?.is_absent() {
            return Ok(None);
        }
        self.write(self.key(key)?, Body::Tombstone, options).await.map(Some)
    }

    /// Follows what changes in the namespace after this moment.
    ///
    /// # Errors
    ///
    /// [`ViewError::Store`].
    pub async fn watch(&self) -> Result<Watch<'a, S, K>, ViewError> {
        let at = self.store.snapshot().await?.head().revision();
        Ok(Watch::new(self.store, self.namespace.clone(), at))
    }

    async fn write(&self, key: Key, body: Body, options: WriteOptions) -> Result<Dot, ViewError> {
        let WriteOptions { hlc, class, replaces } = options;
        let limits = self.store.capabilities().limits;
        let mut attempt = 1;
        loop {
            let snapshot = self.store.snapshot().await?;
            let found = snapshot.record(&key).await?;
            let mut plan = Plan::new(snapshot.head().clone(), [key.clone()], found, &limits);
            drop(snapshot);
            let (key, body, replaces) = (key.clone(), body.clone(), replaces.clone());
            let dot = plan.write(LocalWrite { key, class, body, hlc, replaces })?;
            match self.store.commit(&plan.finish()).await {
                Ok(_) => return Ok(dot),
                Err(CommitError::Conflict { .. }) if attempt < ATTEMPTS => attempt = attempt.saturating_add(1),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn reading<V: ValueCodec>(record: &Record) -> Reading<V> {
    let sibling = |(version, bytes): (&Version, &[u8])| Sibling {
        dot: version.dot,
        hlc: version.hlc,
        class: version.class,
        value: V::decode(bytes),
    };
    Reading { siblings: record.values().map(sibling).collect(), context: record.context() }
}
