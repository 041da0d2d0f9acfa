//! Who is there: links, addresses, members, silence.

use std::collections::VecDeque;
use std::sync::Arc;

use reconvene_clock::{Knowledge, NodeId, ReplicaId, Timestamp};

use reconvene_store::{Frozen, sabotage};

use super::apply::Job;
use super::identity::Openings;
use super::session::SessionKey;
use super::{Known, OpenError, Replica};
use crate::codec::CodecProblem;
use crate::detector::Detector;
use crate::fact::Fact;
use crate::member::MAX_ADDRESS_BYTES;
use crate::message::{Message, SessionId};
use crate::{Event, Member, Output, PeerState, RejectReason};

/// What is remembered of another broker.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) linked: bool,
    /// It has shown that it belongs to this network.
    pub(super) verified: bool,
    pub(super) state: PeerState,
    pub(super) last_heard: Timestamp,
    pub(super) last_sent: Timestamp,
    pub(super) last_session: Option<Timestamp>,
    /// The replica it last used here.
    pub(super) replica: Option<ReplicaId>,
    /// How long it is usually silent.
    pub(super) detector: Detector,
    /// When somebody else heard of it last, as far as they said.
    pub(super) vouched: Option<Timestamp>,
    /// When others were last asked about it.
    pub(super) asked_at: Option<Timestamp>,
    /// Sessions that failed since the last one that did not.
    failures: u32,
    /// When to try again, and not earlier.
    pub(super) retry_at: Option<Timestamp>,
    /// What both sides held when they were last found equal: summaries build on it.
    pub(super) base: Option<Known>,
    /// Which replicas they then were: this side's, and the peer's.
    pub(super) equal_as: (Option<ReplicaId>, Option<ReplicaId>),
    pub(super) converged: Option<(Timestamp, Arc<Knowledge>)>,
    pub(super) recent_sessions: VecDeque<SessionId>,
    /// What both sides can do beyond the wire version.
    pub(super) capabilities: u16,
    /// When it was last asked to compare.
    pub(super) repaired_at: Option<Timestamp>,
    /// Sessions that found nothing to do since both last compared everything.
    pub(super) unaudited: u32,
    /// Which openings of its store it was met in.
    pub(super) openings: Openings,
}

/// Where a broker may be reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Address {
    /// Who answered there last, or who said so.
    node: Option<NodeId>,
    failures: u32,
    dialling: bool,
    /// When to dial, or when to give up dialling.
    pub(super) due: Option<Timestamp>,
}

impl Address {
    /// Who answered there last, or who said so.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.dialling
    }
}

impl Replica {
    /// A link stands. Whatever kept this peer back is over.
    pub(super) fn link_up(&mut self, node: NodeId, address: Option<String>) {
        if let Some(address) = address {
            self.learn_address(address.clone(), Some(node));
            if let Some(entry) = self.addresses.get_mut(&address) {
                *entry = Address { node: Some(node), ..Address::default() };
            }
        }
        if node == self.node() {
            self.outputs.push_back(Output::Disconnect { from: node, why: RejectReason::Loop });
            return;
        }
        if !self.make_room_for(node) {
            self.outputs.push_back(Output::Disconnect { from: node, why: RejectReason::Budget });
            self.notify(Event::LimitReached { limit: "max_peers" });
            return;
        }
        let now = self.now;
        let peer = self.peers.or_insert_with(node, || Peer::new(now));
        peer.linked = true;
        peer.last_heard = now;
        peer.detector.skip_to(now);
        peer.last_sent = now;
        peer.failures = 0;
        peer.retry_at = None;
        self.set_state(node, PeerState::Alive);
        for entry in self.addresses.values_mut().filter(|entry| entry.node == Some(node)) {
            *entry = Address { node: Some(node), ..Address::default() };
        }
        // Even if it was linked before: a broker that was restarted lost its sessions.
        self.note_news();
    }

    /// A link is gone: its sessions end, and every known address of the peer is tried again, for ever.
    pub(super) fn link_down(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.linked) else { return };
        peer.linked = false;
        peer.retry_at = None;
        let left = peer.state == PeerState::Left;
        if !left {
            self.set_state(node, PeerState::Suspect);
        }
        for key in self.sessions_with(node) {
            self.fail(key);
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.retry_at = None;
        }
        let wait = if left { self.config.backoff_max_ms } else { self.config.backoff_min_ms };
        for entry in self.addresses.values_mut().filter(|entry| entry.node == Some(node)) {
            entry.dialling = false;
            entry.failures = 0;
            let low = if left { wait / 2 } else { 0 };
            entry.due = Some(self.now.saturating_add(self.rng.between(low, wait)));
        }
    }

    /// A valid frame came from this peer. False if nothing should come of it: there is no link, or the peer said goodbye
    /// before and this is not a hello but something that was still on its way.
    pub(super) fn heard(&mut self, node: NodeId, hello: bool) -> bool {
        let (now, burst_ms, pause_ms) = (self.now, self.config.min_deviation_ms, self.config.probe_interval_ms);
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.linked) else { return false };
        if peer.state == PeerState::Left && !hello {
            return false;
        }
        peer.last_heard = now;
        peer.detector.heard(now, burst_ms, pause_ms);
        self.set_state(node, PeerState::Alive);
        true
    }

    /// A peer said goodbye.
    pub(super) fn peer_left(&mut self, node: NodeId) {
        self.set_state(node, PeerState::Left);
        for key in self.sessions_with(node) {
            self.end(key);
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.retry_at = None;
        }
    }

    /// Says goodbye to all, and starts nothing more.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        self.peers.touch_all();
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end(key);
        }
        for node in self.linked_peers().collect::<Vec<_>>() {
            self.send(node, &Message::Leave);
        }
    }

    /// Notes what is known of a peer. A node of which no replica counts any more stays retired.
    pub(super) fn set_state(&mut self, node: NodeId, state: PeerState) {
        let since = self.now;
        let state = if self.members.node_is_retired(node) { PeerState::Retired } else { state };
        if let Some(peer) = self.peers.get_mut(&node)
            && peer.state != state
        {
            peer.state = state;
            self.notify(Event::PeerState { peer: node, state, since });
        }
    }

    /// How long nothing was heard of a node; `None` if nothing ever was.
    pub(super) fn silence_of(&self, node: NodeId) -> Option<u64> {
        self.peers.get(&node).map(|peer| self.now.saturating_since(peer.last_heard))
    }

    pub(super) fn sessions_with(&self, node: NodeId) -> Vec<SessionKey> {
        self.sessions.keys().filter(|(peer, _)| *peer == node).copied().collect()
    }

    /// Whether a peer is remembered or can be. The one without a link that was silent longest makes room.
    fn make_room_for(&mut self, node: NodeId) -> bool {
        if self.peers.contains_key(&node) || self.peers.len() < self.config.max_peers {
            return true;
        }
        let unlinked = self.peers.iter().filter(|(_, peer)| !peer.linked);
        let Some(oldest) = unlinked.min_by_key(|(_, peer)| peer.last_heard).map(|(node, _)| *node) else {
            return false;
        };
        self.peers.remove(&oldest);
        true
    }

    /// A session with this peer went through.
    pub(super) fn session_succeeded(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.failures = 0;
            peer.retry_at = None;
            peer.last_session = Some(self.now);
        }
    }

    /// A session with this peer failed: the next one waits, for a random part of a time that doubles.
    pub(super) fn back_off(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let step = backoff_step(peer.failures, self.config.backoff_min_ms, self.config.backoff_max_ms);
        peer.failures = peer.failures.saturating_add(1);
        let wait = self.rng.between(0, step);
        self.retry_later(node, wait);
    }

    pub(super) fn retry_later(&mut self, node: NodeId, wait_ms: u64) {
        let at = self.now.saturating_add(wait_ms.max(1));
        if let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.linked) {
            peer.retry_at = Some(at);
        }
    }

    /// An address to try, for ever.
    pub(super) fn learn_address(&mut self, address: String, node: Option<NodeId>) {
        if address.is_empty() || address.len() > MAX_ADDRESS_BYTES || Some(&address) == self.config.advertise.as_ref() {
            return;
        }
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.node = entry.node.or(node);
            return;
        }
        if self.addresses.len() >= self.config.max_addresses {
            self.notify(Event::LimitReached { limit: "max_addresses" });
            return;
        }
        self.addresses.insert(address, Address { node, due: Some(self.now), ..Address::default() });
    }

    /// Nobody answered there. The next attempt waits, for a random part of a time that doubles up to a bound.
    pub(super) fn connect_failed(&mut self, address: &str) {
        let (min, max) = (self.config.backoff_min_ms, self.config.backoff_max_ms);
        let Some(entry) = self.addresses.get_mut(address) else { return };
        entry.dialling = false;
        let step = backoff_step(entry.failures, min, max);
        entry.failures = entry.failures.saturating_add(1);
        entry.due = Some(self.now.saturating_add(self.rng.between(1, step)));
    }

    /// Dials what is due.
    pub(super) fn dial(&mut self) {
        let now = self.now;
        let due = self.addresses.iter().filter(|(_, entry)| entry.due.is_some_and(|due| due <= now));
        for address in due.map(|(address, _)| address.clone()).collect::<Vec<_>>() {
            let Some(entry) = self.addresses.get_mut(&address) else { continue };
            let own = entry.node == Some(self.head.identity().node);
            let linked = entry.node.and_then(|node| self.peers.get(&node)).is_some_and(|peer| peer.linked);
            let given_up = (sabotage::on(21) && entry.failures > 0) || (sabotage::on(35) && entry.failures >= 10);
            if own || linked || self.leaving || given_up {
                entry.due = None;
            } else if entry.dialling {
                // The driver never answered.
                self.connect_failed(&address);
            } else {
                entry.dialling = true;
                entry.due = Some(now.saturating_add(self.config.unreachable_after_ms));
                self.outputs.push_back(Output::Connect { address });
            }
        }
    }

    /// Takes in a fact about the network.
    pub(super) fn learn_fact(&mut self, fact: Fact) {
        let known = match &fact {
            Fact::Retirement(retirement) => self.members.is_retired(retirement.replica),
            Fact::Member(_) | Fact::Acknowledgement(_) => false,
        };
        if !self.members.learn(&fact) {
            return;
        }
        match fact {
            Fact::Member(member) => self.member_learnt(member),
            Fact::Retirement(retirement) if !known => self.replica_retired(retirement.replica),
            Fact::Retirement(_) => {}
            Fact::Acknowledgement(_) => self.deletes.stability_moved(),
        }
    }

    /// A member is new, or has another address: an address to try, and whom a replica belongs to.
    fn member_learnt(&mut self, member: Member) {
        if let Some(address) = member.address.clone().filter(|_| member.node != self.node()) {
            self.learn_address(address, Some(member.node));
        }
        if member.replica != self.replica() {
            if let Some(state) = self.peers.get(&member.node).map(|peer| (peer.state, peer.linked))
                && state == (PeerState::Retired, true)
            {
                self.set_state(member.node, PeerState::Alive);
            }
            self.outgrow(&member);
            self.notify(Event::Member(member));
        }
    }

    /// Another replica of this very node: what it was before it lost its store, as its peers remember it. It is retired,
    /// or would hold back collection for ever. One with a greater incarnation number shows that this one was given out
    /// by a store that knew too little.
    fn outgrow(&mut self, member: &Member) {
        let Member { replica, incarnation, .. } = *member;
        if !self.is_open || member.node != self.node() || self.members.is_retired(replica) {
            return;
        }
        if incarnation > self.head.identity().incarnation {
            self.freeze(Frozen::Cloned, None);
        } else {
            self.enqueue(Job::Retire { ticket: None, replica });
        }
    }

    /// Whether a replica was introduced by a node other than `node`.
    pub(super) fn belongs_to_another(&self, node: NodeId, replica: ReplicaId) -> bool {
        self.members.get(replica).is_some_and(|member| member.node != node)
    }

    /// Writes the fact about this very member, unless it is there, and retires what this node was before.
    pub(super) fn introduce(&mut self) -> Result<(), OpenError> {
        let identity = self.head.identity();
        let own = Member {
            replica: identity.replica,
            node: identity.node,
            incarnation: identity.incarnation,
            address: self.config.advertise.clone(),
        };
        if self.members.get(own.replica) != Some(&own) {
            let write = own.to_write().ok_or_else(|| OpenError::Member(CodecProblem::Range("member").into()))?;
            self.enqueue(Job::Local { ticket: None, writes: vec![write] });
        }
        let earlier = self.members.counting_of(own.node).filter(|replica| *replica != own.replica);
        for replica in earlier.collect::<Vec<_>>() {
            self.enqueue(Job::Retire { ticket: None, replica });
        }
        Ok(())
    }
}

impl Peer {
    fn new(now: Timestamp) -> Self {
        Self {
            linked: false,
            verified: false,
            state: PeerState::Unreachable,
            last_heard: now,
            last_sent: now,
            last_session: None,
            replica: None,
            detector: Detector::new(now),
            vouched: None,
            asked_at: None,
            failures: 0,
            retry_at: None,
            base: None,
            equal_as: (None, None),
            converged: None,
            recent_sessions: VecDeque::new(),
            capabilities: 0,
            repaired_at: None,
            unaudited: 0,
            openings: Openings::default(),
        }
    }
}

/// The longest wait after this many failures.
fn backoff_step(failures: u32, min_ms: u64, max_ms: u64) -> u64 {
    let doubled = 1_u64.checked_shl(failures).unwrap_or(u64::MAX).saturating_mul(min_ms);
    doubled.min(max_ms).max(1)
}

#[cfg(test)]
mod tests {
    use super::backoff_step;

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        assert_eq!(backoff_step(0, 1_000, 300_000), 1_000);
        assert_eq!(backoff_step(3, 1_000, 300_000), 8_000);
        assert_eq!(backoff_step(20, 1_000, 300_000), 300_000);
        assert_eq!(backoff_step(u32::MAX, 1_000, 300_000), 300_000);
        assert_eq!(backoff_step(0, 0, 0), 1);
    }
}
