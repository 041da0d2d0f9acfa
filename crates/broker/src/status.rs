//! How a broker is, at a glance.

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_resolve::StrategyKind;
use reconvene_sync::PeerState;
use serde::{Deserialize, Serialize};

/// A broker's state in numbers: what `reconvene status` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The broker's name for life.
    pub node: NodeId,
    /// This incarnation of its store.
    pub replica: ReplicaId,
    /// Which incarnation it is, counted from 1.
    pub incarnation: u64,
    /// The strategy of jobs submitted here.
    pub strategy: StrategyKind,
    /// The fingerprint of all live values: equal on brokers that hold the same.
    pub digest: String,
    /// The other brokers ever heard of, each once and ascending, as their latest incarnation tells of itself.
    pub peers: Vec<PeerStatus>,
    /// The executors whose home is this broker.
    pub executors: Vec<NodeId>,
    /// Jobs known, whoever admitted them.
    pub jobs: u64,
    /// Those of them that have a canonical result.
    pub completed: u64,
    /// Sync sessions completed.
    pub sessions: u64,
    /// Bytes sent to other brokers, transport framing excluded.
    pub bytes_sent: u64,
}

/// How another broker looks from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its name for life.
    pub node: NodeId,
    /// Where it can be dialled, if it says so.
    pub address: Option<String>,
    /// How the detector sees it.
    pub state: PeerState,
    /// Milliseconds since a session ended with both sides equal; `None` if something changed here since, or none has.
    pub converged_ms_ago: Option<u64>,
}
