//! Comparing and merging vector clocks: what every received version costs.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use reconvene_benches::{numbers, replica};
use reconvene_clock::{Counter, Dot, Knowledge, VectorClock};

/// A clock of `len` random replicas, each at the same counter.
fn clock(len: usize, counter: u64) -> VectorClock {
    let counter = Counter::new(counter).expect("counters of these benches are small");
    numbers(len as u64).take(len).map(|id| Dot::new(replica(id), counter)).collect()
}

fn compare(c: &mut Criterion) {
    let mut group = c.benchmark_group("clock/compare_dominated");
    for len in [3, 128, 1_024] {
        let (older, newer) = (clock(len, 5), clock(len, 6));
        group.bench_with_input(BenchmarkId::new("entries", len), &len, |b, _| {
            b.iter(|| black_box(&older).compare(black_box(&newer)));
        });
    }
    group.finish();
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("clock/merge_same_ids");
    for len in [3, 128, 1_024] {
        let (older, newer) = (clock(len, 5), clock(len, 6));
        group.bench_with_input(BenchmarkId::new("entries", len), &len, |b, _| {
            b.iter_batched_ref(|| older.clone(), |held| held.merge(black_box(&newer)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn knowledge(c: &mut Criterion) {
    let mut group = c.benchmark_group("clock/knowledge_missing_from");
    for len in [10, 1_000] {
        let (behind, ahead) = (Knowledge::from(clock(len, 5)), Knowledge::from(clock(len, 6)));
        group.bench_with_input(BenchmarkId::new("entries", len), &len, |b, _| {
            b.iter(|| black_box(&ahead).missing_from(black_box(&behind)).count());
        });
    }
    group.finish();
}

criterion_group!(benches, compare, merge, knowledge);
criterion_main!(benches);
