//! What a store knows about itself as a whole.

use core::fmt::{self, Display};

use std::collections::BTreeMap;
use std::sync::Arc;

use reconvene_clock::{Counter, Dot, Height, Hlc, Knowledge, NodeId, ReplicaId, VectorClock};

use crate::{Allowance, Fingerprint, Fingerprints, Marks, NetworkId, Prefix, PutAside};

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

/// One opening of a store: drawn at random each time, so that two copies of one store that both run are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNonce(u64);

impl SessionNonce {
    /// The nonce with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Display for SessionNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Everything about a store that is not in its rows, at one revision.
///
/// Cloning shares the large parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub(crate) revision: Revision,
    pub(crate) identity: Identity,
    pub(crate) session: SessionNonce,
    pub(crate) network: NetworkId,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) gc_floor: Arc<VectorClock>,
    pub(crate) fingerprints: Arc<Fingerprints>,
    pub(crate) marks: Marks,
    pub(crate) put_aside: Arc<BTreeMap<Dot, PutAside>>,
    pub(crate) quotas: Arc<BTreeMap<Prefix, Allowance>>,
}

impl Head {
    /// The head of an empty store, opened for the first time. Where nobody drew a nonce, the replica's own number,
    /// which is as random, names the session; see [`with_session`](Self::with_session).
    #[must_use]
    pub fn new(identity: Identity, network: NetworkId) -> Self {
        Self {
            revision: Revision::default(),
            identity,
            session: SessionNonce::new(identity.replica.get()),
            network,
            knowledge: Arc::default(),
            gc_floor: Arc::default(),
            fingerprints: Arc::new(Fingerprints::empty(network)),
            marks: Marks::default(),
            put_aside: Arc::default(),
            quotas: Arc::default(),
        }
    }

    /// The same head in a session of this nonce.
    #[must_use]
    pub fn with_session(self, session: SessionNonce) -> Self {
        Self { session, ..self }
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

    /// Which opening of the store this is.
    #[must_use]
    pub fn session(&self) -> SessionNonce {
        self.session
    }

    /// The network it belongs to.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The dots whose versions are here, were replaced by something here, or were deleted and collected.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// For each replica the greatest counter of a tombstone of its that was collected, here or by somebody whose claim
    /// was joined. Whoever has not seen all up to it may hold what those tombstones deleted.
    #[must_use]
    pub fn gc_floor(&self) -> &VectorClock {
        &self.gc_floor
    }

    /// The fingerprints of the live values.
    #[must_use]
    pub fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// What was given out, reserved and seen so far.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The last counter that this store gave to a write of its own, or counted as unused.
    #[must_use]
    pub fn issued(&self) -> Option<Counter> {
        self.marks.issued
    }

    /// The greatest height of any version seen.
    #[must_use]
    pub fn height(&self) -> Option<Height> {
        self.marks.height
    }

    /// The greatest stamp of this store's own writes. A clock that resumes must stay above it.
    #[must_use]
    pub fn stamped(&self) -> Option<Hlc> {
        self.marks.stamped
    }

    /// The versions that were put aside because their rows would be too large, ascending by dot. Neither their dots nor
    /// what their contexts name becomes known by a claim.
    pub fn put_aside(&self) -> impl Iterator<Item = (Dot, &PutAside)> {
        self.put_aside.iter().map(|(dot, what)| (*dot, what))
    }

    /// The parts of the store that have a quota, ascending by prefix.
    pub fn quotas(&self) -> impl Iterator<Item = (&Prefix, &Allowance)> {
        self.quotas.iter()
    }

    /// What two replicas compare to know whether they hold the same. O(replicas).
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Nearly always one run of each replica.
        let mut bytes = Vec::with_capacity(self.knowledge.vector().len().saturating_mul(24));
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
