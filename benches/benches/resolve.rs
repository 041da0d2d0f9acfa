//! Ranking a queue and picking a canonical result.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconvene_benches::numbers;
use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, JobFacts, Level, Priority, Resources, RoundFacts, StrategyKind, SubjectId, VersionFacts, rank,
    resolve, top,
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

criterion_group!(benches, ranking, picking);
criterion_main!(benches);
