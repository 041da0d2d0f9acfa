//! What changed lately, for readers that follow a store.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{Batch, Key, PageLimit, Revision, StoreError};

/// What changed in a store since a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reader that cannot go on from where it was must start again")]
pub enum Changes {
    /// These keys changed after the revision that was asked for, and up to this one.
    Keys {
        /// Each once, in the order of their last changes; none if only what is known changed.
        keys: Vec<Key>,
        /// Ask again from here.
        upto: Revision,
    },
    /// It is no longer known what changed. Take a snapshot that is at least as new as this, read everything of interest
    /// there, and go on from that snapshot's revision.
    Rescan {
        /// The revision of the store.
        at: Revision,
    },
}

/// The changes of the last keys, for any number of readers. A backend keeps one, tells it of every batch that it
/// committed, and answers [`MetadataStore::changes`](crate::MetadataStore::changes) from it.
///
/// ```
/// use reconvene_store::{ChangeFeed, Changes, PageLimit, Revision};
///
/// let feed = ChangeFeed::new(Revision::new(7), ChangeFeed::DEFAULT_KEYS);
/// // What changed before the store was opened is not known.
/// assert_eq!(feed.since(Revision::new(3), PageLimit::default()), Some(Changes::Rescan { at: Revision::new(7) }));
/// assert_eq!(feed.since(Revision::new(7), PageLimit::default()), None);
/// ```
#[derive(Debug)]
pub struct ChangeFeed {
    max_keys: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The newest revision told of.
    newest: Revision,
    /// All changes after this revision are here.
    complete_after: Revision,
    /// The last change of each key: its revision, and its place among the changes of that revision.
    last: BTreeMap<Key, (Revision, usize)>,
    order: BTreeMap<(Revision, usize), Key>,
    waiting: BTreeMap<u64, Waker>,
    next_reader: u64,
    closed: bool,
}

impl ChangeFeed {
    /// How many keys a feed remembers unless told otherwise.
    pub const DEFAULT_KEYS: usize = 65_536;

    /// A feed of a store that is at `opened_at`, which remembers this many keys.
    #[must_use]
    pub fn new(opened_at: Revision, max_keys: usize) -> Self {
        let state = State {
            newest: opened_at,
            complete_after: opened_at,
            last: BTreeMap::new(),
            order: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_reader: 0,
            closed: false,
        };
        Self { max_keys, state: Mutex::new(state) }
    }

    /// Tells that `batch` was committed. Batches come in the order of their revisions; each after a snapshot shows it.
    pub fn committed(&self, batch: &Batch) {
        let mut state = self.state.lock();
        let revision = batch.head().revision();
        state.newest = state.newest.max(revision);
        for (place, row) in batch.rows().iter().enumerate() {
            if let Some(before) = state.last.insert(row.key().clone(), (revision, place)) {
                state.order.remove(&before);
            }
            state.order.insert((revision, place), row.key().clone());
        }
        // A revision is remembered as a whole or not at all.
        while state.order.len() > self.max_keys {
            let Some((forgotten, _)) = state.order.first_key_value() else {
                break;
            };
            let (forgotten, _) = *forgotten;
            while let Some(first) = state.order.first_entry().filter(|first| first.key().0 == forgotten) {
                let key = first.remove();
                state.last.remove(&key);
            }
            state.complete_after = forgotten;
        }
        state.wake();
    }

    /// Ends every wait, now and later, with [`StoreError::Closed`].
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.wake();
    }

    /// What changed after `after`, or `None` if nothing did. A page ends where a revision does, so that it may exceed
    /// `limit` by the keys of one batch.
    #[must_use]
    pub fn since(&self, after: Revision, limit: PageLimit) -> Option<Changes> {
        self.state.lock().since(after, limit)
    }

    /// Waits until something is newer than `after`, and says what. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`] once the feed was closed and everything was read.
    pub async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        let mut reader = Reader { feed: self, number: None };
        poll_fn(|context| {
            let mut state = self.state.lock();
            if let Some(changes) = state.since(after, limit) {
                return Poll::Ready(Ok(changes));
            }
            if state.closed {
                return Poll::Ready(Err(StoreError::Closed));
            }
            let number = *reader.number.get_or_insert_with(|| {
                state.next_reader = state.next_reader.wrapping_add(1);
                state.next_reader
            });
            state.waiting.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl State {
    fn since(&self, after: Revision, limit: PageLimit) -> Option<Changes> {
        if after >= self.newest {
            return None;
        }
        if after < self.complete_after {
            return Some(Changes::Rescan { at: self.newest });
        }
        let (mut keys, mut bytes, mut upto) = (Vec::new(), 0_usize, after);
        for ((revision, _), key) in self.order.range((after.next(), 0)..) {
            let full = keys.len() >= limit.items || bytes >= limit.bytes;
            if full && *revision > upto && !keys.is_empty() {
                return Some(Changes::Keys { keys, upto });
            }
            keys.push(key.clone());
            bytes = bytes.saturating_add(key.as_bytes().len());
            upto = *revision;
        }
        Some(Changes::Keys { keys, upto: self.newest })
    }

    fn wake(&mut self) {
        for (_, waker) in core::mem::take(&mut self.waiting) {
            waker.wake();
        }
    }
}

/// One wait, which is forgotten when its future is dropped.
struct Reader<'a> {
    feed: &'a ChangeFeed,
    number: Option<u64>,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.feed.state.lock().waiting.remove(&number);
        }
    }
}
