//! A session with a store, worked out beforehand: every call, and what the store must hold after each batch.

use std::collections::BTreeSet;

use reconvene_clock::{Counter, Dot, DotRange};
use reconvene_store::{
    Applied, Batch, CommitError, Cursor, Head, Key, MetadataStore, Page, Prefix, Record, Snapshot, StoreError,
};

use super::peer::{Peer, ReadBefore, keys, learn, write_something};
use super::pool::Pool;
use crate::suite::block_on::block_on;
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Broken, Report};

/// One call of a session.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Commit(Batch),
    /// A batch that is based on an old revision.
    Stale(Batch),
    Record(Key),
    ByPrefix(Cursor<Prefix>),
    ByOrigin(Cursor<DotRange>),
    Check,
}

/// How a call went wrong.
#[derive(Debug)]
pub(super) enum CallError {
    Commit(CommitError),
    Read(StoreError),
    /// It returned, and what it returned is wrong.
    Wrong(String),
}

/// A whole session.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) calls: Vec<Call>,
    /// What the store holds after so many commits.
    pub(super) states: Vec<Peer>,
    pub(super) pool: Pool,
}

impl Script {
    /// A session of at least so many store calls with a store whose head is `head`.
    pub(super) fn new(head: &Head, seed: u64, calls: usize, report: &mut Report) -> Result<Self, Broken> {
        let mut random = Random::new(seed);
        let mut model = Peer::empty(head.clone());
        let mut script = Self { calls: Vec::new(), states: vec![model.clone()], pool: Pool::default() };
        let mut peers = [Peer::new(1), Peer::new(2)];
        let mut read_before: [ReadBefore; 3] = Default::default();
        while script.calls.len() < calls {
            let [own, others @ ..] = &mut read_before;
            let nth = random.below(2);
            let (Some(peer), Some(read)) = (peers.get_mut(nth), others.get_mut(nth)) else { break };
            match random.below(10) {
                0 | 1 => {
                    let mut plan = peer.plan();
                    for _ in 0..=random.below(3) {
                        write_something(&mut plan, &mut script.pool, read, &mut random, report)?;
                    }
                    if random.one_in(4) && learn(&mut plan, &model, &mut random).is_err() {
                        break;
                    }
                    peer.commit(&plan.finish());
                }
                2..=6 => {
                    let mut plan = model.plan();
                    let stale = plan.clone();
                    for _ in 0..random.below(4) {
                        write_something(&mut plan, &mut script.pool, own, &mut random, report)?;
                    }
                    for _ in 0..random.below(4) {
                        if let Some((key, version)) = script.pool.nth(random.below(script.pool.len())) {
                            let _: Result<Applied, _> = plan.apply(key, version);
                        }
                    }
                    if random.one_in(4) {
                        let _: Result<(), _> = learn(&mut plan, peer, &mut random);
                    }
                    let batch = plan.finish();
                    model.commit(&batch);
                    let live = script.pool.live(model.head.knowledge());
                    report.look(Check::KnowledgeNotAhead, model.rows == live, || {
                        format!("{:?} are live, and by what is known it should be {live:?}", model.rows)
                    })?;
                    script.calls.push(Call::Commit(batch));
                    script.states.push(model.clone());
                    if random.one_in(8) {
                        script.calls.push(Call::Stale(stale.finish()));
                    }
                }
                _ => script.calls.push(read_something(&mut random)),
            }
        }
        Ok(script)
    }

    /// Performs the nth call and holds its answer against `revision`, which is what the store is at.
    pub(super) fn call<S: MetadataStore>(&self, store: &S, nth: usize, revision: usize) -> Result<(), CallError> {
        let Some(call) = self.calls.get(nth) else { return Ok(()) };
        let Some(expected) = self.states.get(revision) else { return Ok(()) };
        let wrong = |what: String| Err(CallError::Wrong(what));
        match call {
            Call::Commit(batch) => {
                let answer = block_on(store.commit(batch)).map_err(CallError::Commit)?;
                if answer != batch.head().revision() {
                    return wrong(format!("committed as revision {answer} what is {}", batch.head().revision()));
                }
            }
            Call::Stale(batch) => match block_on(store.commit(batch)) {
                Err(CommitError::Conflict { head, .. }) if head == expected.head.revision() => {}
                Err(error @ (CommitError::Unknown { .. } | CommitError::Closed)) => {
                    return Err(CallError::Commit(error));
                }
                other => return wrong(format!("a batch based on an old revision: {other:?}")),
            },
            Call::Record(key) => {
                let snapshot = block_on(store.snapshot()).map_err(CallError::Read)?;
                let record = block_on(snapshot.record(key)).map_err(CallError::Read)?;
                if record.as_ref() != expected.rows.get(key) {
                    return wrong(format!("{key} is {record:?} and should be {:?}", expected.rows.get(key)));
                }
            }
            Call::ByPrefix(cursor) => {
                let snapshot = block_on(store.snapshot()).map_err(CallError::Read)?;
                let page = block_on(snapshot.by_prefix(cursor)).map_err(CallError::Read)?;
                let expected = expected.page(cursor);
                if page != expected {
                    return wrong(format!("{cursor:?} is answered by {page:?} instead of {expected:?}"));
                }
            }
            Call::ByOrigin(cursor) => {
                let snapshot = block_on(store.snapshot()).map_err(CallError::Read)?;
                let page = block_on(snapshot.by_origin(cursor)).map_err(CallError::Read)?;
                let (found, expected) = (page.items.first(), expected.first_dot(cursor));
                if found.map(|(dot, _)| *dot) != expected {
                    return wrong(format!("{cursor:?} begins with {found:?} instead of {expected:?}"));
                }
            }
            Call::Check => {
                let report = block_on(store.check()).map_err(CallError::Read)?;
                if !report.is_sound() {
                    return wrong(format!("a sound store is reported as {report:?}"));
                }
            }
        }
        Ok(())
    }

    /// How many calls of a store's methods there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The number of the state that `found` is, between two numbers, as far as reopening leaves it: rows and what is known of all that was ever written. Own counters that were lost in between may count as known.
    pub(super) fn state_of(&self, found: &Peer, from: usize, to: usize) -> Option<usize> {
        (from..=to).rev().find(|nth| self.shows_rows_of(found, *nth) && self.knows_what_is_known_in(found, *nth))
    }

    /// Whether the rows are those of the nth state.
    pub(super) fn shows_rows_of(&self, found: &Peer, nth: usize) -> bool {
        self.states.get(nth).is_some_and(|state| found.rows == state.rows)
    }

    fn knows_what_is_known_in(&self, found: &Peer, nth: usize) -> bool {
        self.states.get(nth).is_some_and(|state| {
            let mut known = self.pool.known(found.head.knowledge());
            // Numbers that a crash left unused are known for good. In another course of things they were writes.
            known.retain(|dot| !found.head.marks().unused().iter().any(|range| range.contains(*dot)));
            known == self.pool.known(state.head.knowledge())
        })
    }
}

impl Peer {
    fn page(&self, cursor: &Cursor<Prefix>) -> Page<Record, Prefix> {
        let behind = |key: &&Key| cursor.after().is_none_or(|after| *key > after) && cursor.range().matches(key);
        let records = self.rows.values().filter(|record| behind(&record.key())).cloned();
        Page::fill(cursor, records, |record| (record.key().clone(), record.byte_len()))
    }

    fn first_dot(&self, cursor: &Cursor<DotRange>) -> Option<Dot> {
        let dots: BTreeSet<Dot> = self.rows.values().flat_map(|row| row.siblings()).map(|one| one.dot).collect();
        let behind =
            |dot: &Dot| cursor.after().is_none_or(|after| dot.counter > *after) && cursor.range().contains(*dot);
        dots.into_iter().find(behind)
    }
}

fn read_something(random: &mut Random) -> Call {
    let key = random.pick(&keys()).cloned();
    let range = key.as_ref().and_then(|_| {
        let replica = super::peer::identity(u8::try_from(random.below(3)).unwrap_or_default()).replica;
        DotRange::new(replica, Counter::MIN, Counter::MAX)
    });
    match (random.below(5), key, range) {
        (0 | 1, Some(key), _) => Call::Record(key),
        (2, _, Some(range)) => Call::ByOrigin(Cursor::new(range).with_rows(3)),
        (3, _, _) => Call::ByPrefix(Cursor::new(Prefix::new("a/").unwrap_or_else(|_| Prefix::all())).with_rows(1)),
        (4, _, _) if random.one_in(4) => Call::Check,
        _ => Call::ByPrefix(Cursor::new(Prefix::all())),
    }
}
