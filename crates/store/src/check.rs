//! Whether what a store keeps makes sense.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_clock::digest::sip24_128;
use reconvene_clock::{Dot, ReplicaId};

use crate::fingerprint::Printer;
use crate::version::is_tombstone;
use crate::{Fingerprints, Head, Key, PrintId, Record, StoreError};

/// Something that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A row cannot be read.
    Row {
        /// Its key.
        key: Key,
        /// The dots that are live in it by the index, ascending.
        live: Vec<Dot>,
        /// What is wrong.
        what: String,
    },
    /// A version is live and not known.
    Unknown {
        /// Its key.
        key: Key,
        /// Its dot.
        dot: Dot,
    },
    /// The index of one replica's live dots is not that of the rows.
    Index {
        /// The replica.
        origin: ReplicaId,
    },
    /// The list of one replica's tombstones is not that of the rows.
    Tombstones {
        /// The replica.
        origin: ReplicaId,
    },
    /// A fingerprint is not that of the versions.
    Print {
        /// Which.
        id: PrintId,
    },
    /// Something that is not a row cannot be read.
    Other {
        /// What, and what is wrong with it.
        what: String,
    },
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Readable rows.
    pub rows: u64,
    /// Live versions in them, tombstones included.
    pub live: u64,
    /// Live tombstones in them.
    pub tombstones: u64,
    /// Pieces of evidence that a dot was used twice.
    pub evidence: u64,
    /// Bytes of the readable rows, as [`Record::byte_len`] counts them.
    pub bytes: u64,
    /// What is wrong, at most [`CheckReport::MAX_DAMAGE`] things: damaged rows first.
    pub damage: Vec<Damage>,
    /// How many things are wrong.
    pub damaged: u64,
    /// The fingerprints of the readable rows, worked out from them.
    pub prints: Fingerprints,
}

impl CheckReport {
    /// The most things that a report names.
    pub const MAX_DAMAGE: usize = 4_096;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged == 0
    }

    /// The rows that cannot be read, with what was live in them: what [`Plan::lose`](crate::Plan::lose) asks for.
    pub fn lost(&self) -> impl Iterator<Item = (&Key, &[Dot])> {
        self.damage.iter().filter_map(|damage| {
            if let Damage::Row { key, live, .. } = damage { Some((key, live.as_slice())) } else { None }
        })
    }
}

/// Checks a store while a backend walks over it: first every row, then the index and the list of tombstones, each in
/// any order.
///
/// Holds sums, not sets: the memory it takes is that of the damage. Two sets with equal sums are equal but for
/// accidents of probability 2^-128.
///
/// ```
/// use reconvene_clock::{NodeId, ReplicaId};
/// use reconvene_store::{Checker, Head, Identity, NetworkId};
///
/// let replica = ReplicaId::new(7).expect("not zero");
/// let head = Head::new(Identity { node: NodeId::new([1; 16]), replica, incarnation: 1 }, NetworkId::default());
/// assert!(Checker::new(&head).finish().is_sound());
/// ```
#[derive(Debug)]
pub struct Checker<'a> {
    head: &'a Head,
    report: CheckReport,
    rows: BTreeMap<Key, (Vec<Dot>, String)>,
    /// For each origin what the rows say is live less what the index says.
    live: BTreeMap<ReplicaId, u128>,
    tombstones: BTreeMap<ReplicaId, u128>,
    others: Vec<Damage>,
}

impl<'a> Checker<'a> {
    /// A check of the store that has this head.
    #[must_use]
    pub fn new(head: &'a Head) -> Self {
        let report = CheckReport {
            rows: 0,
            live: 0,
            tombstones: 0,
            evidence: 0,
            bytes: 0,
            damage: Vec::new(),
            damaged: 0,
            prints: Fingerprints::empty(head.network()),
        };
        let (live, tombstones) = (BTreeMap::new(), BTreeMap::new());
        Self { head, report, rows: BTreeMap::new(), live, tombstones, others: Vec::new() }
    }

    /// Counts a row that was read.
    pub fn row(&mut self, record: &Record) {
        self.report.rows = self.report.rows.saturating_add(1);
        self.report.bytes = self.report.bytes.saturating_add(number(record.byte_len()));
        self.report.evidence = self.report.evidence.saturating_add(number(record.evidence().len()));
        let mut printer = Printer::default();
        let mut prints = printer.of_key(&mut self.report.prints, record.key());
        record.siblings().iter().for_each(|version| prints.insert(version));
        for version in record.siblings() {
            let dot = version.dot;
            self.report.live = self.report.live.saturating_add(1);
            add(&mut self.live, dot, record.key(), u128::wrapping_add);
            if is_tombstone(version) {
                self.report.tombstones = self.report.tombstones.saturating_add(1);
                add(&mut self.tombstones, dot, record.key(), u128::wrapping_add);
            }
            if !self.head.knowledge().contains(dot) {
                self.others.push(Damage::Unknown { key: record.key().clone(), dot });
            }
        }
    }

    /// Counts a row that could not be read.
    pub fn damaged_row(&mut self, key: Key, error: &StoreError) {
        self.rows.insert(key, (Vec::new(), error.to_string()));
    }

    /// Counts an entry of the live index.
    pub fn live(&mut self, dot: Dot, key: &Key) {
        match self.rows.get_mut(key) {
            Some((live, _)) => live.push(dot),
            None => add(&mut self.live, dot, key, u128::wrapping_sub),
        }
    }

    /// Counts an entry of the list of tombstones, and the key that the index has for it.
    pub fn tombstone(&mut self, dot: Dot, key: &Key) {
        if !self.rows.contains_key(key) {
            add(&mut self.tombstones, dot, key, u128::wrapping_sub);
        }
    }

    /// Counts something else that could not be read.
    pub fn damaged(&mut self, what: impl Into<String>) {
        self.others.push(Damage::Other { what: what.into() });
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> CheckReport {
        let Self { head, mut report, rows, live, tombstones, others } = self;
        let lost = !rows.is_empty();
        let mut damage: Vec<Damage> = Vec::new();
        for (key, (mut live, what)) in rows {
            live.sort_unstable();
            damage.push(Damage::Row { key, live, what });
        }
        damage.extend(others);
        let wrong =
            |sums: BTreeMap<ReplicaId, u128>| sums.into_iter().filter(|(_, sum)| *sum != 0).map(|(origin, _)| origin);
        damage.extend(wrong(live).map(|origin| Damage::Index { origin }));
        damage.extend(wrong(tombstones).map(|origin| Damage::Tombstones { origin }));
        // The prints count what was in the damaged rows, so that nothing follows from a difference.
        if !lost {
            let ids: BTreeSet<PrintId> =
                head.fingerprints().parts().chain(report.prints.parts()).map(|(id, _)| id).collect();
            let differs = |id: &PrintId| head.fingerprints().part(*id) != report.prints.part(*id);
            damage.extend(ids.into_iter().filter(differs).map(|id| Damage::Print { id }));
        }
        report.damaged = number(damage.len());
        damage.truncate(CheckReport::MAX_DAMAGE);
        report.damage = damage;
        report
    }
}

fn add(sums: &mut BTreeMap<ReplicaId, u128>, dot: Dot, key: &Key, change: impl Fn(u128, u128) -> u128) {
    let mut bytes = dot.counter.get().to_be_bytes().to_vec();
    bytes.extend_from_slice(key.as_bytes());
    let sum = sums.entry(dot.replica).or_default();
    *sum = change(*sum, sip24_128(b"reconvene index\0", &bytes));
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
