//! Sessions: both directions in one and a half round trips, the claim always last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use reconvene_clock::digest::sip24_64;
use reconvene_clock::{Dot, DotRange, Knowledge, NodeId, Timestamp};
use reconvene_store::{Digest, Key, Record, Version};

use super::aside::SetAside;
use super::{Known, Replica};
use crate::message::{Claim, Delta, Hello, Message, SessionId, Summary, WIRE_VERSION};
use crate::wire::encoded_bytes;
use crate::{Event, Output, Ticket, ViewId, Want};

/// A session has a name of its initiator's choice, so it is told apart by the peer as well.
pub(super) type SessionKey = (NodeId, SessionId);

/// One exchange with one peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) initiated: bool,
    pub(super) started: Timestamp,
    pub(super) progressed: Timestamp,
    /// What this side said of itself in its hello.
    pub(super) told: Known,
    /// What the peer said it knows, once that is clear.
    pub(super) theirs: Option<Knowledge>,
    pub(super) window_bytes: u64,
    /// Bytes of frames of this session, both ways.
    pub(super) bytes: u64,
    pub(super) incoming: IncomingDirection,
    pub(super) outgoing: Option<OutgoingDirection>,
}

/// What the peer sends.
#[derive(Debug, Default)]
pub(super) struct IncomingDirection {
    /// Chunks taken in, applied or about to be.
    pub(super) chunks: BTreeSet<u32>,
    pub(super) applied_chunks: u32,
    pub(super) received_bytes: u64,
    pub(super) applied_bytes: u64,
    pub(super) credited_bytes: u64,
    pub(super) new_versions: u64,
    /// What was not taken in, and must not be claimed.
    pub(super) aside: SetAside,
    pub(super) claim: Option<Claim>,
    pub(super) claim_queued: bool,
    pub(super) done: bool,
}

/// What goes to the peer: the live versions of one frozen view whose dots the peer does not know.
#[derive(Debug)]
pub(super) struct OutgoingDirection {
    view: Option<ViewId>,
    /// What the view knows: the claim.
    pub(super) known: Known,
    /// What the claim adds to the peer's knowledge.
    missing: Vec<DotRange>,
    /// The part of `missing` that was not read yet.
    unread: Vec<DotRange>,
    loading: Option<Ticket>,
    /// Versions read and not sent, ascending by dot, and about how many bytes they are in a frame.
    ready: VecDeque<(Key, Version)>,
    ready_bytes: usize,
    chunks: u32,
    sent_bytes: u64,
    pub(super) applied_bytes: u64,
    pub(super) sent_versions: u64,
    /// Something was left out, so nothing may be claimed.
    partial: bool,
    pub(super) claimed: bool,
}

impl Session {
    pub(super) fn new(initiated: bool, now: Timestamp, told: Known, window_bytes: u64) -> Self {
        Self {
            initiated,
            started: now,
            progressed: now,
            told,
            theirs: None,
            window_bytes,
            bytes: 0,
            incoming: IncomingDirection::default(),
            outgoing: None,
        }
    }
}

impl Replica {
    /// Starts a session with `peer`.
    pub(super) fn say_hello(&mut self, node: NodeId) {
        let id = SessionId(self.rng.next());
        #[cfg(feature = "tracing")]
        tracing::trace!(node = %self.node(), peer = %node, session = id.0, "session starts");
        let known = self.known();
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.last_session = Some(self.now);
        peer.retry_at = None;
        let base = peer.base.as_ref().map(|base| base.digest.knowledge);
        let summary = summary_for(&known, peer.base.as_ref());
        let mut session = Session::new(true, self.now, known, self.config.window_bytes);
        session.bytes = self.send_hello(node, id, &session.told.clone(), base, summary);
        self.sessions.insert((node, id), session);
    }

    /// Says hello again in a session whose first summary built on something the peer does not remember.
    pub(super) fn say_hello_in_full(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let told = session.told.clone();
        let summary = summary_for(&told, None);
        let bytes = self.send_hello(key.0, key.1, &told, None, summary);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.bytes = session.bytes.saturating_add(bytes);
            session.progressed = self.now;
        }
    }

    fn send_hello(&mut self, to: NodeId, id: SessionId, told: &Known, base: Option<u64>, summary: Summary) -> u64 {
        let hello = Message::Hello(Hello {
            network: self.network_hash(),
            from: self.replica(),
            session: id,
            versions: (WIRE_VERSION, WIRE_VERSION),
            capabilities: 0,
            digest: told.digest,
            window_bytes: self.config.window_bytes,
            base,
            summary,
        });
        self.send(to, &hello).unwrap_or(0)
    }

    /// Freezes a view, and begins to send what it holds beyond the peer's knowledge.
    pub(super) fn start_sending(&mut self, key: SessionKey) {
        let known = self.known();
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(theirs) = &session.theirs else { return };
        if session.outgoing.is_some() {
            return;
        }
        let missing: Vec<DotRange> = known.knowledge.missing_from(theirs).collect();
        let view = (!missing.is_empty()).then(|| self.fresh_view());
        self.outputs.extend(view.map(Output::OpenView));
        let outgoing = OutgoingDirection {
            view,
            known,
            unread: missing.clone(),
            missing,
            loading: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            chunks: 0,
            sent_bytes: 0,
            applied_bytes: 0,
            sent_versions: 0,
            partial: false,
            claimed: false,
        };
        if let Some(session) = self.sessions.get_mut(&key) {
            session.outgoing = Some(outgoing);
        }
        self.pump(key);
    }

    /// Sends what the peer's window allows, reads more of the view, and claims when all is sent.
    pub(super) fn pump(&mut self, key: SessionKey) {
        while let Some(step) = self.next_step(key) {
            match step {
                Step::Chunk(chunk, versions) => self.send_chunk(key, chunk, versions),
                Step::Read(view, ranges) => {
                    let ticket = self.fresh_ticket();
                    let Some(outgoing) = self.outgoing(key) else { return };
                    outgoing.loading = Some(ticket);
                    self.loads.insert(ticket, key);
                    let max_bytes = self.config.chunk_bytes;
                    let want = Want::Dots { ranges, max_records: MAX_RECORDS, max_bytes };
                    self.outputs.push_back(Output::Load { ticket, view: Some(view), want });
                    return;
                }
                Step::Claim(claim) => {
                    self.close_view(key);
                    if let Some(outgoing) = self.outgoing(key) {
                        outgoing.claimed = true;
                    }
                    self.send(key.0, &Message::Claim(claim));
                    return;
                }
            }
        }
    }

    fn next_step(&mut self, key: SessionKey) -> Option<Step> {
        let (chunk_bytes, max_chunks, max_frame) =
            (self.config.chunk_bytes, self.config.max_chunks, self.config.max_frame_bytes);
        let session = self.sessions.get_mut(&key)?;
        let window = session.window_bytes;
        let outgoing = session.outgoing.as_mut()?;
        if outgoing.claimed || outgoing.loading.is_some() {
            return None;
        }
        if outgoing.chunks >= max_chunks {
            outgoing.partial |= !outgoing.ready.is_empty() || !outgoing.unread.is_empty();
            outgoing.ready.clear();
            outgoing.ready_bytes = 0;
            outgoing.unread.clear();
        }
        if let (Some(view), Some(_)) = (outgoing.view, outgoing.unread.first())
            && outgoing.ready_bytes < chunk_bytes
        {
            return Some(Step::Read(view, outgoing.unread.clone()));
        }
        if outgoing.ready.is_empty() {
            return Some(Step::Claim(Claim {
                session: key.1,
                chunks: outgoing.chunks,
                whole: !outgoing.partial,
                knowledge: if outgoing.partial { Vec::new() } else { outgoing.missing.clone() },
                digest: outgoing.known.digest,
            }));
        }
        let underway = outgoing.sent_bytes.saturating_sub(outgoing.applied_bytes);
        let next = u64::try_from(outgoing.ready_bytes.min(chunk_bytes)).unwrap_or(u64::MAX);
        if underway > 0 && underway.saturating_add(next) > window {
            return None;
        }
        let versions = outgoing.take_chunk(chunk_bytes, max_frame);
        let chunk = outgoing.chunks;
        Some(Step::Chunk(chunk, versions))
    }

    fn send_chunk(&mut self, key: SessionKey, chunk: u32, versions: Vec<(Key, Version)>) {
        let count = u64::try_from(versions.len()).unwrap_or(u64::MAX);
        let sent = match versions.is_empty() {
            true => None,
            false => self.send(key.0, &Message::Delta(Delta { session: key.1, chunk, versions })),
        };
        if sent.is_some() {
            self.stats.records_sent = self.stats.records_sent.saturating_add(count);
        }
        let Some(outgoing) = self.outgoing(key) else { return };
        match sent {
            Some(bytes) => {
                outgoing.chunks = chunk.saturating_add(1);
                outgoing.sent_bytes = outgoing.sent_bytes.saturating_add(bytes);
                outgoing.sent_versions = outgoing.sent_versions.saturating_add(count);
            }
            None => outgoing.partial = true,
        }
    }

    /// Rows of the view of a session have arrived.
    pub(super) fn view_loaded(&mut self, key: SessionKey, ticket: Ticket, records: &[Record], more: bool) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        let Some(outgoing) = session.outgoing.as_mut().filter(|outgoing| outgoing.loading == Some(ticket)) else {
            return;
        };
        outgoing.loading = None;
        outgoing.take_records(records, more);
        self.pump(key);
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

    /// Goes on after something of the peer's direction was applied.
    pub(super) fn advance(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
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
        let told = session.incoming.claim.as_ref().map(|claim| claim.digest);
        self.send(key.0, &Message::Ack { session: key.1, digest: known.digest });
        if told == Some(known.digest) {
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
            for range in &claim.knowledge {
                theirs.add_range(*range);
            }
        }
        self.start_sending(key);
    }

    /// Both sides hold the same: a later summary may build on it.
    pub(super) fn found_equal(&mut self, node: NodeId, known: Known) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.converged = Some((self.now, Arc::clone(&known.knowledge)));
            peer.base = Some(known);
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
        self.close_view(key);
        let session = self.sessions.remove(&key)?;
        if let Some(ticket) = session.outgoing.as_ref().and_then(|outgoing| outgoing.loading) {
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
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&session.0.to_be_bytes());
        bytes.extend_from_slice(&digest.root.as_u128().to_be_bytes());
        bytes.extend_from_slice(&digest.knowledge.to_be_bytes());
        sip24_64(self.config.network.as_bytes(), &bytes)
    }

    fn outgoing(&mut self, key: SessionKey) -> Option<&mut OutgoingDirection> {
        self.sessions.get_mut(&key)?.outgoing.as_mut()
    }

    fn close_view(&mut self, key: SessionKey) {
        let view = self.outgoing(key).and_then(|outgoing| outgoing.view.take());
        self.outputs.extend(view.map(Output::CloseView));
    }
}

enum Step {
    Chunk(u32, Vec<(Key, Version)>),
    Read(ViewId, Vec<DotRange>),
    Claim(Claim),
}

/// Records of one page; a page also ends at the size of a chunk.
const MAX_RECORDS: usize = 256;
/// Names of finished sessions remembered for each peer.
const RECENT_SESSIONS: usize = 8;

impl OutgoingDirection {
    /// The next versions that fit a chunk, at least one. A version beyond the frame limit is left out.
    fn take_chunk(&mut self, chunk_bytes: usize, max_frame: usize) -> Vec<(Key, Version)> {
        let mut versions = Vec::new();
        let mut bytes = FRAME_OVERHEAD;
        while let Some((key, version)) = self.ready.pop_front() {
            let more = encoded_bytes(&key, &version);
            self.ready_bytes = self.ready_bytes.saturating_sub(more);
            if FRAME_OVERHEAD.saturating_add(more) > max_frame {
                self.partial = true;
                continue;
            }
            if !versions.is_empty() && bytes.saturating_add(more) > chunk_bytes.min(max_frame) {
                self.ready.push_front((key, version));
                self.ready_bytes = self.ready_bytes.saturating_add(more);
                break;
            }
            bytes = bytes.saturating_add(more);
            versions.push((key, version));
        }
        versions
    }

    /// Takes the wanted versions out of a page of records, which are ordered by their least wanted dot.
    fn take_records(&mut self, records: &[Record], more: bool) {
        let end = |range: &DotRange| Dot::new(range.replica(), range.last());
        let wanted = |dot: Dot| {
            let place = self.unread.partition_point(|range| end(range) < dot);
            self.unread.get(place).is_some_and(|range| range.contains(dot))
        };
        let mut found: BTreeMap<Dot, (&Key, &Version)> = BTreeMap::new();
        let mut last_listed = None;
        for record in records {
            let here = record.siblings().iter().filter(|version| wanted(version.dot));
            let here: Vec<&Version> = here.collect();
            last_listed = last_listed.max(here.first().map(|version| version.dot));
            found.extend(here.into_iter().map(|version| (version.dot, (record.key(), version))));
        }
        // The page is complete up to the greatest of the least dots; what lies beyond comes again.
        let upto = if more { last_listed } else { None };
        // A page that has nothing and is not the last: the driver cannot read on, so nothing may be claimed.
        self.partial |= more && upto.is_none();
        for (dot, (key, version)) in found {
            if upto.is_none_or(|upto| dot <= upto) {
                self.ready_bytes = self.ready_bytes.saturating_add(encoded_bytes(key, version));
                self.ready.push_back((key.clone(), version.clone()));
            }
        }
        self.unread = match upto {
            Some(upto) => self.unread.iter().filter_map(|range| beyond(range, upto)).collect(),
            None => Vec::new(),
        };
    }
}

/// What a frame of versions holds besides them.
const FRAME_OVERHEAD: usize = 64;

/// The part of a range behind `dot`.
fn beyond(range: &DotRange, dot: Dot) -> Option<DotRange> {
    match range.replica().cmp(&dot.replica) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Greater => Some(*range),
        std::cmp::Ordering::Equal => {
            let first = range.first().max(dot.counter.checked_next()?);
            DotRange::new(range.replica(), first, range.last())
        }
    }
}

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
