//! What a store knows about itself as a whole.

use core::fmt::{self, Display};

use reconvene_clock::{Counter, Height, Hlc, Knowledge, NodeId, ReplicaId};

use crate::{Fingerprint, Fingerprints, NetworkId};

/// The number of batches that a store has committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one. At a batch each nanosecond the last one is 584 years away.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "given by whoever creates a store, complete")]
pub struct Identity {
    /// The broker, for life.
    pub node: NodeId,
    /// This incarnation of its store. Drawn at random and never used for another.
    pub replica: ReplicaId,
    /// How many stores the broker had before, plus one.
    pub incarnation: u64,
}

/// Everything about a store that is not in its rows, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub(crate) revision: Revision,
    pub(crate) identity: Identity,
    pub(crate) network: NetworkId,
    pub(crate) knowledge: Knowledge,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) issued: Option<Counter>,
    pub(crate) height: Option<Height>,
    pub(crate) stamped: Option<Hlc>,
}

impl Head {
    /// The head of an empty store.
    #[must_use]
    pub fn new(identity: Identity, network: NetworkId) -> Self {
        Self {
            revision: Revision::default(),
            identity,
            network,
            knowledge: Knowledge::new(),
            fingerprints: Fingerprints::empty(network),
            issued: None,
            height: None,
            stamped: None,
        }
    }

    /// How many batches were committed.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whose store it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The network it belongs to.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The dots whose versions are here, or were replaced by something here.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// The fingerprints of the live values.
    #[must_use]
    pub fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// The last counter that this store gave to a write of its own.
    #[must_use]
    pub fn issued(&self) -> Option<Counter> {
        self.issued
    }

    /// The greatest height of any version seen.
    #[must_use]
    pub fn height(&self) -> Option<Height> {
        self.height
    }

    /// The greatest stamp of this store's own writes. A clock that resumes must stay above it.
    #[must_use]
    pub fn stamped(&self) -> Option<Hlc> {
        self.stamped
    }

    /// What two replicas compare to know whether they hold the same. O(replicas).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        for run in self.knowledge.runs() {
            for number in [run.replica().get(), run.first().get(), run.last().get()] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
        }
        Digest { root: self.fingerprints.root(), knowledge: self.fingerprints.keyed_hash(&bytes) }
    }
}

/// What two replicas compare to know whether they hold the same.
///
/// Equal record sets have equal roots; equal knowledge with different roots means that one of the two is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a digest is these two, and both are compared")]
pub struct Digest {
    /// The fingerprint of every live value, and of nothing else.
    pub root: Fingerprint,
    /// A keyed hash of the Knowledge.
    pub knowledge: u64,
}

impl Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.root, self.knowledge)
    }
}
