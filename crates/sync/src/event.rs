//! What a replica reports.

use reconvene_clock::{Dot, NodeId, ReplicaId, Timestamp};
use reconvene_store::{Frozen, Key, PlanError};
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
    /// Every replica it had was retired. Should it come back, it does so under a new one.
    Retired,
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
    /// A replica was retired: it no longer holds back what is collected, and its sessions are refused.
    Retired {
        /// The replica.
        replica: ReplicaId,
    },
    /// A deleted key cannot be forgotten, since a member has not said that it knows of the delete. Retire that member
    /// if it will not come back.
    CollectionBlocked {
        /// The member; there may be more.
        by: ReplicaId,
        /// Since when the oldest such delete has been waiting here.
        since: Timestamp,
    },
    /// A key has more than one live version, and a new one is among them.
    Siblings {
        /// The key.
        key: Key,
        /// How many versions are live.
        count: usize,
    },
    /// Equal knowledge, different values: one of the two stores is damaged. What either lacks is supplied again; nothing
    /// is dropped without a version that names it.
    Divergence {
        /// The peer with the other values.
        peer: NodeId,
    },
    /// The rows of this very store are not what it keeps fingerprints of: check it. Found while comparing with a peer.
    Damaged {
        /// The peer.
        peer: NodeId,
    },
    /// Rows of this store could not be read, and were given up. Sessions bring back what was live in them.
    RowsLost {
        /// How many.
        rows: usize,
    },
    /// One dot with two contents. Both are kept as evidence, and every replica shows the one with the lesser hash.
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
    /// No further dot is given out under this replica's name. Local writes are refused. Open the store again: the new
    /// [`Replica`](crate::Replica) goes on under a new name, with everything that is here. Do so at most a few times an
    /// hour, since each name stays in everybody's knowledge for ever.
    Frozen {
        /// What was found out.
        why: Frozen,
    },
    /// The store goes on under a new name: opened again after [`Frozen`](Self::Frozen), or found to have been copied.
    Renewed {
        /// The name that is given up.
        before: ReplicaId,
        /// The name from here on.
        now: ReplicaId,
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
