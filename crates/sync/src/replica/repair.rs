//! Repair: two replicas compare what they hold, and each supplies what the other lacks.
//!
//! One side asks and the other answers, one frame at a time. Prints of 256 buckets say which of them differ; lists of the
//! live dots of those, a few buckets at a time, say which versions. The asking side then gives and asks for versions until
//! nothing of these buckets is left. Both read frozen views throughout.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{Dot, Knowledge, NodeId, Timestamp};
use reconvene_store::{Fingerprint, Key, Record, Version};

use super::Replica;
use super::apply::Job;
use super::claims::Verdict;
use super::scan::{Listed, Printer, Prints, Scan, shortened};
use super::session::SessionKey;
use crate::message::{BUCKETS, CODED_REPAIR, MAX_ASKED, Message, Repair, RepairStep, Scope};
use crate::ranges::Ranges;
use crate::sketch::{Cell, Difference, MAX_CELLS, cells_for, cells_of, difference};
use crate::wire::encoded_bytes;
use crate::{Event, Output, RejectReason, Ticket, ViewId, Want};

/// One repair with one peer.
#[derive(Clone, Debug)]
pub(super) struct Repairing {
    /// Whether this side asks.
    asks: bool,
    scope: Scope,
    /// A sketch may go instead of a list.
    coded: bool,
    pub(super) progressed: Timestamp,
    printer: Printer,
    view: ViewId,
    /// Whether the view is this repair's, to be closed with it.
    owns_view: bool,
    /// What [`Replica::ends_taken`] was when the view was opened.
    ends_taken: u64,
    /// What the view knows, and the fingerprint that the store keeps of it.
    knowledge: Knowledge,
    root: Fingerprint,
    /// The asking side behind a floor compares this much: what the sender's claim covers.
    limit: Option<Knowledge>,
    phase: Phase,
    /// The answering side's buckets that differ and were not listed yet.
    unequal: VecDeque<u8>,
    counts: Vec<usize>,
    /// How many buckets differed before any was listed.
    unequal_at_first: usize,
    listed: Listed,
    /// How many cells of a sketch of `listed` were sent.
    sketched: usize,
    /// The cells of the other side's that have come.
    sketch: Vec<Cell>,
    /// The number of the last question.
    asked: u32,
    /// The asking side waits for its answer.
    awaits: bool,
    exchange: Exchange,
}

impl Repairing {
    /// Whether this side asks what of its own a peer has seen the end of.
    pub(super) fn asks_behind_floor(&self) -> bool {
        self.asks && self.scope == Scope::BehindFloor
    }
}

#[derive(Clone, Debug)]
enum Phase {
    /// Reading the view for prints; the answering side has those of the other.
    Printing { scan: Scan, prints: Prints, theirs: Vec<u64> },
    /// Reading the view for a list of some buckets; the asking side has the other's.
    Listing { scan: Scan, theirs: Theirs },
    /// Reading versions to be sent.
    Reading { ticket: Ticket, dots: Vec<Dot>, keys: Vec<Key> },
    /// It is the other side's turn, or the store's.
    Waiting,
}

/// What the answering side said of some buckets.
#[derive(Clone, Debug)]
enum Theirs {
    /// Nothing: this is the answering side.
    Unsaid,
    Dots(Vec<(Dot, u32)>),
    Sketch,
}

/// What the asking side still has to do about the buckets at hand.
#[derive(Clone, Debug, Default)]
struct Exchange {
    /// Dots whose versions are to be asked for.
    fetch: VecDeque<Dot>,
    /// The same by print, where only that is known.
    fetch_prints: VecDeque<u64>,
    /// Dots whose versions the other side lacks.
    give: VecDeque<Dot>,
    /// Live dots that the other side knows and does not hold, by key.
    dead: VecDeque<(Key, Vec<Dot>)>,
    /// What the last question asked for, keys before dots.
    asked_dead: Vec<(Key, Vec<Dot>)>,
    asked_dots: Vec<Dot>,
    asked_prints: Vec<u64>,
    /// Whether more buckets differ.
    more: bool,
}

/// Dots of the buckets that are listed at once; one bucket may have more.
const LISTED_AT_ONCE: usize = 16_384;
/// The same, where a sketch is all that is sent of them.
const SKETCHED_AT_ONCE: usize = 65_536;
/// Repairs under way at once, asking and answering.
const MAX_REPAIRS: usize = 2;
/// About what a cell of a sketch, and a dot of a list, take in a frame.
const CELL_BYTES: usize = 12;
const DOT_BYTES: usize = 6;
/// Keys of one question.
const KEYS_AT_ONCE: usize = 64;

impl Replica {
    /// Asks a peer that knows the same, and may hold something else.
    pub(super) fn repair_divergence(&mut self, key: SessionKey) {
        let (now, interval) = (self.now, self.config.repair_interval_ms);
        if self.is_taking_ends() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&key.0) else { return };
        if peer.repaired_at.is_some_and(|at| at.saturating_add(interval) > now) || self.repairs.len() >= MAX_REPAIRS {
            return;
        }
        peer.repaired_at = Some(now);
        let coded = peer.capabilities & CODED_REPAIR != 0;
        self.open_repair(key, true, Scope::Divergence, coded, None, None, Vec::new());
    }

    /// Whether it is time to compare everything with a peer, after many sessions that took equal hashes for granted.
    pub(super) fn audit_is_due(&mut self, node: NodeId) -> bool {
        let every = self.config.audit_every;
        let Some(peer) = self.peers.get_mut(&node).filter(|_| every > 0) else { return false };
        peer.unaudited = peer.unaudited.saturating_add(1);
        let due = peer.unaudited >= every;
        if due {
            peer.unaudited = 0;
        }
        due
    }

    /// Asks the sender of a claim which live versions of this store were deleted long ago. False if it cannot now.
    pub(super) fn repair_behind_floor(&mut self, key: SessionKey, covered: Knowledge) -> bool {
        if self.repairs.len() >= MAX_REPAIRS || self.repairs.contains_key(&key) {
            return false;
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            // Nothing was dropped yet, so all of it is found again.
            session.incoming.verdicts.clear();
            session.incoming.spares = false;
        }
        // By print alone, a dot with two contents would look as if the other side did not hold it.
        self.open_repair(key, true, Scope::BehindFloor, false, None, Some(covered), Vec::new());
        true
    }

    #[expect(clippy::too_many_arguments, reason = "what two callers on either side know of a repair")]
    fn open_repair(
        &mut self,
        key: SessionKey,
        asks: bool,
        scope: Scope,
        coded: bool,
        view: Option<(ViewId, Knowledge, Fingerprint)>,
        limit: Option<Knowledge>,
        theirs: Vec<u64>,
    ) {
        self.stats.repairs = self.stats.repairs.saturating_add(1);
        let owns_view = view.is_none();
        let (view, knowledge, root) = view.unwrap_or_else(|| {
            let view = self.fresh_view();
            self.outputs.push_back(Output::OpenView(view));
            (view, self.head.knowledge().clone(), self.head.fingerprints().root())
        });
        let repairing = Repairing {
            asks,
            scope,
            coded,
            progressed: self.now,
            printer: Printer::new(self.config.network, key.1),
            view,
            owns_view,
            ends_taken: self.ends_taken,
            phase: Phase::Printing { scan: Scan::new(view, &knowledge), prints: Prints::new(), theirs },
            knowledge,
            root,
            limit,
            unequal: VecDeque::new(),
            counts: Vec::new(),
            unequal_at_first: 0,
            listed: Listed::default(),
            sketched: 0,
            sketch: Vec::new(),
            asked: 0,
            awaits: false,
            exchange: Exchange::default(),
        };
        self.repairs.insert(key, repairing);
        self.scan_on(key);
    }

    /// Reads the next page of a walk, or does what comes after it.
    fn scan_on(&mut self, key: SessionKey) {
        let ticket = self.fresh_ticket();
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let (Phase::Printing { scan, .. } | Phase::Listing { scan, .. }) = &mut repairing.phase else { return };
        if let Some(want) = scan.want() {
            scan.loading = Some(ticket);
            self.outputs.push_back(Output::Load { ticket, view: Some(scan.view), want });
            return;
        }
        match std::mem::replace(&mut repairing.phase, Phase::Waiting) {
            Phase::Printing { prints, theirs, .. } => self.printed(key, prints, &theirs),
            Phase::Listing { theirs, .. } => self.listed(key, theirs),
            Phase::Reading { .. } | Phase::Waiting => {}
        }
    }

    /// Rows were read for a repair; false if the ticket is of something else.
    pub(super) fn repair_loaded(&mut self, ticket: Ticket, records: &[Record], more: bool) -> bool {
        let Some(key) = self.repair_that_reads(ticket) else { return false };
        let network = self.config.network;
        let Some(repairing) = self.repairs.get_mut(&key) else { return true };
        repairing.progressed = self.now;
        match &mut repairing.phase {
            Phase::Printing { scan, prints, .. } => match scan.take(records, more) {
                Some(page) => {
                    prints.add(network, &repairing.printer, repairing.limit.as_ref(), page);
                    self.scan_on(key);
                }
                None => self.end_repair(key, false),
            },
            Phase::Listing { scan, .. } => match scan.take(records, more) {
                Some(page) => {
                    repairing.listed.add(&repairing.printer, page);
                    self.scan_on(key);
                }
                None => self.end_repair(key, false),
            },
            Phase::Reading { dots, keys, .. } => {
                let (dots, keys) = (std::mem::take(dots), std::mem::take(keys));
                repairing.phase = Phase::Waiting;
                if repairing.asks {
                    self.ask(key, &dots, records);
                } else {
                    self.answer(key, &dots, &keys, records);
                }
            }
            Phase::Waiting => {}
        }
        true
    }

    fn repair_that_reads(&self, ticket: Ticket) -> Option<SessionKey> {
        let reads = |repairing: &Repairing| match &repairing.phase {
            Phase::Printing { scan, .. } | Phase::Listing { scan, .. } => scan.loading == Some(ticket),
            Phase::Reading { ticket: reading, .. } => *reading == ticket,
            Phase::Waiting => false,
        };
        self.repairs.iter().find(|(_, repairing)| reads(repairing)).map(|(key, _)| *key)
    }

    /// What a repair wanted to read cannot be read; false if the ticket is of something else.
    pub(super) fn repair_failed(&mut self, ticket: Ticket) -> bool {
        let key = self.repair_that_reads(ticket);
        if let Some(key) = key {
            self.end_repair(key, false);
        }
        key.is_some()
    }

    /// The view was read for prints.
    fn printed(&mut self, key: SessionKey, prints: Prints, theirs: &[u64]) {
        let knowledge = self.known().digest.knowledge;
        let Some(repairing) = self.repairs.get(&key) else { return };
        if prints.root != repairing.root {
            // The rows, or the index that found them, are not what the store keeps prints of.
            self.notify(Event::Damaged { peer: key.0 });
            if !self.repairs.get(&key).is_some_and(may_go_on_damaged) {
                self.send(key.0, &Message::Reject { session: key.1, why: RejectReason::Damaged });
                self.end_repair(key, false);
                return;
            }
        }
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        if repairing.asks {
            let (scope, coded) = (repairing.scope, repairing.coded);
            let prints = prints.buckets.into_iter().map(|print| scope.told_of(print)).collect();
            self.send_repair(key, RepairStep::Buckets { scope, coded, knowledge, prints });
        } else {
            repairing.unequal = prints.unequal(repairing.scope, theirs).into();
            repairing.unequal_at_first = repairing.unequal.len();
            repairing.counts = prints.counts;
            self.list_next(key);
        }
    }

    /// The answering side lists the next buckets that differ, or says that there are none.
    fn list_next(&mut self, key: SessionKey) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let (mut buckets, mut count) = (Vec::new(), 0_usize);
        let at_once = if repairing.coded { SKETCHED_AT_ONCE } else { LISTED_AT_ONCE };
        while let Some(bucket) = repairing.unequal.pop_front() {
            count = count.saturating_add(repairing.counts.get(usize::from(bucket)).copied().unwrap_or(0));
            if count > at_once && !buckets.is_empty() {
                repairing.unequal.push_front(bucket);
                break;
            }
            buckets.push(bucket);
        }
        if buckets.is_empty() {
            self.send_repair(key, RepairStep::Done);
            self.end_repair(key, true);
            return;
        }
        self.list(key, buckets, Theirs::Unsaid);
    }

    fn list(&mut self, key: SessionKey, buckets: Vec<u8>, theirs: Theirs) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        repairing.listed = Listed::of(buckets);
        repairing.sketched = 0;
        repairing.phase = Phase::Listing { scan: Scan::new(repairing.view, &repairing.knowledge), theirs };
        self.scan_on(key);
    }

    /// The view was read for a list.
    fn listed(&mut self, key: SessionKey, theirs: Theirs) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let listed = &repairing.listed;
        let exchange = match theirs {
            Theirs::Unsaid => {
                self.send_list(key);
                return;
            }
            Theirs::Dots(theirs) => match &repairing.limit {
                Some(covered) => {
                    let held = |dot| theirs.binary_search_by_key(&dot, |(dot, _)| *dot).is_ok();
                    let mut exchange = dead_here(listed, held, covered);
                    if let Some(session) = self.sessions.get_mut(&key) {
                        let incoming = &mut session.incoming;
                        incoming.spares |= exchange.spare(|name, dot| incoming.aside.superseded(name, dot));
                    }
                    exchange
                }
                None => lacking(listed, &theirs),
            },
            Theirs::Sketch => match difference(&listed.prints().collect(), repairing.sketch.clone()) {
                Some(found) => told_apart(listed, found),
                None => {
                    self.send_repair(key, RepairStep::List);
                    return;
                }
            },
        };
        let more = repairing.exchange.more;
        repairing.exchange = Exchange { more, ..exchange };
        self.ask_next(key);
    }

    /// The answering side says what it has in the buckets at hand: by cells of a sketch, further ones each time it is
    /// asked, for as long as that is shorter than a list and will do.
    fn send_list(&mut self, key: SessionKey) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let buckets: Vec<u8> = repairing.listed.buckets.iter().copied().collect();
        let before = repairing.sketched;
        let upto = match before {
            0 => cells_for(repairing.differing_in(buckets.len())),
            _ => before.saturating_add(before / 2).saturating_add(16),
        };
        let list_bytes = repairing.listed.dots.len().saturating_mul(DOT_BYTES);
        let coded = repairing.coded && upto <= MAX_CELLS && upto.saturating_mul(CELL_BYTES) < list_bytes;
        let step = match u16::try_from(before) {
            Ok(cells_before) if coded => {
                repairing.sketched = upto;
                let cells = cells_of(repairing.listed.prints(), before..upto);
                RepairStep::Sketch { buckets, before: cells_before, cells, more: !repairing.unequal.is_empty() }
            }
            _ => {
                repairing.shorten_list();
                let listed = &repairing.listed;
                let buckets = listed.buckets.iter().copied().collect();
                let dots = Ranges::of_dots(listed.dots.keys().copied());
                let prints = listed.dots.values().map(|(_, print)| shortened(*print).to_be_bytes()).collect();
                RepairStep::Dots { buckets, dots, prints, more: !repairing.unequal.is_empty() }
            }
        };
        if !self.send_repair(key, step) {
            self.end_repair(key, false);
        }
    }

    /// Cells of a sketch have come. Those behind the first need no second look at the view.
    fn take_cells(&mut self, key: SessionKey, buckets: Vec<u8>, before: usize, cells: Vec<Cell>) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        if before == 0 {
            repairing.sketch = cells;
            self.list(key, buckets, Theirs::Sketch);
        } else if before == repairing.sketch.len() && repairing.listed.buckets.iter().eq(&buckets) {
            repairing.sketch.extend(cells);
            if repairing.sketch.len() > MAX_CELLS {
                self.end_repair(key, false);
            } else {
                self.listed(key, Theirs::Sketch);
            }
        }
    }

    /// The asking side reads what it has to give, and then asks; or goes on to the next buckets.
    fn ask_next(&mut self, key: SessionKey) {
        let ticket = self.fresh_ticket();
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let exchange = &mut repairing.exchange;
        if exchange.is_empty() {
            if exchange.more {
                self.send_repair(key, RepairStep::Next);
            } else {
                self.send_repair(key, RepairStep::Done);
                self.end_repair(key, true);
            }
            return;
        }
        let dots: BTreeSet<Dot> = exchange.give.iter().take(KEYS_AT_ONCE).copied().collect();
        let keys: BTreeSet<Key> =
            dots.iter().filter_map(|dot| repairing.listed.dots.get(dot)).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            self.ask(key, &dots.into_iter().collect::<Vec<_>>(), &[]);
            return;
        }
        repairing.phase = Phase::Reading { ticket, dots: dots.into_iter().collect(), keys: Vec::new() };
        self.outputs.push_back(Output::Load {
            ticket,
            view: Some(repairing.view),
            want: Want::Keys(keys.into_iter().collect()),
        });
    }

    /// Gives what was read, and asks.
    fn ask(&mut self, key: SessionKey, dots: &[Dot], records: &[Record]) {
        let limit = self.config.chunk_bytes;
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let exchange = &mut repairing.exchange;
        let (mut given, mut bytes) = (BTreeMap::new(), 0_usize);
        let mut left = BTreeSet::new();
        for record in records {
            for version in record.siblings().iter().filter(|version| dots.contains(&version.dot)) {
                bytes = bytes.saturating_add(encoded_bytes(record.key(), version));
                if bytes > limit && !given.is_empty() {
                    left.insert(version.dot);
                } else {
                    given.insert(version.dot, (record.key().clone(), version.clone()));
                }
            }
        }
        // What did not fit goes with the next question; what the view does not have after all goes never.
        exchange.give.retain(|dot| !dots.contains(dot) || left.contains(dot));
        let count = exchange.dead.len().min(KEYS_AT_ONCE);
        exchange.asked_dead = exchange.dead.drain(..count).collect();
        let count = exchange.fetch.len().min(MAX_ASKED);
        exchange.asked_dots = exchange.fetch.drain(..count).collect();
        exchange.asked_dots.sort_unstable();
        let count = exchange.fetch_prints.len().min(MAX_ASKED);
        exchange.asked_prints = exchange.fetch_prints.drain(..count).collect();
        let keys = exchange.asked_dead.iter().map(|(key, _)| key.clone()).collect();
        let (dots, prints) = (exchange.asked_dots.clone(), exchange.asked_prints.clone());
        let given: Vec<_> = given.into_values().collect();
        self.stats.repaired = self.stats.repaired.saturating_add(u64::try_from(given.len()).unwrap_or(u64::MAX));
        repairing.asked = repairing.asked.wrapping_add(1);
        repairing.awaits = true;
        let number = repairing.asked;
        if !self.send_repair(key, RepairStep::Ask { number, dots, prints, keys, given }) {
            self.end_repair(key, false);
        }
    }

    /// The answering side sends what was asked for, as much as fits a chunk.
    fn answer(&mut self, key: SessionKey, dots: &[Dot], keys: &[Key], records: &[Record]) {
        let limit = self.config.chunk_bytes;
        let by_key: BTreeMap<&Key, &Record> = records.iter().map(|record| (record.key(), record)).collect();
        let (mut versions, mut bytes, mut covered) = (BTreeMap::new(), 0_usize, 0_u32);
        let Some(repairing) = self.repairs.get(&key) else { return };
        let by_keys = keys.iter().map(|key| by_key.get(key).map_or(Vec::new(), |record| live(record, |_| true)));
        let by_dots = dots.iter().map(|dot| {
            let record = repairing.listed.dots.get(dot).and_then(|(key, _)| by_key.get(key));
            record.map_or(Vec::new(), |record| live(record, |version| version.dot == *dot))
        });
        for item in by_keys.chain(by_dots) {
            let more = item.iter().map(|(key, version)| encoded_bytes(key, version)).fold(0, usize::saturating_add);
            bytes = bytes.saturating_add(more);
            if bytes > limit && covered > 0 {
                break;
            }
            covered = covered.saturating_add(1);
            versions.extend(item.into_iter().map(|(key, version)| (version.dot, (key, version))));
        }
        let versions = versions.into_values().collect();
        let number = repairing.asked;
        if !self.send_repair(key, RepairStep::Answer { number, covered, versions }) {
            self.end_repair(key, false);
        }
    }

    /// One frame of a repair.
    pub(super) fn on_repair(&mut self, from: NodeId, repair: Repair) {
        let key = (from, repair.session);
        if let RepairStep::Buckets { scope, coded, knowledge, prints } = repair.step {
            self.answer_buckets(key, scope, coded, knowledge, prints);
            return;
        }
        let now = self.now;
        let Some(repairing) = self.repairs.get_mut(&key).filter(|open| matches!(open.phase, Phase::Waiting)) else {
            return;
        };
        repairing.progressed = now;
        self.touch(key);
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        match (repairing.asks, repair.step) {
            (true, RepairStep::Dots { buckets, dots, prints, more }) => {
                repairing.exchange.more = more;
                let prints = prints.into_iter().map(u32::from_be_bytes);
                self.list(key, buckets, Theirs::Dots(dots.dots().zip(prints).collect()));
            }
            (true, RepairStep::Sketch { buckets, before, cells, more }) if repairing.coded => {
                repairing.exchange.more = more;
                self.take_cells(key, buckets, before.into(), cells);
            }
            (false, RepairStep::List) => self.send_list(key),
            (true, RepairStep::Answer { number, covered, versions }) => {
                // One that comes twice, or to a question before, says nothing of what was asked now.
                if number == repairing.asked && std::mem::take(&mut repairing.awaits) {
                    self.answered(key, covered, versions);
                }
            }
            (_, RepairStep::Done) => self.end_repair(key, true),
            (false, RepairStep::Next) => self.list_next(key),
            (false, RepairStep::Ask { number, mut dots, prints, keys, given }) => {
                let ends = repairing.ends_taken;
                let ticket = self.fresh_ticket();
                if !given.is_empty() {
                    self.enqueue(Job::Restore { key, asked: false, ends, versions: given });
                }
                let Some(repairing) = self.repairs.get_mut(&key) else { return };
                dots.extend(repairing.listed.named_by(&prints));
                let of_dots = dots.iter().filter_map(|dot| repairing.listed.dots.get(dot)).map(|(key, _)| key.clone());
                let wanted: BTreeSet<Key> = keys.iter().cloned().chain(of_dots).collect();
                let view = repairing.view;
                repairing.asked = number;
                repairing.phase = Phase::Reading { ticket, dots, keys };
                self.outputs.push_back(Output::Load {
                    ticket,
                    view: Some(view),
                    want: Want::Keys(wanted.into_iter().collect()),
                });
            }
            // A peer that mixes up the sides, or sends what was not asked for.
            (true, RepairStep::Sketch { .. })
            | (true, RepairStep::Next | RepairStep::List | RepairStep::Ask { .. })
            | (false, RepairStep::Dots { .. } | RepairStep::Sketch { .. } | RepairStep::Answer { .. })
            | (_, RepairStep::Buckets { .. }) => {}
        }
    }

    /// A peer wants to compare.
    fn answer_buckets(&mut self, key: SessionKey, scope: Scope, coded: bool, knowledge: u64, prints: Vec<u64>) {
        let known = self.known();
        let verified = self.peers.get(&key.0).is_some_and(|peer| peer.verified);
        if !verified || prints.len() != BUCKETS || self.repairs.contains_key(&key) {
            return;
        }
        if self.repairs.len() >= MAX_REPAIRS {
            let retry_after_ms = self.config.busy_retry_ms;
            self.send(key.0, &Message::Busy { session: key.1, retry_after_ms });
            return;
        }
        match scope {
            // Whoever has moved on since has nothing to compare: a session says what is new. Nor has who is about to.
            Scope::Divergence if knowledge != known.digest.knowledge || self.is_taking_ends() => {
                self.send_repair(key, RepairStep::Done);
            }
            Scope::Divergence => self.open_repair(key, false, scope, coded, None, None, prints),
            Scope::BehindFloor => {
                let view = self.sessions.get(&key).and_then(|open| open.outgoing.as_ref()?.claimed_view());
                if let Some(view) = view {
                    self.open_repair(key, false, scope, coded, Some(view), None, prints);
                }
            }
        }
    }

    /// What was asked for has come.
    fn answered(&mut self, key: SessionKey, covered: u32, versions: Vec<(Key, Version)>) {
        let Some(repairing) = self.repairs.get_mut(&key) else { return };
        let exchange = &mut repairing.exchange;
        let covered = usize::try_from(covered).unwrap_or(usize::MAX);
        let asked = exchange.asked_dead.len().saturating_add(exchange.asked_dots.len());
        let asked = asked.saturating_add(exchange.asked_prints.len());
        if covered == 0 && asked > 0 {
            self.end_repair(key, false);
            return;
        }
        let of_keys = covered.min(exchange.asked_dead.len());
        let mut dead = std::mem::take(&mut exchange.asked_dead);
        let again = dead.split_off(of_keys);
        exchange.dead.extend(again);
        let mut dots = std::mem::take(&mut exchange.asked_dots);
        let of_dots = covered.saturating_sub(of_keys).min(dots.len());
        let again = dots.split_off(of_dots);
        exchange.fetch.extend(again);
        let mut prints = std::mem::take(&mut exchange.asked_prints);
        let of_prints = covered.saturating_sub(of_keys).saturating_sub(of_dots).min(prints.len());
        let again = prints.split_off(of_prints);
        exchange.fetch_prints.extend(again);
        match repairing.scope {
            Scope::BehindFloor => self.judged(key, Verdict { dead, versions }),
            Scope::Divergence => {
                let ends = repairing.ends_taken;
                self.enqueue(Job::Restore { key, asked: true, ends, versions });
            }
        }
    }

    /// What came of an answer is durable, or will be with the claim.
    pub(super) fn repair_applied(&mut self, key: SessionKey) {
        self.touch(key);
        if let Some(repairing) = self.repairs.get_mut(&key) {
            repairing.progressed = self.now;
            self.ask_next(key);
        }
    }

    /// The session that a repair belongs to is not idle.
    fn touch(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.progressed = self.now;
        }
    }

    /// Ends a repair. The claim that waited for it is joined if it went through, and void otherwise.
    pub(super) fn end_repair(&mut self, key: SessionKey, done: bool) {
        let Some(repairing) = self.repairs.remove(&key) else { return };
        if repairing.owns_view {
            self.outputs.push_back(Output::CloseView(repairing.view));
        }
        if repairing.asks_behind_floor() {
            if done {
                self.floor_repaired(key, repairing.knowledge);
            } else {
                self.fail(key);
            }
        }
    }

    /// A session ends, and with it the repair that belongs to it.
    pub(super) fn abandon_repair(&mut self, key: SessionKey) {
        let ends = self.repairs.get(&key).is_some_and(|repairing| repairing.scope == Scope::BehindFloor);
        if let Some(repairing) = self.repairs.remove(&key).filter(|_| ends)
            && repairing.owns_view
        {
            self.outputs.push_back(Output::CloseView(repairing.view));
        }
    }

    /// Drops repairs that stand still.
    pub(super) fn watch_repairs(&mut self) {
        let idle = self.config.session_idle_ms;
        let stuck = self.repairs.iter().filter(|(_, open)| open.progressed.saturating_add(idle) <= self.now);
        for key in stuck.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end_repair(key, false);
        }
    }

    fn send_repair(&mut self, key: SessionKey, step: RepairStep) -> bool {
        let sent = self.send(key.0, &Message::Repair(Repair { session: key.1, step }));
        self.stats.repair_bytes = self.stats.repair_bytes.saturating_add(sent.unwrap_or(0));
        sent.is_some()
    }
}

/// About how many versions differ, if so many of the buckets do. Rather more: x / (1 - x) is above -ln(1 - x).
fn estimate(unequal: usize) -> usize {
    unequal.saturating_mul(BUCKETS).checked_div(BUCKETS.saturating_sub(unequal)).unwrap_or(usize::MAX)
}

impl Repairing {
    /// About how many versions differ in so many of the buckets that do.
    fn differing_in(&self, buckets: usize) -> usize {
        let part = estimate(self.unequal_at_first).saturating_mul(buckets);
        part.div_ceil(self.unequal_at_first.max(1)).min(self.listed.dots.len())
    }

    /// Leaves for later what a list of all the buckets at hand would be too long for.
    fn shorten_list(&mut self) {
        let count = |bucket: &u8| self.counts.get(usize::from(*bucket)).copied().unwrap_or(0);
        let mut sum = 0_usize;
        let later: Vec<u8> = self
            .listed
            .buckets
            .iter()
            .copied()
            .skip_while(|bucket| {
                let first = sum == 0;
                sum = sum.saturating_add(count(bucket));
                first || sum <= LISTED_AT_ONCE
            })
            .collect();
        if later.is_empty() {
            return;
        }
        let printer = self.printer;
        self.listed.dots.retain(|_, (key, _)| !later.contains(&printer.bucket(key)));
        self.listed.buckets.retain(|bucket| !later.contains(bucket));
        for bucket in later.into_iter().rev() {
            self.unequal.push_front(bucket);
        }
    }
}

impl Exchange {
    /// Leaves some of the dead live, and says whether there are any.
    fn spare(&mut self, spared: impl Fn(&Key, Dot) -> bool) -> bool {
        let mut any = false;
        for (key, dots) in &mut self.dead {
            let before = dots.len();
            dots.retain(|dot| !spared(key, *dot));
            any |= dots.len() < before;
        }
        self.dead.retain(|(_, dots)| !dots.is_empty());
        any
    }

    fn is_empty(&self) -> bool {
        self.fetch.is_empty() && self.fetch_prints.is_empty() && self.give.is_empty() && self.dead.is_empty()
    }
}

/// Whether a side whose rows and prints do not agree may go on: never to say what is dead.
fn may_go_on_damaged(repairing: &Repairing) -> bool {
    repairing.asks || repairing.scope == Scope::Divergence
}

fn live(record: &Record, wanted: impl Fn(&Version) -> bool) -> Vec<(Key, Version)> {
    let wanted = record.siblings().iter().filter(|version| wanted(version));
    wanted.map(|version| (record.key().clone(), version.clone())).collect()
}

/// What each side lacks of what the other holds. A dot that both hold with different contents goes both ways.
fn lacking(own: &Listed, theirs: &[(Dot, u32)]) -> Exchange {
    let held: BTreeMap<Dot, u32> = theirs.iter().copied().collect();
    let differs = |dot: &Dot, print: u32, other: Option<u32>| (other != Some(print)).then_some(*dot);
    let give = own.dots.iter().filter_map(|(dot, (_, print))| differs(dot, shortened(*print), held.get(dot).copied()));
    let fetch = theirs
        .iter()
        .filter_map(|(dot, print)| differs(dot, *print, own.dots.get(dot).map(|(_, print)| shortened(*print))));
    Exchange { fetch: fetch.collect(), give: give.collect(), ..Exchange::default() }
}

/// The same by prints, of which each content has its own.
fn told_apart(own: &Listed, found: Difference) -> Exchange {
    let only_here = own.dots.iter().filter(|(_, (_, print))| found.own.contains(print));
    let give = only_here.map(|(dot, _)| *dot).collect();
    Exchange { fetch_prints: found.theirs.into_iter().collect(), give, ..Exchange::default() }
}

/// The live dots here that the other side knows and does not hold: it has seen the end of them.
fn dead_here(own: &Listed, lives: impl Fn(Dot) -> bool, covered: &Knowledge) -> Exchange {
    let mut dead: BTreeMap<Key, Vec<Dot>> = BTreeMap::new();
    for (dot, (key, _)) in &own.dots {
        if covered.contains(*dot) && !lives(*dot) {
            dead.entry(key.clone()).or_default().push(*dot);
        }
    }
    Exchange { dead: dead.into_iter().collect(), ..Exchange::default() }
}
