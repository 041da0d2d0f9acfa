//! Ranking a queue, picking a canonical result, placing and packing jobs. Ratios to goals, on real inputs, come from the
//! program: `cargo run --release -p reconvene-benches -- resolve`.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::arithmetic_side_effects, reason = "benchmarks compute small numbers")]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconvene_benches::numbers;
use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, ClusterView, ExecutorFacts, FitRule, FreeIndex, JobFacts, JobValue, Level, Priority, RankKey,
    ResourcePacking, Resources, RoundFacts, StrategyKind, SubjectId, VersionFacts, rank, resolve, top,
};

fn stamp(random: u64) -> Hlc {
    Hlc::from_parts(WallTime::from_millis(random % 86_400_000), 0).expect("a time within a day")
}

fn jobs(count: usize) -> Vec<JobFacts> {
    let random = numbers(1).take(count).zip(1..);
    random
        .map(|(random, number)| JobFacts {
            priority: Priority(random.to_le_bytes()[7]),
            work_core_ms: Some(random % 30_000_000),
            demand: Resources::new(random % 16_000, random % 65_536, 0),
            level: if random % 33 == 0 { Level::LIFE_SAFETY } else { Level::ROUTINE },
            height: Height::new((random % 1_000).max(1)).expect("at least one"),
            ..JobFacts::new(CandidateId::new(1, number), stamp(random))
        })
        .collect()
}

fn ranking(c: &mut Criterion) {
    const COUNT: usize = 10_000;
    let (jobs, round) = (jobs(COUNT), RoundFacts::new(1, RoundFacts::REFERENCE));
    let mut group = c.benchmark_group("resolve/rank");
    group.throughput(Throughput::Elements(COUNT as u64));
    for kind in StrategyKind::ALL {
        group.bench_with_input(BenchmarkId::new(kind.short_name(), COUNT), &kind, |b, kind| {
            b.iter(|| rank(kind.contention(), black_box(&jobs), &round));
        });
    }
    group.bench_function("top=10", |b| {
        b.iter(|| top(StrategyKind::EmergencyFirst.contention(), black_box(&jobs), &round, 10));
    });
    group.bench_function("peer=binary_heap", |b| {
        let strategy = StrategyKind::PriorityBased.contention();
        b.iter(|| {
            let keys: Vec<Reverse<RankKey>> =
                black_box(&jobs).iter().map(|job| Reverse(strategy.key(job, &round))).collect();
            let mut heap = BinaryHeap::from(keys);
            let mut order = Vec::with_capacity(COUNT);
            while let Some(Reverse(key)) = heap.pop() {
                order.push(key.id());
            }
            order
        });
    });
    group.finish();
}

fn picking(c: &mut Criterion) {
    let versions: Vec<VersionFacts> = numbers(2)
        .take(4)
        .zip(1..)
        .map(|(random, issuer)| VersionFacts {
            cost_resource_ms: random % 100_000,
            ..VersionFacts::new(SubjectId::new(1, 7), CandidateId::new(issuer, 1), stamp(random))
        })
        .collect();
    let mut group = c.benchmark_group("resolve/pick_of_4");
    for kind in StrategyKind::ALL {
        group.bench_function(kind.short_name(), |b| b.iter(|| resolve(kind.reconcile(), black_box(&versions))));
    }
    group.finish();
}

fn executors(count: usize) -> Vec<ExecutorFacts> {
    let random = numbers(3).take(count);
    random
        .map(|random| {
            let capacity = Resources::new(32_000 << (random % 3), 131_072 << (random % 2), random % 5 * 2_000);
            let free = Resources::new(
                (random >> 8) % capacity.cpu_milli,
                (random >> 16) % capacity.memory_mib,
                capacity.gpu_milli / 2,
            );
            ExecutorFacts { capacity, free, tags: BTreeSet::new() }
        })
        .collect()
}

fn placing(c: &mut Criterion) {
    const COUNT: usize = 1_523;
    let (executors, jobs) = (executors(COUNT), jobs(256));
    let index = FreeIndex::new(&executors);
    let mut group = c.benchmark_group("resolve/place");
    group.throughput(Throughput::Elements(jobs.len() as u64));
    group.bench_function(BenchmarkId::new("index", COUNT), |b| {
        b.iter(|| black_box(&jobs).iter().filter_map(|job| index.choose(job, FitRule::Balanced)).sum::<usize>());
    });
    group.bench_function(BenchmarkId::new("scan", COUNT), |b| {
        b.iter(|| black_box(&jobs).iter().filter_map(|job| FitRule::Balanced.choose(job, &executors)).sum::<usize>());
    });
    group.finish();
}

fn packing(c: &mut Criterion) {
    let mut view = ClusterView::new(executors(4));
    for executor in &mut view.executors {
        executor.free = executor.capacity;
    }
    let jobs: Vec<JobFacts> = jobs(50)
        .into_iter()
        .zip(numbers(4))
        .map(|(job, random)| JobFacts { value: JobValue::new((random % 4) as u32 + 1).unwrap_or_default(), ..job })
        .collect();
    let (round, now) = (RoundFacts::new(1, view.total()), WallTime::from_millis(0));
    let mut group = c.benchmark_group("resolve/pack_50_on_4");
    for (name, packing) in [("portfolio", ResourcePacking::new()), ("search", ResourcePacking::new().searching(3))] {
        group.bench_function(name, |b| b.iter(|| packing.pack(black_box(&jobs), &view, &round, now)));
    }
    group.finish();
}

criterion_group!(benches, ranking, picking, placing, packing);
criterion_main!(benches);
