//! Planning and committing a batch, and reading beside it: what every sync chunk and every fact costs. After the figures of
//! criterion come ratios to a plain `BTreeMap` behind an `RwLock`, measured in turns within this run.
//!
//! `cargo bench -p reconvene-benches --bench store`; the ratios alone with `-- ratios`.
#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "criterion's macros make undocumented items; figures are printed"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use reconvene_benches::{numbers, replica};
use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId};
use reconvene_store::{
    Body, Class, Identity, Key, KeyContext, Limits, LocalWrite, MemorySnapshot, MemoryStore, MetadataStore, Plan,
    Record, Replaces, Snapshot, Version, ready,
};

fn store() -> MemoryStore {
    let identity = Identity { node: NodeId::new([1; 16]), replica: replica(7), incarnation: 1 };
    MemoryStore::new(identity, Limits::default())
}

fn key(number: u64) -> Key {
    Key::new(format!("job/{number:016x}")).expect("a short key")
}

fn frozen(store: &MemoryStore) -> MemorySnapshot {
    ready(store.snapshot()).expect("memory is ready at once").expect("an open store")
}

fn record(snapshot: &MemorySnapshot, key: &Key) -> Option<Record> {
    ready(snapshot.record(key)).expect("memory is ready at once").expect("an open store")
}

/// Writes `keys` in one batch, as a broker would: look up, plan, commit.
fn write(store: &MemoryStore, keys: &[Key]) {
    let snapshot = frozen(store);
    let rows: Vec<_> = keys.iter().filter_map(|key| record(&snapshot, key)).collect();
    let mut plan = Plan::new(snapshot.head().clone(), keys.iter().cloned(), rows, &Limits::default());
    for key in keys {
        let body = Body::of([42; 200]);
        let hlc = Hlc::from_u64(1);
        let write = LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc, replaces: Replaces::AllLive };
        plan.write(write).expect("within every limit");
    }
    drop(snapshot);
    ready(store.commit(&plan.finish())).expect("memory is ready at once").expect("the only writer");
}

fn filled(rows: usize) -> (MemoryStore, Vec<Key>) {
    let store = store();
    let keys: Vec<Key> = numbers(1).take(rows).map(key).collect();
    for chunk in keys.chunks(1_000) {
        write(&store, chunk);
    }
    (store, keys)
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/commit");
    for rows in [1, 100] {
        group.throughput(Throughput::Elements(rows));
        group.bench_with_input(BenchmarkId::new("rows", rows), &rows, |b, rows| {
            let (store, _) = filled(10_000);
            let mut fresh = numbers(2);
            b.iter_batched(
                || fresh.by_ref().take(usize::try_from(*rows).expect("a small number")).map(key).collect::<Vec<_>>(),
                |keys| write(&store, &keys),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn get(c: &mut Criterion) {
    let (store, keys) = filled(10_000);
    let snapshot = frozen(&store);
    let mut next = keys.iter().cycle();
    c.bench_function("store/get/rows=10000", |b| {
        b.iter(|| record(&snapshot, black_box(next.next().expect("a cycle does not end"))));
    });
}

fn snapshot(c: &mut Criterion) {
    let (store, _) = filled(10_000);
    c.bench_function("store/snapshot/rows=10000", |b| b.iter(|| ready(store.snapshot())));
}

/// The plain map that everything is held against: the same records, without index, prints or snapshots.
struct Plain(RwLock<BTreeMap<Key, Record>>);

impl Plain {
    fn of(store: &MemoryStore, keys: &[Key]) -> Self {
        let snapshot = frozen(store);
        let rows = keys.iter().filter_map(|key| Some((key.clone(), record(&snapshot, key)?)));
        Self(RwLock::new(rows.collect()))
    }

    fn get(&self, key: &Key) -> Option<Record> {
        self.0.read().expect("no writer panics").get(key).cloned()
    }

    fn write(&self, keys: &[Key], counter: &mut u64) {
        let rows: Vec<(Key, Record)> = keys
            .iter()
            .map(|key| {
                *counter = counter.saturating_add(1);
                let dot = Dot::new(replica(7), Counter::new(*counter).expect("far from the end"));
                let (context, hlc, class) = (KeyContext::new(), Hlc::from_u64(1), Class::NORMAL);
                let version = Version { dot, context, height: Height::MIN, hlc, class, body: Body::of([42; 200]) };
                (key.clone(), Record::new(key.clone(), [version]).expect("one version"))
            })
            .collect();
        self.0.write().expect("no writer panics").extend(rows);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// The least time of each of two, over rounds in which both have their turn.
fn least(rounds: usize, mut left: impl FnMut(), mut right: impl FnMut()) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        best.0 = best.0.min(time(&mut left));
        best.1 = best.1.min(time(&mut right));
    }
    best
}

#[expect(clippy::arithmetic_side_effects, reason = "never by zero")]
fn show(what: &str, ours: Duration, plain: Duration, times: u32, goal: &str) {
    let ratio = plain.as_secs_f64() / ours.as_secs_f64();
    println!("{what:<44} {:>10.1?} {:>10.1?}   {ratio:.2}x (goal {goal})", ours / times, plain / times);
}

/// The 99th percentile of single reads.
fn p99(keys: &[Key], mut get: impl FnMut(&Key)) -> Duration {
    let mut times: Vec<Duration> = keys.iter().map(|key| time(|| get(key))).collect();
    times.sort_unstable();
    times.get(times.len().saturating_mul(99) / 100).copied().unwrap_or_default()
}

#[expect(clippy::arithmetic_side_effects, reason = "never by zero")]
fn ratios() {
    println!("\n{:<44} {:>10} {:>10}   speed, ours to a plain map", "", "ours", "plain");
    for rows in [10_000, 100_000, 1_000_000] {
        let (store, keys) = filled(rows);
        let plain = Plain::of(&store, &keys);
        let mut order: Vec<&Key> = keys.iter().take(100_000).collect();
        order.sort_by_key(|key| {
            std::hash::BuildHasher::hash_one(&std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default(), key)
        });
        let reads = u32::try_from(order.len()).expect("few");
        let view = frozen(&store);
        let held = || order.iter().for_each(|key| drop(black_box(record(&view, key))));
        let each = || order.iter().for_each(|key| drop(black_box(record(&frozen(&store), key))));
        let theirs = || order.iter().for_each(|key| drop(black_box(plain.get(key))));
        let (ours, others) = least(15, held, theirs);
        show(&format!("get, rows={rows}"), ours, others, reads, ">= 0.8x");
        let (ours, others) = least(15, each, theirs);
        show(&format!("get with a snapshot for each, rows={rows}"), ours, others, reads, "none");

        let both = || {
            std::thread::scope(|scope| {
                scope.spawn(held);
                scope.spawn(held);
            })
        };
        let one = || {
            std::thread::scope(|scope| {
                scope.spawn(held);
            })
        };
        let (two, one) = least(15, both, one);
        let ratio = 2.0 * one.as_secs_f64() / two.as_secs_f64();
        println!("{:<44} {:>21}   {ratio:.2}x (goal >= 1.5x)", format!("two readers to one, rows={rows}"), "");
        drop(view);

        let times = 10_000;
        let (snapshots, _) = least(15, || (0..times).for_each(|_| drop(black_box(frozen(&store)))), || {});
        println!("{:<44} {:>10.1?} (goal <= 1 us)", format!("snapshot, rows={rows}"), snapshots / times);

        let (mut mine, mut others) = (numbers(3), numbers(3));
        let mut counter = 1 << 40;
        let batch = |from: &mut dyn Iterator<Item = u64>| from.take(100).map(key).collect::<Vec<Key>>();
        let mut best = (Duration::MAX, Duration::MAX);
        for _ in 0..200 {
            let (ours, theirs) = (batch(&mut mine), batch(&mut others));
            best.0 = best.0.min(time(|| write(&store, &ours)));
            best.1 = best.1.min(time(|| plain.write(&theirs, &mut counter)));
        }
        show(&format!("plan and commit 100 rows, rows={rows}"), best.0, best.1, 1, ">= 0.5x");

        let sample: Vec<Key> = order.iter().take(20_000).map(|key| (*key).clone()).collect();
        let idle = (0..5).map(|_| p99(&sample, |key| drop(black_box(record(&frozen(&store), key))))).min();
        let done = AtomicBool::new(false);
        let busy = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    write(&store, &batch(&mut mine));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let busy = (0..5).map(|_| p99(&sample, |key| drop(black_box(record(&frozen(&store), key))))).min();
            done.store(true, Ordering::Relaxed);
            busy
        });
        let (idle, busy) = (idle.unwrap_or_default(), busy.unwrap_or_default());
        let ratio = busy.as_secs_f64() / idle.as_secs_f64();
        println!(
            "{:<44} {busy:>10.1?} {idle:>10.1?}   {ratio:.2}x (goal <= 2x)",
            format!("p99 of reads during commits, rows={rows}")
        );
    }
}

criterion_group!(benches, commit, get, snapshot);

fn main() {
    if !std::env::args().any(|argument| argument == "ratios") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    // `cargo test --benches` runs each measure once and wants no figures.
    if !std::env::args().any(|argument| argument == "--test") {
        ratios();
    }
}
