//! Sessions: both directions in one and a half round trips, the claim always last.

use std::collections::BTreeSet;
use std::sync::Arc;

use reconvene_clock::digest::sip24_64;
use reconvene_clock::{Knowledge, NodeId, Timestamp};
use reconvene_store::sabotage;
use reconvene_store::{Digest, NetworkId};

use super::aside::SetAside;
use super::claims::Verdicts;
use super::outgoing::OutgoingDirection;
use super::parts::Parts;
use super::{Known, Replica};
use crate::Event;
use crate::message::{Claim, Hello, HelloBack, LOWEST_VERSION, Message, SessionId, Summary, WIRE_VERSION};
use crate::ranges::Ranges;

/// A session has a name of its initiator's choice, so it is told apart by the peer as well.
pub(super) type SessionKey = (NodeId, SessionId);

/// One exchange with one peer.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) initiated: bool,
    pub(super) progressed: Timestamp,
    /// What this side said of itself in its hello.
    pub(super) told: Known,
    /// The hash of what the hello of this side said it remembers for the peer.
    pub(super) remembered: Option<u64>,
    /// What the peer said it knows, once that is clear.
    pub(super) theirs: Option<Knowledge>,
    /// What the peer said of itself in its hello.
    pub(super) their_digest: Option<Digest>,
    pub(super) window_bytes: u64,
    /// Bytes of frames of this session, both ways.
    pub(super) bytes: u64,
    /// The answer to the hello, while the first rows of what follows it are read: both may fit one frame.
    pub(super) held_back: Option<HelloBack>,
    pub(super) incoming: IncomingDirection,
    pub(super) outgoing: Option<OutgoingDirection>,
}

/// What the peer sends.
#[derive(Clone, Debug, Default)]
pub(super) struct IncomingDirection {
    /// Chunks taken in, applied or about to be.
    pub(super) chunks: BTreeSet<u32>,
    /// Chunks of which some pieces came. Their bytes count as received.
    pub(super) parts: Parts,
    pub(super) applied_chunks: u32,
    pub(super) received_bytes: u64,
    pub(super) applied_bytes: u64,
    pub(super) credited_bytes: u64,
    pub(super) new_versions: u64,
    /// What was not taken in, and must not be claimed.
    pub(super) aside: SetAside,
    pub(super) claim: Option<Claim>,
    pub(super) claim_queued: bool,
    /// What the peer has seen the end of.
    pub(super) verdicts: Verdicts,
    /// Versions stay live here that the peer has seen the end of, since what was put aside replaced them. Tombstones that
    /// it has collected may have ended them as well.
    pub(super) spares: bool,
    /// What was known here when that was asked.
    pub(super) floor_repaired: Option<Knowledge>,
    pub(super) done: bool,
}

impl Session {
    pub(super) fn new(initiated: bool, now: Timestamp, told: Known, window_bytes: u64) -> Self {
        Self {
            initiated,
            progressed: now,
            told,
            remembered: None,
            theirs: None,
            their_digest: None,
            window_bytes,
            bytes: 0,
            held_back: None,
            incoming: IncomingDirection::default(),
            outgoing: None,
        }
    }
}

impl Replica {
    /// Starts a session with `peer`.
    pub(super) fn say_hello(&mut self, node: NodeId) {
        let id = self.fresh_session();
        #[cfg(feature = "tracing")]
        tracing::trace!(node = %self.node(), peer = %node, session = id.0, "session starts");
        let known = self.known();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.last_session = Some(self.now);
        peer.retry_at = None;
        let summary = summary_for(&known, peer.base.as_ref());
        let remembered = peer.base.as_ref().map(|base| base.digest.knowledge);
        let mut session = Session::new(true, self.now, known, self.config.window_bytes);
        session.remembered = remembered;
        session.bytes = self.send_hello(node, id, &session.told.clone(), summary);
        self.sessions.insert((node, id), session);
    }

    /// Says hello again in a session whose first summary built on something the peer does not remember.
    pub(super) fn say_hello_in_full(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let told = session.told.clone();
        let summary = summary_for(&told, None);
        let bytes = self.send_hello(key.0, key.1, &told, summary);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.bytes = session.bytes.saturating_add(bytes);
            session.progressed = self.now;
        }
    }

    fn send_hello(&mut self, to: NodeId, id: SessionId, told: &Known, summary: Summary) -> u64 {
        let hello = Message::Hello(Hello {
            network: self.network_hash(),
            from: self.replica(),
            session: id,
            versions: (LOWEST_VERSION, WIRE_VERSION),
            capabilities: self.capabilities(),
            digest: told.digest,
            window_bytes: self.config.window_bytes,
            summary,
        });
        self.send(to, &hello).unwrap_or(0)
    }

    /// The peer has applied chunks of this side.
    pub(super) fn credit(&mut self, key: SessionKey, applied_bytes: u64) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(outgoing) = session.outgoing.as_mut() else { return };
        // Never more than was sent: the number is the peer's.
        let applied = applied_bytes.min(outgoing.sent_bytes);
        if applied > outgoing.applied_bytes {
            outgoing.applied_bytes = applied;
            session.progressed = now;
            self.pump(key);
        }
    }

    /// Goes on after something of the peer's direction was applied, or when it is clear what the peer knew at first.
    ///
    /// The claim waits for both: it says only what the peer knows beyond its summary, and what is dead here is all that
    /// the peer knows and does not hold.
    pub(super) fn advance(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        if session.theirs.is_none() {
            return;
        }
        let incoming = &mut session.incoming;
        if let Some(claim) = &incoming.claim
            && !incoming.claim_queued
            && incoming.applied_chunks == claim.chunks
            && incoming.chunks.last().is_none_or(|last| *last < claim.chunks)
        {
            incoming.claim_queued = true;
            self.enqueue(super::apply::Job::Claim { key });
        }
    }

    /// The peer's direction is complete and its claim joined, or void.
    pub(super) fn direction_done(&mut self, key: SessionKey) {
        let known = self.known();
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        session.incoming.done = true;
        if session.initiated {
            self.answer_direction(key);
            return;
        }
        let told = session.incoming.claim.as_ref().and_then(|claim| claim.digest.or(session.their_digest));
        let equal = told == Some(known.digest);
        self.send(key.0, &Message::Ack { session: key.1, digest: (!equal).then_some(known.digest) });
        if equal {
            self.found_equal(key.0, known);
        }
        self.complete(key);
    }

    /// The initiator sends its direction once it knows what the peer knows and has taken in all of the peer's.
    pub(super) fn answer_direction(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let (true, true, Some(theirs)) = (session.initiated, session.incoming.done, session.theirs.as_mut()) else {
            return;
        };
        // What the peer claimed it knows, whether or not the claim could be joined here.
        if let Some(claim) = &session.incoming.claim {
            for range in claim.knowledge.iter().flat_map(Ranges::iter) {
                theirs.add_range(range);
            }
        }
        let prefix = theirs.vector().clone();
        if let Some(replica) = self.peers.get(&key.0).and_then(|peer| peer.replica) {
            self.heard_prefix(replica, &prefix);
        }
        // Joined, and equal to what the peer claimed: with nothing to send back, saying so ends the session.
        let known = self.known();
        if !sabotage::on(8) && self.claimed_digest(key) == Some(known.digest) {
            self.send(key.0, &Message::Ack { session: key.1, digest: None });
            self.found_equal(key.0, known);
            self.complete(key);
            return;
        }
        self.start_sending(key, false);
    }

    /// What the peer says that it knows and holds, in its claim or before.
    fn claimed_digest(&self, key: SessionKey) -> Option<Digest> {
        let session = self.sessions.get(&key)?;
        let claim = session.incoming.claim.as_ref().filter(|claim| claim.whole)?;
        claim.digest.or(session.their_digest)
    }

    /// Both sides hold the same: a later summary may build on it.
    pub(super) fn found_equal(&mut self, node: NodeId, known: Known) {
        if let Some(replica) = self.peers.get(&node).and_then(|peer| peer.replica) {
            self.heard_prefix(replica, known.knowledge.vector());
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.converged = Some((self.now, Arc::clone(&known.knowledge)));
            peer.base = Some(known);
            peer.equal_as = (Some(self.head.identity().replica), peer.replica);
        }
    }

    /// Ends a session that went through in both directions.
    pub(super) fn complete(&mut self, key: SessionKey) {
        let Some(session) = self.end(key) else { return };
        self.stats.sessions = self.stats.sessions.saturating_add(1);
        self.session_succeeded(key.0);
        let sent = session.outgoing.map_or(0, |outgoing| outgoing.sent_versions);
        self.notify(Event::SessionDone { peer: key.0, sent, received: session.incoming.new_versions });
    }

    /// Ends a session that did not go through. What it applied stays; the next one brings the rest.
    pub(super) fn fail(&mut self, key: SessionKey) {
        let Some(session) = self.end(key) else { return };
        #[cfg(feature = "tracing")]
        tracing::debug!(node = %self.node(), peer = %key.0, initiated = session.initiated, "session dropped");
        self.stats.failed_sessions = self.stats.failed_sessions.saturating_add(1);
        if session.initiated {
            self.back_off(key.0);
        }
    }

    /// Forgets a session and frees what it held. A repeated hello of it opens no second one.
    pub(super) fn end(&mut self, key: SessionKey) -> Option<Session> {
        self.abandon_repair(key);
        self.close_view(key);
        let session = self.sessions.remove(&key)?;
        if let Some(ticket) = session.outgoing.as_ref().and_then(OutgoingDirection::loading) {
            self.loads.remove(&ticket);
        }
        if let Some(peer) = self.peers.get_mut(&key.0) {
            if peer.recent_sessions.len() >= RECENT_SESSIONS {
                peer.recent_sessions.pop_front();
            }
            peer.recent_sessions.push_back(key.1);
        }
        Some(session)
    }

    /// What proves that an answer belongs to this session and this state.
    pub(super) fn in_sync_check(&self, session: SessionId, digest: &Digest) -> u64 {
        in_sync_check(self.config.network, session, digest)
    }
}

/// What proves that an answer belongs to this session and this state.
pub(crate) fn in_sync_check(network: NetworkId, session: SessionId, digest: &Digest) -> u64 {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&session.0.to_be_bytes());
    bytes.extend_from_slice(&digest.root.as_u128().to_be_bytes());
    bytes.extend_from_slice(&digest.knowledge.to_be_bytes());
    sip24_64(network.as_bytes(), &bytes)
}

/// Names of finished sessions remembered for each peer.
const RECENT_SESSIONS: usize = 8;

/// The shortest summary that a peer who remembers `base` understands.
pub(super) fn summary_for(known: &Known, base: Option<&Known>) -> Summary {
    match base {
        Some(base) if base.digest.knowledge == known.digest.knowledge => Summary::Unchanged,
        Some(base) => Summary::Since {
            base: base.digest.knowledge,
            added: known.knowledge.missing_from(&base.knowledge).collect(),
        },
        None => Summary::Full(known.knowledge.runs().collect()),
    }
}
