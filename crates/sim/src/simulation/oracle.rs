//! What must hold, worked out without the code under test.
//!
//! The oracle sees every batch that a store makes durable, every answer that a writer gets, and every crash. Out of that
//! it keeps the set of all versions ever written with their authors, and what each store should hold. It uses no planner,
//! no session and no fingerprint: one version is dead when another one names it, and that is all it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use reconvene_clock::{Counter, Dot, Hlc, Knowledge, ReplicaId};
use reconvene_store::{BLOCK, Batch, Body, Class, Key, Version};

use super::Violation;

/// The global model.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    versions: BTreeMap<Dot, Written>,
    by_key: BTreeMap<Key, Vec<Dot>>,
    /// Tombstones that some store collected.
    settled: BTreeMap<Key, Vec<Version>>,
    stores: Vec<Shadow>,
    last_own: BTreeMap<ReplicaId, (Counter, Hlc)>,
    /// The greatest wall time that each broker ever saw on its own clock.
    walls: Vec<u64>,
    /// How often each broker was opened again.
    openings: Vec<u64>,
    /// Writes that a store lost and may count as numbers it never used, until a peer shows them to it; and values that a
    /// store lost otherwise, of whose contexts it still knows what they replaced.
    doubtful: BTreeSet<Dot>,
    /// Keys of writes that an old copy took for numbers it never used: whoever it told so may hold back or end what those
    /// replaced, and what replaced them. Of these keys no more is asked than that all brokers become equal.
    unsure: BTreeSet<Key>,
    /// Whether a fault took anything from any store.
    lossy: bool,
}

#[derive(Debug)]
struct Written {
    key: Key,
    version: Version,
    acknowledged: bool,
    /// A fault took every copy: it may be gone, or come back from a frame that was on its way.
    lost: bool,
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
struct Shadow {
    records: BTreeMap<Key, Vec<Version>>,
    knowledge: Knowledge,
    replica: Option<ReplicaId>,
    /// It went back to an earlier state under the same name.
    relapsed: bool,
    /// Rows that it cannot read.
    rotten: BTreeSet<Key>,
    /// What it gave up for being unreadable, and others may have been told that it has.
    given_up: BTreeSet<Dot>,
}

/// A batch about to be made durable, as far as it must be looked at afterwards.
#[derive(Debug)]
pub(super) struct Commit {
    own: ReplicaId,
    knowledge: Knowledge,
    rows: Vec<(Key, Vec<Version>, Vec<Dot>)>,
}

impl Commit {
    pub(super) fn of(batch: &Batch) -> Self {
        let row = |row: &reconvene_store::RowChange| {
            let after = row.after().map_or_else(Vec::new, |record| record.siblings().to_vec());
            (row.key().clone(), after, row.added().to_vec())
        };
        Self {
            own: batch.head().identity().replica,
            knowledge: batch.head().knowledge().clone(),
            rows: batch.rows().iter().map(row).collect(),
        }
    }

    /// How many urgent versions it makes live.
    pub(super) fn urgent(&self) -> u64 {
        let added = self.rows.iter().flat_map(|(_, after, added)| {
            after.iter().filter(|version| version.class == Class::URGENT && added.contains(&version.dot))
        });
        u64::try_from(added.count()).unwrap_or(0)
    }
}

impl Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, after, added) in &self.rows {
            let after: Vec<String> = after.iter().map(|version| version.dot.to_string()).collect();
            write!(f, "{key} = [{}] with {} new; ", after.join(" "), added.len())?;
        }
        write!(f, "knows")?;
        for run in self.knowledge.runs() {
            write!(f, " {}:{}-{}", run.replica(), run.first().get(), run.last().get())?;
        }
        Ok(())
    }
}

/// What a commit did, for marks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Did {
    pub(super) replaced: bool,
    pub(super) siblings: bool,
    pub(super) deleted: bool,
    pub(super) deleted_beside: bool,
    pub(super) collapsed: bool,
    pub(super) unknown_class: bool,
    pub(super) cloud: bool,
    pub(super) part: bool,
    pub(super) collected: bool,
    pub(super) dropped_dead: bool,
}

impl Oracle {
    pub(super) fn new(brokers: usize) -> Self {
        Self {
            stores: vec![Shadow::default(); brokers],
            walls: vec![0; brokers],
            openings: vec![0; brokers],
            ..Self::default()
        }
    }

    /// How many versions were written.
    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    pub(super) fn saw_wall(&mut self, node: usize, wall_ms: u64) {
        let seen = &mut self.walls[node];
        *seen = (*seen).max(wall_ms);
    }

    /// A store has made a batch durable.
    pub(super) fn committed(&mut self, node: usize, commit: Commit) -> Result<Did, Violation> {
        let mut did = Did::default();
        let Commit { own, knowledge, rows } = commit;
        let mut keys = Vec::with_capacity(rows.len());
        let grown = rows.is_empty();
        let new = |(key, after, added): &'_ (Key, Vec<Version>, Vec<Dot>)| -> Vec<(Key, Version)> {
            let new = after.iter().filter(|version| added.contains(&version.dot));
            new.map(|version| (key.clone(), version.clone())).collect()
        };
        let mut arrived: Vec<(Key, Version)> = rows.iter().flat_map(new).collect();
        arrived.sort_by_key(|(_, version)| version.dot);
        for (key, version) in &arrived {
            self.arrived(node, own, key, version, &mut did)?;
        }
        let mut ended = false;
        for (key, after, _) in rows {
            self.given_up(node, &key, &after, &knowledge)?;
            ended |= self.removed(node, &key, &after, &mut did)?;
            did.siblings |= after.len() > 1;
            let values = after.iter().filter(|version| version.body.value().is_some()).count();
            did.deleted_beside |= values > 0 && values < after.len();
            if after.is_empty() {
                self.stores[node].records.remove(&key);
            } else {
                self.stores[node].records.insert(key.clone(), after);
            }
            keys.push(key);
        }
        if ended {
            self.mark_lost();
        }
        did.cloud = !knowledge.ranges().is_empty();
        if self.stores[node].replica.replace(own).is_some_and(|before| before != own) {
            self.stores[node].relapsed = false;
        }
        let before = std::mem::replace(&mut self.stores[node].knowledge, knowledge);
        // A store that lost writes takes them out again when it hears of them.
        if !self.lossy && !self.stores[node].knowledge.covers(&before) {
            return Err(Violation::new("S7", format!("broker {node} knows less than before, without a fault")));
        }
        // A claim may teach anything; a chunk or a write teaches of its own keys alone.
        if grown {
            self.check_store(node)?
        } else {
            keys.iter().try_for_each(|key| self.check_key(node, key))?
        }
        Ok(did)
    }

    /// A version became live in a store.
    fn arrived(
        &mut self,
        node: usize,
        own: ReplicaId,
        key: &Key,
        version: &Version,
        did: &mut Did,
    ) -> Result<(), Violation> {
        let dot = version.dot;
        did.unknown_class |= version.class.get() > 3;
        did.collapsed |= !version.context.upto().is_empty();
        if let Some(written) = self.versions.get(&dot) {
            if written.key != *key || written.version != *version {
                let what = format!(
                    "{dot} is {} with {:?} and, at broker {node}, {key} with {version:?}",
                    written.key, written.version
                );
                return Err(Violation::new("S8", what));
            }
            // Known and not live, and now live again: something dead came back.
            // Where stores lost what they knew, repair puts versions back, and deletes that some have collected; what a delete
            // ended stays dead, unless its number was taken for unused: who was told so may still hold what it ended.
            let is_delete = version.body == Body::Tombstone;
            let repaired = self.lossy && (is_delete || !self.is_surely_settled(key, dot)) || self.unsure.contains(key);
            if self.stores[node].knowledge.contains(dot) && !repaired {
                return Err(Violation::new("S5", format!("{dot} of {key} came back to life at broker {node}")));
            }
            return Ok(());
        }
        let retired = format!("sys/retire/{own}/");
        let retired = |key: &Key| key.as_str().is_some_and(|key| key.starts_with(&retired));
        if dot.replica == own && self.stores[node].records.keys().any(retired) {
            return Err(Violation::new(
                "S8",
                format!("broker {node} wrote {dot} under a name that it knows is retired"),
            ));
        }
        if dot.replica != own {
            let what = format!("broker {node} holds {dot} of {key}, which its author never made durable");
            return Err(Violation::new("S6", what));
        }
        if let Some(unseen) = self.ended_unseen(node, key, version) {
            let what = format!("broker {node} wrote {dot} of {key}, which ends {unseen}, and has never seen that");
            return Err(Violation::new("S4", what));
        }
        if let Some((counter, hlc)) = self.last_own.get(&own) {
            if dot.counter <= *counter {
                return Err(Violation::new("S9", format!("broker {node} wrote {dot} after counter {counter}")));
            }
            // Stamps of writes that a store lost without a sign come back only with the writes.
            if version.hlc <= *hlc && !self.stores[node].relapsed {
                return Err(Violation::new("S9", format!("broker {node} stamped {dot} {} after {hlc}", version.hlc)));
            }
        }
        // Each opening begins above the stamps that the store had reserved.
        let reserved_ms = BLOCK * (self.openings[node] + 1);
        if version.hlc.millis() > self.walls[node] + MAX_AHEAD_MS + reserved_ms {
            let (stamp, wall) = (version.hlc, self.walls[node]);
            let what = format!("broker {node} stamped {dot} {stamp}, though its clock never showed more than {wall}");
            return Err(Violation::new("S9", what));
        }
        self.last_own.insert(own, (dot.counter, version.hlc));
        did.deleted |= matches!(version.body, Body::Tombstone);
        did.replaced |= !version.context.is_empty();
        self.by_key.entry(key.clone()).or_default().push(dot);
        let written = Written { key: key.clone(), version: version.clone(), acknowledged: false, lost: false };
        self.versions.insert(dot, written);
        Ok(())
    }

    /// Something that a new write ends, though its writer knew nothing of it: neither itself, nor by what it ends as well.
    fn ended_unseen(&self, node: usize, key: &Key, version: &Version) -> Option<Dot> {
        let known = &self.stores[node].knowledge;
        let of_key = self.by_key.get(key).map_or(&[] as &[Dot], Vec::as_slice);
        let ended = |dot: &&Dot| version.replaces(**dot);
        let names = |by: &Dot, dot: Dot| self.versions.get(by).is_some_and(|by| by.version.replaces(dot));
        let heard = |dot: Dot| of_key.iter().filter(ended).any(|by| known.contains(*by) && names(by, dot));
        of_key.iter().filter(ended).find(|dot| !known.contains(**dot) && !heard(**dot)).copied()
    }

    /// Looks at what was live in a row that could not be read. Whatever of it is gone with nothing in its place must not
    /// count as known: else no session would bring it back.
    fn given_up(&mut self, node: usize, key: &Key, after: &[Version], known: &Knowledge) -> Result<(), Violation> {
        if !self.stores[node].rotten.remove(key) {
            return Ok(());
        }
        let before = self.stores[node].records.get(key).map_or(&[] as &[Version], Vec::as_slice);
        let is_gone = |held: &&Version| !is_accounted(after, held.dot) && !self.is_settled(key, held.dot);
        let gone: Vec<Version> = before.iter().filter(is_gone).cloned().collect();
        let still_known = gone.iter().find(|gone| gone.body.value().is_some() && known.contains(gone.dot));
        if let Some(gone) = still_known {
            let what = format!("broker {node} cannot read {} of {key} any more and counts it as known", gone.dot);
            return Err(Violation::new("S6", what));
        }
        let gone: Vec<Dot> = gone.iter().map(|gone| gone.dot).filter(|dot| !known.contains(*dot)).collect();
        let store = &mut self.stores[node];
        if let Some(before) = store.records.get_mut(key) {
            before.retain(|held| !gone.contains(&held.dot));
        }
        store.given_up.extend(&gone);
        self.lost_copies(&gone);
        Ok(())
    }

    /// A store lost its copies of these. Until others bring them back, what they replaced is known there and nowhere to be
    /// seen; if nobody can, they are lost.
    fn lost_copies(&mut self, dots: &[Dot]) {
        self.lossy = true;
        self.doubtful.extend(dots);
        self.mark_lost();
    }

    /// Marks what no store accounts for any more as lost.
    fn mark_lost(&mut self) {
        // A collected delete that no store has heard of any more, nor dropped anything for, is as lost as if it had never been
        // collected.
        for (key, tombstones) in &mut self.settled {
            let of_key = self.by_key.get(key).map_or(&[] as &[Dot], Vec::as_slice);
            tombstones.retain(|held| {
                let ended = || of_key.iter().filter(|dot| held.replaces(**dot));
                let dropped = |store: &Shadow, dot: Dot| {
                    let live = store.records.get(key).map_or(&[] as &[Version], Vec::as_slice);
                    store.knowledge.contains(dot) && !is_accounted(live, dot)
                };
                let shows =
                    |store: &Shadow| store.knowledge.contains(held.dot) || ended().any(|dot| dropped(store, *dot));
                self.stores.iter().any(shows)
            });
        }
        let mut gone = Vec::new();
        for (dot, written) in self.versions.iter().filter(|(_, written)| !written.lost) {
            let live = |shadow: &Shadow| shadow.records.get(&written.key).is_some_and(|live| is_accounted(live, *dot));
            if !self.is_settled(&written.key, *dot) && !self.stores.iter().any(live) {
                gone.push(*dot);
            }
        }
        for dot in gone {
            if let Some(written) = self.versions.get_mut(&dot) {
                written.lost = true;
            }
        }
    }

    /// Rows of a store cannot be read any more.
    pub(super) fn rotted(&mut self, node: usize, keys: BTreeSet<Key>) {
        self.stores[node].rotten = keys;
    }

    /// Values are gone from a store that takes itself for whole.
    pub(super) fn vanished(&mut self, node: usize, gone: &[(Key, Dot)]) {
        let records = &mut self.stores[node].records;
        for (key, dot) in gone {
            if let Some(live) = records.get_mut(key) {
                live.retain(|held| held.dot != *dot);
            }
        }
        records.retain(|_, live| !live.is_empty());
        self.lost_copies(&gone.iter().map(|(_, dot)| *dot).collect::<Vec<_>>());
    }

    /// Looks at what was live in a row and is no longer. True if some of it was ended by the word of a store that lost its
    /// successor, and may be lost.
    fn removed(&mut self, node: usize, key: &Key, after: &[Version], did: &mut Did) -> Result<bool, Violation> {
        let before = self.stores[node].records.get(key).map_or(&[] as &[Version], Vec::as_slice);
        let (mut collected, mut ended) = (Vec::new(), Vec::new());
        for gone in before.iter().filter(|version| after.iter().all(|kept| kept.dot != version.dot)) {
            if after.iter().any(|kept| kept.replaces(gone.dot)) {
                continue;
            }
            if gone.body.value().is_some() {
                // Repair behind a floor: a peer has seen the end of it, and collected the tombstone since.
                if self.is_settled(key, gone.dot) {
                    did.dropped_dead = true;
                    continue;
                }
                // A store that went back unnoticed has told others that this number is unused.
                if self.is_doubtful(key, gone.dot) || self.unsure.contains(key) {
                    ended.push(gone.dot);
                    continue;
                }
                let what = format!("broker {node} dropped {} of {key}, which nothing there replaces", gone.dot);
                return Err(Violation::new("S1", what));
            }
            collected.push(gone.clone());
        }
        for dot in &ended {
            if let Some(written) = self.versions.get_mut(dot) {
                written.lost = true;
            }
        }
        did.part = !after.is_empty()
            && before.iter().any(|version| after.iter().any(|kept| kept.dot == version.dot))
            && before.len() > 1
            && after.len() > 1;
        for tombstone in &collected {
            if !self.is_settled(key, tombstone.dot) {
                self.check_collected(node, key, tombstone)?;
            }
        }
        if !collected.is_empty() {
            did.collected = true;
            self.settled.entry(key.clone()).or_default().extend(collected);
        }
        Ok(!ended.is_empty())
    }

    /// A tombstone was collected: every member that is known there and not retired has it, or what replaced it.
    fn check_collected(&self, node: usize, key: &Key, tombstone: &Version) -> Result<(), Violation> {
        if self.unsure.contains(key) {
            return Ok(());
        }
        let records = &self.stores[node].records;
        for (at, other) in self.stores.iter().enumerate().filter(|(at, other)| *at != node && !other.relapsed) {
            let Some(replica) = other.replica else { continue };
            let is_member = records.keys().any(|key| key.as_str() == Some(&format!("sys/member/{replica}")));
            let retired = format!("sys/retire/{replica}/");
            let is_retired = records.keys().any(|key| key.as_str().is_some_and(|key| key.starts_with(&retired)));
            let has = other.knowledge.contains(tombstone.dot) || other.given_up.contains(&tombstone.dot);
            if is_member && !is_retired && !has {
                let dot = tombstone.dot;
                let what =
                    format!("broker {node} collected the tombstone {dot} of {key}, which broker {at} has not seen");
                return Err(Violation::new("S5", what));
            }
        }
        Ok(())
    }

    /// A writer was told that its writes are durable.
    pub(super) fn acknowledged(&mut self, node: usize, dots: &[Dot]) -> Result<(), Violation> {
        for dot in dots {
            let durable = self.stores[node].knowledge.contains(*dot);
            // One that a later write of the same batch replaced was never live anywhere.
            let replaced = || self.versions.values().any(|written| written.version.replaces(*dot));
            let known = self.versions.contains_key(dot) || replaced();
            if !durable || !known {
                let what = format!("broker {node} acknowledged {dot}, which its store does not have");
                return Err(Violation::new("S6", what));
            }
            if let Some(written) = self.versions.get_mut(dot) {
                written.acknowledged = true;
            }
        }
        Ok(())
    }

    /// A broker was started again, and its store has this. Without loss it must be what it had made durable.
    pub(super) fn reopened(
        &mut self,
        node: usize,
        replica: ReplicaId,
        knowledge: &Knowledge,
        records: &BTreeMap<Key, Vec<Version>>,
        rotten: BTreeSet<Key>,
        loses: bool,
    ) -> Result<(), Violation> {
        self.openings[node] += 1;
        let shadow = &mut self.stores[node];
        if !loses {
            if !knowledge.covers(&shadow.knowledge) || shadow.records != *records {
                return Err(Violation::new("S6", format!("the store of broker {node} came back with something else")));
            }
            shadow.knowledge = knowledge.clone();
            shadow.replica = Some(replica);
            shadow.rotten = rotten;
            return Ok(());
        }
        self.lossy = true;
        let kept = shadow.replica == Some(replica);
        *shadow = Shadow {
            records: records.clone(),
            knowledge: knowledge.clone(),
            replica: Some(replica),
            relapsed: kept,
            rotten,
            given_up: std::mem::take(&mut shadow.given_up),
        };
        let live = &self.stores[node];
        let is_live = |key: &Key, dot: Dot| live.records.get(key).is_some_and(|held| is_accounted(held, dot));
        for (dot, written) in
            self.versions.iter().filter(|(dot, written)| !written.lost && kept && dot.replica == replica)
        {
            if !is_live(&written.key, *dot) && live.knowledge.contains(*dot) {
                self.doubtful.insert(*dot);
                self.unsure.insert(written.key.clone());
            }
        }
        // Whoever is told that the number of a delete is unused is told that there was no such delete.
        let doubtful = &self.doubtful;
        let of_replica = |held: &Version| kept && held.dot.replica == replica && doubtful.contains(&held.dot);
        self.settled.values_mut().for_each(|tombstones| tombstones.retain(|held| !of_replica(held)));
        self.mark_lost();
        Ok(())
    }

    /// Whether a fault took anything from any store.
    pub(super) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// The replica that a store goes under.
    pub(super) fn replica_of(&self, node: usize) -> Option<ReplicaId> {
        self.stores[node].replica
    }

    /// Whether a store has all that was ever written to a key.
    pub(super) fn has(&self, node: usize, key: &Key) -> bool {
        let dots = self.by_key.get(key).map_or(&[] as &[Dot], Vec::as_slice);
        !dots.is_empty() && dots.iter().all(|dot| self.stores[node].knowledge.contains(*dot))
    }

    /// The tombstones that a store holds without need: all but those which stand for numbers of a replica that is not in use
    /// any more and that no store has.
    pub(super) fn needless_tombstones(&self, node: usize) -> String {
        let live =
            self.stores[node].records.iter().flat_map(|(key, live)| live.iter().map(move |version| (key, version)));
        let left = live.filter(|(_, version)| version.body == Body::Tombstone && !self.has_unseen_end(version));
        left.map(|(key, version)| format!("{} of {key} ", version.dot)).collect()
    }

    /// Whether a collapsed part of a version's context reaches above a number that no store knows, of a replica that no
    /// broker goes by.
    fn has_unseen_end(&self, version: &Version) -> bool {
        let in_use = |end: &Dot| self.stores.iter().any(|store| store.replica == Some(end.replica));
        let is_known = |dot: Dot| self.stores.iter().any(|store| store.knowledge.contains(dot));
        version.context.upto().iter().filter(|end| !in_use(end)).any(|end| {
            let below = (1..=end.counter.get()).filter_map(Counter::new);
            below.map(|counter| Dot::new(end.replica, counter)).any(|dot| !is_known(dot))
        })
    }

    /// Whether everything that a store knows is live there or was replaced by something there.
    pub(super) fn check_store(&self, node: usize) -> Result<(), Violation> {
        self.by_key.keys().try_for_each(|key| self.check_key(node, key))
    }

    fn check_key(&self, node: usize, key: &Key) -> Result<(), Violation> {
        if self.unsure.contains(key) {
            return Ok(());
        }
        let Shadow { records, knowledge, .. } = &self.stores[node];
        let live = records.get(key).map_or(&[] as &[Version], Vec::as_slice);
        for dot in self.by_key.get(key).into_iter().flatten().filter(|dot| knowledge.contains(**dot)) {
            if !is_accounted(live, *dot) && !self.is_settled(key, *dot) && !self.is_doubtful(key, *dot) {
                let what = format!("broker {node} knows {dot} of {key} and holds neither it nor what replaced it");
                return Err(Violation::new("S7", what));
            }
        }
        Ok(())
    }

    /// Whether a dot is one of the doubtful ones, or was replaced by one: whoever was told that those are unused is not
    /// sent them, nor what they replaced.
    fn is_doubtful(&self, key: &Key, dot: Dot) -> bool {
        let of_key = self.by_key.get(key).into_iter().flatten();
        let replaced = |by: &Dot| self.versions.get(by).is_some_and(|by| by.version.replaces(dot));
        self.doubtful.contains(&dot)
            || of_key.filter(|by| **by != dot && replaced(by)).any(|by| self.is_doubtful(key, *by))
    }

    fn is_settled(&self, key: &Key, dot: Dot) -> bool {
        self.settled.get(key).is_some_and(|tombstones| is_accounted(tombstones, dot))
    }

    /// The same by a delete whose number nobody took for unused.
    fn is_surely_settled(&self, key: &Key, dot: Dot) -> bool {
        let settled = self.settled.get(key).into_iter().flatten();
        settled
            .filter(|held| !self.doubtful.contains(&held.dot))
            .any(|held| is_accounted(std::slice::from_ref(held), dot))
    }

    /// What all brokers must hold once they are equal, and that nothing acknowledged is missing or came back.
    pub(super) fn check_end(&self) -> Result<(), Violation> {
        let expected = self.expected();
        for (node, shadow) in self.stores.iter().enumerate() {
            let keys: BTreeSet<&Key> = expected.keys().chain(shadow.records.keys()).collect();
            for key in keys {
                let values = |live: Option<&Vec<Version>>| -> Vec<Dot> {
                    let live = live.into_iter().flatten().filter(|version| version.body.value().is_some());
                    live.map(|version| version.dot).collect()
                };
                let should =
                    if self.unsure.contains(key) { self.stores[0].records.get(key) } else { expected.get(key) };
                let (should, does) = (values(should), values(shadow.records.get(key)));
                if should != does {
                    let what = format!("broker {node} has of {key} {} instead of {}", list(&does), list(&should));
                    return Err(Violation::new("L1", what));
                }
            }
            self.check_acknowledged(node)?;
        }
        Ok(())
    }

    /// The live versions of all stores together.
    fn expected(&self) -> BTreeMap<Key, Vec<Version>> {
        let mut expected: BTreeMap<Key, Vec<Version>> = BTreeMap::new();
        for shadow in &self.stores {
            for (key, live) in &shadow.records {
                let all = expected.entry(key.clone()).or_default();
                for version in live {
                    if all.iter().all(|held| held.dot != version.dot) {
                        all.push(version.clone());
                    }
                }
            }
        }
        for (key, all) in &mut expected {
            let dead: Vec<Dot> = all
                .iter()
                .map(|version| version.dot)
                .filter(|dot| all.iter().any(|other| other.replaces(*dot)) || self.is_surely_settled(key, *dot))
                .collect();
            all.retain(|version| !dead.contains(&version.dot));
            all.sort_by_key(|version| version.dot);
        }
        expected
    }

    fn check_acknowledged(&self, node: usize) -> Result<(), Violation> {
        let records = &self.stores[node].records;
        let sure = |written: &Written| written.acknowledged && !written.lost && !self.unsure.contains(&written.key);
        for (dot, written) in self.versions.iter().filter(|(_, written)| sure(written)) {
            let Written { key, version, .. } = written;
            let live = records.get(key).map_or(&[] as &[Version], Vec::as_slice);
            if !is_accounted(live, *dot) && !self.is_settled(key, *dot) {
                let what =
                    format!("{dot} of {key} was acknowledged, and broker {node} holds neither it nor a successor");
                return Err(Violation::new("S1", what));
            }
            // A tombstone shows nothing; that none stays is another promise. Whoever was told that the number of a delete is
            // unused may have held back what it ended.
            let ends = version.body.value().is_some() || !self.doubtful.contains(dot);
            let shown = |held: &&Version| ends && held.body.value().is_some() && version.replaces(held.dot);
            if let Some(risen) = live.iter().find(shown) {
                let what = format!("{dot} of {key} replaced {}, which broker {node} shows", risen.dot);
                return Err(Violation::new("S5", what));
            }
        }
        Ok(())
    }
}

/// Whether `dot` is one of these, or replaced by one.
fn is_accounted(live: &[Version], dot: Dot) -> bool {
    live.iter().any(|held| held.dot == dot || held.replaces(dot))
}

fn list(dots: &[Dot]) -> String {
    let dots: Vec<String> = dots.iter().map(Dot::to_string).collect();
    format!("[{}]", dots.join(" "))
}

/// How far ahead of its own clock a broker may stamp, for having followed another's: the bound, and room for the carries of
/// many writes at one moment.
const MAX_AHEAD_MS: u64 = 60_000 + 10;
