//! Replicas as planner and plain map, and universes of versions that they wrote.

use std::collections::BTreeMap;

use reconvene_clock::{Counter, Dot, Hlc, Knowledge, NodeId, ReplicaId};
use reconvene_store::{
    Applied, Batch, Body, Class, Head, Identity, Key, Limits, LocalWrite, NetworkId, Plan, PlanError, Record, Replaces,
    Version,
};

/// What one replica holds.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) head: Head,
    pub(crate) rows: BTreeMap<Key, Record>,
}

impl Replica {
    pub(crate) fn new(number: u64) -> Self {
        Self { head: Head::new(identity(number), NetworkId::of_name("test")), rows: BTreeMap::new() }
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_within(&Limits::default())
    }

    pub(crate) fn plan_within(&self, limits: &Limits) -> Plan {
        Plan::new(self.head.clone(), (0..4).map(key), self.rows.values().cloned(), limits)
    }

    pub(crate) fn commit(&mut self, batch: &Batch) {
        for row in batch.rows() {
            match row.after() {
                Some(after) => drop(self.rows.insert(row.key().clone(), after.clone())),
                None => drop(self.rows.remove(row.key())),
            }
        }
        self.head = batch.head().clone();
    }

    /// Writes and returns the version.
    pub(crate) fn write(&mut self, number: u8, body: Body, replaces: Replaces) -> Version {
        let mut plan = self.plan();
        let dot = plan.write(write(number, body, replaces)).unwrap();
        let batch = plan.finish();
        self.commit(&batch);
        self.rows[&key(number)].version(dot).unwrap().clone()
    }

    pub(crate) fn put(&mut self, number: u8, value: &str) -> Version {
        self.write(number, Body::of(value), Replaces::AllLive)
    }

    pub(crate) fn apply(&mut self, number: u8, version: &Version) -> Result<Applied, PlanError> {
        let mut plan = self.plan();
        let applied = plan.apply(key(number), version.clone())?;
        self.commit(&plan.finish());
        Ok(applied)
    }

    /// A whole session: everything live that is unknown here, then the claim.
    pub(crate) fn pull(&mut self, from: &Self) {
        let mut plan = self.plan();
        for (key, row) in &from.rows {
            for version in row.siblings().iter().filter(|version| !self.knowledge().contains(version.dot)) {
                plan.apply(key.clone(), version.clone()).unwrap();
            }
        }
        plan.claim(from.knowledge(), from.head.gc_floor()).unwrap();
        self.commit(&plan.finish());
    }

    pub(crate) fn knowledge(&self) -> &Knowledge {
        self.head.knowledge()
    }

    pub(crate) fn live(&self, number: u8) -> Vec<Dot> {
        self.rows.get(&key(number)).map_or(Vec::new(), |row| row.siblings().iter().map(|one| one.dot).collect())
    }
}

/// One thing that happens in a universe: who, on which key or with whom, and what.
pub(crate) type Event = (usize, u8, u8);

/// Three replicas that write and meet, and every version that they wrote.
pub(crate) fn universe(events: &[Event]) -> ([Replica; 3], Vec<(Key, Version)>) {
    let mut replicas = [1, 2, 3].map(Replica::new);
    let mut versions = Vec::new();
    for (who, other, what) in events {
        let number = other % 4;
        let siblings = replicas[*who].rows.get(&key(number)).map_or(&[][..], Record::siblings).to_vec();
        let replaces = match what % 10 {
            0 | 1 => {
                let from = replicas[usize::from(other % 3)].clone();
                replicas[*who].pull(&from);
                continue;
            }
            2 => Replaces::Context(siblings.first().map_or_else(Default::default, Version::seen)),
            3 => Replaces::Context(siblings.last().map_or_else(Default::default, Version::seen)),
            4 => Replaces::Context(Default::default()),
            _ => Replaces::AllLive,
        };
        let body = if what % 7 == 0 { Body::Tombstone } else { Body::of([*what]) };
        versions.push((key(number), replicas[*who].write(number, body, replaces)));
    }
    (replicas, versions)
}

pub(crate) fn write(number: u8, body: Body, replaces: Replaces) -> LocalWrite {
    LocalWrite { key: key(number), class: Class::NORMAL, body, hlc: Hlc::default(), replaces }
}

pub(crate) fn key(number: u8) -> Key {
    Key::new(format!("key/{number}")).unwrap()
}

pub(crate) fn identity(number: u64) -> Identity {
    Identity { node: NodeId::new([7; 16]), replica: ReplicaId::new(number).unwrap(), incarnation: 1 }
}

pub(crate) fn dot(replica: u64, counter: u64) -> Dot {
    Dot::new(ReplicaId::new(replica).unwrap(), Counter::new(counter).unwrap())
}
