//! Two [`Replica`]s over stores in memory, frames passed by hand in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, Now, ReplicaId, Timestamp, VectorClock, WallTime};
use reconvene_store::{
    Body, Class, Cursor, Head, Identity, Key, KeyContext, Limits, LocalWrite, MemoryStore, MetadataStore, Plan, Prefix,
    Record, Replaces, Snapshot, Version, ready,
};
use reconvene_sync::{
    Compressor, Config, Event, Input, NetworkId, NewWrite, Output, Performed, Replica, StoreDriver, Ticket,
};

use super::Outcome;
use super::cpu::CpuTime;
use super::workload::{Change, Contents, SplitMix64, Start, Workload, key, value};
use super::zstd::Zstd;

/// Runs a workload so many times, each time from the same stores.
pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    run_with(workload, runs, None)
}

/// The same with frames compressed.
pub(super) fn run_zstd(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    run_with(workload, runs, Some(Compressor::new(Zstd)))
}

fn run_with(workload: &Workload, runs: usize, compression: Option<Compressor>) -> Result<Vec<Outcome>> {
    let held = [held_by(workload, 0)?, held_by(workload, 1)?];
    (0..runs).map(|_| run_once(workload, &held, compression.as_ref())).collect()
}

fn run_once(workload: &Workload, held: &[Held; 2], compression: Option<&Compressor>) -> Result<Outcome> {
    let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(WALL_MS) };
    let open = |side: usize| Side::open(&held[side], side as u64, now, compression);
    let mut pair = Pair { now, sides: [open(0)?, open(1)?] };
    pair.link()?;
    if matches!(workload.start, Start::Empty | Start::Damaged) {
        return pair.measure();
    }
    pair.settle()?;
    let parted = workload.name.contains("cut");
    if parted {
        pair.part()?;
    }
    pair.change(workload)?;
    if parted {
        pair.wait(A_LONG_CUT_MS)?;
        pair.link()?;
    }
    if workload.start == Start::Cold {
        pair.forget()?;
        pair.link()?;
    }
    pair.measure()
}

/// What a store is made from.
struct Held {
    head: Head,
    records: Vec<Record>,
}

/// The store of `A` or `B` before anything is changed.
fn held_by(workload: &Workload, side: u64) -> Result<Held> {
    // Whoever has nothing is new, under a name of its own.
    let empty = workload.start == Start::Empty && side == 1;
    let own = if empty { workload.origins } else { side };
    let identity = Identity { node: node(side), replica: replica(own)?, incarnation: 1 };
    let store = MemoryStore::for_network(identity, network(), Limits::default());
    if !empty {
        write_own(&store, workload, own)?;
        for origin in (0..workload.origins).filter(|origin| *origin != own) {
            receive(&store, workload, origin, side == 1)?;
        }
    }
    let snapshot = ready(store.snapshot()).context("memory never waits")??;
    Ok(Held { head: snapshot.head().clone(), records: records(&snapshot, "")? })
}

/// The records that this replica wrote itself, in bursts.
fn write_own(store: &MemoryStore, workload: &Workload, own: u64) -> Result<()> {
    let all: Vec<_> = (0..workload.each).collect();
    for some in all.chunks(BATCH) {
        let keys = some.iter().map(|index| Key::new(key(own, *index))).collect::<Result<Vec<_>, _>>()?;
        let mut plan = Plan::new(head_of(store)?, keys.clone(), [], &Limits::default());
        for (index, key) in some.iter().zip(keys) {
            let (class, body) = (Class::NORMAL, Body::of(value(own, *index, 1)));
            plan.write(LocalWrite { key, class, body, hlc: stamp(*index), replaces: Replaces::AllLive })?;
        }
        ready(store.commit(&plan.finish())).context("memory never waits")??;
    }
    Ok(())
}

/// The records of another replica, as they came from there. Those that were lost are known all the same.
fn receive(store: &MemoryStore, workload: &Workload, origin: u64, losing: bool) -> Result<()> {
    let all: Vec<_> = (0..workload.each).collect();
    for some in all.chunks(BATCH) {
        let keys = some.iter().map(|index| Key::new(key(origin, *index))).collect::<Result<Vec<_>, _>>()?;
        let mut plan = Plan::new(head_of(store)?, keys.clone(), [], &Limits::default());
        for (index, key) in some.iter().zip(keys) {
            let version = Version {
                dot: Dot::new(replica(origin)?, Counter::new(index + 1).context("not zero")?),
                context: KeyContext::new(),
                height: Height::new(index + 1).context("not zero")?,
                hlc: stamp(*index),
                class: Class::NORMAL,
                body: Body::of(value(origin, *index, 1)),
            };
            if losing && workload.is_lost(origin, *index) {
                plan.claim(&[version.dot].into_iter().collect(), &VectorClock::new())?;
            } else {
                plan.apply(key, version)?;
            }
        }
        ready(store.commit(&plan.finish())).context("memory never waits")??;
    }
    Ok(())
}

/// Two replicas and the line between them.
struct Pair {
    now: Now,
    sides: [Side; 2],
}

impl Pair {
    fn link(&mut self) -> Result<()> {
        for side in 0..2 {
            let peer = node(1 - side as u64);
            self.sides[side].feed(self.now, Input::LinkUp { peer, address: None })?;
        }
        Ok(())
    }

    fn part(&mut self) -> Result<()> {
        for side in 0..2 {
            let peer = node(1 - side as u64);
            self.sides[side].feed(self.now, Input::LinkDown { peer })?;
        }
        Ok(())
    }

    /// Both go on from their stores alone, without what they remembered of each other.
    fn forget(&mut self) -> Result<()> {
        for (side, open) in (0..).zip(&mut self.sides) {
            let snapshot = ready(open.driver.store().snapshot()).context("memory never waits")??;
            let held = Held { head: snapshot.head().clone(), records: records(&snapshot, "")? };
            *open = Side::open(&held, side, self.now, None)?;
        }
        Ok(())
    }

    /// Runs until both know of each other that they hold the same.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..MAX_STEPS {
            self.step()?;
            let [a, b] = &self.sides;
            if a.replica.converged_with(node(1)).is_some() && b.replica.converged_with(node(0)).is_some() {
                return Ok(());
            }
        }
        bail!("two replicas that are linked never found each other equal")
    }

    fn change(&mut self, workload: &Workload) -> Result<()> {
        let mut writes: [Vec<NewWrite>; 2] = Default::default();
        for (side, changes) in (0..).zip(&workload.changes) {
            for change in changes {
                let (index, body) = match *change {
                    Change::Set(index) => (index, Body::of(value(side, index, 2))),
                    Change::Delete(index) => (index, Body::Tombstone),
                };
                writes[side as usize].push(NewWrite::new(Key::new(key(side, index))?, Class::NORMAL, body));
            }
        }
        let batch = if workload.pace_ms == 0 { usize::MAX } else { 1 };
        while writes.iter().any(|writes| !writes.is_empty()) {
            self.now.wall = WallTime::from_millis(self.now.wall.as_millis() + workload.pace_ms);
            for (side, writes) in self.sides.iter_mut().zip(&mut writes) {
                let writes: Vec<_> = writes.drain(..writes.len().min(batch)).collect();
                if !writes.is_empty() {
                    side.feed(self.now, Input::LocalWrite { ticket: Ticket(1), writes })?;
                }
            }
        }
        Ok(())
    }

    /// Lets so much time pass.
    fn wait(&mut self, ms: u64) -> Result<()> {
        let until = self.now.mono.saturating_add(ms);
        while self.now.mono < until {
            let flights = self.step()?;
            ensure!(flights.bytes == 0, "a frame went over a link that is cut");
        }
        Ok(())
    }

    /// Runs until both hold the same and have nothing left to say about it.
    fn measure(&mut self) -> Result<Outcome> {
        for side in &mut self.sides {
            side.cpu = Duration::ZERO;
        }
        let were_equal = self.are_equal();
        let mut total = Flights::default();
        for _ in 0..MAX_STEPS {
            let flights = self.step()?;
            let until_equal = flights.until_equal.map(|count| count + total.count);
            total.count += flights.count;
            total.bytes += flights.bytes;
            // Where nothing differed, it is done when both know so.
            let until_equal = if were_equal { until_equal.and(Some(total.count)) } else { until_equal };
            if let Some(flights) = until_equal.filter(|_| total.bytes > 0) {
                let contents = [self.sides[0].contents()?, self.sides[1].contents()?];
                let cpu = self.sides.each_ref().map(|side| side.cpu);
                return Ok(Outcome { bytes: total.bytes, flights, cpu, contents });
            }
        }
        bail!("two replicas that are linked never became equal")
    }

    /// Goes to the next moment at which one of the two wants to do something, and passes frames until none is left.
    fn step(&mut self) -> Result<Flights> {
        let due = self.sides.iter().filter_map(|side| side.replica.next_deadline()).min().context("no deadline")?;
        let passed = due.saturating_since(self.now.mono);
        self.now.mono = self.now.mono.max(due);
        self.now.wall = WallTime::from_millis(self.now.wall.as_millis() + passed);
        for side in &mut self.sides {
            if side.replica.next_deadline().is_some_and(|at| at <= due) {
                side.feed(self.now, Input::Tick)?;
            }
        }
        let mut flights = Flights::default();
        while self.sides.iter().any(|side| !side.frames.is_empty()) {
            for from in 0..2 {
                let frames = std::mem::take(&mut self.sides[from].frames);
                flights.count += u64::from(!frames.is_empty());
                for frame in frames {
                    flights.bytes += frame.len() as u64;
                    let input = Input::Received { from: node(from as u64), frame };
                    self.sides[1 - from].feed(self.now, input)?;
                }
                if flights.until_equal.is_none() && flights.count > 0 && self.are_equal() {
                    flights.until_equal = Some(flights.count);
                }
            }
        }
        Ok(flights)
    }

    fn are_equal(&self) -> bool {
        let [a, b] = &self.sides;
        a.replica.head().digest() == b.replica.head().digest()
    }
}

/// What went over the line at one moment.
#[derive(Default)]
struct Flights {
    bytes: u64,
    count: u64,
    /// How many there were when both were first equal.
    until_equal: Option<u64>,
}

struct Side {
    replica: Replica,
    driver: StoreDriver<MemoryStore>,
    frames: Vec<Vec<u8>>,
    cpu: Duration,
}

impl Side {
    fn open(held: &Held, side: u64, now: Now, compression: Option<&Compressor>) -> Result<Self> {
        let store = MemoryStore::holding(held.head.clone(), held.records.iter().cloned(), [], Limits::default());
        let snapshot = ready(store.snapshot()).context("memory never waits")??;
        let facts = records(&snapshot, Replica::FACTS)?;
        let mut config = Config::new(network(), side + 1);
        config.compression = compression.cloned();
        let replica = Replica::open(config, held.head.clone(), facts, now)?;
        let mut open = Self { replica, driver: StoreDriver::new(store), frames: Vec::new(), cpu: Duration::ZERO };
        open.feed(now, Input::Tick)?;
        Ok(open)
    }

    /// Takes in one input and performs everything that follows from it, except that frames wait to be fetched.
    fn feed(&mut self, now: Now, input: Input) -> Result<()> {
        let begin = CpuTime::now();
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll_output() {
            match ready(self.driver.perform(output)).context("memory never waits")?? {
                Performed::Input(input) => self.replica.handle(now, input),
                Performed::Other(Output::Send { frame, .. }) => self.frames.push(frame),
                Performed::Other(Output::WriteRefused { error, .. }) => return Err(error.into()),
                Performed::Other(Output::Notify(event @ (Event::Damaged { .. } | Event::LimitReached { .. }))) => {
                    bail!("{event:?}")
                }
                Performed::Other(_) | Performed::Done => {}
            }
        }
        self.cpu += begin.elapsed();
        Ok(())
    }

    fn contents(&self) -> Result<Contents> {
        let snapshot = ready(self.driver.store().snapshot()).context("memory never waits")??;
        let mut contents = BTreeMap::new();
        for record in records(&snapshot, "job/")? {
            let mut values = record.values();
            if let Some((_, value)) = values.next() {
                let key = record.key().as_str().context("keys are text")?;
                contents.insert(key.to_owned(), String::from_utf8(value.to_vec())?);
            }
            ensure!(values.next().is_none(), "no two sides wrote the same record");
        }
        Ok(contents)
    }
}

fn head_of(store: &MemoryStore) -> Result<Head> {
    Ok(ready(store.snapshot()).context("memory never waits")??.head().clone())
}

fn records(snapshot: &impl Snapshot, prefix: &str) -> Result<Vec<Record>> {
    let prefix = if prefix.is_empty() { Prefix::all() } else { Prefix::new(prefix)? };
    let all = Cursor::new(prefix).with_rows(usize::MAX).with_bytes(usize::MAX);
    Ok(ready(snapshot.by_prefix(&all)).context("memory never waits")??.items)
}

fn network() -> NetworkId {
    NetworkId::of_name("measured")
}

fn node(side: u64) -> NodeId {
    NodeId::from_bytes([side as u8 + 1; 16])
}

/// Random names, as they are in earnest.
fn replica(origin: u64) -> Result<ReplicaId> {
    ReplicaId::new(SplitMix64(origin).draw()).context("zero was drawn")
}

/// Consecutive stamps, some time before the changes.
fn stamp(index: u64) -> Hlc {
    let first = Hlc::from_parts(WallTime::from_millis(WALL_MS - A_LONG_CUT_MS), 0).map_or(0, Hlc::as_u64);
    Hlc::from_u64(first + index)
}

/// Any fixed date.
const WALL_MS: u64 = 1_735_689_600_000;
const A_LONG_CUT_MS: u64 = 6 * 3_600_000;
/// Records of one batch while a store is filled.
const BATCH: usize = 4_096;
/// More than enough for anything measured here.
const MAX_STEPS: usize = 100_000;
