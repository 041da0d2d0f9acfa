//! The planner: what a write or a replicated version changes. Pure, and shared by every backend.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{ClockError, Counter, Dot, Height, Hlc, Knowledge};

use crate::record::{context_of, row_bytes, version_in};
use crate::{Batch, Body, Class, Head, Key, KeyContext, Limits, PlanError, Record, Revision, RowChange, Version};

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
    based_on: Revision,
    head: Head,
    rows: BTreeMap<Key, Row>,
    limits: Limits,
    changed_rows: usize,
    changed_bytes: usize,
}

/// The live versions of one key, ascending by dot.
#[derive(Clone, Debug, Default)]
struct Row {
    before: Option<Record>,
    /// The versions as planned so far; `None` if the row is as before.
    after: Option<Vec<Version>>,
}

impl Row {
    fn before(&self) -> &[Version] {
        self.before.as_ref().map_or(&[], Record::siblings)
    }

    fn siblings(&self) -> &[Version] {
        self.after.as_deref().unwrap_or_else(|| self.before())
    }
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
        let mut rows: BTreeMap<Key, Row> = looked_up.into_iter().map(|key| (key, Row::default())).collect();
        rows.extend(found.into_iter().map(|record| (record.key().clone(), Row { before: Some(record), after: None })));
        Self { based_on: head.revision, head, rows, limits: *limits, changed_rows: 0, changed_bytes: 0 }
    }

    /// What is known as planned so far.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.head.knowledge
    }

    /// The live versions of `key` as planned so far, ascending by dot; none if the key is new.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded) if the key was not looked up.
    pub fn siblings(&self, key: &Key) -> Result<&[Version], PlanError> {
        Ok(self.row(key)?.siblings())
    }

    /// Plans a write of this replica, and returns the dot that names it.
    ///
    /// Its context names the live versions it replaces and all that their contexts name. Where the write leaves no
    /// sibling, parts with many dots collapse as far as this replica knows everything before them.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded), [`ForeignContext`](PlanError::ForeignContext),
    /// [`HeightExhausted`](PlanError::HeightExhausted), [`Clock`](PlanError::Clock), or the limit that the write would
    /// exceed.
    pub fn write(&mut self, write: LocalWrite) -> Result<Dot, PlanError> {
        let LocalWrite { key, class, body, hlc, replaces } = write;
        let siblings = self.row(&key)?.siblings();
        let len = body.byte_len();
        if len > self.limits.value_bytes {
            return Err(PlanError::ValueTooLarge { key, len, limit: self.limits.value_bytes });
        }
        let (mut context, mut after) = match replaces {
            Replaces::AllLive => (context_of(siblings), Vec::new()),
            Replaces::Context(seen) => replace_seen(&key, siblings, &seen)?,
        };
        if after.is_empty() {
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
        let dot = self.head.knowledge.next_dot(self.head.identity.replica, self.head.issued)?;
        let height = Height::above(self.head.height).ok_or(PlanError::HeightExhausted)?;
        let version = Version { dot, context, height, hlc, class, body };
        insert(&mut after, version.clone());
        self.replace_row(&key, after)?;
        self.head.issued = Some(dot.counter);
        self.head.stamped = self.head.stamped.max(Some(hlc));
        self.absorb(&version);
        Ok(dot)
    }

    /// Plans the arrival of a replicated version: in any order, any number of times.
    ///
    /// It becomes live unless its dot is known or a live version replaces it; live versions that it replaces go. Its
    /// dot, and the dots that its context names exactly, become known in every case: whoever holds or replaced the
    /// version holds or replaced those as well. What lies under a collapsed part alone does not become known: whoever
    /// holds the collapsed part keeps it out.
    ///
    /// # Errors
    ///
    /// [`RowNotLoaded`](PlanError::RowNotLoaded); [`DotCollision`](PlanError::DotCollision);
    /// [`SelfReplacing`](PlanError::SelfReplacing); [`Clock`](PlanError::Clock) with
    /// [`StateLoss`](ClockError::StateLoss) if it is or names a write of this replica that this store never made;
    /// [`RowTooLarge`](PlanError::RowTooLarge) or [`BatchFull`](PlanError::BatchFull). After any of these the version
    /// is not known here, so that a claim that covers it must not be joined.
    pub fn apply(&mut self, key: Key, version: Version) -> Result<Applied, PlanError> {
        let row = self.row(&key)?;
        let dot = version.dot;
        if version.replaces(dot) {
            return Err(PlanError::SelfReplacing { key, dot });
        }
        self.check_own(named_of(self.head.identity.replica, &version))?;
        let applied = if self.head.knowledge.contains(dot) {
            if version_in(row.siblings(), dot).is_some_and(|held| *held != version) {
                return Err(PlanError::DotCollision { key, dot });
            }
            Applied::Known
        } else if row.siblings().iter().any(|live| live.replaces(dot)) {
            Applied::Obsolete
        } else {
            let mut after: Vec<Version> =
                row.siblings().iter().filter(|live| !version.replaces(live.dot)).cloned().collect();
            insert(&mut after, version.clone());
            let applied = if after.len() == 1 { Applied::New } else { Applied::Concurrent };
            self.replace_row(&key, after)?;
            applied
        };
        self.absorb(&version);
        Ok(applied)
    }

    /// Plans that everything in `knowledge` is known. The last step of a session's direction: everything that its
    /// sender held and that was not here before must have been applied.
    ///
    /// # Errors
    ///
    /// [`Clock`](PlanError::Clock) with [`StateLoss`](ClockError::StateLoss) if it names a write of this replica that
    /// this store never made.
    pub fn claim(&mut self, knowledge: &Knowledge) -> Result<(), PlanError> {
        self.check_own(knowledge.last_of(self.head.identity.replica))?;
        self.head.knowledge.merge(knowledge);
        Ok(())
    }

    /// The batch that makes all of it real.
    pub fn finish(self) -> Batch {
        let Self { based_on, mut head, rows, limits: _, changed_rows, changed_bytes } = self;
        let mut changes = Vec::with_capacity(changed_rows);
        for (key, row) in rows {
            let (before, Some(after)) = (row.before(), &row.after) else {
                continue;
            };
            let gone = |version: &&Version| version_in(after, version.dot).is_none();
            let new = |version: &&Version| version_in(before, version.dot).is_none();
            let mut change = RowChange { after: None, added: Vec::new(), removed: Vec::new(), key };
            for version in before.iter().filter(gone) {
                head.fingerprints.remove(&change.key, version);
                change.removed.push(version.dot);
            }
            for version in after.iter().filter(new) {
                head.fingerprints.insert(&change.key, version);
                change.added.push(version.dot);
            }
            change.after = Record::of_siblings(change.key.clone(), after);
            changes.push(change);
        }
        head.revision = based_on.next();
        Batch { based_on, rows: changes, head, byte_len: changed_bytes }
    }

    fn row(&self, key: &Key) -> Result<&Row, PlanError> {
        self.rows.get(key).ok_or_else(|| PlanError::RowNotLoaded { key: key.clone() })
    }

    /// Replaces the live versions of a key, if row and batch stay within their limits.
    fn replace_row(&mut self, key: &Key, after: Vec<Version>) -> Result<(), PlanError> {
        let limits = &self.limits;
        let len = row_bytes(key, &after);
        if len > limits.row_bytes {
            return Err(PlanError::RowTooLarge { key: key.clone(), len, limit: limits.row_bytes });
        }
        let row = self.rows.get_mut(key).ok_or_else(|| PlanError::RowNotLoaded { key: key.clone() })?;
        let (one_more, less) = match &row.after {
            Some(planned) => (0, row_bytes(key, planned)),
            None => (1, 0),
        };
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
        Ok(())
    }

    /// Fails if `named` is above every counter this store gave out.
    fn check_own(&self, named: Option<Counter>) -> Result<(), PlanError> {
        match named {
            Some(held) if named > self.head.issued => {
                Err(ClockError::StateLoss { held, issued: self.head.issued }.into())
            }
            _ => Ok(()),
        }
    }

    /// Knows a version that is here or was replaced here, and what its context names exactly.
    ///
    /// Also for a version that changes nothing else: whoever made its dot known may have named part of its context by a
    /// collapsed entry alone, so that Knowledge would depend on the order of arrival.
    fn absorb(&mut self, version: &Version) {
        let knowledge = &mut self.head.knowledge;
        knowledge.add(version.dot);
        for dot in version.context.dots() {
            knowledge.add(*dot);
        }
        self.head.height = self.head.height.max(Some(version.height));
    }
}

/// The context of a write whose writer had `seen` this, and the versions that stay beside it.
///
/// What is dead here and named by no exact dot here is left out: it is under a collapsed part, which blocks it.
fn replace_seen(key: &Key, siblings: &[Version], seen: &KeyContext) -> Result<(KeyContext, Vec<Version>), PlanError> {
    let all = context_of(siblings);
    // A context of another key would make dots known that are live there and nowhere replaced.
    let covered = |end: &Dot| all.upto().contains(*end);
    let foreign = seen.dots().iter().copied().find(|dot| !all.contains(*dot));
    if let Some(dot) = foreign.or_else(|| seen.upto().iter().find(|end| !covered(end))) {
        return Err(PlanError::ForeignContext { key: key.clone(), dot });
    }
    let named_here = seen.dots().iter().copied().filter(|dot| all.dots().binary_search(dot).is_ok());
    let mut context = KeyContext::from_parts(named_here, seen.upto().clone());
    let (replaced, kept): (Vec<&Version>, Vec<&Version>) =
        siblings.iter().partition(|version| seen.contains(version.dot));
    context.merge(&context_of(replaced.iter().copied()));
    Ok((context, kept.into_iter().cloned().collect()))
}

/// The greatest counter of `own` that a version is or names.
fn named_of(own: reconvene_clock::ReplicaId, version: &Version) -> Option<Counter> {
    let exact = version.context.dots().iter().chain([&version.dot]).filter(|dot| dot.replica == own);
    exact.map(|dot| dot.counter).max().max(version.context.upto().get(own))
}

fn insert(siblings: &mut Vec<Version>, version: Version) {
    let place = siblings.partition_point(|held| held.dot < version.dot);
    siblings.insert(place, version);
}
