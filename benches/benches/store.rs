//! Planning and committing a batch, and reading beside it: what every sync chunk and every fact costs.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconvene_benches::{numbers, replica};
use reconvene_clock::{Hlc, NodeId};
use reconvene_store::{
    Body, Class, Identity, Key, Limits, LocalWrite, MemoryStore, MetadataStore, Plan, Replaces, Snapshot, ready,
};

fn store() -> MemoryStore {
    let identity = Identity { node: NodeId::new([1; 16]), replica: replica(7), incarnation: 1 };
    MemoryStore::new(identity, Limits::default())
}

fn key(number: u64) -> Key {
    Key::new(format!("job/{number:016x}")).expect("a short key")
}

/// Writes `keys` in one batch, as a broker would: look up, plan, commit.
fn write(store: &MemoryStore, keys: &[Key]) {
    let snapshot = ready(store.snapshot()).expect("memory is ready at once").expect("an open store");
    let rows: Vec<_> = keys
        .iter()
        .filter_map(|key| ready(snapshot.record(key)).expect("memory is ready at once").expect("an open store"))
        .collect();
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
    let snapshot = ready(store.snapshot()).expect("memory is ready at once").expect("an open store");
    let mut next = keys.iter().cycle();
    c.bench_function("store/get/rows=10000", |b| {
        b.iter(|| ready(snapshot.record(black_box(next.next().expect("a cycle does not end")))));
    });
}

fn snapshot(c: &mut Criterion) {
    let (store, _) = filled(10_000);
    c.bench_function("store/snapshot/rows=10000", |b| b.iter(|| ready(store.snapshot())));
}

criterion_group!(benches, commit, get, snapshot);
criterion_main!(benches);
