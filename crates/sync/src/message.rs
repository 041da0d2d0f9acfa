//! What replicas say to each other, as domain values. `wire.rs` has the bytes.

use reconvene_clock::{DotRange, NodeId, ReplicaId};
use reconvene_store::{Digest, Key, Version};

use crate::RejectReason;

/// The wire version of this crate.
pub(crate) const WIRE_VERSION: u8 = 1;

/// Random bits that name a session, drawn by its initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

/// What a replica knows, as far as the receiver cannot tell already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Summary {
    /// The same as when both were last equal; the hash is the one beside the summary.
    Unchanged,
    /// What came on top of the knowledge with this hash.
    Since { base: u64, added: Vec<DotRange> },
    /// All of it.
    Full(Vec<DotRange>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) network: u64,
    pub(crate) from: ReplicaId,
    pub(crate) session: SessionId,
    pub(crate) versions: (u8, u8),
    pub(crate) capabilities: u16,
    pub(crate) digest: Digest,
    pub(crate) window_bytes: u64,
    /// The hash of the knowledge that the sender remembers for the receiver, so that the answer may build on it. Left
    /// out where the summary is `Unchanged`: then it is the hash in `digest`.
    pub(crate) base: Option<u64>,
    pub(crate) summary: Summary,
}

impl Hello {
    /// The hash of the knowledge that the sender remembers for the receiver.
    pub(crate) fn remembered(&self) -> Option<u64> {
        match self.summary {
            Summary::Unchanged => Some(self.digest.knowledge),
            Summary::Since { .. } | Summary::Full(_) => self.base,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelloBack {
    pub(crate) session: SessionId,
    pub(crate) from: ReplicaId,
    pub(crate) version: u8,
    pub(crate) capabilities: u16,
    pub(crate) digest: Digest,
    pub(crate) window_bytes: u64,
    /// The summary in the hello built on something unknown here: say hello again with a full one.
    pub(crate) need_full: bool,
    pub(crate) summary: Summary,
}

/// Versions of one direction of a session, as (key, version) ascending by dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) session: SessionId,
    pub(crate) chunk: u32,
    pub(crate) versions: Vec<(Key, Version)>,
}

/// The last word of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) session: SessionId,
    /// How many chunks came before.
    pub(crate) chunks: u32,
    /// Whether `knowledge` and `digest` speak of the whole view, or chunks were left out and nothing is claimed.
    pub(crate) whole: bool,
    /// What the sender's view knows beyond the receiver's summary.
    pub(crate) knowledge: Vec<DotRange>,
    pub(crate) digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    HelloBack(HelloBack),
    /// `check` proves that the sender's root and knowledge are those of the hello; see `Replica::in_sync_check`.
    InSync {
        session: SessionId,
        check: u64,
    },
    Delta(Delta),
    Claim(Claim),
    /// All bytes of chunk frames of this session that are applied by now.
    Credit {
        session: SessionId,
        applied_bytes: u64,
    },
    Ack {
        session: SessionId,
        digest: Digest,
    },
    Busy {
        session: SessionId,
        retry_after_ms: u64,
    },
    Reject {
        session: SessionId,
        why: RejectReason,
    },
    Push {
        hops: u8,
        versions: Vec<(Key, Version)>,
    },
    Probe {
        target: NodeId,
    },
    /// `age_ms`: how long ago the sender last heard of the target, if ever.
    ProbeBack {
        target: NodeId,
        age_ms: Option<u64>,
    },
    Leave,
}
