//! What can go wrong, as types that say what was attempted.

use core::error::Error;

use reconvene_clock::{ClockError, Dot, ReplicaId};

use crate::{Key, MAX_KEY_BYTES, Revision};

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_KEY_BYTES} bytes, not {len}")]
#[non_exhaustive]
pub struct KeyError {
    /// How many bytes there are.
    pub len: usize,
}

/// Why versions are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is no version.
    #[error("record {key} has no version")]
    Empty {
        /// The key of the record.
        key: Key,
    },
    /// Two versions have one dot.
    #[error("record {key} has dot {dot} twice")]
    Repeated {
        /// The key of the record.
        key: Key,
        /// The dot.
        dot: Dot,
    },
    /// One version replaces another, which is therefore not live.
    #[error("record {key} holds {dot} beside {by}, which replaces it")]
    Dead {
        /// The key of the record.
        key: Key,
        /// The version that is replaced.
        dot: Dot,
        /// The version that replaces it.
        by: Dot,
    },
}

/// Why a change was not planned. The plan is as it was before the call in every case and may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The plan was made without looking this key up: a mistake of the caller.
    #[error("key {key} was not looked up before planning")]
    RowNotLoaded {
        /// The key.
        key: Key,
    },
    /// A live version has the same dot and another content. Neither is chosen here.
    #[error("dot {dot} of key {key} names two different versions")]
    DotCollision {
        /// The key.
        key: Key,
        /// The dot of both.
        dot: Dot,
    },
    /// A version names its own dot as replaced.
    #[error("version {dot} of key {key} says that it replaces itself")]
    SelfReplacing {
        /// The key.
        key: Key,
        /// The dot of the version.
        dot: Dot,
    },
    /// A write was given a context that names something this key never had here. Read the key, and use its context.
    #[error("the context given with a write to {key} names {dot}, which was never seen there")]
    ForeignContext {
        /// The key.
        key: Key,
        /// The dot, or the end of a collapsed part.
        dot: Dot,
    },
    /// The value of a local write is too long.
    #[error("the value written to {key} has {len} bytes, limit is {limit}")]
    ValueTooLarge {
        /// The key.
        key: Key,
        /// The bytes of the value.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A local write would leave too many siblings. Replace some of them.
    #[error("a write to {key} would leave {count} siblings, limit is {limit}")]
    SiblingsFull {
        /// The key.
        key: Key,
        /// How many there would be.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A local write would name too many replaced versions. A write that replaces every sibling makes it shorter.
    #[error("a write to {key} would name {count} replaced versions, limit is {limit}")]
    ContextFull {
        /// The key.
        key: Key,
        /// How many it would name exactly.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The row would grow beyond what a store holds. For a replicated version, neither its dot nor those that its
    /// context names may be claimed as known.
    #[error("the row of {key} would have {len} bytes, limit is {limit}")]
    RowTooLarge {
        /// The key.
        key: Key,
        /// The bytes the row would have.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The batch is full: finish it, and plan the rest from the head after it.
    #[error("the batch would have {count} {what}, limit is {limit}")]
    BatchFull {
        /// `"rows"` or `"bytes"`.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The greatest height is in use, so no write can be above what was seen.
    #[error("no height is left above those seen")]
    HeightExhausted,
    /// No dot can be given out, or others hold dots of ours that we never gave out.
    #[error("the clock of this replica refused")]
    Clock(#[from] ClockError),
}

/// Why a store could not be read. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What was read is damaged; it was not served.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// What was being read, and what is wrong with it.
        what: String,
    },
    /// The store cannot be reached now; it may be later.
    #[error("the store cannot be reached")]
    Unavailable {
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Why a batch was not committed. Except after [`Unknown`](Self::Unknown), nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The head has moved on since the batch was planned: plan again.
    #[error("the batch is based on revision {based_on}, the store is at {head}")]
    Conflict {
        /// The revision of the store.
        head: Revision,
        /// The revision that the batch was planned from.
        based_on: Revision,
    },
    /// The batch was planned from the head of another store.
    #[error("the batch was planned for replica {planned_for}, the store belongs to {store}")]
    Foreign {
        /// The replica whose head the batch was planned from.
        planned_for: ReplicaId,
        /// The replica that the store belongs to.
        store: ReplicaId,
    },
    /// The batch is larger than the store takes: plan smaller ones.
    #[error("the batch has {count} {what}, limit is {limit}")]
    Refused {
        /// `"rows"` or `"bytes"`.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The store is full. Nothing is evicted to make room.
    #[error("the store would have {count} {what}, limit is {limit}")]
    Full {
        /// `"rows"` or `"bytes"`.
        what: &'static str,
        /// How many it would have.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not known whether the batch was applied. The handle refuses everything from here on: open again, and plan
    /// from what is there.
    #[error("it is unknown whether the batch was applied")]
    Unknown {
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
