//! The planner: what a write or a replicated version changes. Pure, and shared by every backend.

mod aside;
mod collect;
mod identity;
mod quota;
mod repair;
mod rows;

pub use self::quota::MAX_QUOTAS;
pub use self::repair::MAX_EVIDENCE;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{ClockError, Counter, Dot, Height, Hlc, Knowledge, ReplicaId, VectorClock};

use self::rows::{Row, Rows};
use crate::batch::Dots;
use crate::fingerprint::Printer;
use crate::record::{Cell, Live, context_of, row_bytes, version_in};
use crate::sabotage;
use crate::version::is_tombstone;
use crate::{Batch, Body, Class, Fact, FactKind, Head, Key, KeyContext, Limits, PlanError, Record, RowChange, Version};

/// What a local write replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a write knows what it saw, or takes what is there")]
pub enum Replaces {
    /// Every live version of the key.
    #[default]
    AllLive,
    /// What was seen when the key was read: [`Record::context`] or [`Version::seen`]. Versions that it leaves out stay
    /// as siblings.
    Context(KeyContext),
}

/// A write of this replica. The planner gives it its dot, context and height.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct LocalWrite {
    /// Where.
    pub key: Key,
    /// How urgently it travels.
    pub class: Class,
    /// What it says.
    pub body: Body,
    /// The writer's hybrid clock.
    pub hlc: Hlc,
    /// What it replaces.
    pub replaces: Replaces,
}

/// What became of a replicated version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are the cases of the apply rules")]
pub enum Applied {
    /// It is live and alone on its key.
    New,
    /// It is live beside siblings.
    Concurrent,
    /// Its dot was known before: it is live already, or was replaced.
    Known,
    /// Its dot is known now, but a live version replaces it.
    Obsolete,
    /// A live version has its dot and another content: somebody gave one dot to two writes. The one with the lesser
    /// content hash is live now, here and wherever both arrive; the other is kept as evidence, and what either replaced
    /// is gone. If the dot is this replica's own, its identity is frozen.
    Collided,
    /// Its row would be larger than any may be: it was put aside, and neither its dot nor what its context names becomes
    /// known, by a claim either.
    PutAside,
}

/// Works out one [`Batch`] from a head, the rows of the touched keys, and the writes and versions to put there.
///
/// Every call sees what the calls before it did. A call that fails changes nothing, and the plan may go on.
///
/// ```
/// use reconvene_clock::{Hlc, NodeId, ReplicaId};
/// use reconvene_store::{Body, Class, Head, Identity, Key, Limits, LocalWrite, NetworkId, Plan, Replaces};
///
/// let identity = Identity {
///     node: NodeId::new([1; 16]),
///     replica: ReplicaId::new(7).expect("not zero"),
///     incarnation: 1,
/// };
/// let head = Head::new(identity, NetworkId::of_name("example"));
/// let key = Key::new("greeting")?;
///
/// let mut plan = Plan::new(head, [key.clone()], [], &Limits::default());
/// let body = Body::of("hello");
/// let write = LocalWrite { key, class: Class::NORMAL, body, hlc: Hlc::default(), replaces: Replaces::AllLive };
/// let dot = plan.write(write)?;
/// let batch = plan.finish();
/// assert!(batch.head().knowledge().contains(dot));
/// assert_eq!(batch.rows().len(), 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    before: Head,
    head: Head,
    rows: Rows,
    facts: BTreeMap<(FactKind, ReplicaId), Fact>,
    limits: Limits,
    changed_rows: usize,
    changed_bytes: usize,
    /// Whether the fingerprints were replaced as a whole.
    reprinted: bool,
}

impl Plan {
    /// The keys to look up before planning for `incoming`.
    #[must_use]
    pub fn keys_needed(incoming: &[(Key, Version)]) -> BTreeSet<Key> {
        incoming.iter().map(|(key, _)| key.clone()).collect()
    }

    /// A plan that begins at `head`, after `looked_up` were looked up there and `found` are the records that exist.
    ///
    /// A key that was looked up and has no record is new; a key that was not looked up cannot be planned for. Local
    /// writes are held to `limits`.
    #[must_use]
    pub fn new(
        head: Head,
        looked_up: impl IntoIterator<Item = Key>,
        found: impl IntoIterator<Item = Record>,
        limits: &Limits,
    ) -> Self {
        let rows = Rows::new(looked_up, found);
        let (before, facts) = (head.clone(), BTreeMap::new());
        Self { before, head, rows, facts, limits: *limits, changed_rows: 0, changed_bytes: 0, reprinted: false }
    }

    /// What is known as planned so far.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.head.knowledge
    }

    /// The head as planned so far. Its revision and fingerprints are those before the plan.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The live versions of `key` as planned so far, ascending by dot; none if the key is new.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded) if the key was not looked up.
    pub fn siblings(&self, key: &Key) -> Result<&[Version], PlanError> {
        Ok(self.row(key)?.live())
    }

    /// Plans a write of this replica, and returns the dot that names it.
    ///
    /// Its context names the live versions it replaces and all that their contexts name. Where the write leaves no
    /// sibling, parts with many dots collapse as far as this replica knows everything before them.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded), [`ForeignContext`](PlanError::ForeignContext),
    /// [`HeightExhausted`](PlanError::HeightExhausted), [`Clock`](PlanError::Clock), [`Frozen`](PlanError::Frozen), or
    /// the limit or quota that the write would exceed.
    pub fn write(&mut self, write: LocalWrite) -> Result<Dot, PlanError> {
        let LocalWrite { key, class, body, hlc, replaces } = write;
        let row = self.row(&key)?;
        if let Some(why) = self.head.marks.frozen {
            return Err(PlanError::Frozen { why });
        }
        let len = body.byte_len();
        if len > self.limits.value_bytes {
            return Err(PlanError::ValueTooLarge { key, len, limit: self.limits.value_bytes });
        }
        let (mut context, mut after) = match replaces {
            Replaces::AllLive => (context_of(row.versions()), Live::new()),
            Replaces::Context(seen) => replace_seen(&key, row, &seen)?,
        };
        if sabotage::on(41) {
            context = KeyContext::from_parts(row.versions().map(|version| version.dot), VectorClock::new());
        }
        if after.is_empty() && sabotage::on(40) {
            context.collapse(&self.head.knowledge.runs().map(|run| Dot::new(run.replica(), run.last())).collect());
        } else if after.is_empty() {
            context.collapse(self.head.knowledge.vector());
        }
        let count = after.len().saturating_add(1);
        if count > self.limits.siblings {
            return Err(PlanError::SiblingsFull { key, count, limit: self.limits.siblings });
        }
        let count = context.dots().len();
        if count > self.limits.context_dots {
            return Err(PlanError::ContextFull { key, count, limit: self.limits.context_dots });
        }
        let mut dot = self.head.knowledge.next_dot(self.head.identity.replica, self.head.marks.issued)?;
        if let Some(last) =
            self.head.marks.issued.filter(|last| sabotage::on(12) && self.before.marks.issued < Some(*last))
        {
            dot.counter = last;
        }
        let height = Height::above(self.head.marks.height).ok_or(PlanError::HeightExhausted)?;
        let version = Version { dot, context, height, hlc, class, body };
        insert(&mut after, version.clone());
        self.within_quotas(&key, &after)?;
        self.replace_row(&key, after)?;
        self.head.marks.issue(dot.counter, hlc);
        self.absorb(&version);
        Ok(dot)
    }

    /// Plans the arrival of a replicated version: in any order, any number of times.
    ///
    /// It becomes live unless its dot is known or a live version replaces it; live versions that it replaces go. Its
    /// dot, and the dots that its context names exactly, become known in every case but
    /// [`PutAside`](Applied::PutAside): whoever holds or replaced the version holds or replaced those as well. What lies
    /// under a collapsed part alone does not become known: whoever holds the collapsed part keeps it out.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded); [`SelfReplacing`](PlanError::SelfReplacing);
    /// [`Clock`](PlanError::Clock) with [`StateLoss`](ClockError::StateLoss), or [`UnusedDot`](PlanError::UnusedDot), if
    /// it is or names a write of this replica that this store never made; [`BatchFull`](PlanError::BatchFull) or
    /// [`PutAsideFull`](PlanError::PutAsideFull). After any of these the version is not known here, so that a claim that
    /// covers it must not be joined.
    pub fn apply(&mut self, key: Key, version: Version) -> Result<Applied, PlanError> {
        self.arrive(key, version, false)
    }

    /// `again`: the version goes where the rules put it although its dot is known.
    fn arrive(&mut self, key: Key, version: Version, again: bool) -> Result<Applied, PlanError> {
        let row = self.row(&key)?;
        let dot = version.dot;
        if version.replaces(dot) {
            return Err(PlanError::SelfReplacing { key, dot });
        }
        self.check_own(named_of(self.head.identity.replica, &version))?;
        let disproved = self.disproved_by(&version)?;
        let known = self.head.knowledge.contains(dot) && disproved.is_empty();
        let applied = if let Some(held) = version_in(row.live(), dot) {
            if *held == version || row.evidence().contains(&version) {
                Applied::Known
            } else {
                self.collide(&key, &version)?
            }
        } else if known && !again {
            Applied::Known
        } else if row.replaces(dot) {
            Applied::Obsolete
        } else {
            let mut after = row.left_by(&version);
            if sabotage::on(3) && !after.is_empty() {
                self.absorb(&version);
                return Ok(Applied::Obsolete);
            }
            if sabotage::on(4) {
                after.clear();
            }
            insert(&mut after, version.clone());
            let applied = if after.len() == 1 { Applied::New } else { Applied::Concurrent };
            match self.replace_row(&key, after) {
                Err(PlanError::RowTooLarge { key, len, .. }) => return self.put_aside(key, &version, len),
                other => other?,
            }
            applied
        };
        self.forget_unused(&disproved);
        self.absorb(&version);
        self.no_longer_aside(&version);
        Ok(applied)
    }

    /// The batch that makes all of it real.
    pub fn finish(self) -> Batch {
        let Self { before: head_before, mut head, rows, facts, limits: _, changed_rows, changed_bytes, reprinted } =
            self;
        let mut changes = Vec::with_capacity(changed_rows);
        let mut printer = Printer::default();
        for (key, Row { before, lost, after }) in rows.into_iter() {
            let Some(after) = after else { continue };
            let before_len = before.as_ref().map(Record::byte_len);
            let before = before.as_ref().map_or(&[][..], Record::siblings);
            let not_in = |other: &[Version], version: &&Version| {
                version_in(other, version.dot).is_none_or(|same_dot| same_dot != *version)
            };
            let (mut added, mut removed, mut removed_tombstones) = (Dots::new(), Dots::new(), Dots::new());
            // A key that has only tombstones is not hashed.
            let printed = before.iter().chain(&after.live).any(|version| !is_tombstone(version));
            let mut prints = printed.then(|| printer.of_key(Arc::make_mut(&mut head.fingerprints), &key));
            for version in before.iter().filter(|version| not_in(&after.live, version)) {
                removed.push(version.dot);
                if is_tombstone(version) {
                    removed_tombstones.push(version.dot);
                } else if let Some(prints) = &mut prints {
                    prints.remove(version);
                }
            }
            for version in after.live.iter().filter(|version| not_in(before, version)) {
                added.push(version.dot);
                if let Some(prints) = &mut prints {
                    prints.insert(version);
                }
            }
            // What a lost row held, nobody can tell: any of it may have been a tombstone.
            removed.extend_from_slice(&lost);
            removed_tombstones.extend_from_slice(&lost);
            let after = Record::of_cell(key.clone(), after);
            changes.push(RowChange { added, removed, removed_tombstones, after, before_len, key });
        }
        let facts: Vec<Fact> = facts.into_values().collect();
        let idle = changes.is_empty() && facts.is_empty() && head == head_before;
        let (based_on, planned_for) = (head_before.revision, head_before.identity.replica);
        head.revision = based_on.next();
        let mut touched = printer.touched();
        if reprinted {
            let parts = head_before.fingerprints.parts().chain(head.fingerprints.parts());
            touched.extend(parts.map(|(id, _)| id));
            touched.sort_unstable();
            touched.dedup();
        }
        touched.retain(|id| head_before.fingerprints.part(*id) != head.fingerprints.part(*id));
        let prints = touched.into_iter().map(|id| (id, head.fingerprints.part(id))).collect();
        Batch { based_on, planned_for, rows: changes, prints, facts, head, byte_len: changed_bytes, idle }
    }

    fn row(&self, key: &Key) -> Result<&Row, PlanError> {
        self.rows.get(key).ok_or_else(|| PlanError::RowNotLoaded { key: key.clone() })
    }

    /// Replaces the live versions of a key, if row and batch stay within their limits. Evidence goes with its dot.
    fn replace_row(&mut self, key: &Key, live: Live) -> Result<(), PlanError> {
        let kept = |version: &&Version| version_in(&live, version.dot).is_some();
        let evidence = self.row(key)?.evidence().iter().filter(kept).cloned().collect();
        self.replace_cell(key, Cell { live, evidence })
    }

    fn replace_cell(&mut self, key: &Key, after: Cell) -> Result<(), PlanError> {
        let limits = &self.limits;
        let versions = after.live.iter().chain(&after.evidence);
        let len = if after.live.is_empty() { 0 } else { row_bytes(key, versions) };
        if len > limits.row_bytes {
            return Err(PlanError::RowTooLarge { key: key.clone(), len, limit: limits.row_bytes });
        }
        let row = self.rows.get_mut(key).ok_or_else(|| PlanError::RowNotLoaded { key: key.clone() })?;
        let held = if row.live().is_empty() { 0 } else { row_bytes(key, row.versions()) };
        let (one_more, less) = if row.after.is_some() { (0, held) } else { (1, 0) };
        let rows = self.changed_rows.saturating_add(one_more);
        if rows > limits.batch_rows {
            return Err(PlanError::BatchFull { what: "rows", count: rows, limit: limits.batch_rows });
        }
        let bytes = self.changed_bytes.saturating_sub(less).saturating_add(len);
        if bytes > limits.batch_bytes {
            return Err(PlanError::BatchFull { what: "bytes", count: bytes, limit: limits.batch_bytes });
        }
        row.after = Some(after);
        self.changed_rows = rows;
        self.changed_bytes = bytes;
        self.count_usage(key, held, len);
        Ok(())
    }

    /// Fails if `named` is above every counter this store gave out.
    fn check_own(&self, named: Option<Counter>) -> Result<(), PlanError> {
        match named {
            Some(held) if named > self.head.marks.issued => {
                Err(ClockError::StateLoss { held, issued: self.head.marks.issued }.into())
            }
            _ => Ok(()),
        }
    }

    /// Knows a version that is here or was replaced here, and what its context names exactly.
    ///
    /// Also for a version that changes nothing else: whoever made its dot known may have named part of its context by a
    /// collapsed entry alone, so that Knowledge would depend on the order of arrival.
    fn absorb(&mut self, version: &Version) {
        for dot in version.context.dots().iter().chain([&version.dot]) {
            if !self.head.knowledge.contains(*dot) {
                Arc::make_mut(&mut self.head.knowledge).add(*dot);
            }
        }
        self.head.marks.height = self.head.marks.height.max(Some(version.height));
    }
}

/// The context of a write whose writer had `seen` this, and the versions that stay beside it.
///
/// A write names everything that was seen, exactly or by a collapsed part of what it replaces. What can be named in
/// neither way lies under a collapsed part of a sibling that stays: then the write names the siblings that it replaces
/// here and what they name, no more. To name a dead version without what that one replaced would let the latter live
/// again wherever the write arrives without the sibling.
fn replace_seen(key: &Key, row: &Row, seen: &KeyContext) -> Result<(KeyContext, Live), PlanError> {
    let all = context_of(row.versions());
    // A context of another key would make dots known that are live there and nowhere replaced.
    let covered = |end: &Dot| all.upto().contains(*end);
    let foreign = seen.dots().iter().copied().find(|dot| !all.contains(*dot));
    if let Some(dot) = foreign.or_else(|| seen.upto().iter().find(|end| !covered(end))) {
        return Err(PlanError::ForeignContext { key: key.clone(), dot });
    }
    let replaced = context_of(row.versions().filter(|version| seen.contains(version.dot)));
    let named_here = seen.dots().iter().copied().filter(|dot| all.dots().binary_search(dot).is_ok());
    let mut context = KeyContext::from_parts(named_here, seen.upto().clone());
    context.merge(&replaced);
    if !seen.dots().iter().all(|dot| context.contains(*dot)) {
        context = replaced;
    }
    let kept = row.live().iter().filter(|version| !seen.contains(version.dot)).cloned().collect();
    Ok((context, kept))
}

/// The greatest counter of `own` that a version is or names.
fn named_of(own: ReplicaId, version: &Version) -> Option<Counter> {
    let exact = version.context.dots().iter().chain([&version.dot]).filter(|dot| dot.replica == own);
    exact.map(|dot| dot.counter).max().max(version.context.upto().get(own))
}

fn insert(siblings: &mut Live, version: Version) {
    let place = siblings.partition_point(|held| held.dot < version.dot);
    siblings.insert(place, version);
}
