//! What a store in memory takes for each live record, counted by the allocator.
//!
//! `cargo test --release -p reconvene-store --test memory -- --nocapture` counts 1,000,000 records of 1,000 origins; a
//! debug build counts 30,000 of them, where each origin's share of the whole weighs more.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test counts and adds freely, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, ReplicaId, VectorClock};
use reconvene_store::{
    Body, Class, Identity, Key, KeyContext, Limits, MemoryStore, MetadataStore, Plan, Snapshot, Version, ready,
};

const ORIGINS: u64 = 1_000;
const VALUE: usize = 200;

fn replica(number: u64) -> ReplicaId {
    // Spread as random ids are.
    ReplicaId::new(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap()
}

/// The records of one origin: each written once, as facts are.
fn records(origin: u64, each: u64) -> impl Iterator<Item = (Key, Version)> {
    (1..=each).map(move |number| {
        let id = (origin << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = Key::new(format!("job/{id:016x}/spec")).unwrap();
        let dot = Dot::new(replica(origin), Counter::new(number).unwrap());
        let (height, hlc, class) = (Height::new(number).unwrap(), Hlc::from_u64(number << 16), Class::NORMAL);
        (key, Version { dot, context: KeyContext::new(), height, hlc, class, body: Body::of([7; VALUE]) })
    })
}

fn fill(each: u64) -> MemoryStore {
    let identity = Identity { node: NodeId::new([1; 16]), replica: replica(ORIGINS), incarnation: 1 };
    let mut limits = Limits::default();
    limits.batch_bytes = usize::MAX;
    let store = MemoryStore::new(identity, limits);
    // A thousand origins at a time, so that no origin's index is filled from end to end in one go.
    let mut streams: Vec<_> = (0..ORIGINS).map(|origin| records(origin, each)).collect();
    for _ in 0..each {
        let versions: Vec<(Key, Version)> = streams.iter_mut().filter_map(Iterator::next).collect();
        let head = ready(store.snapshot()).unwrap().unwrap().head().clone();
        let mut plan = Plan::new(head, Plan::keys_needed(&versions), [], &limits);
        for (key, version) in versions {
            plan.apply(key, version).unwrap();
        }
        ready(store.commit(&plan.finish())).unwrap().unwrap();
    }
    // What every member acknowledged is part of the metadata.
    let snapshot = ready(store.snapshot()).unwrap().unwrap();
    let prefix: VectorClock = snapshot.head().knowledge().vector().clone();
    let mut plan = Plan::new(snapshot.head().clone(), [], [], &limits);
    (0..ORIGINS).for_each(|member| plan.acknowledge(replica(member), &prefix));
    drop(snapshot);
    ready(store.commit(&plan.finish())).unwrap().unwrap();
    store
}

fn bytes<T>(make: impl FnOnce() -> T) -> i64 {
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(make()));
    drop(kept);
    counted.bytes_current
}

#[test]
fn metadata_of_a_live_record_stays_within_its_bound() {
    let each = if cfg!(debug_assertions) { 30 } else { 1_000 };
    let count = i64::try_from(ORIGINS * each).unwrap();
    let payload: i64 = (0..ORIGINS)
        .flat_map(|origin| records(origin, 1))
        .map(|(key, version)| {
            i64::try_from(key.as_bytes().len() + version.body.byte_len()).unwrap() * i64::try_from(each).unwrap()
        })
        .sum();
    // The same keys and values in a plain map: what anyone pays who keeps them in memory.
    let plain = bytes(|| {
        let mut map: BTreeMap<Key, Arc<[u8]>> = BTreeMap::new();
        for origin in 0..ORIGINS {
            for (key, version) in records(origin, each) {
                map.insert(key, version.body.value().unwrap().into());
            }
        }
        map
    });
    let store = bytes(|| fill(each));
    let acks = i64::try_from(ORIGINS * ORIGINS * 16).unwrap() / count;
    let per = |bytes: i64| bytes / count;
    println!(
        "{count} records of {ORIGINS} origins, in bytes per record: store {} beyond key and value (acks {acks} of them), plain map {}, metadata {}",
        per(store - payload),
        per(plain - payload),
        per(store - plain),
    );
    // Knowledge, fingerprints and acks do not grow with records: a smaller store pays more of them for each.
    let fixed = if cfg!(debug_assertions) { i64::try_from(ORIGINS * ORIGINS * 24 + ORIGINS * 200).unwrap() } else { 0 };
    assert!(store - plain <= 150 * count + fixed, "{} bytes", per(store - plain));
}
