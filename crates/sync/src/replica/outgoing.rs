//! One direction of a session, as its sender sees it: what goes to the peer, from where, and the claim at the end.

use std::collections::{BTreeSet, VecDeque};

use reconvene_clock::{Dot, DotRange, Knowledge, Timestamp, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Fingerprint, Key, Record, Version};

use super::session::SessionKey;
use super::{Known, Replica};
use crate::columns::{Memory, pack, travels_alone};
use crate::message::{Claim, Delta, Message, Part, SessionId, Whole};
use crate::ranges::{Ranges, union};
use crate::wire::encoded_bytes;
use crate::{Event, Output, Ticket, ViewId, Want};

/// What goes to the peer: the live versions of one frozen view whose dots the peer does not know.
#[derive(Clone, Debug)]
pub(super) struct OutgoingDirection {
    view: Option<ViewId>,
    view_since: Timestamp,
    /// What the first view knows: the claim, whichever views are read after it.
    pub(super) known: Known,
    /// What the claim adds to the peer's knowledge.
    missing: Vec<DotRange>,
    /// The floor of the newest view, as far as it is above the peer's prefix: deletes of which no tombstone tells.
    floor: VectorClock,
    /// What the newest view knows, and its fingerprint.
    seen: (Known, Fingerprint),
    left: Left,
    loading: Option<Ticket>,
    /// Versions read and not sent, and about how many bytes they are in a frame.
    ready: VecDeque<(Key, Version)>,
    ready_bytes: usize,
    chunks: u32,
    pub(super) sent_bytes: u64,
    pub(super) applied_bytes: u64,
    pub(super) sent_versions: u64,
    /// Something was left out, so nothing may be claimed.
    partial: bool,
    pub(super) claimed: bool,
}

/// What was not read yet.
#[derive(Clone, Debug)]
enum Left {
    /// Live versions of the view with these dots.
    Dots(Vec<DotRange>),
    /// The view is about to be given up: the keys of these dots are listed before it goes.
    Listing { unread: Vec<DotRange>, keys: BTreeSet<Key> },
    /// Whatever is live under these keys in a later view.
    Keys(BTreeSet<Key>),
}

impl Left {
    fn is_empty(&self) -> bool {
        match self {
            Self::Dots(unread) => unread.is_empty(),
            Self::Listing { .. } => false,
            Self::Keys(keys) => keys.is_empty(),
        }
    }
}

enum Step {
    Chunk(u32, Vec<(Key, Version)>),
    Read(ViewId, Want),
    NextView,
    Claim(Claim),
    /// All of the direction at once.
    Whole(Vec<(Key, Version)>, Claim),
}

/// Records of one page; a page also ends at the size of a chunk.
const MAX_RECORDS: usize = 256;
/// Records of one page of which only the keys are kept.
const MAX_LISTED_RECORDS: usize = 4_096;
/// What a frame of versions holds besides them.
const FRAME_OVERHEAD: usize = 64;

impl Replica {
    /// Freezes a view, and begins to send what it holds beyond the peer's knowledge; unless there is nothing, and that was
    /// `claimed` already.
    pub(super) fn start_sending(&mut self, key: SessionKey, claimed: bool) {
        let known = self.known();
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(theirs) = &session.theirs else { return };
        if session.outgoing.is_some() {
            return;
        }
        let missing: Vec<DotRange> = known.knowledge.missing_from(theirs).collect();
        let floor = floor_above(self.head.gc_floor(), theirs);
        let needed = !missing.is_empty() || !floor.is_empty();
        let view = needed.then(|| self.fresh_view());
        self.outputs.extend(view.map(Output::OpenView));
        let outgoing = OutgoingDirection {
            view,
            view_since: self.now,
            seen: (known.clone(), self.head.fingerprints().root()),
            known,
            floor,
            left: Left::Dots(missing.clone()),
            missing,
            loading: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            chunks: 0,
            sent_bytes: 0,
            applied_bytes: 0,
            sent_versions: 0,
            partial: false,
            claimed,
        };
        if let Some(session) = self.sessions.get_mut(&key) {
            session.outgoing = Some(outgoing);
        }
        if !claimed {
            self.pump(key);
        }
    }

    /// Sends what the peer's window allows, reads more of the view, and claims when all is sent.
    pub(super) fn pump(&mut self, key: SessionKey) {
        while let Some(step) = self.next_step(key) {
            match step {
                Step::Chunk(chunk, versions) => self.send_chunk(key, chunk, versions),
                Step::Read(view, want) => {
                    let ticket = self.fresh_ticket();
                    let Some(outgoing) = self.outgoing(key) else { return };
                    outgoing.loading = Some(ticket);
                    self.loads.insert(ticket, key);
                    self.outputs.push_back(Output::Load { ticket, view: Some(view), want });
                    return;
                }
                Step::NextView => self.next_view(key),
                Step::Whole(versions, claim) => {
                    self.send_whole(key, versions, claim);
                    return;
                }
                Step::Claim(claim) => {
                    self.send_held_back(key);
                    // Behind the floor, the peer will ask what of its own is dead.
                    if claim.floor.is_empty() {
                        self.close_view(key);
                    }
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
        let (chunk_bytes, max_chunks) = (self.config.chunk_bytes, self.config.max_chunks);
        let (max_frame, max_whole) = (self.config.max_frame_bytes, self.config.max_whole_bytes);
        let moving = sabotage::on(8).then(|| self.known());
        let (spent, round_bytes) = (self.schedule.spent_bytes, self.config.round_bytes);
        let session = self.sessions.get_mut(&key)?;
        let window = if sabotage::on(34) { u64::MAX } else { session.window_bytes };
        let theirs = session.theirs.clone().filter(|_| moving.is_some());
        let told = session.told.clone();
        let outgoing = session.outgoing.as_mut()?;
        if outgoing.claimed || outgoing.loading.is_some() {
            return None;
        }
        if outgoing.chunks >= max_chunks || spent >= round_bytes {
            outgoing.leave_out_the_rest();
        }
        if let Some(step) = outgoing.next_read(chunk_bytes) {
            return Some(step);
        }
        if let Some((moving, theirs)) = moving.zip(theirs).filter(|_| outgoing.ready.is_empty()) {
            outgoing.missing = moving.knowledge.missing_from(&theirs).collect();
            outgoing.known = moving;
        }
        if outgoing.ready.is_empty() {
            let claim = outgoing.claim(key.1, &told);
            let held_back = session.held_back.is_some();
            return Some(match claim.is_plain() && held_back && claim.chunks == 0 {
                true => Step::Whole(Vec::new(), claim),
                false => Step::Claim(claim),
            });
        }
        let underway = outgoing.sent_bytes.saturating_sub(outgoing.applied_bytes);
        // A version that is larger than a chunk goes alone, and takes what it takes.
        let first = outgoing.ready.front().map_or(0, |(key, version)| encoded_bytes(key, version));
        let next = outgoing.ready_bytes.min(chunk_bytes).max(first).saturating_add(FRAME_OVERHEAD);
        let next = u64::try_from(next).unwrap_or(u64::MAX);
        if underway > 0 && underway.saturating_add(next) > window {
            return None;
        }
        let estimated_bytes = outgoing.ready_bytes;
        let versions = outgoing.take_chunk(chunk_bytes, max_frame);
        let chunk = outgoing.chunks;
        let all = outgoing.ready.is_empty() && outgoing.left.is_empty() && !versions.is_empty();
        if all && chunk == 0 && estimated_bytes <= max_whole && !sabotage::on(8) {
            let claim = outgoing.claim(key.1, &told);
            if claim.is_plain() {
                return Some(Step::Whole(versions, claim));
            }
        }
        Some(Step::Chunk(chunk, versions))
    }

    fn send_chunk(&mut self, key: SessionKey, chunk: u32, versions: Vec<(Key, Version)>) {
        self.send_held_back(key);
        let count = versions.len();
        let sent = match versions.is_empty() {
            true => None,
            false => self.send_versions(key, chunk, versions),
        };
        self.chunk_sent(key, count, sent);
    }

    /// Sends one chunk, in pieces if it is a single version that is larger than a chunk: smaller frames have their turn
    /// between them. Says how many bytes all frames are.
    fn send_versions(&mut self, key: SessionKey, chunk: u32, versions: Vec<(Key, Version)>) -> Option<u64> {
        let size = self.config.chunk_bytes;
        if let [(name, version)] = &versions[..]
            && encoded_bytes(name, version) > size
            && let Some(parts) = Part::split(key.1, chunk, &pack(&versions).ok()?, size)
        {
            return parts.into_iter().try_fold(0_u64, |sum, part| {
                let sent = self.send(key.0, &Message::Part(part))?;
                Some(sum.saturating_add(sent))
            });
        }
        self.send(key.0, &Message::Delta(Delta { session: key.1, chunk, versions }))
    }

    /// Sends a direction in one frame, with the answer to the hello if that still waits.
    fn send_whole(&mut self, key: SessionKey, versions: Vec<(Key, Version)>, claim: Claim) {
        self.close_view(key);
        let count = versions.len();
        let whole = Whole { session: key.1, knowledge: claim.knowledge, digest: claim.digest, versions };
        let held_back = self.sessions.get_mut(&key).and_then(|session| session.held_back.take());
        let message = match held_back {
            Some(back) => Message::WholeBack(back, whole),
            None => Message::Whole(whole),
        };
        let sent = self.send(key.0, &message);
        self.chunk_sent(key, count, sent.filter(|_| count > 0));
        match self.outgoing(key).filter(|_| sent.is_some()) {
            Some(outgoing) => outgoing.claimed = true,
            // Knowledge that fits no frame: the next session may find it smaller.
            None => self.fail(key),
        }
    }

    /// Sends the answer to the hello, if that still waits for rows.
    fn send_held_back(&mut self, key: SessionKey) {
        if let Some(back) = self.sessions.get_mut(&key).and_then(|session| session.held_back.take()) {
            self.send(key.0, &Message::HelloBack(back));
        }
    }

    /// Keeps account of a chunk that was sent as so many bytes, or not at all.
    fn chunk_sent(&mut self, key: SessionKey, versions: usize, sent: Option<u64>) {
        let count = u64::try_from(versions).unwrap_or(u64::MAX);
        if let Some(bytes) = sent {
            self.stats.records_sent = self.stats.records_sent.saturating_add(count);
            self.schedule.spent_bytes = self.schedule.spent_bytes.saturating_add(bytes);
        }
        let Some(outgoing) = self.outgoing(key) else { return };
        match sent {
            Some(bytes) => {
                outgoing.chunks = outgoing.chunks.saturating_add(1);
                outgoing.sent_bytes = outgoing.sent_bytes.saturating_add(bytes);
                outgoing.sent_versions = outgoing.sent_versions.saturating_add(count);
            }
            None => outgoing.partial = true,
        }
    }

    /// Rows of the view of a session have arrived.
    pub(super) fn view_loaded(&mut self, key: SessionKey, ticket: Ticket, records: &[Record], more: bool) {
        let limit = self.config.max_listed_keys;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.progressed = self.now;
        let theirs = session.theirs.as_ref();
        let Some(outgoing) = session.outgoing.as_mut().filter(|outgoing| outgoing.loading == Some(ticket)) else {
            return;
        };
        outgoing.loading = None;
        outgoing.take_records(records, more, theirs);
        if outgoing.listed() > limit {
            self.notify(Event::LimitReached { limit: "max_listed_keys" });
            self.fail(key);
            return;
        }
        self.pump(key);
    }

    /// Whether a session holds a view that is older than any may be.
    pub(super) fn views_too_old(&self) -> Vec<SessionKey> {
        let old = self.sessions.iter().filter(|(_, open)| {
            let due = open.outgoing.as_ref().and_then(|outgoing| outgoing.view_deadline(self.config.view_max_ms));
            due.is_some_and(|due| due <= self.now)
        });
        old.map(|(key, _)| *key).collect()
    }

    /// Gives up the view of a direction: what is left of it is listed by key, and read from a new one.
    ///
    /// The claim stays that of the first view. Each dot it covers is sent, or was sent, or is no longer live in the new
    /// view, where whatever superseded it is live under the same key and is sent instead.
    pub(super) fn give_up_view(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(outgoing) = self.outgoing(key) else { return };
        outgoing.view_since = now;
        match &mut outgoing.left {
            Left::Dots(unread) => {
                let unread = std::mem::take(unread);
                outgoing.left = Left::Listing { unread, keys: BTreeSet::new() };
            }
            // It took a whole life of a view to list keys; nobody reads that slowly but a store that stands still.
            Left::Listing { .. } => self.fail(key),
            Left::Keys(_) if outgoing.loading.is_none() => self.next_view(key),
            Left::Keys(_) => {}
        }
        self.pump(key);
    }

    /// Goes on in a new view, by the keys that were listed.
    fn next_view(&mut self, key: SessionKey) {
        self.close_view(key);
        let view = self.fresh_view();
        self.outputs.push_back(Output::OpenView(view));
        let now = self.now;
        let seen = (self.known(), self.head.fingerprints().root());
        let theirs = self.sessions.get(&key).and_then(|open| open.theirs.as_ref());
        let floor = theirs.map(|theirs| floor_above(self.head.gc_floor(), theirs)).unwrap_or_default();
        let Some(outgoing) = self.outgoing(key) else { return };
        outgoing.view = Some(view);
        outgoing.view_since = now;
        outgoing.seen = seen;
        outgoing.floor = floor;
        if let Left::Listing { keys, .. } = &mut outgoing.left {
            outgoing.left = Left::Keys(std::mem::take(keys));
        }
    }

    fn outgoing(&mut self, key: SessionKey) -> Option<&mut OutgoingDirection> {
        self.sessions.get_mut(&key)?.outgoing.as_mut()
    }

    pub(super) fn close_view(&mut self, key: SessionKey) {
        let view = self.outgoing(key).and_then(|outgoing| outgoing.view.take());
        self.outputs.extend(view.map(Output::CloseView));
    }
}

impl OutgoingDirection {
    /// The last word, now that all is sent. `told` is what this side said of itself before.
    fn claim(&self, session: SessionId, told: &Known) -> Claim {
        let digest = self.known.digest;
        // Behind a floor the peer drops what this side knows and does not hold: of what was learned since it was told,
        // also that which the peer has known all along.
        let since = || self.known.knowledge.missing_from(&told.knowledge);
        let missing = || self.missing.iter().copied();
        let beyond = (digest.knowledge != told.digest.knowledge).then(|| match self.floor.is_empty() {
            true => missing().collect(),
            false => union(union(Knowledge::new(), missing()), since()).runs().collect(),
        });
        Claim {
            session,
            chunks: self.chunks,
            whole: !self.partial,
            knowledge: if self.partial { Some(Ranges::default()) } else { beyond },
            digest: (digest != told.digest).then_some(digest),
            floor: self.floor.clone(),
        }
    }

    /// The read under way.
    pub(super) fn loading(&self) -> Option<Ticket> {
        self.loading
    }

    /// When the view must be given up; `None` while there is none, or nothing of it is left to read.
    pub(super) fn view_deadline(&self, view_max_ms: u64) -> Option<Timestamp> {
        let reads = self.view.is_some() && !self.claimed && !self.left.is_empty();
        reads.then(|| self.view_since.saturating_add(view_max_ms))
    }

    /// The view that a claim was made from, while it is open: what it knows, and its fingerprint.
    pub(super) fn claimed_view(&self) -> Option<(ViewId, Knowledge, Fingerprint)> {
        let view = self.view.filter(|_| self.claimed)?;
        Some((view, (*self.seen.0.knowledge).clone(), self.seen.1))
    }

    /// The keys that are remembered because their view was given up.
    fn listed(&self) -> usize {
        match &self.left {
            Left::Dots(_) => 0,
            Left::Listing { keys, .. } | Left::Keys(keys) => keys.len(),
        }
    }

    /// Sends no more than was sent, and claims nothing.
    fn leave_out_the_rest(&mut self) {
        self.partial |= !self.ready.is_empty() || !self.left.is_empty();
        self.ready.clear();
        self.ready_bytes = 0;
        self.left = Left::Dots(Vec::new());
    }

    /// What to read before more can be sent.
    fn next_read(&self, chunk_bytes: usize) -> Option<Step> {
        let view = self.view?;
        let want = match &self.left {
            Left::Listing { unread, .. } if unread.is_empty() => return Some(Step::NextView),
            Left::Listing { unread, .. } => {
                Want::Dots { ranges: unread.clone(), max_records: MAX_LISTED_RECORDS, max_bytes: usize::MAX }
            }
            Left::Dots(unread) if !unread.is_empty() && self.ready_bytes < chunk_bytes => {
                Want::Dots { ranges: unread.clone(), max_records: MAX_RECORDS, max_bytes: chunk_bytes }
            }
            Left::Keys(keys) if !keys.is_empty() && self.ready_bytes < chunk_bytes => {
                Want::Keys(keys.iter().take(KEYS_AT_ONCE).cloned().collect())
            }
            Left::Dots(_) | Left::Keys(_) => return None,
        };
        Some(Step::Read(view, want))
    }

    /// The next versions that fit a chunk, at least one.
    fn take_chunk(&mut self, chunk_bytes: usize, max_frame: usize) -> Vec<(Key, Version)> {
        let chunk = fill_chunk(&mut self.ready, chunk_bytes, max_frame);
        self.ready_bytes = self.ready_bytes.saturating_sub(chunk.estimated_bytes);
        self.partial |= chunk.left_out;
        chunk.versions
    }

    /// Takes what was wanted out of a page of records.
    fn take_records(&mut self, records: &[Record], more: bool, theirs: Option<&Knowledge>) {
        match &mut self.left {
            Left::Dots(unread) => {
                let page = Page::new(unread, records, more);
                self.partial |= page.stuck;
                *unread = page.unread;
                self.make_ready(page.found);
            }
            Left::Listing { unread, keys } => {
                let page = Page::new(unread, records, more);
                self.partial |= page.stuck;
                *unread = page.unread;
                keys.extend(page.found.into_iter().map(|(key, _)| key));
            }
            Left::Keys(keys) => {
                let read: Vec<Key> = keys.iter().take(KEYS_AT_ONCE).cloned().collect();
                for key in read {
                    keys.remove(&key);
                }
                let live = records.iter().flat_map(|record| {
                    let new = |version: &&Version| theirs.is_none_or(|theirs| !theirs.contains(version.dot));
                    record.siblings().iter().filter(new).map(|version| (record.key().clone(), version.clone()))
                });
                self.make_ready(live);
            }
        }
    }

    fn make_ready(&mut self, versions: impl IntoIterator<Item = (Key, Version)>) {
        for (key, version) in versions {
            if sabotage::on(37) && version.class > reconvene_store::Class::BULK {
                continue;
            }
            self.ready_bytes = self.ready_bytes.saturating_add(encoded_bytes(&key, &version));
            self.ready.push_back((key, version));
        }
    }
}

/// The versions of one chunk, ascending by dot.
pub(super) struct Chunk {
    pub(super) versions: Vec<(Key, Version)>,
    /// About how many bytes were taken, left out ones included; never less.
    pub(super) estimated_bytes: usize,
    /// A version beyond the frame limit was left out.
    pub(super) left_out: bool,
}

/// Takes the next versions that fit a chunk, at least one if one fits a frame.
pub(super) fn fill_chunk(ready: &mut VecDeque<(Key, Version)>, chunk_bytes: usize, max_frame: usize) -> Chunk {
    let mut versions: Vec<(Key, Version)> = Vec::new();
    let (mut bytes, mut memory) = (FRAME_OVERHEAD, Memory::default());
    let (mut estimated_bytes, mut left_out) = (0_usize, false);
    while let Some(entry) = ready.pop_front() {
        let more = encoded_bytes(&entry.0, &entry.1);
        let alone = versions.is_empty();
        let fits = memory.admit(&entry.0, &entry.1) && bytes.saturating_add(more) <= chunk_bytes.min(max_frame);
        if !alone && !fits {
            ready.push_front(entry);
            break;
        }
        estimated_bytes = estimated_bytes.saturating_add(more);
        if alone && (FRAME_OVERHEAD.saturating_add(more) > max_frame || !travels_alone(&entry)) {
            (left_out, memory) = (true, Memory::default());
            continue;
        }
        bytes = bytes.saturating_add(more);
        versions.push(entry);
    }
    // After a change of view a version may have been read twice, and not in this order.
    ascend_by_dot(&mut versions);
    Chunk { versions, estimated_bytes, left_out }
}

/// Puts versions in the order of their dots, each once. They nearly always are.
fn ascend_by_dot(versions: &mut Vec<(Key, Version)>) {
    versions.sort_by_key(|(_, version)| version.dot);
    versions.dedup_by_key(|(_, version)| version.dot);
}

/// Keys read at once from a later view.
const KEYS_AT_ONCE: usize = 64;

/// The wanted versions of one page of records, which are ordered by their least wanted dot.
pub(super) struct Page {
    /// Ascending by dot.
    pub(super) found: Vec<(Key, Version)>,
    pub(super) unread: Vec<DotRange>,
    /// The page has nothing and is not the last: the driver cannot read on, so nothing may be claimed.
    pub(super) stuck: bool,
}

impl Page {
    pub(super) fn new(wanted: &[DotRange], records: &[Record], more: bool) -> Self {
        let end = |range: &DotRange| Dot::new(range.replica(), range.last());
        let is_wanted = |dot: Dot| {
            let place = wanted.partition_point(|range| end(range) < dot);
            wanted.get(place).is_some_and(|range| range.contains(dot))
        };
        let mut found: Vec<(&Key, &Version)> = Vec::with_capacity(records.len());
        let mut last_listed = None;
        for record in records {
            let before = found.len();
            let here = record.siblings().iter().filter(|version| is_wanted(version.dot));
            found.extend(here.map(|version| (record.key(), version)));
            last_listed = last_listed.max(found.get(before).map(|(_, version)| version.dot));
        }
        // The page is complete up to the greatest of the least dots; what lies beyond comes again.
        let upto = if more { last_listed } else { None };
        let complete = found.into_iter().filter(|(_, version)| upto.is_none_or(|upto| version.dot <= upto));
        let mut found = complete.map(|(key, version)| (key.clone(), version.clone())).collect();
        ascend_by_dot(&mut found);
        Self {
            found,
            unread: match upto {
                Some(upto) => wanted.iter().filter_map(|range| beyond(range, upto)).collect(),
                None => Vec::new(),
            },
            stuck: more && upto.is_none(),
        }
    }
}

/// The part of a floor that a peer has not seen all up to.
pub(super) fn floor_above(floor: &VectorClock, theirs: &Knowledge) -> VectorClock {
    floor.iter().filter(|end| !theirs.vector().contains(*end)).collect()
}

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
