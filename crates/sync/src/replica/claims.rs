//! The end of a direction: what its sender knew becomes known here, and what it saw the end of goes.

use reconvene_clock::{Dot, Knowledge, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Applied, Key, Limits, Plan, PlanError, Version};

use super::Replica;
use super::apply::Job;
use super::repair::Repairing;
use super::session::SessionKey;
use crate::ranges::{Ranges, union};
use crate::wire::encoded_bytes;

/// Live versions of some keys that a peer has seen the end of, and what it holds of the same keys: after a change of view
/// that may be outside its claim and unsent, and the drop alone would lose the value if the peer then died.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) dead: Vec<(Key, Vec<Dot>)>,
    pub(super) versions: Vec<(Key, Version)>,
}

impl Verdict {
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.dead.iter().map(|(key, _)| key).chain(self.versions.iter().map(|(key, _)| key))
    }

    /// Plans it, and says how many live versions it drops.
    fn plan(&self, plan: &mut Plan) -> Result<u64, PlanError> {
        let mut dropped = 0_u64;
        for (key, dots) in &self.dead {
            for dot in dots {
                dropped = dropped.saturating_add(plan.drop_dead(key, *dot)?.into());
            }
        }
        for (key, version) in self.versions.iter().filter(|_| !sabotage::on(45)) {
            plan.apply(key.clone(), version.clone())?;
        }
        Ok(dropped)
    }
}

/// The verdicts of one session, to be carried out by the batch that joins its claim.
///
/// A version that was dropped is still known, and what ended it becomes known with the claim alone. A store that does one
/// without the other holds less than whoever knows the same, who will give the dead version back.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts {
    pending: Vec<Verdict>,
    keys: usize,
    bytes: usize,
}

impl Verdicts {
    /// Keeps a verdict, or gives it back if it is too much for one batch with those before it.
    fn keep(&mut self, verdict: Verdict, limits: &Limits) -> Option<Verdict> {
        let keys = self.keys.saturating_add(verdict.keys().count());
        let more = verdict.versions.iter().map(|(key, version)| encoded_bytes(key, version));
        let bytes = more.fold(self.bytes, usize::saturating_add);
        if keys > MAX_PENDING_KEYS.min(limits.batch_rows) || bytes > limits.batch_bytes {
            return Some(verdict);
        }
        (self.keys, self.bytes) = (keys, bytes);
        self.pending.push(verdict);
        None
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pending.iter().flat_map(Verdict::keys)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn take(&mut self) -> Vec<Verdict> {
        std::mem::take(self).pending
    }
}

/// Keys whose rows are read at once to join a claim.
const MAX_PENDING_KEYS: usize = 4_096;

impl Replica {
    /// The keys that are looked up before a claim is joined.
    pub(super) fn keys_of_claim(&self, key: SessionKey) -> Vec<Key> {
        self.sessions.get(&key).map_or(Vec::new(), |session| session.incoming.verdicts.keys().cloned().collect())
    }

    /// Joins what a peer claims, now that all its chunks are in.
    ///
    /// What was put aside is left out; all of it if chunks were. If the peer has collected tombstones that were never seen
    /// here, what they deleted goes in the same batch. All of it is left to a later session if what was put aside hides dots
    /// that have nothing to do with it, or spares versions that one of those tombstones may have ended as well: what ended
    /// a dot that is claimed may be one of them, and not to be known then.
    pub(super) fn join_claim(&mut self, plan: Plan, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(theirs) = session.theirs.as_ref() else { return };
        let Some(claim) = session.incoming.claim.clone().filter(|claim| claim.whole) else {
            self.direction_done(key);
            return;
        };
        let aside = &session.incoming.aside;
        // All that the peer is known to know.
        let all = || union(theirs.clone(), claim.knowledge.iter().flat_map(Ranges::iter));
        if !self.floor_is_covered(&claim.floor) {
            // What a version that was put aside superseded is spared where its key is known, in the repair: it is not
            // dead, though its sender no longer holds it.
            let covered = if aside.hides_all() { Knowledge::new() } else { all() };
            // What others have sent since may be dead as well.
            let since = |seen: &Knowledge| union(Knowledge::new(), self.head.knowledge().missing_from(seen));
            let repaired = session.incoming.floor_repaired.as_ref();
            if repaired.is_none_or(|seen| !since(seen).meet(&covered).is_empty()) {
                if !self.repair_behind_floor(key, covered) {
                    self.fail(key);
                }
                return;
            }
        }
        let mut knowledge = match &claim.knowledge {
            Some(claimed) => aside.claimable(claimed.iter()),
            None => aside.claimable(theirs.missing_from(self.head.knowledge())),
        };
        let mut floor = &claim.floor;
        let none = VectorClock::new();
        let mut verdicts = session.incoming.verdicts.clone();
        if !self.floor_is_covered(floor) {
            if session.incoming.spares || aside.hides_any(all().missing_from(self.head.knowledge())) {
                knowledge = Knowledge::new();
                floor = &none;
                verdicts.clear();
            }
            self.ends_taken = self.ends_taken.saturating_add(1);
        }
        let (verdicts, floor) = (verdicts.take(), floor.clone());
        if let Some(session) = self.sessions.get_mut(&key) {
            session.incoming.verdicts.clear();
        }
        match carry_out(plan, &verdicts, &knowledge, &floor) {
            Ok((plan, dropped)) => {
                self.count_dropped(dropped);
                self.persist(plan.finish(), |_| false);
            }
            Err(PlanError::BatchFull { .. }) if !verdicts.is_empty() => {
                // Then one after the other, and the claim again.
                for verdict in verdicts {
                    self.enqueue(Job::Verdict { key, verdict });
                }
                self.enqueue(Job::Claim { key });
                return;
            }
            Err(error) => {
                self.refused(key.0, &error);
                if !verdicts.is_empty() {
                    self.fail(key);
                    return;
                }
            }
        }
        self.direction_done(key);
    }

    /// Whether everything up to the deletes that a peer has collected was seen here. If not, what they deleted may still
    /// be here, and no tombstone will come to say so.
    fn floor_is_covered(&self, floor: &VectorClock) -> bool {
        self.head.knowledge().vector().dominates(floor)
    }

    /// What the peer knew to be dead is gone from what was known here when the comparison began. If nothing came since that
    /// the peer may know the end of, its claim can be joined.
    pub(super) fn floor_repaired(&mut self, key: SessionKey, seen: Knowledge) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.incoming.floor_repaired = Some(seen);
            session.progressed = self.now;
            self.enqueue(Job::Claim { key });
        }
    }

    /// Whether this store is asking what a peer has seen the end of, or about to drop it. What another gave back meanwhile
    /// would not be noticed; and where one batch does not hold all, this store may hold less than whoever knows the same.
    pub(super) fn is_taking_ends(&self) -> bool {
        self.repairs.values().any(Repairing::asks_behind_floor)
            || self.sessions.values().any(|session| session.incoming.floor_repaired.is_some())
    }

    /// Puts back what a peer that knows the same still holds. Its dots may be known; nothing goes without a live version
    /// that names it.
    ///
    /// If this store has taken ends since the repair began, or takes some now, the peer may hold what is dead here by a
    /// delete that nobody remembers. Then nothing is put back; the next session finds out whether they still differ.
    pub(super) fn apply_restore(
        &mut self,
        mut plan: Plan,
        key: SessionKey,
        asked: bool,
        ends: u64,
        versions: Vec<(Key, Version)>,
    ) {
        if ends != self.ends_taken || self.is_taking_ends() {
            self.end_repair(key, false);
            return;
        }
        let mut restored = 0_u64;
        let mut left = Vec::new();
        for (name, version) in versions {
            let others = plan.siblings(&name).map(|live| live.iter().map(|held| held.dot).collect::<Vec<_>>());
            for dot in others.unwrap_or_default().into_iter().filter(|dot| *dot != version.dot && sabotage::on(32)) {
                drop(plan.drop_dead(&name, dot));
            }
            match plan.restore(name.clone(), version.clone()) {
                Ok(Applied::New | Applied::Concurrent) => restored = restored.saturating_add(1),
                Ok(Applied::Collided) => {
                    restored = restored.saturating_add(1);
                    self.collided(version.dot, key.0);
                }
                Ok(Applied::Known | Applied::Obsolete | Applied::PutAside) => {}
                Err(PlanError::BatchFull { .. }) if restored > 0 => left.push((name, version)),
                Err(error) => self.refused(key.0, &error),
            }
        }
        self.stats.repaired = self.stats.repaired.saturating_add(restored);
        self.persist(plan.finish(), |_| false);
        if restored > 0 {
            self.note_news();
        }
        if !left.is_empty() {
            self.enqueue(Job::Restore { key, asked, ends, versions: left });
        } else if asked {
            self.repair_applied(key);
        }
    }

    /// Takes in what a peer says of some keys: with its claim, if one batch holds both.
    pub(super) fn judged(&mut self, key: SessionKey, verdict: Verdict) {
        let limits = &self.config.store;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        match session.incoming.verdicts.keep(verdict, limits) {
            None => self.repair_applied(key),
            Some(verdict) => self.enqueue(Job::Verdict { key, verdict }),
        }
    }

    /// Carries out a verdict ahead of its claim, since one batch does not hold all.
    pub(super) fn apply_verdict(&mut self, mut plan: Plan, key: SessionKey, verdict: Verdict) {
        match verdict.plan(&mut plan) {
            Ok(dropped) => {
                self.count_dropped(dropped);
                self.persist(plan.finish(), |_| false);
                self.repair_applied(key);
            }
            Err(error) => {
                self.refused(key.0, &error);
                self.end_repair(key, false);
            }
        }
    }

    fn count_dropped(&mut self, dropped: u64) {
        self.ends_taken = self.ends_taken.saturating_add(u64::from(dropped > 0));
        self.stats.dropped_dead = self.stats.dropped_dead.saturating_add(dropped);
    }
}

/// Plans a claim and what has to go before it is joined, and says how many live versions that drops.
fn carry_out(
    mut plan: Plan,
    verdicts: &[Verdict],
    knowledge: &Knowledge,
    floor: &VectorClock,
) -> Result<(Plan, u64), PlanError> {
    let mut dropped = 0_u64;
    for verdict in verdicts {
        dropped = dropped.saturating_add(verdict.plan(&mut plan)?);
    }
    plan.claim(knowledge, floor)?;
    Ok((plan, dropped))
}
