//! Who a peer is, who this replica is, and when it has to become another.

use std::collections::VecDeque;

use reconvene_clock::{Dot, Knowledge, NodeId, ReplicaId, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Frozen, Plan, SessionNonce};

use super::Replica;
use crate::message::{Hello, SessionId, capabilities, common_version};
use crate::{Event, PeerState, RejectReason};

/// The openings of a peer's store that it was met in, the latest last.
///
/// An opening never comes back. If sessions of an earlier one begin again and again, two copies of the store are running.
#[derive(Clone, Debug, Default)]
pub(super) struct Openings {
    replica: Option<ReplicaId>,
    met: VecDeque<u32>,
    returns: u32,
}

/// Openings remembered for each peer.
const MAX_OPENINGS: usize = 4;
/// Draws of a replica id before giving up; the first one is new but for one case in 2^50.
const MAX_DRAWS: u32 = 8;
/// A hello from an earlier opening may have been on its way for long; this many were not.
const PROOF_OF_A_COPY: u32 = 2;

impl Openings {
    /// Notes that a session begins; true if that proves that two copies of the store are running.
    fn begin(&mut self, replica: ReplicaId, session: SessionId) -> bool {
        if self.replica != Some(replica) {
            *self = Self { replica: Some(replica), ..Self::default() };
        }
        let opening = session.opening();
        if self.met.back() == Some(&opening) {
            return false;
        }
        if let Some(place) = self.met.iter().position(|met| *met == opening) {
            self.returns = self.returns.saturating_add(1);
            self.met.remove(place);
        } else if self.met.len() >= MAX_OPENINGS {
            self.met.pop_front();
        }
        self.met.push_back(opening);
        self.returns >= PROOF_OF_A_COPY
    }
}

impl Replica {
    /// Why not to talk to this peer at all.
    pub(super) fn objection(&mut self, from: NodeId, hello: &Hello) -> Option<RejectReason> {
        if hello.network != self.network_hash() {
            return Some(RejectReason::Network);
        }
        if common_version(hello.versions).is_none() {
            return Some(RejectReason::Version);
        }
        let objection = self.objection_to_replica(from, hello.from);
        if objection.is_some() {
            return objection;
        }
        let peer = self.peers.get_mut(&from)?;
        if peer.recent_sessions.contains(&hello.session) {
            return None;
        }
        peer.openings.begin(hello.from, hello.session).then_some(RejectReason::Incarnation)
    }

    /// Why a peer may not use this replica: it is retired, or not its own. Whose it is, the transport says, never the
    /// payload.
    pub(super) fn objection_to_replica(&self, from: NodeId, replica: ReplicaId) -> Option<RejectReason> {
        if replica == self.replica() || self.belongs_to_another(from, replica) {
            return Some(RejectReason::Identity);
        }
        self.members.is_retired(replica).then_some(RejectReason::Retired)
    }

    /// A peer has shown that it belongs to this network, and which replica it uses.
    pub(super) fn verified(&mut self, node: NodeId, replica: ReplicaId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.verified = true;
        peer.replica = Some(replica);
        if peer.state == PeerState::Retired {
            self.set_state(node, PeerState::Alive);
        }
    }

    /// A peer said what it can do.
    pub(super) fn capable(&mut self, node: NodeId, theirs: u16) {
        let common = theirs & self.capabilities();
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.capabilities = common;
        }
    }

    /// What this side can do beyond its wire version. Bits of others that it does not know are ignored.
    pub(super) const fn capabilities(&self) -> u16 {
        capabilities(self.config.compression.is_some())
    }

    /// A peer said what it knows, all of which is durable there. False if that shows that own writes were lost: the peer
    /// was told of more than is held here, and leaves out what it replaced or would send, so the session means nothing.
    #[must_use]
    pub(super) fn heard_summary(&mut self, peer: NodeId, replica: ReplicaId, theirs: Option<&Knowledge>) -> bool {
        let Some(theirs) = theirs else { return true };
        self.heard_prefix(replica, theirs.vector());
        let Some(lost) = self.lost_write(theirs) else { return true };
        self.notify(Event::Amnesia { peer, held: lost.counter.get() });
        self.freeze(Frozen::Amnesia, Some(lost));
        false
    }

    /// A member's prefix is durable there.
    pub(super) fn heard_prefix(&mut self, replica: ReplicaId, prefix: &VectorClock) {
        if self.members.get(replica).is_some() && self.members.acknowledge(replica, prefix) {
            self.deletes.stability_moved();
        }
    }

    /// An own dot that somebody knows and this store never gave out: above its counter, or among those that it counted as
    /// unused. All of those became known together, so that whoever knows some of them has them from somewhere else.
    fn lost_write(&self, theirs: &Knowledge) -> Option<Dot> {
        let own = self.replica();
        let above = theirs.last_of(own).filter(|last| Some(*last) > self.issued());
        let above = above.map(|counter| Dot::new(own, counter));
        above.or_else(|| {
            let unused = self.head.marks().unused().iter().filter(|range| range.replica() == own);
            let mut partly = unused.filter_map(|range| {
                let mut all = Knowledge::new();
                all.add_range(*range);
                let held = all.meet(theirs).last_of(own)?;
                (!theirs.covers(&all)).then_some(Dot::new(own, held))
            });
            partly.next()
        })
    }

    /// Notes that the present name may not be used any more, since two stores have used it, or one lost what it did with
    /// it. A plan may be under way, so the batch that says so comes at the end of this input.
    pub(super) fn freeze(&mut self, why: Frozen, lost: Option<Dot>) {
        if sabotage::on(18) && why == Frozen::Retired {
            return;
        }
        self.freezing.get_or_insert((why, lost));
    }

    /// Gives out no further dots under the present name. What others know of a lost write leaves Knowledge, so that it is
    /// fetched.
    pub(super) fn freeze_if_noted(&mut self) {
        let Some((why, lost)) = self.freezing.take() else { return };
        let mut plan = Plan::new(self.head.clone(), [], [], &self.config.store);
        let shrunk = lost.is_some_and(|lost| plan.reclaim_unused(lost));
        let first = self.head.marks().frozen().is_none();
        if first {
            plan.freeze(why);
        }
        if first || shrunk {
            self.persist(plan.finish(), |_| false);
        }
        if first {
            self.notify(Event::Frozen { why });
        }
    }

    /// Goes on under a new name, if the present one may not be used any more. What is held and known stays.
    pub(super) fn renew_if_needed(&mut self) {
        let own = self.replica();
        let frozen = self.head.marks().frozen().is_some();
        if sabotage::on(18) && !frozen {
            return;
        }
        if !frozen && !self.members.is_retired(own) && !self.belongs_to_another(self.node(), own) {
            return;
        }
        let incarnation = self.members.incarnation_of(self.node()).saturating_add(1);
        let Some(replica) = (0..MAX_DRAWS).find_map(|_| {
            let drawn = ReplicaId::new(self.rng.next())?;
            (self.members.get(drawn).is_none() && self.head.knowledge().last_of(drawn).is_none()).then_some(drawn)
        }) else {
            return;
        };
        let mut plan = Plan::new(self.head.clone(), [], [], &self.config.store);
        plan.renew(replica, incarnation, SessionNonce::new(self.rng.next()));
        self.persist(plan.finish(), |_| false);
        self.notify(Event::Renewed { before: own, now: replica });
    }

    /// Knowledge has become smaller. Peers go by what it was: sessions under way end without a claim, and the next
    /// summary is a full one.
    pub(super) fn knowledge_shrunk(&mut self) {
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.fail(key);
        }
        for peer in self.peers.values_mut() {
            peer.base = None;
            peer.converged = None;
        }
        self.note_news();
    }

    /// A peer refused a session for what this replica is.
    pub(super) fn rejected(&mut self, why: RejectReason) {
        match why {
            RejectReason::Retired => self.freeze(Frozen::Retired, None),
            RejectReason::Identity | RejectReason::Incarnation => self.freeze(Frozen::Cloned, None),
            RejectReason::Network
            | RejectReason::Version
            | RejectReason::Budget
            | RejectReason::Silence
            | RejectReason::Loop
            | RejectReason::Damaged
            | RejectReason::Unknown => {}
        }
    }

    /// The name of a new session. Its first half names this opening of the store, so that two copies are told apart.
    pub(super) fn fresh_session(&mut self) -> SessionId {
        SessionId::new(self.opening, self.rng.next())
    }
}
