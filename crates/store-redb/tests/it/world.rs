//! What tests put into stores.

use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, ReplicaId};
pub(crate) use reconvene_sim::suite::block_on;
use reconvene_store::{
    Body, Class, CommitError, Cursor, Key, KeyContext, Limits, LocalWrite, MetadataStore, NetworkId, Plan, Prefix,
    Record, Replaces, Snapshot, StoreError, Version,
};
use reconvene_store_redb::Settings;

pub(crate) fn settings() -> Settings {
    Settings::new(NetworkId::of_name("tests"), NodeId::new([1; 16]))
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Writes one value or tombstone in one batch.
pub(crate) fn write(store: &impl MetadataStore, name: &str, body: Body) {
    try_write(store, name, body).unwrap();
}

/// The same, where the commit may fail.
pub(crate) fn try_write(store: &impl MetadataStore, name: &str, body: Body) -> Result<(), CommitError> {
    let snapshot = block_on(store.snapshot()).unwrap();
    let found = block_on(snapshot.record(&key(name))).unwrap();
    let mut plan = Plan::new(snapshot.head().clone(), [key(name)], found, &Limits::default());
    let hlc = Hlc::from_u64(1 << 30);
    plan.write(LocalWrite { key: key(name), class: Class::NORMAL, body, hlc, replaces: Replaces::AllLive }).unwrap();
    block_on(store.commit(&plan.finish())).map(drop)
}

/// Values, a tombstone, siblings, a version of another replica, a fact.
pub(crate) fn fill(store: &impl MetadataStore) {
    for number in 0..6 {
        write(store, &format!("job/{number}"), Body::of(vec![b'a' + number; 40 * usize::from(number) + 3]));
    }
    write(store, "job/2", Body::of("again"));
    write(store, "job/3", Body::Tombstone);
    let snapshot = block_on(store.snapshot()).unwrap();
    let found = block_on(snapshot.record(&key("job/1"))).unwrap();
    let mut plan = Plan::new(snapshot.head().clone(), [key("job/1")], found, &Limits::default());
    let other = ReplicaId::new(0xbeef).unwrap();
    let version = Version {
        dot: Dot::new(other, Counter::new(4).unwrap()),
        context: KeyContext::from_parts([Dot::new(other, Counter::new(2).unwrap())], [].into_iter().collect()),
        height: Height::new(9).unwrap(),
        hlc: Hlc::from_u64(5 << 20),
        class: Class::URGENT,
        body: Body::of("a sibling"),
    };
    plan.apply(key("job/1"), version).unwrap();
    plan.acknowledge(other, &[Dot::new(other, Counter::new(1).unwrap())].into_iter().collect());
    block_on(store.commit(&plan.finish())).unwrap();
}

pub(crate) fn read_all(store: &impl MetadataStore) -> Result<Vec<Record>, StoreError> {
    let snapshot = block_on(store.snapshot())?;
    let mut records = Vec::new();
    let mut cursor = Some(Cursor::new(Prefix::all()));
    while let Some(at) = cursor {
        let page = block_on(snapshot.by_prefix(&at))?;
        records.extend(page.items);
        cursor = page.next;
    }
    Ok(records)
}
