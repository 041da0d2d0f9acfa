//! Everything that chance decides about a run, written down: a run follows from its plan alone.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// The settings of a run. A seed gives all of them; a file may hold any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// Where what is too frequent to be written down comes from: delays, losses, jitter.
    pub seed: u64,
    /// How many brokers.
    pub brokers: usize,
    /// How long faults last, in virtual milliseconds.
    pub faulty_ms: u64,
    /// How long the network is left alone after that.
    pub calm_ms: u64,
    /// Whom each broker knows at first: the one before it, or else the first.
    pub chained: bool,
    /// How many keys there are to write to.
    pub keys: u32,
    /// The period of anti-entropy.
    pub sync_interval_ms: u64,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Bytes that a sender may have under way.
    pub window_bytes: u64,
    /// Whether local writes start a cascade.
    pub cascade_on_local_writes: bool,
    /// The longest that a frame takes on a link without faults.
    pub delay_ms: u64,
    /// Bits a second of each link and direction; 0 for no limit.
    pub link_bits: u64,
    /// How long a store takes for each batch.
    pub store_ms: u64,
    /// What the wall clock of each broker is ahead, in milliseconds.
    pub skew_ms: Vec<i64>,
    /// How long a session may read one view of a store.
    #[serde(default = "patient")]
    pub view_max_ms: u64,
}

/// What files do not say that are older than the setting: as long as a view is read by default.
const fn patient() -> u64 {
    600_000
}

/// The same of a bundle: room for all.
pub(super) const fn roomy() -> u64 {
    1 << 20
}

impl Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#?}")
    }
}

/// Settings, and what happens when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The settings.
    pub options: Options,
    /// What happens, ascending by time.
    pub steps: Vec<Step>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "written by hand in files")]
pub struct Step {
    /// When, in virtual milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub act: Act,
}

/// A set of brokers: bit `n` stands for broker `n`.
pub type Side = u32;

/// What can happen. Brokers are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a run knows how to do each")]
#[expect(missing_docs, reason = "the names of the fields say what they are; `_ms` is how long, or how late")]
pub enum Act {
    /// One atomic batch of a client.
    Write { node: usize, writes: Vec<PlannedWrite> },
    /// No frame passes between `side` and the others.
    Part { side: Side, noticed: bool, for_ms: u64 },
    /// No frame passes from `from` to `to`.
    PartOneWay { from: Side, to: Side, for_ms: u64 },
    /// Only `bridge` reaches both `side` and the others.
    Bridge { bridge: usize, side: Side, for_ms: u64 },
    /// Each broker reaches the one before and the one behind it alone.
    Ring { for_ms: u64 },
    /// The link fails and returns, again and again.
    Flap { a: usize, b: usize, period_ms: u64, for_ms: u64 },
    /// The link fails: one of a random subset that fail one by one and return in another order.
    Clog { a: usize, b: usize, for_ms: u64 },
    /// Frames are lost, this many of 1,000.
    Lose { per_mille: u64, for_ms: u64 },
    /// Frames arrive twice.
    Duplicate { per_mille: u64, for_ms: u64 },
    /// Frames take up to this much longer, each for itself, and so overtake each other.
    Delay { upto_ms: u64, for_ms: u64 },
    /// Frames lose their end.
    Truncate { per_mille: u64, for_ms: u64 },
    /// One bit of a frame turns over.
    Flip { per_mille: u64, for_ms: u64 },
    /// `a` loses its end of the link to `b`, which does not learn of it.
    HalfOpen { a: usize, b: usize, for_ms: u64 },
    /// All links carry this many bits a second.
    Slow { bits: u64, for_ms: u64 },
    /// The broker crashes, and is started again later.
    Crash { node: usize, noticed: bool, restart: Restart, down_ms: u64 },
    /// It crashes at its commit number `commit`, counted from this moment from 0: before it is performed, or after it
    /// and before anything else is.
    CrashAtCommit { node: usize, commit: u64, after: bool, restart: Restart, down_ms: u64 },
    /// It stands still, and then finds all that came meanwhile.
    Pause { node: usize, for_ms: u64 },
    /// Its wall clock is set.
    Jump { node: usize, by_ms: i64 },
    /// Its clocks stand still.
    Freeze { node: usize, for_ms: u64 },
    /// Its clocks run fast, or slow.
    Drift { node: usize, ppm: i64, for_ms: u64 },
    /// Its store has no room.
    StoreFull { node: usize, for_ms: u64 },
    /// Its store fails this commit, counted from this moment from 0, after making it or without.
    StoreFails { node: usize, commit: u64, made: bool },
    /// Rows of its store cannot be read any more, `count` of those that clients wrote, from the one that `pick` says on.
    Rot { node: usize, count: usize, pick: u64 },
    /// Its store takes this long for each batch.
    StoreSlow { node: usize, ms: u64, for_ms: u64 },
    /// `from` makes a bundle, which is carried to `to` and takes that long. Fragment `n` is lost if bit `n % 32` of `lost`
    /// says so; some arrive twice, in another order.
    /// It has room for `budget_bytes`.
    Carry {
        from: usize,
        to: usize,
        addressed: bool,
        again: bool,
        lost: u32,
        takes_ms: u64,
        #[serde(default = "roomy")]
        budget_bytes: u64,
    },
    /// `by` overhears what `victim` sends, and sends the same to the same brokers as its own, and claims in its sessions.
    Spoof { by: usize, victim: usize, for_ms: u64 },
    /// Of the versions in chunks that `node` sends, this many of 1,000 say that they replace themselves.
    Tamper { node: usize, per_mille: u64, for_ms: u64 },
    /// `by` retires the replica that `node` uses.
    Retire { node: usize, by: usize },
}

impl Act {
    /// How long it lasts, if it has an end, to be changed.
    pub(super) fn for_ms_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Part { for_ms, .. }
            | Self::PartOneWay { for_ms, .. }
            | Self::Bridge { for_ms, .. }
            | Self::Ring { for_ms }
            | Self::Flap { for_ms, .. }
            | Self::Clog { for_ms, .. }
            | Self::Lose { for_ms, .. }
            | Self::Duplicate { for_ms, .. }
            | Self::Delay { for_ms, .. }
            | Self::Truncate { for_ms, .. }
            | Self::Flip { for_ms, .. }
            | Self::HalfOpen { for_ms, .. }
            | Self::Slow { for_ms, .. }
            | Self::Pause { for_ms, .. }
            | Self::Freeze { for_ms, .. }
            | Self::Drift { for_ms, .. }
            | Self::Spoof { for_ms, .. }
            | Self::Tamper { for_ms, .. }
            | Self::StoreFull { for_ms, .. }
            | Self::StoreSlow { for_ms, .. } => Some(for_ms),
            Self::Write { .. }
            | Self::Crash { .. }
            | Self::CrashAtCommit { .. }
            | Self::Jump { .. }
            | Self::Retire { .. }
            | Self::Carry { .. }
            | Self::Rot { .. }
            | Self::StoreFails { .. } => None,
        }
    }
}

/// What a broker finds when it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a run knows how to do each")]
pub enum Restart {
    /// All that its store committed.
    Full,
    /// All but the last commits, which the engine said were durable.
    LostTail {
        /// How many are lost.
        commits: usize,
    },
    /// Nothing, and no sign that there was anything but what is kept outside of the store, if that is there.
    Empty {
        /// Whether the witness of the store is gone too.
        witness_gone: bool,
    },
    /// A copy of the store from some commits ago, restored from a backup.
    Backup {
        /// How many commits ago the copy was made.
        commits: usize,
        /// Whether a power cut took the note of the last commit, so that only the witness may tell that it is old.
        #[serde(default)]
        note_gone: bool,
    },
    /// All but some values, which are gone without a sign.
    Vanished {
        /// How many are gone.
        count: usize,
        /// Which.
        pick: u64,
    },
    /// The store on another machine, as when a disk is moved, at its last commit.
    Moved,
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "written by hand in files")]
pub struct PlannedWrite {
    /// The number of the key.
    pub key: u32,
    /// The class: 1 is urgent.
    pub class: u8,
    /// Bytes of the value; `None` deletes.
    pub bytes: Option<u32>,
    /// Only the first of the siblings is replaced, as by a writer that saw no other.
    pub partly: bool,
    /// Nothing is replaced, as by a writer that saw nothing.
    #[serde(default)]
    pub blind: bool,
}
