//! Bringing two replicas together, whole sessions from hello to the last acknowledgement.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Body, Class, Key};
use reconvene_sync::NewWrite;

/// Two replicas that are cut off from each other, the first with `records` that the second lacks.
fn parted(records: u32) -> ReplicaWorld {
    let mut world = ReplicaWorld::new(1, 2, |_, config| config.sync_interval_ms = 1_000);
    world.run_for(5_000);
    world.cut(0, 1, true);
    for first in (0..records).step_by(100) {
        let some = first..records.min(first.saturating_add(100));
        let writes = some.map(|number| {
            let key = Key::new(format!("job/{number:08}")).expect("a short key");
            NewWrite::new(key, Class::NORMAL, Body::of([42; 48]))
        });
        world.write(0, writes.collect());
    }
    world.run_for(2_000);
    world.heal(0, 1);
    world
}

fn reconvene(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync/reconvene");
    for records in [100, 2_000] {
        group.throughput(Throughput::Elements(records.into()));
        group.bench_with_input(BenchmarkId::new("records", records), &records, |b, records| {
            b.iter_batched_ref(
                || parted(*records),
                |world| {
                    while world.digest(0) != world.digest(1) {
                        world.run_for(100);
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// A minute of two replicas that have nothing to tell each other: sixty rounds of hello and in-sync.
fn quiet(c: &mut Criterion) {
    let mut world = ReplicaWorld::new(1, 2, |_, config| config.sync_interval_ms = 1_000);
    world.run_for(5_000);
    c.bench_function("sync/quiet_minute/replicas=2", |b| b.iter(|| world.run_for(60_000)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = reconvene, quiet
}
criterion_main!(benches);
