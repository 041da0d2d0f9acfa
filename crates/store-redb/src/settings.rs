//! What opening a store needs to know.

use std::path::PathBuf;
use std::sync::Arc;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_store::opening::AfterCrash;
use reconvene_store::{Limits, NetworkId, RowCodec, Seal, SessionNonce};

use crate::medium::Layer;

/// What [`RedbStore::create`](crate::RedbStore::create) and [`RedbStore::open`](crate::RedbStore::open) need to know.
///
/// ```
/// use reconvene_clock::NodeId;
/// use reconvene_store::NetworkId;
/// use reconvene_store_redb::Settings;
///
/// let mut settings = Settings::new(NetworkId::of_name("example"), NodeId::new([1; 16]));
/// settings.witness = Some("/var/lib/elsewhere/broker.witness".into());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The network that the store belongs to.
    pub network: NetworkId,
    /// The broker that the store belongs to.
    pub node: NodeId,
    /// What it takes.
    pub limits: Limits,
    /// Whether it goes on as the same incarnation after a crash.
    pub after_crash: AfterCrash,
    /// The file that speaks for the newest copy of the store: outside of whatever is backed up with it, or restoring a
    /// backup goes unnoticed until a peer tells. Default: beside the store, with `.witness` added to its name.
    pub witness: Option<PathBuf>,
    /// Seals values on their way to the file. The same one must be given at each opening. Default: none.
    pub seal: Option<Arc<dyn Seal>>,
    /// Through what the store sees its file. Default: nothing.
    pub layer: Option<Arc<dyn Layer>>,
    /// The number of a new incarnation, if one is needed: drawn at random by the caller, and given once. Default: the
    /// store draws it.
    pub replica: Option<ReplicaId>,
    /// The name of the session, as above.
    pub session: Option<SessionNonce>,
    /// The number of the first incarnation of a store that is created, unless the witness knows of later ones.
    /// Default: 1.
    pub incarnation: u64,
}

impl Settings {
    /// The settings of a store of `node` in `network`, with defaults for the rest.
    #[must_use]
    pub fn new(network: NetworkId, node: NodeId) -> Self {
        Self {
            network,
            node,
            limits: Limits::default(),
            after_crash: AfterCrash::default(),
            witness: None,
            seal: None,
            layer: None,
            replica: None,
            session: None,
            incarnation: 1,
        }
    }

    pub(crate) fn codec(&self) -> RowCodec {
        self.seal.clone().map_or_else(RowCodec::new, RowCodec::sealed)
    }
}
