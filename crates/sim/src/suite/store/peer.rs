//! A replica as the planner and a plain map: the peers that write beside the store under test.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, Hlc, Knowledge, NodeId, ReplicaId};
use reconvene_store::{
    Batch, Body, Class, Head, Identity, Key, KeyContext, Limits, LocalWrite, NetworkId, Plan, PlanError, Record,
    Replaces, Version,
};

use crate::suite::random::Random;

/// All records and the head of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) head: Head,
    pub(super) rows: BTreeMap<Key, Record>,
}

/// Every version ever written.
pub(super) type Pool = BTreeMap<Dot, (Key, Version)>;

impl Peer {
    pub(super) fn new(number: u8) -> Self {
        Self { head: Head::new(identity(number), network()), rows: BTreeMap::new() }
    }

    /// A plan that knows every key of the universe.
    pub(super) fn plan(&self) -> Plan {
        self.plan_within(&Limits::default())
    }

    pub(super) fn plan_within(&self, limits: &Limits) -> Plan {
        let looked_up: BTreeSet<Key> = keys().into_iter().chain(self.rows.keys().cloned()).collect();
        Plan::new(self.head.clone(), looked_up, self.rows.values().cloned(), limits)
    }

    pub(super) fn commit(&mut self, batch: &Batch) {
        for row in batch.rows() {
            match row.after() {
                Some(record) => drop(self.rows.insert(row.key().clone(), record.clone())),
                None => drop(self.rows.remove(row.key())),
            }
        }
        self.head = batch.head().clone();
    }

    /// The live versions that `knowledge` does not cover: what a session would send.
    pub(super) fn missing_from(&self, knowledge: &Knowledge) -> Vec<(Key, Version)> {
        let live = self.rows.values().flat_map(|row| row.siblings().iter().map(|version| (row.key(), version)));
        let missing = live.filter(|(_, version)| !knowledge.contains(version.dot));
        missing.map(|(key, version)| (key.clone(), version.clone())).collect()
    }
}

/// The records that are live where exactly `knowledge` is known: the versions in it that no version in it replaces.
pub(super) fn live_of(pool: &Pool, knowledge: &Knowledge) -> BTreeMap<Key, Record> {
    let known = || pool.values().filter(|(_, version)| knowledge.contains(version.dot));
    let mut live: BTreeMap<&Key, Vec<Version>> = BTreeMap::new();
    for (key, version) in known() {
        if !known().any(|(other, by)| other == key && by.replaces(version.dot)) {
            live.entry(key).or_default().push(version.clone());
        }
    }
    live.into_iter()
        .filter_map(|(key, versions)| Some((key.clone(), Record::new(key.clone(), versions).ok()?)))
        .collect()
}

/// Plans a write of something somewhere, adds it to the pool and returns its dot.
pub(super) fn write_something(
    plan: &mut Plan,
    pool: &mut Pool,
    read_before: &mut BTreeMap<Key, KeyContext>,
    random: &mut Random,
) -> Result<Dot, PlanError> {
    let keys = keys();
    // Half of the writes go to one key, so that contexts grow long enough to collapse.
    let key = if random.one_in(2) { keys.first() } else { random.pick(&keys) };
    let key = key.cloned().ok_or(PlanError::HeightExhausted)?;
    let siblings = plan.siblings(&key)?;
    let replaces = match random.below(8) {
        0 => Replaces::Context(KeyContext::new()),
        1 => random.pick(siblings).map_or(Replaces::AllLive, |one| Replaces::Context(one.seen())),
        2 => read_before.get(&key).cloned().map_or(Replaces::AllLive, Replaces::Context),
        _ => Replaces::AllLive,
    };
    if random.one_in(3) {
        let mut seen = KeyContext::new();
        for version in siblings {
            seen.merge(&version.seen());
        }
        read_before.insert(key.clone(), seen);
    }
    let body = if random.one_in(5) { Body::Tombstone } else { Body::of(random.below(3).to_le_bytes()) };
    let hlc = Hlc::from_u64(u64::try_from(random.below(1_000)).unwrap_or_default());
    let dot = plan.write(LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc, replaces })?;
    if let Some(version) = plan.siblings(&key)?.iter().find(|version| version.dot == dot) {
        pool.insert(dot, (key, version.clone()));
    }
    Ok(dot)
}

/// The four keys.
pub(super) fn keys() -> Vec<Key> {
    ["a/1", "a/2", "b/1", "c"].iter().filter_map(|key| Key::new(key).ok()).collect()
}

/// Replicas 0, 1 and 2 write; others are strangers.
pub(super) fn identity(number: u8) -> Identity {
    let replica = ReplicaId::new(u64::from(number).saturating_add(1)).expect("one or more is not zero");
    Identity { node: NodeId::new([number; 16]), replica, incarnation: 1 }
}

pub(super) fn network() -> NetworkId {
    NetworkId::of_name("conformance")
}
