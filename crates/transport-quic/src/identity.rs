//! What an endpoint needs to prove who it is.

use core::fmt;

use reconvene_clock::NodeId;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A node's key, its certificate, and the authority whose certificates it accepts from others.
///
/// Made by [`Authority::issue`](crate::Authority::issue). `Debug` shows the NodeId and never the key.
#[derive(Clone)]
pub struct Identity {
    pub(crate) node: NodeId,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
    pub(crate) authority: CertificateDer<'static>,
}

impl Identity {
    /// The node that this identity proves: the first 128 bits of SHA-256 over its raw Ed25519 public key.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node
    }

    /// The private key, in the form that rustls takes.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}
