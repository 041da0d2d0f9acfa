//! What a replica reports.

use reconvene_clock::{Dot, NodeId, ReplicaId, Timestamp};
use reconvene_store::{Key, PlanError};
use serde::{Deserialize, Serialize};

use crate::{BundleId, Member, RejectReason};

/// What is known of a peer's reachability. It steers scheduling; it never deletes data or frees an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PeerState {
    /// Heard of lately over a link.
    Alive,
    /// Link lost, or silent for longer than usual.
    Suspect,
    /// Never linked, or silent for so long that the broker should act.
    Unreachable,
    /// It said goodbye.
    Left,
}

/// Something worth knowing. Nothing has to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session with `peer` completed in both directions.
    SessionDone {
        /// The other broker.
        peer: NodeId,
        /// Versions sent to it.
        sent: u64,
        /// Versions it sent that were new here.
        received: u64,
    },
    /// A peer's state changed.
    PeerState {
        /// The peer.
        peer: NodeId,
        /// Its state now.
        state: PeerState,
        /// Since when.
        since: Timestamp,
    },
    /// A member was learnt of, or changed its address.
    Member(Member),
    /// A key has more than one live version, and a new one is among them.
    Siblings {
        /// The key.
        key: Key,
        /// How many versions are live.
        count: usize,
    },
    /// Equal knowledge, different values: one of the two stores is damaged. Nothing was changed.
    Divergence {
        /// The peer with the other values.
        peer: NodeId,
    },
    /// One dot with two contents. The version received was not applied.
    DotCollision {
        /// The dot.
        dot: Dot,
        /// Who sent the other content.
        from: NodeId,
    },
    /// Something a peer sent was not applied. The rest of its frame was; its claim was not joined.
    Refused {
        /// Who sent it.
        from: NodeId,
        /// Why.
        error: PlanError,
    },
    /// A peer knows own writes that this store never made: it lost state and needs a new replica id.
    Amnesia {
        /// The peer that knows them.
        peer: NodeId,
        /// The last own counter it knows.
        held: u64,
    },
    /// A stamp too far ahead of local wall time was stored but not absorbed by the local clock.
    AheadOfBound {
        /// Whose stamp.
        replica: ReplicaId,
        /// By how many milliseconds it is ahead of local wall time.
        by_ms: u64,
    },
    /// A session was refused, by us or by the peer.
    Rejected {
        /// The peer.
        peer: NodeId,
        /// Why.
        why: RejectReason,
        /// Whether the peer refused us.
        by_peer: bool,
    },
    /// Parts of a bundle were applied and the rest did not come in time. What came stays; nothing was claimed.
    BundleExpired {
        /// Which bundle.
        bundle: BundleId,
        /// Its fragments that came.
        applied: u32,
        /// Its fragments.
        fragments: u32,
    },
    /// A limit was reached; what was beyond it waits or was dropped, as the limit's documentation says.
    LimitReached {
        /// The field of [`Config`](crate::Config).
        limit: &'static str,
    },
}
