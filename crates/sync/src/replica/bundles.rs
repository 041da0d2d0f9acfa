//! Bundles: made from one frozen view, taken in any order, and believed only when whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{DotRange, Knowledge, NodeId, ReplicaId, Timestamp, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Key, Plan, Record, Version};

use super::apply::Job;
use super::aside::SetAside;
use super::outgoing::{Page, fill_chunk};
use super::{Known, Replica};
use crate::bundle::{BundleError, BundleId, BundleProgress, Fragment, Promise, decode_fragment, encode_fragment};
use crate::ranges::{Ranges, union};
use crate::{Event, Output, Ticket, ViewId, Want};

/// Records of one page; a page also ends at the size of a chunk.
const MAX_RECORDS: usize = 256;
/// The longest that parts of a bundle are remembered: 30 days.
const MAX_TTL_S: u32 = 30 * 24 * 60 * 60;

/// All that a replica remembers of bundles.
#[derive(Clone, Debug, Default)]
pub(super) struct Bundles {
    making: Option<Making>,
    /// What bundles on their way will have taught each destination, and until when that is hoped for.
    sent: BTreeMap<NodeId, (Knowledge, Timestamp)>,
    /// What the makers of bundles that came here knew beyond what they took for known here.
    heard: BTreeMap<NodeId, Knowledge>,
    open: BTreeMap<BundleId, OpenBundle>,
}

impl Bundles {
    /// Whether bundles go to this node, or came from it.
    pub(super) fn are_used_with(&self, node: NodeId) -> bool {
        self.sent.contains_key(&node) || self.heard.contains_key(&node)
    }
}

/// A bundle being made.
#[derive(Clone, Debug)]
struct Making {
    ticket: Ticket,
    to: Option<NodeId>,
    ttl_s: u32,
    budget_bytes: u64,
    view: ViewId,
    known: Known,
    floor: VectorClock,
    base: Knowledge,
    missing: Vec<DotRange>,
    unread: Vec<DotRange>,
    loading: Option<Ticket>,
    ready: VecDeque<(Key, Version)>,
    chunks: Vec<Vec<(Key, Version)>>,
    bytes: u64,
    /// Something was left out, so nothing is claimed.
    partial: bool,
}

/// A bundle of which some fragments were applied.
#[derive(Clone, Debug)]
struct OpenBundle {
    from: ReplicaId,
    count: u32,
    expires: Timestamp,
    applied: BTreeSet<u32>,
    promise: Option<Promise>,
    aside: SetAside,
}

impl OpenBundle {
    fn applied_count(&self) -> u32 {
        u32::try_from(self.applied.len()).unwrap_or(u32::MAX)
    }

    fn is_whole(&self) -> bool {
        self.applied_count() == self.count
    }

    /// Whether it is whole and was cut short by its maker, so that nothing is left to wait for.
    fn claims_nothing(&self) -> bool {
        self.is_whole() && self.promise.as_ref().is_some_and(|promise| promise.claim.is_none())
    }
}

impl Replica {
    /// Begins to make a bundle of what `to` is not known to know; without a destination, of everything.
    pub(super) fn make_bundle(
        &mut self,
        ticket: Ticket,
        to: Option<NodeId>,
        budget_bytes: u64,
        ttl_s: u32,
        again: bool,
    ) {
        if self.bundles.making.is_some() {
            self.outputs.push_back(Output::BundleRefused { ticket, error: BundleError::Busy });
            return;
        }
        let base = to.map_or_else(Knowledge::new, |to| self.base_for(to, again));
        let known = self.known();
        let missing: Vec<DotRange> = known.knowledge.missing_from(&base).collect();
        let view = self.fresh_view();
        self.outputs.push_back(Output::OpenView(view));
        self.bundles.making = Some(Making {
            ticket,
            to,
            ttl_s: ttl_s.min(MAX_TTL_S),
            budget_bytes,
            view,
            known,
            floor: self.head.gc_floor().clone(),
            base,
            unread: missing.clone(),
            missing,
            loading: None,
            ready: VecDeque::new(),
            chunks: Vec::new(),
            bytes: 0,
            partial: false,
        });
        self.go_on_making();
    }

    /// What a destination knows, or will know once the bundles on their way have come.
    fn base_for(&mut self, to: NodeId, again: bool) -> Knowledge {
        let met = self.peers.get(&to).and_then(|peer| peer.base.as_ref());
        let mut base = met.map_or_else(Knowledge::new, |known| (*known.knowledge).clone());
        let now = self.now;
        self.bundles.sent.retain(|node, (_, until)| *until > now && !(again && *node == to));
        let sent = self.bundles.sent.get(&to).map(|(sent, _)| sent);
        for more in sent.into_iter().chain(self.bundles.heard.get(&to)) {
            base.merge(more);
        }
        base
    }

    /// Reads the next page, or ends the bundle.
    fn go_on_making(&mut self) {
        let (chunk_bytes, max_frame) = (self.config.chunk_bytes, self.config.max_frame_bytes);
        let Some(making) = self.bundles.making.as_mut() else { return };
        if !making.unread.is_empty() {
            let ticket = Ticket(self.issued_names.saturating_add(1));
            self.issued_names = ticket.0;
            making.loading = Some(ticket);
            let want = Want::Dots { ranges: making.unread.clone(), max_records: MAX_RECORDS, max_bytes: chunk_bytes };
            self.outputs.push_back(Output::Load { ticket, view: Some(making.view), want });
            return;
        }
        making.cut_chunks(chunk_bytes, max_frame, true);
        if let Some(making) = self.bundles.making.take() {
            self.outputs.push_back(Output::CloseView(making.view));
            self.hand_out(making);
        }
    }

    /// Takes the rows of a page, if they are for the bundle being made.
    pub(super) fn bundle_loaded(&mut self, ticket: Ticket, records: &[Record], more: bool) -> bool {
        let (chunk_bytes, max_frame) = (self.config.chunk_bytes, self.config.max_frame_bytes);
        let Some(making) = self.bundles.making.as_mut().filter(|making| making.loading == Some(ticket)) else {
            return false;
        };
        making.loading = None;
        let page = Page::new(&making.unread, records, more);
        making.unread = page.unread;
        making.ready.extend(page.found);
        making.cut_chunks(chunk_bytes, max_frame, false);
        if page.stuck {
            let (ticket, view) = (making.ticket, making.view);
            self.bundles.making = None;
            self.outputs.push_back(Output::CloseView(view));
            self.outputs.push_back(Output::BundleRefused { ticket, error: BundleError::Unreadable });
        } else {
            self.go_on_making();
        }
        true
    }

    /// Writes the fragments of a bundle that is complete.
    fn hand_out(&mut self, making: Making) {
        let Making { ticket, to, ttl_s, known, floor, base, missing, mut chunks, partial, .. } = making;
        let [high, low] = [self.rng.next(), self.rng.next()];
        let bundle = BundleId::new((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
        let sent: Vec<_> = chunks.iter().flatten().map(|(_, version)| version.dot).collect();
        // The first fragment has a part of its own: what it promises may be long.
        chunks.insert(0, Vec::new());
        let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let promise =
            Promise { base: base.runs().collect(), claim: (!partial).then(|| missing.into_iter().collect()), floor };
        let (network, from, limit) = (self.network_hash(), self.replica(), self.config.max_frame_bytes);
        let fragments = (0..count).zip(chunks).map(|(index, versions)| {
            let promise = (index == 0).then(|| promise.clone());
            encode_fragment(&Fragment { network, from, bundle, index, count, ttl_s, promise, versions }, limit)
        });
        match fragments.collect::<Result<Vec<_>, _>>() {
            Ok(fragments) => {
                if let Some(to) = to {
                    let mut mark = base;
                    if partial {
                        sent.into_iter().for_each(|dot| {
                            mark.add(dot);
                        });
                    } else {
                        mark.merge(&known.knowledge);
                    }
                    let until = self.now.saturating_add(u64::from(ttl_s).saturating_mul(1_000));
                    self.bundles.sent.insert(to, (mark, until));
                }
                self.stats.bundles_made = self.stats.bundles_made.saturating_add(1);
                self.outputs.push_back(Output::BundleReady { ticket, fragments, whole: !partial });
            }
            Err(error) => self.outputs.push_back(Output::BundleRefused { ticket, error: error.into() }),
        }
    }

    /// A fragment was brought from somewhere. Who brought it vouches for it.
    pub(super) fn take_fragment(&mut self, ticket: Ticket, bytes: &[u8]) {
        match self.admit_fragment(bytes) {
            Ok(fragment) => {
                let Fragment { bundle, index, versions, .. } = fragment;
                self.enqueue(Job::Fragment(FragmentJob { ticket, bundle, index, versions }));
            }
            Err(error) => self.outputs.push_back(Output::BundleRefused { ticket, error }),
        }
    }

    /// Checks a fragment against its bundle, which is opened by the first that comes.
    fn admit_fragment(&mut self, bytes: &[u8]) -> Result<Fragment, BundleError> {
        let fragment = decode_fragment(bytes, self.config.max_frame_bytes)?;
        if fragment.network != self.network_hash() {
            return Err(BundleError::OtherNetwork);
        }
        let bundle = fragment.bundle;
        if !self.bundles.open.contains_key(&bundle) && self.bundles.open.len() >= self.config.max_open_bundles {
            let first = self.bundles.open.iter().min_by_key(|(_, open)| open.expires).map(|(bundle, _)| *bundle);
            first.into_iter().for_each(|first| self.forget_bundle(first));
        }
        let expires = self.now.saturating_add(u64::from(fragment.ttl_s.min(MAX_TTL_S)).saturating_mul(1_000));
        let open = self.bundles.open.entry(bundle).or_insert_with(|| OpenBundle {
            from: fragment.from,
            count: fragment.count,
            expires,
            applied: BTreeSet::new(),
            promise: None,
            aside: SetAside::default(),
        });
        let other_promise = fragment.promise.is_some() && open.promise.is_some() && fragment.promise != open.promise;
        if (open.from, open.count) != (fragment.from, fragment.count) || other_promise {
            return Err(BundleError::Contradiction { bundle });
        }
        if let Some(promise) = &fragment.promise {
            open.promise = Some(promise.clone());
        }
        Ok(fragment)
    }

    /// Applies the versions of a fragment; a claim is another matter.
    pub(super) fn apply_fragment(&mut self, plan: Plan, job: FragmentJob) {
        let FragmentJob { ticket, bundle, index, versions } = job;
        // Nobody authenticated the maker, so what is wrong with a version is reported of this very node.
        let result = self.apply_versions(plan, self.node(), versions);
        let hops = self.hop_limit();
        self.push(None, hops, result.urgent);
        // Forgotten while the fragment waited: what it brings stays, and nothing more is known of the bundle.
        let (mut applied, mut fragments) = (0, 0);
        if let Some(open) = self.bundles.open.get_mut(&bundle) {
            result.refused.iter().for_each(|(key, version)| open.aside.put(key, version));
            if result.rest.is_empty() {
                open.applied.insert(index);
            }
            (applied, fragments) = (open.applied_count(), open.count);
        }
        if !result.rest.is_empty() {
            self.put_back(Job::Fragment(FragmentJob { ticket, bundle, index, versions: result.rest }));
            return;
        }
        let claimed = self.join_whole_bundles().contains(&bundle);
        self.outputs.push_back(Output::BundleTaken {
            ticket,
            progress: BundleProgress { bundle, applied, fragments, claimed },
        });
    }

    /// Joins what whole bundles claim, until none can be joined: one may be what another builds on.
    fn join_whole_bundles(&mut self) -> BTreeSet<BundleId> {
        let mut joined = BTreeSet::new();
        while let Some(bundle) = self.bundles.open.iter().find(|(_, open)| self.may_join(open)).map(|(name, _)| *name) {
            let Some(open) = self.bundles.open.remove(&bundle) else { break };
            let Some(Promise { claim: Some(claim), floor, .. }) = open.promise else { continue };
            self.hear(open.from, &claim);
            let mut plan = Plan::new(self.head.clone(), [], [], &self.config.store);
            match plan.claim(&open.aside.claimable(claim.iter()), &floor) {
                Ok(()) => {
                    self.persist(plan.finish(), |_| false);
                    self.note_news();
                    self.stats.bundles_claimed = self.stats.bundles_claimed.saturating_add(1);
                    joined.insert(bundle);
                }
                Err(error) => self.refused(self.node(), &error),
            }
        }
        self.bundles.open.retain(|_, open| !open.claims_nothing());
        joined
    }

    /// Remembers what the maker of a bundle knows, so that bundles for it can leave that out.
    fn hear(&mut self, from: ReplicaId, claim: &Ranges) {
        let Some(node) = self.members.get(from).map(|member| member.node) else { return };
        if self.bundles.heard.contains_key(&node) || self.bundles.heard.len() < self.config.max_peers {
            let heard = self.bundles.heard.entry(node).or_default();
            claim.iter().for_each(|range| {
                heard.add_range(range);
            });
        }
    }

    /// Whether all that a bundle's claim stands on is here: every fragment, what the bundle builds on, and every
    /// tombstone that was collected here.
    fn may_join(&self, open: &OpenBundle) -> bool {
        let Some(promise) = &open.promise else { return false };
        (open.is_whole() || sabotage::on(14))
            && promise.claim.is_some()
            && (self.head.knowledge().covers(&union(Knowledge::new(), promise.base.iter())) || sabotage::on(13))
            && (self.sees_above_floor(&promise.floor) || sabotage::on(42))
    }

    /// Whether every tombstone that the maker has collected was seen here, so that nothing it deleted can be live.
    fn sees_above_floor(&self, floor: &VectorClock) -> bool {
        self.head.knowledge().vector().dominates(floor)
    }

    /// Whether fragments were applied that wait for others.
    pub(super) fn bundle_deadline(&self) -> Option<Timestamp> {
        self.bundles.open.values().map(|open| open.expires).min()
    }

    /// Forgets bundles whose time is over; what they brought stays. One may be joined first, since a session may have
    /// taught what it waited for.
    pub(super) fn watch_bundles(&mut self) {
        self.join_whole_bundles();
        let over = self.bundles.open.iter().filter(|(_, open)| open.expires <= self.now);
        for bundle in over.map(|(bundle, _)| *bundle).collect::<Vec<_>>() {
            self.forget_bundle(bundle);
        }
    }

    fn forget_bundle(&mut self, bundle: BundleId) {
        let Some(open) = self.bundles.open.remove(&bundle) else { return };
        self.notify(Event::BundleExpired { bundle, applied: open.applied_count(), fragments: open.count });
    }
}

/// The versions of a fragment, on their way into the store.
#[derive(Clone, Debug)]
pub(super) struct FragmentJob {
    ticket: Ticket,
    bundle: BundleId,
    index: u32,
    pub(super) versions: Vec<(Key, Version)>,
}

impl Making {
    /// Makes chunks of what was read; the last one may be small.
    fn cut_chunks(&mut self, chunk_bytes: usize, max_frame: usize, all: bool) {
        while !self.ready.is_empty() && (all || self.ready.len() >= MAX_RECORDS) {
            let chunk = fill_chunk(&mut self.ready, chunk_bytes, max_frame);
            let bytes = self.bytes.saturating_add(u64::try_from(chunk.estimated_bytes).unwrap_or(u64::MAX));
            self.partial |= chunk.left_out;
            if bytes > self.budget_bytes {
                self.partial = true;
                self.ready.clear();
                self.unread.clear();
                return;
            }
            self.bytes = bytes;
            self.chunks.extend((!chunk.versions.is_empty()).then_some(chunk.versions));
        }
    }
}
