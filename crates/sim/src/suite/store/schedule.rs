//! Local writes, arriving versions, claims and refused batches, in an order that chance decides, checked after each.

use reconvene_store::{Applied, CommitError, Key, Limits, MemoryStore, MetadataStore, Plan, Snapshot, Version};

use super::peer::{Peer, ReadBefore, identity, keys, learn, network, write_something};
use super::pool::Pool;
use super::reading::{read_all, read_quickly};
use crate::suite::block_on::block_on;
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Failure, Report};

/// Runs the schedule of `seed` against stores that `make` creates, each for another replica.
pub(super) fn schedule<S: MetadataStore>(
    make: &mut dyn FnMut(u8) -> Result<S, Broken>,
    seed: u64,
    steps: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let store = make(0).map_err(|broken| broken.at(seed, 0))?;
    let mut run = Run {
        store,
        model: Peer::new(0),
        peers: [Peer::new(1), Peer::new(2)],
        pool: Pool::default(),
        read_before: Default::default(),
        frozen: Vec::new(),
        random: Random::new(seed),
        report,
    };
    run.check().map_err(|broken| broken.at(seed, 0))?;
    for step in 0..steps {
        run.step().and_then(|()| run.check()).map_err(|broken| broken.at(seed, step))?;
    }
    let ending = run.other_orders(make).and_then(|()| block_on(run.store.close()).blame(Check::ReadsSeeCommits));
    ending.map_err(|broken| broken.at(seed, steps))
}

/// Replicas that write nothing, and receive what the others wrote.
const FRESH: [u8; 2] = [6, 7];

struct Run<'a, S: MetadataStore> {
    store: S,
    /// What the store must hold.
    model: Peer,
    peers: [Peer; 2],
    pool: Pool,
    /// What the writers of replica 0, 1 and 2 have read and may hand back late.
    read_before: [ReadBefore; 3],
    /// Snapshots taken earlier, and what they showed.
    frozen: Vec<(S::Snapshot, Peer)>,
    random: Random,
    report: &'a mut Report,
}

impl<S: MetadataStore> Run<'_, S> {
    fn step(&mut self) -> Result<(), Broken> {
        match self.random.below(10) {
            0..=2 => self.peer_writes(),
            3 => self.peers_meet(),
            4 => self.session(),
            5 => self.stale_batch(),
            _ => self.mixed_batch(),
        }
    }

    /// A peer writes a few times without the store, which may later see the last of them first.
    fn peer_writes(&mut self) -> Result<(), Broken> {
        let [_, first, second] = &mut self.read_before;
        let [left, right] = &mut self.peers;
        let (peer, read_before) = if self.random.one_in(2) { (left, first) } else { (right, second) };
        let mut plan = peer.plan();
        for _ in 0..=self.random.below(6) {
            write_something(&mut plan, &mut self.pool, read_before, &mut self.random, self.report)?;
        }
        peer.commit(&plan.finish());
        Ok(())
    }

    /// One peer learns everything that another, or the store, knows.
    fn peers_meet(&mut self) -> Result<(), Broken> {
        let [left, right] = &mut self.peers;
        let (to, from) = match self.random.below(4) {
            0 => (left, &*right),
            1 => (right, &*left),
            2 => (left, &self.model),
            _ => (right, &self.model),
        };
        let mut plan = to.plan();
        learn(&mut plan, from, &mut self.random).blame(Check::AnyOrder)?;
        to.commit(&plan.finish());
        Ok(())
    }

    /// The store learns everything that a peer knows, in chunks, and the claim last.
    fn session(&mut self) -> Result<(), Broken> {
        let [left, right] = &self.peers;
        let from = if self.random.one_in(2) { left.clone() } else { right.clone() };
        let mut missing = from.missing_from(self.model.head.knowledge());
        self.random.shuffle(&mut missing);
        for chunk in missing.chunks(self.random.below(4).saturating_add(1)) {
            let mut plan = self.plan()?;
            for (key, version) in chunk.iter().cloned() {
                let _: Applied = plan.apply(key, version).blame(Check::AnyOrder)?;
            }
            self.commit(plan)?;
        }
        let mut plan = self.plan()?;
        plan.claim(from.head.knowledge(), from.head.gc_floor()).blame(Check::AnyOrder)?;
        self.commit(plan)
    }

    /// Own writes and versions from anywhere in one batch.
    fn mixed_batch(&mut self) -> Result<(), Broken> {
        let mut plan = self.plan()?;
        for _ in 0..self.random.below(5) {
            if self.random.one_in(2) {
                let [own, ..] = &mut self.read_before;
                write_something(&mut plan, &mut self.pool, own, &mut self.random, self.report)?;
            } else if let Some((key, version)) = self.any_version() {
                let known = plan.knowledge().contains(version.dot);
                let applied = plan.apply(key, version).blame(Check::AnyOrder)?;
                self.report.look(Check::AnyOrder, known == (applied == Applied::Known), || {
                    format!("a version whose dot is known ({known}) was {applied:?}")
                })?;
                if applied == Applied::Obsolete {
                    self.report.saw("obsolete versions");
                }
            }
        }
        self.commit(plan)
    }

    /// A batch planned before another was committed must be refused.
    fn stale_batch(&mut self) -> Result<(), Broken> {
        // Its writes never happen, so they stay out of the pool.
        let mut stale = self.plan()?;
        let [mut own, ..] = self.read_before.clone();
        let mut report = Report::default();
        write_something(&mut stale, &mut self.pool.clone(), &mut own, &mut self.random, &mut report)?;
        self.mixed_batch()?;
        let answer = block_on(self.store.commit(&stale.finish()));
        self.report.saw("refusals");
        let now = self.model.head.revision();
        let refused = matches!(answer, Err(CommitError::Conflict { head, .. }) if head == now);
        let what = || format!("a batch based on an old revision, with the store at {now}: {answer:?}");
        self.report.look(Check::RefusalsChangeNothing, refused, what)
    }

    fn any_version(&mut self) -> Option<(Key, Version)> {
        self.pool.nth(self.random.below(self.pool.len()))
    }

    fn plan(&self) -> Result<Plan, Broken> {
        plan_from(&self.store)
    }

    /// Commits to the store, and to the model.
    fn commit(&mut self, plan: Plan) -> Result<(), Broken> {
        let batch = plan.finish();
        let revision = block_on(self.store.commit(&batch)).blame(Check::ReadsSeeCommits)?;
        self.report.saw("commits");
        self.model.commit(&batch);
        let expected = self.model.head.revision();
        self.report.look(Check::ReadsSeeCommits, revision == expected, || {
            format!("the commit says revision {revision}, the batch {expected}")
        })
    }

    /// Holds the store against the model and against what follows from Knowledge alone.
    fn check(&mut self) -> Result<(), Broken> {
        let snapshot = block_on(self.store.snapshot()).blame(Check::ReadsSeeCommits)?;
        let found = read_all(&snapshot, &mut self.random, self.report)?;
        let same = found.same(&self.model);
        self.report.look(Check::ReadsSeeCommits, same.is_ok(), || same.err().unwrap_or_default())?;
        let live = self.pool.live(found.head.knowledge());
        self.report.look(Check::KnowledgeNotAhead, found.rows == live, || {
            format!("{:?} are live, and by what is known it should be {live:?}", found.rows)
        })?;
        let unwritten = {
            let mut known = found.head.knowledge().runs().flat_map(|run| run.dots());
            known.find(|dot| !self.pool.contains(*dot))
        };
        self.report.look(Check::KnowledgeNotAhead, unwritten.is_none(), || {
            format!("{unwritten:?} is known and was never written")
        })?;
        if found.rows.values().any(|row| row.siblings().len() > 1) {
            self.report.saw("siblings");
        }
        if found.rows.values().flat_map(|row| row.siblings()).any(|version| !version.context.upto().is_empty()) {
            self.report.saw("collapsed contexts");
        }
        if let Some((old, shown)) = self.random.pick(&self.frozen) {
            let again = read_all(old, &mut self.random.clone(), self.report)
                .map_err(|broken| Check::SnapshotsFrozen.broken(broken.what))?;
            let same = again.same(shown);
            self.report.look(Check::SnapshotsFrozen, same.is_ok(), || {
                format!("a snapshot changed: {}", same.err().unwrap_or_default())
            })?;
        }
        if self.random.one_in(4) {
            self.frozen.push((snapshot, found));
        }
        Ok(())
    }

    /// Stores that receive every version, in any order, repeated and in any batches, end up equal, and equal to the
    /// store in memory.
    fn other_orders(&mut self, make: &mut dyn FnMut(u8) -> Result<S, Broken>) -> Result<(), Broken> {
        let mut ends = Vec::new();
        for number in FRESH {
            let store = make(number)?;
            self.fill(&store)?;
            let snapshot = block_on(store.snapshot()).blame(Check::AnyOrder)?;
            ends.push(read_all(&snapshot, &mut self.random, self.report)?);
            block_on(store.close()).blame(Check::AnyOrder)?;
        }
        let plainest = MemoryStore::for_network(identity(8), network(), Limits::default());
        self.fill(&plainest)?;
        let plainest = read_quickly(&block_on(plainest.snapshot()).blame(Check::Digests)?).blame(Check::Digests)?;
        let live = self.pool.live(plainest.head.knowledge());
        for end in &ends {
            self.report.look(Check::AnyOrder, end.rows == live && end.rows == plainest.rows, || {
                format!("all versions are there and {:?} live instead of {live:?}", end.rows)
            })?;
            self.report.look(Check::Digests, end.head.digest() == plainest.head.digest(), || {
                format!("the same records have digest {} and {}", end.head.digest(), plainest.head.digest())
            })?;
        }
        Ok(())
    }

    /// Applies every version, some of them twice, in an order and in batches that chance decides.
    fn fill<T: MetadataStore>(&mut self, store: &T) -> Result<(), Broken> {
        let mut versions: Vec<_> = self.pool.all().chain(self.pool.all().take(9)).collect();
        self.random.shuffle(&mut versions);
        for chunk in versions.chunks(self.random.below(7).saturating_add(1)) {
            let mut plan = plan_from(store)?;
            for (key, version) in chunk.iter().cloned() {
                if plan.apply(key, version).blame(Check::AnyOrder)? == Applied::Obsolete {
                    self.report.saw("obsolete versions");
                }
            }
            block_on(store.commit(&plan.finish())).blame(Check::AnyOrder)?;
        }
        Ok(())
    }
}

/// A plan from what the store itself says.
pub(super) fn plan_from<S: MetadataStore>(store: &S) -> Result<Plan, Broken> {
    let snapshot = block_on(store.snapshot()).blame(Check::ReadsSeeCommits)?;
    let mut found = Vec::new();
    for key in keys() {
        found.extend(block_on(snapshot.record(&key)).blame(Check::ReadsSeeCommits)?);
    }
    Ok(Plan::new(snapshot.head().clone(), keys(), found, &Limits::default()))
}
