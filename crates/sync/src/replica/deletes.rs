//! Deletes: who still has to hear of them, and when they are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use reconvene_clock::{Counter, Dot, ReplicaId, Timestamp, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Batch, Body, Key, LocalWrite, Plan, Record, Replaces, Version};

use super::Replica;
use super::apply::Job;
use crate::fact::Acknowledgement;
use crate::{Event, Output, Ticket, Want};

/// The live tombstones, and how far each is from being forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Deletes {
    waiting: BTreeMap<Dot, Waiting>,
    /// Those of `waiting` that the last own acknowledgement did not cover.
    unacknowledged: BTreeSet<Dot>,
    /// The last own acknowledgement that was written down.
    acknowledged: VectorClock,
    /// An acknowledgement waits in the queue.
    acknowledging: bool,
    /// A step of collection waits in the queue.
    collecting: bool,
    /// Somebody has declared more since what everybody has was last worked out.
    moved: bool,
    /// The member last reported to hold collection back.
    reported: Option<ReplicaId>,
    /// The page of the store's tombstones that is being read, after opening, and what it begins behind.
    reading: Option<(Ticket, Option<Dot>)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    key: Key,
    /// The upper ends of its collapsed context: whoever misses one of those may hold what it deleted.
    ends: VectorClock,
    since: Timestamp,
}

/// Tombstones collected by one batch at most.
const COLLECTED_AT_ONCE: usize = 256;
/// Tombstones read by one page after opening.
const READ_AT_ONCE: usize = 1_024;

/// Whether everything that a delete speaks of is within `prefix`.
fn is_within(prefix: &VectorClock, dot: Dot, waiting: &Waiting) -> bool {
    prefix.contains(dot) && prefix.dominates(&waiting.ends)
}

impl Deletes {
    /// Members or what they declared have changed.
    pub(super) fn stability_moved(&mut self) {
        self.moved = true;
    }

    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    fn note(&mut self, now: Timestamp, key: &Key, version: &Version) {
        if version.body != Body::Tombstone {
            return;
        }
        let waiting = Waiting { key: key.clone(), ends: version.context.upto().clone(), since: now };
        if !is_within(&self.acknowledged, version.dot, &waiting) {
            self.unacknowledged.insert(version.dot);
        }
        self.waiting.insert(version.dot, waiting);
        self.moved = true;
    }

    fn forget(&mut self, dot: Dot) {
        self.waiting.remove(&dot);
        self.unacknowledged.remove(&dot);
    }

    /// Whether a new acknowledgement would cover a waiting delete that the last one did not.
    ///
    /// An acknowledgement is itself a write: one for each change of the prefix would answer those of others for ever.
    fn is_due(&self, prefix: &VectorClock) -> bool {
        let covered = |dot: &&Dot| self.waiting.get(*dot).is_some_and(|waiting| is_within(prefix, **dot, waiting));
        !self.acknowledging && self.unacknowledged.iter().find(covered).is_some()
    }

    /// The first of each replica: if not all have it, not all have any later one.
    fn firsts(&self) -> impl Iterator<Item = Dot> {
        let mut from = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (first, _) = self.waiting.range((from, Bound::Unbounded)).next()?;
            from = Bound::Excluded(Dot { counter: Counter::MAX, ..*first });
            Some(*first)
        })
    }

    /// Deletes that everybody has, as many as one batch takes.
    fn settled(&self, stable: &VectorClock) -> Vec<(Dot, Key)> {
        let settled = self.waiting.iter().filter(|(dot, waiting)| is_within(stable, **dot, waiting));
        settled.map(|(dot, waiting)| (*dot, waiting.key.clone())).take(COLLECTED_AT_ONCE).collect()
    }
}

impl Replica {
    /// Reads which tombstones the store holds, after opening.
    pub(super) fn read_tombstones(&mut self, after: Option<Dot>) {
        let ticket = self.fresh_ticket();
        self.deletes.reading = Some((ticket, after));
        let want = Want::Tombstones { after, max_records: READ_AT_ONCE };
        self.outputs.push_back(Output::Load { ticket, view: None, want });
    }

    /// Takes in a page of tombstones; false if the ticket is of something else.
    pub(super) fn tombstones_loaded(&mut self, ticket: Ticket, records: &[Record], more: bool) -> bool {
        let Some((_, after)) = self.deletes.reading.take_if(|(reading, _)| *reading == ticket) else { return false };
        let mut last = after;
        for record in records {
            let behind = |version: &&Version| version.body == Body::Tombstone && after < Some(version.dot);
            last = last.max(record.siblings().iter().find(behind).map(|version| version.dot));
            for version in record.siblings() {
                // One that went while the page was read is found out when it is about to be collected.
                self.deletes.note(self.now, record.key(), version);
            }
        }
        if more && last > after {
            self.read_tombstones(last);
        }
        true
    }

    /// Reads a page of tombstones again, if the ticket is of one.
    pub(super) fn tombstones_again(&mut self, ticket: Ticket) {
        if let Some((_, after)) = self.deletes.reading.take_if(|(reading, _)| *reading == ticket) {
            self.read_tombstones(after);
        }
    }

    /// Notes which tombstones a batch brings and takes.
    pub(super) fn note_deletes(&mut self, batch: &Batch) {
        for row in batch.rows() {
            for dot in row.removed() {
                self.deletes.forget(*dot);
            }
        }
        for (key, version) in batch.versions() {
            self.deletes.note(self.now, key, version);
        }
    }

    /// What belongs to deletes in a round: at most one acknowledgement, and what can be forgotten.
    pub(super) fn tend_deletes(&mut self) {
        if self.deletes.waiting.is_empty() && !sabotage::on(43) {
            return;
        }
        self.acknowledge_deletes();
        self.delete_again();
        self.collect_settled();
        self.report_blocked();
    }

    /// Writes down what is durable here, if that helps a delete to be forgotten.
    fn acknowledge_deletes(&mut self) {
        let moved = sabotage::on(43) && self.deletes.acknowledged != *self.head.knowledge().vector();
        if !self.needs_no_word() && (moved || self.deletes.is_due(self.head.knowledge().vector())) {
            self.deletes.acknowledging = true;
            self.enqueue(Job::Acknowledge);
        }
    }

    fn is_alone(&self) -> bool {
        self.members.counting().all(|replica| replica == self.replica())
    }

    /// Whether everybody who counts learns what is durable here without a fact that says so: nobody else does, or one
    /// that was found equal in a session, whose hellos say as much. Bundles say it by facts alone.
    fn needs_no_word(&self) -> bool {
        let mut others = self.members.counting().filter(|replica| *replica != self.replica());
        let (first, second) = (others.next(), others.next());
        let met = |replica| {
            let node = self.members.get(replica)?.node;
            let peer = self.peers.get(&node)?;
            Some(peer.base.is_some() && peer.replica == Some(replica) && !self.bundles.are_used_with(node))
        };
        second.is_none() && first.is_none_or(|replica| met(replica).unwrap_or(false))
    }

    /// The acknowledgement to write: everything before it in the queue is durable by then, so its prefix is.
    pub(super) fn acknowledgement(&mut self) -> Acknowledgement {
        self.deletes.acknowledging = false;
        Acknowledgement { replica: self.replica(), prefix: self.head.knowledge().vector().clone() }
    }

    /// An own acknowledgement was written down.
    pub(super) fn acknowledged(&mut self, prefix: VectorClock) {
        let Deletes { waiting, unacknowledged, .. } = &mut self.deletes;
        unacknowledged.retain(|dot| waiting.get(dot).is_some_and(|delete| !is_within(&prefix, *dot, delete)));
        self.deletes.acknowledged = prefix;
    }

    /// What every member has, oneself and the unreachable included.
    pub(super) fn stable(&self) -> VectorClock {
        if sabotage::on(6) {
            let is_linked = |replica| {
                let node = self.members.get(replica).map(|member| member.node);
                node.and_then(|node| self.peers.get(&node)).is_some_and(|peer| peer.linked)
            };
            return self.members.stable_among(self.replica(), self.head.knowledge().vector(), is_linked);
        }
        if sabotage::on(7) && self.deletes.waiting.values().any(|waiting| self.is_old(waiting)) {
            return self.head.knowledge().vector().clone();
        }
        self.members.stable(self.replica(), self.head.knowledge().vector())
    }

    /// A delete that has waited for a few rounds: of no account, but to whoever breaks rules.
    fn is_old(&self, waiting: &Waiting) -> bool {
        self.now.saturating_since(waiting.since) >= self.config.sync_interval_ms.saturating_mul(3)
    }

    /// Whether there is a delete that all members may have. Working out what everybody has takes a look at all that was
    /// ever acknowledged; that somebody lacks the first deletes shows at the first who does.
    fn may_have_settled(&self) -> bool {
        let breaks_rules = [6, 7, 16].into_iter().any(sabotage::on);
        breaks_rules || self.deletes.firsts().any(|dot| self.members.lacking(self.replica(), dot).next().is_none())
    }

    /// Begins to forget deletes that everybody has, one bounded step at a time.
    pub(super) fn collect_settled(&mut self) {
        if self.deletes.collecting || (!self.deletes.moved && !sabotage::on(7)) {
            return;
        }
        if !self.may_have_settled() {
            self.deletes.moved = false;
            return;
        }
        let settled = self.deletes.settled(&self.stable());
        // With a full step there may be more.
        self.deletes.moved = settled.len() >= COLLECTED_AT_ONCE;
        if !settled.is_empty() {
            self.deletes.collecting = true;
            self.enqueue(Job::Collect { settled });
        }
    }

    /// Forgets deletes that everybody has.
    pub(super) fn apply_collect(&mut self, mut plan: Plan, settled: &[(Dot, Key)]) {
        let stable = self.stable();
        let collected = plan.collect(&stable);
        if !self.is_alone() {
            plan.settle_unused(&stable);
        }
        self.stats.collected = self.stats.collected.saturating_add(u64::try_from(collected).unwrap_or(u64::MAX));
        for (dot, key) in settled {
            let is_live = plan.siblings(key).is_ok_and(|live| live.iter().any(|version| version.dot == *dot));
            if !is_live {
                self.deletes.forget(*dot);
            } else if collected > 0 {
                // The batch was full.
                self.deletes.moved = true;
            }
        }
        self.persist(plan.finish(), |_| false);
        self.deletes.collecting = false;
        self.collect_settled();
    }

    /// Deletes keys again whose tombstones cannot settle: written by a retired replica, above a hole that nobody can
    /// fill any more. Their heir does it, once, and names the old tombstone exactly. An heir that has something else there
    /// never does; then, after as long again, whoever holds the tombstone. So do they where nobody can be heir: the replica
    /// is no member that anybody knows.
    fn delete_again(&mut self) {
        let patience = self.config.sync_interval_ms.saturating_mul(HOLE_PATIENCE);
        let stuck = self.deletes.waiting.iter().filter(|(dot, waiting)| {
            let heir = self.members.heir_of(dot.replica);
            let counts = self.members.get(dot.replica).is_some() && !self.members.is_retired(dot.replica);
            if heir.is_none() && counts {
                return false;
            }
            let patience = if heir == Some(self.replica()) { patience } else { patience.saturating_mul(2) };
            !self.head.knowledge().vector().contains(**dot) && self.now.saturating_since(waiting.since) >= patience
        });
        let stuck: Vec<(Dot, Key)> = stuck.map(|(dot, waiting)| (*dot, waiting.key.clone())).collect();
        for (dot, key) in stuck {
            // Until it is done, no other attempt.
            if let Some(waiting) = self.deletes.waiting.get_mut(&dot) {
                waiting.since = self.now;
            }
            self.enqueue(Job::DeleteAgain { dot, key });
        }
    }

    /// Replaces one tombstone by an own one, and nothing else of its key.
    pub(super) fn apply_delete_again(&mut self, mut plan: Plan, dot: Dot, key: Key) {
        let version = plan.siblings(&key).ok().and_then(|live| live.iter().find(|version| version.dot == dot).cloned());
        let Some(version) = version.filter(|version| version.body == Body::Tombstone) else { return };
        let hlc = self.stamp();
        let replaces = Replaces::Context(version.seen());
        let write = LocalWrite { key, class: version.class, body: Body::Tombstone, hlc, replaces };
        if plan.write(write).is_ok() {
            self.persist(plan.finish(), |_| false);
            self.note_news();
        }
    }

    /// Says once who holds back a delete that has waited for long.
    fn report_blocked(&mut self) {
        let Some((since, by)) = self.blocked() else {
            self.deletes.reported = None;
            return;
        };
        if self.now.saturating_since(since) >= self.config.blocked_after_ms && self.deletes.reported != Some(by) {
            self.deletes.reported = Some(by);
            self.notify(Event::CollectionBlocked { by, since });
        }
    }

    /// Whether a delete reaches above a hole of a retired replica. A copy of what is missing may still turn up, as a bundle or
    /// an old store, and it would live again if the delete were forgotten: it stays, and no member is to blame.
    fn is_kept_for_hole(&self, waiting: &Waiting) -> bool {
        let prefix = self.head.knowledge().vector();
        waiting.ends.iter().any(|end| self.members.is_retired(end.replica) && !prefix.contains(end))
    }

    /// Since when the oldest delete has been waiting, and a member that holds it back: one that cannot be reached rather
    /// than one that can.
    pub(super) fn blocked(&self) -> Option<(Timestamp, ReplicaId)> {
        let held_back = self.deletes.waiting.iter().filter(|(_, waiting)| !self.is_kept_for_hole(waiting));
        let (dot, waiting) = held_back.min_by_key(|(dot, waiting)| (waiting.since, **dot))?;
        let lacks = |dot| self.members.lacking(self.replica(), dot);
        let lacking: BTreeSet<ReplicaId> = std::iter::once(*dot).chain(waiting.ends.iter()).flat_map(lacks).collect();
        let absent = lacking.iter().find(|replica| {
            let node = self.members.get(**replica).map(|member| member.node);
            node.is_none_or(|node| !self.peers.get(&node).is_some_and(|peer| peer.linked))
        });
        Some((waiting.since, *absent.or_else(|| lacking.first())?))
    }
}

/// Rounds after which a hole below a retired replica's tombstone counts as one that nobody can fill.
const HOLE_PATIENCE: u64 = 5;
