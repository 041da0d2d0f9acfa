//! A replica as the planner and a plain map: the peers that write beside the store under test, and what it must hold.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::{Dot, Hlc, Knowledge, NodeId, ReplicaId};
use reconvene_store::{
    Applied, Batch, Body, Class, Fact, FactKind, Head, Identity, Key, Limits, LocalWrite, NetworkId, Plan, PlanError,
    Record, Replaces, Version,
};

use super::pool::{Pool, Token};
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Report};

/// All records, the head and the facts of one replica.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) head: Head,
    pub(super) rows: BTreeMap<Key, Record>,
    pub(super) facts: BTreeMap<(FactKind, ReplicaId), Fact>,
}

/// What a writer has read of each key and may hand back late.
pub(super) type ReadBefore = BTreeMap<Key, Token>;

impl Peer {
    pub(super) fn new(number: u8) -> Self {
        Self::of(identity(number))
    }

    pub(super) fn of(identity: Identity) -> Self {
        Self::empty(Head::new(identity, network()))
    }

    pub(super) fn empty(head: Head) -> Self {
        Self { head, rows: BTreeMap::new(), facts: BTreeMap::new() }
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
        for fact in batch.facts() {
            match self.facts.get_mut(&(fact.kind(), fact.id())) {
                Some(held) => drop(held.merge(fact)),
                None => drop(self.facts.insert((fact.kind(), fact.id()), fact.clone())),
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

    /// Whether rows and head are the same as those of `expected`.
    pub(super) fn same(&self, expected: &Self) -> Result<(), String> {
        if self.rows != expected.rows {
            return Err(format!("the records are {:?} and should be {:?}", self.rows, expected.rows));
        }
        if self.head != expected.head {
            return Err(format!("the head is {:?} and should be {:?}", self.head, expected.head));
        }
        Ok(())
    }
}

/// Plans a write of something somewhere, adds it to the pool and returns its dot.
pub(super) fn write_something(
    plan: &mut Plan,
    pool: &mut Pool,
    read_before: &mut ReadBefore,
    random: &mut Random,
    report: &mut Report,
) -> Result<Dot, Broken> {
    let keys = keys();
    // Half of the writes go to one key, so that contexts grow long enough to collapse.
    let key = if random.one_in(2) { keys.first() } else { random.pick(&keys) };
    let key = key.cloned().ok_or("there are keys").blame(Check::Replaces)?;
    let siblings = plan.siblings(&key).blame(Check::Replaces)?.to_vec();
    let token = match random.below(8) {
        0 => Some(Token::default()),
        1 => random.pick(&siblings).map(|one| pool.token([one])),
        2 => read_before.get(&key).cloned(),
        _ => None,
    };
    if random.one_in(3) {
        read_before.insert(key.clone(), pool.token(&siblings));
    }
    let body = if random.one_in(5) { Body::Tombstone } else { Body::of(random.below(3).to_le_bytes()) };
    let hlc = Hlc::from_u64(u64::try_from(random.below(1_000)).unwrap_or_default());
    let replaces = token.as_ref().map_or(Replaces::AllLive, |token| Replaces::Context(token.context.clone()));
    let write = LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc, replaces };
    let dot = plan.write(write).blame(Check::Replaces)?;
    let after = plan.siblings(&key).blame(Check::Replaces)?;
    let written = after.iter().find(|version| version.dot == dot);
    let written = written.ok_or("a write is not live after it").blame(Check::Replaces)?;
    pool.write(&key, written, &siblings, token.as_ref(), report)?;
    Ok(dot)
}

/// Plans one write of `body` in place of everything on `key`.
pub(super) fn put(plan: &mut Plan, key: &Key, body: Body) -> Result<Dot, PlanError> {
    let (replaces, hlc) = (Replaces::AllLive, Hlc::default());
    plan.write(LocalWrite { key: key.clone(), class: Class::NORMAL, body, hlc, replaces })
}

/// Applies everything that `from` holds and `plan` does not know, then its claim.
pub(super) fn learn(plan: &mut Plan, from: &Peer, random: &mut Random) -> Result<(), PlanError> {
    let mut missing = from.missing_from(plan.knowledge());
    random.shuffle(&mut missing);
    for (key, version) in missing {
        let _: Applied = plan.apply(key, version)?;
    }
    plan.claim(from.head.knowledge(), from.head.gc_floor())
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
