//! One schedule against one store.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::thread;

use reconvene_clock::{Hlc, Knowledge};
use reconvene_store::{
    Applied, Batch, Body, Class, CommitError, Identity, Key, KeyContext, Limits, LocalWrite, MetadataStore, NetworkId,
    Plan, Replaces, Snapshot, Version,
};

use super::peer::{Peer, Pool, identity, keys, live_of, network, write_something};
use super::reading::read_all;
use super::{Failure, StoreReport};
use crate::suite::block_on::block_on;
use crate::suite::random::Random;

/// Runs the schedule of `seed` against stores that `make` creates.
pub(super) fn schedule<S: MetadataStore>(
    make: &impl Fn(Identity, NetworkId, Limits) -> S,
    seed: u64,
    steps: usize,
) -> Result<StoreReport, Failure> {
    let mut run = Run {
        store: make(identity(0), network(), Limits::default()),
        model: Peer::new(0),
        peers: [Peer::new(1), Peer::new(2)],
        pool: Pool::new(),
        read_before: [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()],
        frozen: Vec::new(),
        random: Random::new(seed),
        report: StoreReport::default(),
    };
    let failed = |step| move |what| Failure { seed, step, what };
    run.check().map_err(failed(0))?;
    for step in 0..steps {
        run.step().and_then(|()| run.check()).map_err(failed(step))?;
    }
    let wide = |number| make(identity(number), network(), Limits::default());
    let ending = run
        .refusals(make(identity(0), network(), tight()))
        .and_then(|()| run.while_others_read(wide(READER)))
        .and_then(|()| run.other_orders(FRESH.map(|number| (number, wide(number)))));
    ending.map_err(failed(steps))?;
    block_on(run.store.close()).map_err(|error| failed(steps)(error.to_string()))?;
    Ok(run.report)
}

/// Replicas that write nothing, and receive what the others wrote.
const READER: u8 = 5;
const FRESH: [u8; 2] = [6, 7];

/// Two rows in all, and one in a batch.
fn tight() -> Limits {
    let mut limits = Limits::default();
    limits.batch_rows = 1;
    limits.store_rows = 2;
    limits
}

struct Run<S: MetadataStore> {
    store: S,
    /// What the store must hold.
    model: Peer,
    peers: [Peer; 2],
    pool: Pool,
    /// Contexts that writers of replica 0, 1 and 2 have read and may hand back late.
    read_before: [BTreeMap<Key, KeyContext>; 3],
    /// Snapshots taken earlier, and what they showed.
    frozen: Vec<(S::Snapshot, Peer)>,
    random: Random,
    report: StoreReport,
}

impl<S: MetadataStore> Run<S> {
    fn step(&mut self) -> Result<(), String> {
        match self.random.below(10) {
            0..=2 => self.peer_writes(),
            3 => self.peers_meet(),
            4 => self.session(),
            5 => self.stale_batch(),
            _ => self.mixed_batch(),
        }
    }

    /// A peer writes a few times without the store, which may later see the last of them first.
    fn peer_writes(&mut self) -> Result<(), String> {
        let [_, first, second] = &mut self.read_before;
        let [left, right] = &mut self.peers;
        let (peer, read_before) = if self.random.one_in(2) { (left, first) } else { (right, second) };
        let mut plan = peer.plan();
        for _ in 0..=self.random.below(6) {
            write_something(&mut plan, &mut self.pool, read_before, &mut self.random).map_err(text)?;
        }
        peer.commit(&plan.finish());
        Ok(())
    }

    /// One peer learns everything that another, or the store, knows.
    fn peers_meet(&mut self) -> Result<(), String> {
        let [left, right] = &mut self.peers;
        let (to, from) = match self.random.below(4) {
            0 => (left, &*right),
            1 => (right, &*left),
            2 => (left, &self.model),
            _ => (right, &self.model),
        };
        let mut plan = to.plan();
        learn(&mut plan, from, &mut self.random)?;
        to.commit(&plan.finish());
        Ok(())
    }

    /// The store learns everything that a peer knows, in chunks, and the claim last.
    fn session(&mut self) -> Result<(), String> {
        let from = self.random.pick(&self.peers).cloned().ok_or("there is a peer")?;
        let mut missing = from.missing_from(self.model.head.knowledge());
        self.random.shuffle(&mut missing);
        for chunk in missing.chunks(self.random.below(4).saturating_add(1)) {
            let mut plan = self.plan(&self.model)?;
            for (key, version) in chunk.iter().cloned() {
                plan.apply(key, version).map_err(text)?;
            }
            self.commit(plan)?;
        }
        let mut plan = self.plan(&self.model)?;
        plan.claim(from.head.knowledge(), from.head.gc_floor()).map_err(text)?;
        self.commit(plan)
    }

    /// Own writes and versions from anywhere in one batch.
    fn mixed_batch(&mut self) -> Result<(), String> {
        let mut plan = self.plan(&self.model)?;
        for _ in 0..self.random.below(5) {
            if self.random.one_in(2) {
                let [own, ..] = &mut self.read_before;
                write_something(&mut plan, &mut self.pool, own, &mut self.random).map_err(text)?;
            } else if let Some((key, version)) = self.any_version() {
                let known = plan.knowledge().contains(version.dot);
                let applied = plan.apply(key, version).map_err(text)?;
                if known != (applied == Applied::Known) {
                    return Err(format!("a version whose dot is known ({known}) was {applied:?}"));
                }
                if applied == Applied::Obsolete {
                    self.report.obsolete = self.report.obsolete.saturating_add(1);
                }
            }
        }
        self.commit(plan)
    }

    /// A batch planned before another was committed must be refused.
    fn stale_batch(&mut self) -> Result<(), String> {
        // Its writes never happen, so they stay out of the pool.
        let mut stale = self.plan(&self.model)?;
        let [mut own, ..] = self.read_before.clone();
        write_something(&mut stale, &mut Pool::new(), &mut own, &mut self.random).map_err(text)?;
        self.mixed_batch()?;
        let answer = block_on(self.store.commit(&stale.finish()));
        self.report.refusals = self.report.refusals.saturating_add(1);
        match answer {
            Err(CommitError::Conflict { head, .. }) if head == self.model.head.revision() => Ok(()),
            other => Err(format!("a batch based on an old revision: {other:?}")),
        }
    }

    fn any_version(&mut self) -> Option<(Key, Version)> {
        let nth = self.random.below(self.pool.len());
        self.pool.values().nth(nth).cloned()
    }

    /// A plan from what the store itself says.
    fn plan(&self, model: &Peer) -> Result<Plan, String> {
        plan_from(&self.store, &model.head.identity())
    }

    /// Commits to the store, and to the model.
    fn commit(&mut self, plan: Plan) -> Result<(), String> {
        let batch = plan.finish();
        let revision = block_on(self.store.commit(&batch)).map_err(text)?;
        self.report.commits = self.report.commits.saturating_add(1);
        self.model.commit(&batch);
        if revision != self.model.head.revision() {
            return Err(format!("the commit says revision {revision}, the batch {}", self.model.head.revision()));
        }
        Ok(())
    }

    /// Holds the store against the model and against what follows from Knowledge alone.
    fn check(&mut self) -> Result<(), String> {
        let snapshot = block_on(self.store.snapshot()).map_err(text)?;
        let found = read_all(&snapshot, &mut self.random, &mut self.report.pages)?;
        same(&found, &self.model)?;
        let live = live_of(&self.pool, found.head.knowledge());
        if found.rows != live {
            return Err(format!("{:?} are live, and by what is known it should be {live:?}", found.rows));
        }
        let unwritten = |knowledge: &Knowledge| {
            knowledge.runs().flat_map(|run| run.dots()).find(|dot| !self.pool.contains_key(dot))
        };
        if let Some(dot) = unwritten(found.head.knowledge()) {
            return Err(format!("{dot} is known and was never written"));
        }
        let versions = || found.rows.values().flat_map(|row| row.siblings());
        if found.rows.values().any(|row| row.siblings().len() > 1) {
            self.report.siblings = self.report.siblings.saturating_add(1);
        }
        if versions().any(|version| !version.context.upto().is_empty()) {
            self.report.collapsed = self.report.collapsed.saturating_add(1);
        }
        if let Some((old, shown)) = self.random.pick(&self.frozen) {
            let again = read_all(old, &mut self.random.clone(), &mut self.report.pages)?;
            same(&again, shown).map_err(|what| format!("a snapshot changed: {what}"))?;
        }
        if self.random.one_in(4) {
            self.frozen.push((snapshot, found));
        }
        Ok(())
    }

    /// What a store within tight limits refuses must leave it as it was.
    fn refusals(&mut self, store: S) -> Result<(), String> {
        let keys = keys();
        let mut model = Peer::new(0);
        let mut foreign = Peer::new(3).plan();
        write_to(&mut foreign, keys.first().ok_or("there are keys")?)?;
        let foreign = foreign.finish();
        self.refused(&store, &model, &foreign, |error| matches!(error, CommitError::Foreign { .. }))?;

        let mut two_rows = model.plan();
        for key in keys.iter().take(2) {
            write_to(&mut two_rows, key)?;
        }
        self.refused(&store, &model, &two_rows.finish(), |error| matches!(error, CommitError::Refused { .. }))?;

        for key in keys.iter().chain(keys.first()) {
            let mut plan = model.plan();
            write_to(&mut plan, key)?;
            let batch = plan.finish();
            let grows = !model.rows.contains_key(key);
            match block_on(store.commit(&batch)) {
                Ok(_) => model.commit(&batch),
                Err(CommitError::Full { .. }) if grows => {
                    self.report.full = self.report.full.saturating_add(1);
                    self.report.refusals = self.report.refusals.saturating_add(1);
                }
                Err(error) => {
                    return Err(format!("one row in a store of {}: {error}", model.rows.len()));
                }
            }
            same(&self.read(&store)?, &model)?;
        }
        block_on(store.close()).map_err(text)
    }

    fn refused(
        &mut self,
        store: &S,
        model: &Peer,
        batch: &Batch,
        expected: impl Fn(&CommitError) -> bool,
    ) -> Result<(), String> {
        match block_on(store.commit(batch)) {
            Err(error) if expected(&error) => {}
            other => return Err(format!("a batch to be refused: {other:?}")),
        }
        self.report.refusals = self.report.refusals.saturating_add(1);
        same(&self.read(store)?, model).map_err(|what| format!("a refused batch changed something: {what}"))
    }

    /// Every snapshot that is taken while another thread commits is whole, and none is older than the one before.
    fn while_others_read(&self, store: S) -> Result<(), String> {
        let done = AtomicBool::new(false);
        let mut random = self.random.clone();
        let versions: Vec<_> = self.pool.values().cloned().collect();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut last, mut pages) = (None, 0);
                loop {
                    let finished = done.load(Ordering::SeqCst);
                    let snapshot = block_on(store.snapshot()).map_err(text)?;
                    let found = read_all(&snapshot, &mut random, &mut pages)?;
                    let revision = found.head.revision();
                    if last > Some(revision) {
                        return Err(format!("revision {revision} was read after a newer one"));
                    }
                    last = Some(revision);
                    if finished {
                        return Ok(());
                    }
                }
            });
            let written = apply_in_chunks(&store, identity(READER), &versions, 2);
            done.store(true, Ordering::SeqCst);
            let read = reader.join().map_err(|_| "the reading thread panicked".to_owned())?;
            written.and(read)
        })?;
        block_on(store.close()).map_err(text)
    }

    /// Stores that receive every version, in any order, repeated and in any batches, end up equal.
    fn other_orders(&mut self, stores: [(u8, S); 2]) -> Result<(), String> {
        let mut ends = Vec::new();
        for (number, store) in stores {
            let mut versions: Vec<_> = self.pool.values().chain(self.pool.values().take(9)).cloned().collect();
            self.random.shuffle(&mut versions);
            let chunk = self.random.below(7).saturating_add(1);
            let obsolete = apply_in_chunks(&store, identity(number), &versions, chunk)?;
            self.report.obsolete = self.report.obsolete.saturating_add(obsolete);
            ends.push(self.read(&store)?);
            block_on(store.close()).map_err(text)?;
        }
        let live = ends.first().map(|end| live_of(&self.pool, end.head.knowledge()));
        match ends.as_slice() {
            [left, right] if Some(&left.rows) == live.as_ref() => {
                if left.rows != right.rows || left.head.digest() != right.head.digest() {
                    return Err(format!("the same versions in two orders: {left:?} and {right:?}"));
                }
                Ok(())
            }
            _ => Err("all versions are there, and other records live than follow from them".to_owned()),
        }
    }

    fn read(&mut self, store: &S) -> Result<Peer, String> {
        let snapshot = block_on(store.snapshot()).map_err(text)?;
        read_all(&snapshot, &mut self.random, &mut self.report.pages)
    }
}

/// Applies everything that `from` holds and `plan` does not know, then its claim.
fn learn(plan: &mut Plan, from: &Peer, random: &mut Random) -> Result<(), String> {
    let mut missing = from.missing_from(plan.knowledge());
    random.shuffle(&mut missing);
    for (key, version) in missing {
        plan.apply(key, version).map_err(text)?;
    }
    plan.claim(from.head.knowledge(), from.head.gc_floor()).map_err(text)
}

/// Applies `versions` in batches of `chunk`, and returns how many were obsolete.
fn apply_in_chunks<S: MetadataStore>(
    store: &S,
    identity: Identity,
    versions: &[(Key, Version)],
    chunk: usize,
) -> Result<u64, String> {
    let mut obsolete = 0_u64;
    for chunk in versions.chunks(chunk.max(1)) {
        let mut plan = plan_from(store, &identity)?;
        for (key, version) in chunk.iter().cloned() {
            let applied = plan.apply(key, version).map_err(text)?;
            obsolete = obsolete.saturating_add(u64::from(applied == Applied::Obsolete));
        }
        block_on(store.commit(&plan.finish())).map_err(text)?;
    }
    Ok(obsolete)
}

fn plan_from<S: MetadataStore>(store: &S, identity: &Identity) -> Result<Plan, String> {
    let snapshot = block_on(store.snapshot()).map_err(text)?;
    if snapshot.head().identity() != *identity {
        return Err("the store was created for another identity".to_owned());
    }
    let mut found = Vec::new();
    for key in keys() {
        found.extend(block_on(snapshot.record(&key)).map_err(text)?);
    }
    Ok(Plan::new(snapshot.head().clone(), keys(), found, &Limits::default()))
}

fn write_to(plan: &mut Plan, key: &Key) -> Result<(), String> {
    let body = Body::of("value");
    let replaces = Replaces::AllLive;
    let hlc = Hlc::default();
    plan.write(LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc, replaces }).map_err(text).map(drop)
}

fn same(found: &Peer, expected: &Peer) -> Result<(), String> {
    if found.rows != expected.rows {
        return Err(format!("the records are {:?} and should be {:?}", found.rows, expected.rows));
    }
    if found.head != expected.head {
        return Err(format!("the head is {:?} and should be {:?}", found.head, expected.head));
    }
    Ok(())
}

fn text(error: impl core::fmt::Display) -> String {
    error.to_string()
}
