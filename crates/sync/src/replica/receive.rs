//! What each kind of frame changes.

use reconvene_clock::{DotRange, Knowledge, NodeId, ReplicaId};
use reconvene_store::sabotage;
use reconvene_store::{Digest, Key, Version};

use super::apply::Job;
use super::links::Peer;
use super::outgoing::floor_above;
use super::session::{Session, SessionKey, summary_for};
use super::{Known, Replica};
use crate::columns::unpack;
use crate::message::{
    BackSummary, Claim, Delta, Hello, HelloBack, Message, Part, SessionId, Summary, WIRE_VERSION, Whole, common_version,
};
use crate::ranges::union;
use crate::wire::decode_any;
use crate::{Event, Output, RejectReason};

impl Replica {
    /// A frame arrived. One that does not decode changes a counter and nothing else.
    pub(super) fn receive(&mut self, from: NodeId, frame: &[u8]) {
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(bytes);
        if from == self.node() {
            return;
        }
        let (limit, compressor) = (self.config.max_frame_bytes, self.config.compression.as_ref());
        let Ok((message, bytes)) = decode_any(frame, limit, compressor) else {
            self.stats.frames_refused = self.stats.frames_refused.saturating_add(1);
            self.leaving |= sabotage::on(38);
            return;
        };
        #[cfg(reconvene_sabotage)]
        let from = self.sender_by_its_word(&message).filter(|_| sabotage::on(33)).unwrap_or(from);
        let hello = matches!(message, Message::Hello(_));
        if !self.heard(from, hello) || self.leaving {
            return;
        }
        match message {
            Message::Hello(hello) => self.on_hello(from, bytes, hello),
            Message::HelloBack(back) => self.on_hello_back(from, bytes, back),
            Message::InSync { session, check } => {
                let key = (from, session);
                let Some(open) = self.sessions.get(&key).filter(|open| open.initiated) else { return };
                let (told, bytes) = (open.told.clone(), open.bytes.saturating_add(bytes));
                if check != self.in_sync_check(session, &told.digest) {
                    return;
                }
                self.stats.converged_exchange_bytes = bytes;
                // The check covers the network and all that is known there, as a hello of the peer would.
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.verified = true;
                }
                self.found_equal(from, told);
                self.stats.in_sync_sessions = self.stats.in_sync_sessions.saturating_add(1);
                self.complete(key);
                if self.audit_is_due(from) {
                    self.repair_divergence(key);
                }
            }
            Message::Delta(delta) => self.on_delta(from, bytes, delta),
            Message::Claim(claim) => self.on_claim(from, claim),
            Message::Credit { session, applied_bytes } => self.credit((from, session), applied_bytes),
            Message::Ack { session, digest } => {
                let key = (from, session);
                // The initiator has nothing to send back, or the other has joined what it sent.
                let Some(open) = self.sessions.get(&key) else { return };
                let Some(outgoing) = open.outgoing.as_ref().filter(|outgoing| outgoing.claimed) else { return };
                let known = outgoing.known.clone();
                if digest.is_none_or(|digest| digest == known.digest) {
                    self.found_equal(from, known);
                }
                self.complete(key);
            }
            Message::Busy { session, retry_after_ms } => {
                let key = (from, session);
                if self.sessions.get(&key).is_some_and(|open| open.initiated) {
                    self.end(key);
                    self.retry_later(from, retry_after_ms.min(self.config.busy_max_ms));
                }
            }
            Message::Reject { session, why } => {
                let key = (from, session);
                if self.sessions.contains_key(&key) {
                    self.notify(Event::Rejected { peer: from, why, by_peer: true });
                    self.fail(key);
                    self.rejected(why);
                }
            }
            Message::Push { hops, versions } => self.on_push(from, bytes, hops, versions),
            Message::Probe { target } => {
                let age_ms = if target == self.node() { Some(0) } else { self.silence_of(target) };
                self.send(from, &Message::ProbeBack { target, age_ms });
            }
            Message::ProbeBack { target, age_ms } => self.vouched(from, target, age_ms),
            Message::Leave => self.peer_left(from),
            Message::Repair(repair) => self.on_repair(from, repair),
            Message::AsBefore { session } => self.on_as_before((from, session), bytes),
            Message::Part(part) => self.on_part(from, bytes, part),
            Message::Note(bytes) => self.on_note(from, bytes),
            Message::Whole(whole) => self.on_whole(from, bytes, whole),
            Message::WholeBack(back, whole) => {
                self.on_hello_back(from, bytes, back);
                self.on_whole(from, bytes, whole);
            }
        }
    }

    /// Whose frame this is by its own word, which nothing may go by.
    #[cfg(reconvene_sabotage)]
    fn sender_by_its_word(&self, message: &Message) -> Option<NodeId> {
        let session = if let Message::Hello(hello) = message {
            return self.members.get(hello.from).map(|member| member.node);
        } else if let Message::Delta(delta) = message {
            delta.session
        } else if let Message::Claim(claim) = message {
            claim.session
        } else {
            return None;
        };
        self.sessions.keys().find(|(_, open)| *open == session).map(|(node, _)| *node)
    }

    fn on_hello(&mut self, from: NodeId, bytes: u64, hello: Hello) {
        let key = (from, hello.session);
        if let Some(why) = self.objection(from, &hello) {
            self.send(from, &Message::Reject { session: hello.session, why });
            self.notify(Event::Rejected { peer: from, why, by_peer: false });
            if why == RejectReason::Network {
                self.drop_link(from, why);
            }
            return;
        }
        self.verified(from, hello.from);
        self.capable(from, hello.capabilities);
        let known = self.known();
        if hello.digest.knowledge == known.digest.knowledge {
            self.answer_equal_knowledge(key, bytes, &hello, known);
            return;
        }
        match self.sessions.get(&key) {
            // The full summary that was asked for; anything else is a repetition.
            Some(open) if !open.initiated && open.theirs.is_none() => {}
            Some(_) => return,
            None if self.is_recent(key) => return,
            None => {
                if !self.admit(from, hello.session) {
                    return;
                }
                let window = hello.window_bytes.min(self.config.window_bytes);
                self.sessions.insert(key, Session::new(false, self.now, known, window));
            }
        }
        self.answer_hello(key, &hello);
    }

    /// Both know the same. Then both hold the same, or one of them is damaged: the answer says which.
    fn answer_equal_knowledge(&mut self, key: SessionKey, bytes: u64, hello: &Hello, known: Known) {
        let from = key.0;
        self.abandon_hello(from);
        self.end(key);
        if hello.digest.root == known.digest.root || sabotage::on(11) {
            let check = self.in_sync_check(key.1, &known.digest);
            let answered = self.send(from, &Message::InSync { session: key.1, check }).unwrap_or(0);
            self.stats.converged_exchange_bytes = bytes.saturating_add(answered);
            self.stats.in_sync_sessions = self.stats.in_sync_sessions.saturating_add(1);
            self.found_equal(from, known);
        } else {
            self.notify(Event::Divergence { peer: from });
            let back = self.hello_back((from, key.1), hello, known.digest, false, BackSummary::Unchanged);
            self.send(from, &Message::HelloBack(back));
        }
        self.stats.sessions = self.stats.sessions.saturating_add(1);
        self.session_succeeded(from);
    }

    fn hello_back(
        &self,
        key: SessionKey,
        hello: &Hello,
        digest: Digest,
        need_full: bool,
        summary: BackSummary,
    ) -> HelloBack {
        let peer = self.peers.get(&key.0).filter(|peer| self.is_remembered(peer, hello));
        HelloBack {
            session: key.1,
            from: peer.is_none().then_some(self.replica()),
            // The objection to hellos without one in common came first.
            version: common_version(hello.versions).unwrap_or(WIRE_VERSION),
            capabilities: self.capabilities() & hello.capabilities,
            digest,
            window_bytes: self.config.window_bytes,
            need_full,
            summary,
        }
    }

    fn answer_hello(&mut self, key: SessionKey, hello: &Hello) {
        let known = self.known();
        let theirs = self.resolve(key.0, &hello.summary, hello.digest.knowledge);
        if !self.heard_summary(key.0, hello.from, theirs.as_ref()) {
            self.fail(key);
            return;
        }
        let peer = self.peers.get(&key.0);
        let remembered = hello.remembered();
        let base = peer.and_then(|peer| peer.base.as_ref()).filter(|base| Some(base.digest.knowledge) == remembered);
        let as_before = theirs
            .as_ref()
            .zip(base)
            .is_some_and(|(theirs, base)| base.digest == known.digest && self.is_as_before(key.0, hello, theirs));
        let summary = summary_for(&known, base);
        if as_before {
            self.send(key.0, &Message::AsBefore { session: key.1 });
        } else {
            let back = self.hello_back(key, hello, known.digest, theirs.is_none(), summary.into());
            let missing = theirs.as_ref().map(|theirs| known.knowledge.missing_from(theirs));
            let few = missing.is_some_and(|missing| {
                missing.map(|range| DotRange::count(&range)).fold(0, u64::saturating_add) <= FEW
            });
            match self.sessions.get_mut(&key).filter(|_| few && self.config.max_whole_bytes > 0) {
                Some(session) => session.held_back = Some(back),
                None => _ = self.send(key.0, &Message::HelloBack(back)),
            }
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        session.told = known;
        session.theirs = theirs;
        session.their_digest = Some(hello.digest);
        self.start_sending(key, as_before);
        self.advance(key);
    }

    /// Whether the answer to this hello says no more than that this side is as it was when both were last equal, with
    /// nothing to send, and on the terms of the hello.
    fn is_as_before(&self, from: NodeId, hello: &Hello, theirs: &Knowledge) -> bool {
        floor_above(self.head.gc_floor(), theirs).is_empty()
            && common_version(hello.versions) == Some(hello.versions.1)
            && self.capabilities() & hello.capabilities == hello.capabilities
            && hello.window_bytes <= self.config.window_bytes
            && self.peers.get(&from).is_some_and(|peer| self.is_remembered(peer, hello))
    }

    /// Whether a hello builds on when both were last equal, and both still have the names they had then.
    fn is_remembered(&self, peer: &Peer, hello: &Hello) -> bool {
        let base = peer.base.as_ref().map(|base| base.digest.knowledge);
        base.is_some() && base == hello.remembered() && peer.equal_as == (Some(self.replica()), Some(hello.from))
    }

    /// A peer is as it was when both were last equal, and has nothing to send: what it left out is known here.
    fn on_as_before(&mut self, key: SessionKey, bytes: u64) {
        let Some(session) = self.sessions.get(&key).filter(|open| open.initiated && open.theirs.is_none()) else {
            return;
        };
        let peer = self.peers.get(&key.0);
        let base = peer.and_then(|peer| peer.base.as_ref());
        let base = base.filter(|base| session.remembered == Some(base.digest.knowledge)).map(|base| base.digest);
        let Some(digest) = base else {
            self.fail(key);
            return;
        };
        let back = HelloBack {
            session: key.1,
            from: None,
            version: WIRE_VERSION,
            capabilities: self.capabilities(),
            digest,
            window_bytes: self.config.window_bytes,
            need_full: false,
            summary: BackSummary::Unchanged,
        };
        self.on_hello_back(key.0, bytes, back);
        let nothing = Whole { session: key.1, knowledge: None, digest: None, versions: Vec::new() };
        self.on_whole(key.0, 0, nothing);
    }

    fn on_hello_back(&mut self, from: NodeId, bytes: u64, back: HelloBack) {
        let key = (from, back.session);
        let Some(session) = self.sessions.get_mut(&key).filter(|open| open.initiated && open.theirs.is_none()) else {
            return;
        };
        session.bytes = session.bytes.saturating_add(bytes);
        session.progressed = self.now;
        session.window_bytes = back.window_bytes.min(self.config.window_bytes);
        let remembered = session.remembered;
        let Some(named) = back.from.or_else(|| self.equal_name(from, remembered)) else {
            // It answered on top of what this side said it remembers, and has forgotten since.
            self.fail(key);
            return;
        };
        let objection = match common_version((back.version, back.version)) {
            Some(_) => self.objection_to_replica(from, named),
            None => Some(RejectReason::Version),
        };
        if let Some(why) = objection {
            self.notify(Event::Rejected { peer: from, why, by_peer: false });
            self.send(from, &Message::Reject { session: key.1, why });
            self.fail(key);
            return;
        }
        self.verified(from, named);
        self.capable(from, back.capabilities);
        let told = self.sessions.get(&key).map(|open| open.told.clone());
        if let Some(told) = told.filter(|told| told.digest.knowledge == back.digest.knowledge) {
            let told_root = if sabotage::on(11) { back.digest.root } else { told.digest.root };
            if told.digest.root == back.digest.root {
                self.found_equal(from, told);
            } else {
                self.notify(Event::Divergence { peer: from });
            }
            self.complete(key);
            if told_root != back.digest.root {
                self.repair_divergence(key);
            }
            return;
        }
        if back.need_full {
            self.say_hello_in_full(key);
        }
        let summary = back.summary.on_top_of(remembered);
        let theirs = summary.and_then(|summary| self.resolve(from, &summary, back.digest.knowledge));
        if !self.heard_summary(from, named, theirs.as_ref()) {
            self.fail(key);
            return;
        }
        if theirs.is_none() {
            // It answered on top of what this side said it remembers, and has forgotten since. Next time in full.
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.base = None;
            }
            self.fail(key);
            return;
        }
        // With a full hello under way, this answer is the first of two. What the peer then sends builds on the second, which
        // may say more, and may come after what builds on it.
        if let Some(session) = self.sessions.get_mut(&key).filter(|_| !back.need_full) {
            session.theirs = theirs;
            session.their_digest = Some(back.digest);
        }
        self.advance(key);
        self.answer_direction(key);
    }

    /// What a peer was called when both were last equal, if that is what a hello of this side remembered.
    fn equal_name(&self, from: NodeId, remembered: Option<u64>) -> Option<ReplicaId> {
        let peer = self.peers.get(&from)?;
        let base = peer.base.as_ref().filter(|base| Some(base.digest.knowledge) == remembered);
        base.and(peer.equal_as.1)
    }

    /// A chunk and a claim in one.
    fn on_whole(&mut self, from: NodeId, bytes: u64, whole: Whole) {
        let (delta, claim) = whole.into_parts();
        if let Some(delta) = delta {
            self.on_delta(from, bytes, delta);
        }
        self.on_claim(from, claim);
    }

    fn on_delta(&mut self, from: NodeId, bytes: u64, delta: Delta) {
        let key = (from, delta.session);
        if self.expects_chunk(key, delta.chunk) && self.has_room(key, bytes) {
            self.take_chunk(key, delta.chunk, bytes, delta.versions);
        }
    }

    /// A piece of a large version. It is taken in as a chunk once all pieces are there, in whatever order they come.
    fn on_part(&mut self, from: NodeId, bytes: u64, part: Part) {
        let (key, chunk) = ((from, part.session), part.chunk);
        if !self.expects_chunk(key, chunk) {
            return;
        }
        let limit = self.config.max_frame_bytes;
        if usize::try_from(part.total).map_or(true, |total| total > limit) {
            self.refuse_budget(key);
            return;
        }
        let Some(session) = self.sessions.get(&key) else { return };
        if session.incoming.parts.has(&part) || !self.has_room(key, bytes) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        let versions = match session.incoming.parts.add(part, bytes) {
            Ok(None) => return,
            Ok(Some((columns, bytes))) => unpack(&columns).map(|versions| (versions, bytes)),
            Err(error) => Err(error),
        };
        match versions {
            Ok((versions, bytes)) => self.take_chunk(key, chunk, bytes, versions),
            Err(_) => {
                self.stats.frames_refused = self.stats.frames_refused.saturating_add(1);
                self.fail(key);
            }
        }
    }

    /// Whether a session is open and has not had this chunk.
    fn expects_chunk(&self, key: SessionKey, chunk: u32) -> bool {
        let session = self.sessions.get(&key);
        session.is_some_and(|open| chunk < self.config.max_chunks && !open.incoming.chunks.contains(&chunk))
    }

    /// Counts received bytes of chunks. A peer that sends more than it was granted loses its session, and so does one
    /// for which the store is too slow.
    fn has_room(&mut self, key: SessionKey, bytes: u64) -> bool {
        let window = self.config.window_bytes;
        let max_frame = u64::try_from(self.config.max_frame_bytes).unwrap_or(u64::MAX);
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        let incoming = &mut session.incoming;
        incoming.received_bytes = incoming.received_bytes.saturating_add(bytes);
        if incoming.received_bytes.saturating_sub(incoming.applied_bytes) > window.saturating_add(max_frame) {
            self.refuse_budget(key);
            return false;
        }
        if self.queued_bytes() > self.max_queued_bytes() {
            // Only peers that open session after session come here; the store does not keep up with them.
            self.notify(Event::LimitReached { limit: "window_bytes" });
            self.fail(key);
            return false;
        }
        true
    }

    fn refuse_budget(&mut self, key: SessionKey) {
        self.send(key.0, &Message::Reject { session: key.1, why: RejectReason::Budget });
        self.notify(Event::Rejected { peer: key.0, why: RejectReason::Budget, by_peer: false });
        self.fail(key);
    }

    fn take_chunk(&mut self, key: SessionKey, chunk: u32, bytes: u64, versions: Vec<(Key, Version)>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        session.incoming.chunks.insert(chunk);
        self.enqueue(Job::Chunk { key, bytes, versions });
    }

    fn on_claim(&mut self, from: NodeId, claim: Claim) {
        let key = (from, claim.session);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.incoming.claim.is_none() {
            session.incoming.claim = Some(claim);
            self.advance(key);
        }
    }

    fn on_push(&mut self, from: NodeId, bytes: u64, hops: u8, versions: Vec<(Key, Version)>) {
        if !self.peers.get(&from).is_some_and(|peer| peer.verified) {
            return;
        }
        if usize::try_from(bytes).map_or(true, |bytes| bytes > self.config.max_push_bytes) {
            self.notify(Event::LimitReached { limit: "max_push_bytes" });
            return;
        }
        if self.queued_pushes() >= self.config.max_queued_pushes {
            self.notify(Event::LimitReached { limit: "max_queued_pushes" });
            return;
        }
        let hops = hops.min(self.hop_limit());
        self.enqueue(Job::Push { from, hops, versions });
    }

    /// Whether there is room for a session that a peer wants; if not, it is told when to come again.
    fn admit(&mut self, from: NodeId, id: SessionId) -> bool {
        let waiting = self.sessions.iter().find(|((node, _), open)| {
            *node == from && open.initiated && open.theirs.is_none() && open.incoming.chunks.is_empty()
        });
        if waiting.is_some() {
            // Both said hello at once: the one with the lower name goes on.
            if self.node() < from {
                return false;
            }
            self.abandon_hello(from);
        }
        let older = self.sessions.iter().find(|((node, _), open)| *node == from && !open.initiated);
        if let Some(key) = older.map(|(key, _)| *key) {
            self.fail(key);
        }
        let inbound = self.sessions.values().filter(|open| !open.initiated).count();
        if inbound < self.config.max_inbound_sessions {
            return true;
        }
        let retry_after_ms = self.rng.between(self.config.busy_retry_ms / 2, self.config.busy_retry_ms);
        self.send(from, &Message::Busy { session: id, retry_after_ms });
        false
    }

    /// Gives up an own hello to this peer that was not answered, because the peer's serves as well.
    fn abandon_hello(&mut self, node: NodeId) {
        let waiting = self.sessions.iter().filter(|((peer, _), open)| {
            *peer == node && open.initiated && open.theirs.is_none() && open.incoming.chunks.is_empty()
        });
        for key in waiting.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end(key);
        }
    }

    /// What a peer knows, from its summary; `None` if it builds on something that is not remembered here.
    fn resolve(&self, node: NodeId, summary: &Summary, knowledge_hash: u64) -> Option<Knowledge> {
        let base = self.peers.get(&node).and_then(|peer| peer.base.as_ref());
        let base_of = |hash: u64| base.filter(|base| base.digest.knowledge == hash);
        match summary {
            Summary::Unchanged => base_of(knowledge_hash).map(|base| (*base.knowledge).clone()),
            // Without a comparison, whatever both are thought to have agreed on is what is known here.
            Summary::Since { added, .. } if sabotage::on(9) => {
                let base = base.map_or_else(|| self.head.knowledge(), |base| &base.knowledge);
                Some(union(base.clone(), added.iter()))
            }
            Summary::Since { base: hash, added } => {
                base_of(*hash).map(|base| union((*base.knowledge).clone(), added.iter()))
            }
            Summary::Full(ranges) => Some(union(Knowledge::new(), ranges.iter())),
        }
    }

    /// What the windows of as many sessions as there may be allow to wait.
    fn max_queued_bytes(&self) -> u64 {
        let sessions = self.config.max_inbound_sessions.saturating_add(self.config.max_outbound_sessions);
        let max_frame = u64::try_from(self.config.max_frame_bytes).unwrap_or(u64::MAX);
        let each = self.config.window_bytes.saturating_add(max_frame);
        u64::try_from(sessions).unwrap_or(u64::MAX).saturating_mul(each)
    }

    fn is_recent(&self, key: SessionKey) -> bool {
        self.peers.get(&key.0).is_some_and(|peer| peer.recent_sessions.contains(&key.1))
    }

    /// Ends the link to a peer that has no business here.
    pub(super) fn drop_link(&mut self, peer: NodeId, why: RejectReason) {
        self.outputs.push_back(Output::Disconnect { from: peer, why });
        self.link_down(peer);
    }
}

/// Dots of which the versions may fit one frame, so that an answer waits for them to be read.
const FEW: u64 = 256;
