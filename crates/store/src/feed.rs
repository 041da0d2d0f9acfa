//! What changed lately, for readers that follow a store.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::{BTreeMap, VecDeque};

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
/// To tell it of a batch costs a list of keys; to put them in order is left to whoever reads, and nobody who commits
/// waits for that.
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
    /// Readers lock this first, then the inbox for a moment.
    index: Mutex<Index>,
    inbox: Mutex<Inbox>,
}

/// What readers have not looked at yet, and who waits.
#[derive(Debug)]
struct Inbox {
    /// The newest revision told of.
    newest: Revision,
    /// The keys that each batch changed, oldest first; none for batches without rows.
    batches: VecDeque<(Revision, Box<[Key]>)>,
    /// How many keys they are.
    keys: usize,
    /// Batches up to this revision were dropped unread.
    dropped: Revision,
    waiting: BTreeMap<u64, Waker>,
    next_reader: u64,
    closed: bool,
}

/// What changed, by its last change.
#[derive(Debug)]
struct Index {
    /// The newest revision that it includes.
    newest: Revision,
    /// All changes after this revision are here.
    complete_after: Revision,
    /// The last change of each key: its revision, and its place among the changes of that revision.
    last: BTreeMap<Key, (Revision, usize)>,
    order: BTreeMap<(Revision, usize), Key>,
}

impl ChangeFeed {
    /// How many keys a feed remembers unless told otherwise.
    pub const DEFAULT_KEYS: usize = 65_536;

    /// A feed of a store that is at `opened_at`, which remembers this many keys; while nobody reads, this many changes.
    #[must_use]
    pub fn new(opened_at: Revision, max_keys: usize) -> Self {
        let inbox = Inbox {
            newest: opened_at,
            batches: VecDeque::new(),
            keys: 0,
            dropped: opened_at,
            waiting: BTreeMap::new(),
            next_reader: 0,
            closed: false,
        };
        let index =
            Index { newest: opened_at, complete_after: opened_at, last: BTreeMap::new(), order: BTreeMap::new() };
        Self { max_keys, index: Mutex::new(index), inbox: Mutex::new(inbox) }
    }

    /// Tells that `batch` was committed. Batches come in the order of their revisions; each after a snapshot shows it.
    pub fn committed(&self, batch: &Batch) {
        let keys: Box<[Key]> = batch.rows().iter().map(|row| row.key().clone()).collect();
        let mut inbox = self.inbox.lock();
        let revision = batch.head().revision();
        inbox.newest = inbox.newest.max(revision);
        if !keys.is_empty() {
            inbox.keys = inbox.keys.saturating_add(keys.len());
            inbox.batches.push_back((revision, keys));
        }
        // A revision is remembered as a whole or not at all.
        while inbox.keys > self.max_keys
            && let Some((dropped, keys)) = inbox.batches.pop_front()
        {
            inbox.dropped = dropped;
            inbox.keys = inbox.keys.saturating_sub(keys.len());
        }
        inbox.wake();
    }

    /// Ends every wait, now and later, with [`StoreError::Closed`].
    pub fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        inbox.wake();
    }

    /// What changed after `after`, or `None` if nothing did. A page ends where a revision does, so that it may exceed
    /// `limit` by the keys of one batch.
    #[must_use]
    pub fn since(&self, after: Revision, limit: PageLimit) -> Option<Changes> {
        let mut index = self.index.lock();
        let (batches, newest, dropped) = {
            let mut inbox = self.inbox.lock();
            inbox.keys = 0;
            (core::mem::take(&mut inbox.batches), inbox.newest, inbox.dropped)
        };
        index.take_in(batches, newest, dropped, self.max_keys);
        index.since(after, limit)
    }

    /// Waits until something is newer than `after`, and says what. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`] once the feed was closed and everything was read.
    pub async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        let mut reader = Reader { feed: self, number: None };
        poll_fn(|context| {
            loop {
                if let Some(changes) = self.since(after, limit) {
                    return Poll::Ready(Ok(changes));
                }
                let mut inbox = self.inbox.lock();
                if inbox.newest > after {
                    // Told of meanwhile.
                    continue;
                }
                if inbox.closed {
                    return Poll::Ready(Err(StoreError::Closed));
                }
                let number = *reader.number.get_or_insert_with(|| {
                    inbox.next_reader = inbox.next_reader.wrapping_add(1);
                    inbox.next_reader
                });
                inbox.waiting.insert(number, context.waker().clone());
                return Poll::Pending;
            }
        })
        .await
    }
}

impl Index {
    /// Puts what came in where it belongs. Batches up to `dropped` may be missing.
    fn take_in(
        &mut self,
        batches: VecDeque<(Revision, Box<[Key]>)>,
        newest: Revision,
        dropped: Revision,
        max_keys: usize,
    ) {
        self.newest = newest;
        self.complete_after = self.complete_after.max(dropped);
        for (revision, keys) in batches {
            for (place, key) in keys.into_iter().enumerate() {
                if let Some(before) = self.last.insert(key.clone(), (revision, place)) {
                    self.order.remove(&before);
                }
                self.order.insert((revision, place), key);
            }
        }
        // A revision is remembered as a whole or not at all.
        while let Some((&(revision, _), _)) = self.order.first_key_value() {
            if revision > self.complete_after {
                if self.order.len() <= max_keys {
                    break;
                }
                self.complete_after = revision;
            }
            if let Some((_, key)) = self.order.pop_first() {
                self.last.remove(&key);
            }
        }
    }

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
}

impl Inbox {
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
            self.feed.inbox.lock().waiting.remove(&number);
        }
    }
}
