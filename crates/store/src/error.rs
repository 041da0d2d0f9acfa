//! What can go wrong, as types that say what was attempted.

use core::error::Error;

use reconvene_clock::{ClockError, Dot, NodeId, ReplicaId};

use crate::{Frozen, Key, MAX_KEY_BYTES, NetworkId, Prefix, Revision};

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
    /// A piece of evidence belongs to no live version, or says the same as one that is there.
    #[error("record {key} has evidence for {dot} that contradicts nothing")]
    Stray {
        /// The key of the record.
        key: Key,
        /// The dot of the evidence.
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
    /// A write would take a part of the store beyond its quota. Replicated versions are never held to one.
    #[error("a write to {key} would leave {count} {what} under {prefix:?}, quota is {limit}")]
    QuotaFull {
        /// The key.
        key: Key,
        /// The keys that the quota is for.
        prefix: Prefix,
        /// `"rows"` or `"bytes"`.
        what: &'static str,
        /// How many there would be.
        count: u64,
        /// The quota.
        limit: u64,
    },
    /// The row of a local write would grow beyond what a store holds.
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
    /// A version has no place here, and there is none left to remember that it was put aside. Neither its dot nor
    /// those that its context names may be claimed as known.
    #[error("version {dot} of key {key} makes the row too large, and {limit} such versions are put aside already")]
    PutAsideFull {
        /// The key.
        key: Key,
        /// The dot of the version.
        dot: Dot,
        /// The limit.
        limit: usize,
    },
    /// Somebody holds a dot of this replica from among those that this store took for unused: it has lost writes, or a
    /// copy of it made them. Freeze the store and renew its identity.
    #[error("own dot {dot} is known elsewhere, and was never used here")]
    UnusedDot {
        /// The dot.
        dot: Dot,
    },
    /// The identity of this store is frozen, so that no dot is given out: renew it.
    #[error("this incarnation is frozen: {why}")]
    Frozen {
        /// What was found out about it.
        why: Frozen,
    },
    /// Rows were given up after others were planned: that comes first, as it replaces the fingerprints.
    #[error("rows are given up before anything else is planned")]
    NotFirst,
    /// The greatest height is in use, so no write can be above what was seen.
    #[error("no height is left above those seen")]
    HeightExhausted,
    /// No dot can be given out, or others hold dots of ours that we never gave out.
    #[error("the clock of this replica refused")]
    Clock(#[from] ClockError),
}

/// A cause that belongs to a backend.
pub type Source = Box<dyn Error + Send + Sync>;

/// Why a store was not opened. What is there was left as it was, byte for byte.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no store. Create one: opening never does, so that a lost file is not taken for an empty store.
    #[error("there is no store at {store}: create one, or mount what is missing")]
    Missing {
        /// Where it was looked for.
        store: String,
    },
    /// There is something already, where a store was to be created.
    #[error("there is something at {store} already: open it, or move it away")]
    Exists {
        /// Where.
        store: String,
    },
    /// What is there is damaged. Move it away, and create a store that fetches everything from its peers.
    #[error("the store at {store} is damaged: {what}. Move it away and create a new one, which its peers will fill")]
    Corrupt {
        /// Where.
        store: String,
        /// What was read, and what is wrong with it.
        what: String,
    },
    /// A later version of this software wrote it.
    #[error(
        "the store at {store} has format {}.{}, this version reads up to {}.{}: use the version that wrote it",
        .found.0, .found.1, .supported.0, .supported.1
    )]
    NewerFormat {
        /// Where.
        store: String,
        /// Major and minor version of the format found.
        found: (u16, u16),
        /// The last one that is read here.
        supported: (u16, u16),
    },
    /// It belongs to another network.
    #[error("the store at {store} belongs to network {found}, not to {wanted}: check the configuration")]
    Foreign {
        /// Where.
        store: String,
        /// The network of the store.
        found: NetworkId,
        /// The network that was asked for.
        wanted: NetworkId,
    },
    /// It belongs to another broker.
    #[error("the store at {store} belongs to broker {found}, not to {wanted}: check the configuration")]
    OtherNode {
        /// Where.
        store: String,
        /// The broker of the store.
        found: NodeId,
        /// The broker that was asked for.
        wanted: NodeId,
    },
    /// Another process has it open.
    #[error("the store at {store} is in use by another process: stop that one first")]
    InUse {
        /// Where.
        store: String,
    },
    /// Values are sealed, and what was given to unseal them does not.
    #[error("the values of the store at {store} cannot be unsealed: check the key")]
    Seal {
        /// Where.
        store: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The medium refused.
    #[error("{doing} {store} failed")]
    Io {
        /// Where.
        store: String,
        /// What was attempted, as in "reading".
        doing: &'static str,
        /// The cause.
        #[source]
        source: Source,
    },
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
    /// The store was closed, or refuses everything after a commit that ended as [`Unknown`](CommitError::Unknown).
    #[error("the store is closed: open it again")]
    Closed,
    /// The store is behind what this process saw of it: an old copy was put in its place. Open it again.
    #[error("the store is at revision {found}, behind {seen}, which was seen: open it again")]
    WentBack {
        /// The revision that was seen before.
        seen: Revision,
        /// The revision that is there now.
        found: Revision,
    },
    /// The store cannot be reached now; it may be later.
    #[error("the store cannot be reached")]
    Unavailable {
        /// The cause.
        #[source]
        source: Source,
    },
    /// The medium refused to be read.
    #[error("{doing} the store failed")]
    Io {
        /// What was attempted, as in "reading rows of".
        doing: &'static str,
        /// The cause.
        #[source]
        source: Source,
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
    /// The values of the batch were not sealed, so that none of it was written.
    #[error("the values of the batch were not sealed")]
    Seal {
        /// The cause.
        #[source]
        source: Source,
    },
    /// The medium has no room for the batch. Reads go on; once there is room, commit it again.
    #[error("the medium has no room for the batch")]
    NoSpace {
        /// The cause.
        #[source]
        source: Source,
    },
    /// Another process took over this writer's place in a shared store. The handle refuses everything from here on:
    /// open again, under a new identity.
    #[error("another process writes in the place of this one: open the store again")]
    Fenced,
    /// The store was closed, or refuses everything since a commit before ended as [`Unknown`](Self::Unknown).
    #[error("the store is closed: open it again")]
    Closed,
    /// It is not known whether the batch was applied. The handle refuses everything from here on: open again, and plan
    /// from what is there.
    #[error("it is unknown whether the batch was applied")]
    Unknown {
        /// The cause.
        #[source]
        source: Source,
    },
}

impl CommitError {
    /// Whether the store or its medium is full: nothing changed, and the same batch may be taken once there is room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoSpace { .. })
    }
}
