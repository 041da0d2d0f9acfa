//! What goes into a [`Replica`](crate::Replica) and what comes out.

use std::fmt::{self, Display};

use reconvene_clock::{Dot, DotRange, NodeId, ReplicaId};
use reconvene_store::{Batch, Body, CheckReport, Class, Key, PlanError, Record, Replaces, Revision};

use crate::{BundleError, BundleProgress, Event};

/// A number that the caller chose for a request and finds again in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "any number is a ticket")]
pub struct Ticket(pub u64);

/// The name of a frozen view of the store, chosen by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "any number names a view")]
pub struct ViewId(pub u64);

/// One write of a local batch. The replica adds the dot and the stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a caller says about a write, no more")]
pub struct NewWrite {
    /// What is written.
    pub key: Key,
    /// How soon it travels.
    pub class: Class,
    /// A value, or the tombstone that deletes the key.
    pub body: Body,
    /// Which versions of the key it supersedes.
    pub replaces: Replaces,
}

impl NewWrite {
    /// A write that replaces all live versions of `key`.
    #[must_use]
    pub const fn new(key: Key, class: Class, body: Body) -> Self {
        Self { key, class, body, replaces: Replaces::AllLive }
    }
}

/// What happened in the world around a replica.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver that forgets one is a bug worth a compile error")]
pub enum Input {
    /// Time has passed; see [`Replica::next_deadline`](crate::Replica::next_deadline).
    Tick,
    /// This broker is about to stop on purpose: tell the peers and start nothing new.
    Leave,
    /// A link to `peer` stands. The transport authenticated it.
    LinkUp {
        /// The broker at the other end.
        peer: NodeId,
        /// The address that was dialled, if we dialled.
        address: Option<String>,
    },
    /// The link to `peer` is gone.
    LinkDown {
        /// The broker at the other end.
        peer: NodeId,
    },
    /// An address where a broker may listen: a seed or a discovered one. A hint, never trust; it is tried for ever.
    Candidate {
        /// What [`Output::Connect`] will name.
        address: String,
    },
    /// The driver's answer to [`Output::Connect`] when no [`Input::LinkUp`] will come of it.
    ConnectFailed {
        /// The address that was dialled.
        address: String,
    },
    /// A frame arrived. `from` is the transport's word, never the payload's.
    Received {
        /// The authenticated sender.
        from: NodeId,
        /// The frame, as it was sent or not at all like it.
        frame: Vec<u8>,
    },
    /// Say something to the program around a peer, which gets it as [`Output::Note`]. Best effort: it is dropped where no
    /// link stands, where the peer does not know notes or has not said so yet, and above `max_note_bytes`.
    Note {
        /// The receiver.
        to: NodeId,
        /// What is said.
        bytes: Vec<u8>,
    },
    /// Write one batch: all of it or nothing. Answered by [`Output::Written`] or [`Output::WriteRefused`].
    LocalWrite {
        /// Echoed in the answer.
        ticket: Ticket,
        /// The writes, at most one for each key.
        writes: Vec<NewWrite>,
    },
    /// Make a bundle: fragments that carry what this replica holds to one that no link leads to. Answered by
    /// [`Output::BundleReady`] or [`Output::BundleRefused`].
    MakeBundle {
        /// Echoed in the answer.
        ticket: Ticket,
        /// The broker it is for: what that one is known to have, or will have once earlier bundles for it have come, is
        /// left out. `None` leaves nothing out, so it serves anybody.
        to: Option<NodeId>,
        /// About how many bytes the fragments may have together. A bundle that is cut short teaches its versions and
        /// nothing else; the next one for the same destination goes on behind them.
        budget_bytes: u64,
        /// For how long the bundle may be on its way, in seconds, at most 30 days: its receiver remembers parts of it
        /// for so long, and its maker relies on it for so long.
        ttl_s: u32,
        /// An earlier bundle may be lost: rely on none of them.
        again: bool,
    },
    /// A fragment of a bundle was brought by somebody who vouches for it. Fragments come in any order, any number of
    /// times. Answered by [`Output::BundleTaken`] once it is durable, or [`Output::BundleRefused`].
    BundleFragment {
        /// Echoed in the answer.
        ticket: Ticket,
        /// The fragment, as it was handed out or not at all like it.
        bytes: Vec<u8>,
    },
    /// What a load asked for could not be read; the store was checked, and this is what it lost. What was live there is
    /// fetched from others again.
    Damaged {
        /// The ticket of the load.
        ticket: Ticket,
        /// The revision of the store when it was checked.
        revision: Revision,
        /// What the check found.
        report: Box<CheckReport>,
    },
    /// A replica no longer counts: an operator or a policy says so, never a timer. What is collected no longer waits for
    /// it, and its sessions are refused; nothing it wrote is dropped, whoever brings it. Answered by
    /// [`Output::Written`] or [`Output::WriteRefused`].
    Retire {
        /// Echoed in the answer.
        ticket: Ticket,
        /// The replica.
        replica: ReplicaId,
    },
    /// The answer to [`Output::Load`].
    Loaded {
        /// The ticket of the load.
        ticket: Ticket,
        /// The records found; see [`Want`] for which and in which order.
        records: Vec<Record>,
        /// Whether [`Want::Dots`] found more than fits its limits.
        more: bool,
    },
}

/// What a replica asks its driver to do.
///
/// Perform outputs strictly in order. Polling the next one says that the one before was performed; for
/// [`Output::Persist`] that means durable. A failed persist ends the replica: load the store again and open a new one.
#[derive(Clone, Debug)]
#[must_use = "an unperformed output is a lost effect"]
#[expect(clippy::exhaustive_enums, reason = "a new effect must break every driver at compile time")]
pub enum Output {
    /// Make durable before performing any later output, so that no peer sees what a crash could undo.
    Persist(Batch),
    /// Freeze the newest state of the store under this name.
    OpenView(ViewId),
    /// The view is no longer needed.
    CloseView(ViewId),
    /// Read records and answer with [`Input::Loaded`].
    Load {
        /// To be echoed.
        ticket: Ticket,
        /// The view to read, or the newest state.
        view: Option<ViewId>,
        /// Which records.
        want: Want,
    },
    /// Best effort: may be lost, repeated or reordered.
    Send {
        /// The receiver.
        to: NodeId,
        /// One whole frame.
        frame: Vec<u8>,
    },
    /// The program around a peer says something to that around this replica.
    Note {
        /// The sender, by the transport's word, which has shown that it belongs to this network.
        from: NodeId,
        /// What it says, at most `max_note_bytes`.
        bytes: Vec<u8>,
    },
    /// Dial, and answer with [`Input::LinkUp`] or [`Input::ConnectFailed`].
    Connect {
        /// What to dial.
        address: String,
    },
    /// Drop the link to this peer, if there is one. The replica already counts it as down.
    Disconnect {
        /// The peer.
        from: NodeId,
        /// Why.
        why: RejectReason,
    },
    /// A local batch is durable.
    Written {
        /// The ticket of the write.
        ticket: Ticket,
        /// The dots it got, in the order of its writes.
        dots: Vec<Dot>,
    },
    /// A local batch was refused whole; nothing changed.
    WriteRefused {
        /// The ticket of the write.
        ticket: Ticket,
        /// Why.
        error: PlanError,
    },
    /// A bundle is made.
    BundleReady {
        /// The ticket of the request.
        ticket: Ticket,
        /// Its fragments, each by itself a file, a message or a broadcast.
        fragments: Vec<Vec<u8>>,
        /// Whether it holds all that its receiver lacks, and so teaches all that is known here.
        whole: bool,
    },
    /// A fragment is durable.
    BundleTaken {
        /// The ticket of the fragment.
        ticket: Ticket,
        /// What has come of its bundle.
        progress: BundleProgress,
    },
    /// A bundle was not made, or a fragment not taken in. Nothing changed.
    BundleRefused {
        /// The ticket of the request or the fragment.
        ticket: Ticket,
        /// Why.
        error: BundleError,
    },
    /// Something worth knowing.
    Notify(Event),
}

/// Which records a load asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver must know every way to read")]
pub enum Want {
    /// The records of these keys, which ascend, as far as they exist, in any order.
    Keys(Vec<Key>),
    /// The records that hold live dots of these ranges, each once, ordered by the least such dot.
    ///
    /// Enough records in that order to reach one of the limits, at least one if there is one; `more` in the answer
    /// says that others follow.
    Dots {
        /// Ascending, disjoint ranges.
        ranges: Vec<DotRange>,
        /// The most records.
        max_records: usize,
        /// The most bytes of keys and values; the record that passes it is still included.
        max_bytes: usize,
    },
    /// The records that hold live tombstones, each once, ordered by the least such dot; `more` as for
    /// [`Dots`](Self::Dots).
    Tombstones {
        /// Behind this one.
        after: Option<Dot>,
        /// The most records.
        max_records: usize,
    },
}

/// Why a peer, a session or a link was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RejectReason {
    /// The peer belongs to another network.
    Network,
    /// No wire version in common.
    Version,
    /// The peer uses a replica that another node introduced, or our own.
    Identity,
    /// The peer used more than it was granted.
    Budget,
    /// The peer has been silent for too long.
    Silence,
    /// The peer is this very node.
    Loop,
    /// The peer uses a replica that was retired: it has to go on under a new one.
    Retired,
    /// Two copies of the peer's store are running: both have to go on under new replicas.
    Incarnation,
    /// The refusing side found its own store damaged, and will not say what is dead.
    Damaged,
    /// The peer sent a reason that this version does not know.
    Unknown,
}

impl Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "another network",
            Self::Version => "no wire version in common",
            Self::Identity => "a replica that belongs to another node",
            Self::Budget => "more than was granted",
            Self::Silence => "silent for too long",
            Self::Loop => "this very node",
            Self::Retired => "a replica that was retired",
            Self::Incarnation => "two copies of one store",
            Self::Damaged => "a damaged store",
            Self::Unknown => "a reason unknown to this version",
        })
    }
}
