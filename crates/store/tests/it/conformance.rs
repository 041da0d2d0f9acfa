//! The conformance suite against stores that are right, and against stores that each do one thing wrong.

use reconvene_clock::{Counter, DotRange, Hlc};
use reconvene_sim::suite::{self, Group, StoreSuite};
use reconvene_store::{
    Body, Class, Cursor, Key, Limits, LocalWrite, MemoryStore, MetadataStore, NetworkId, Plan, Prefix, Replaces,
    Snapshot, ready,
};

use crate::plain::{Fault, PlainStore};
use crate::world::identity;

#[test]
fn memory_store_conforms() {
    let report = suite::store(MemoryStore::for_network).into_result().unwrap_or_else(|failure| panic!("{failure}"));
    for what in ["commits", "refusals", "full", "siblings", "collapsed contexts", "obsolete versions"] {
        assert!(report.count(what) > 10, "the schedules have only {} {what}", report.count(what));
    }
}

#[test]
fn plain_store_conforms() {
    let report = suite::store(|identity, network, limits| PlainStore::new(identity, network, limits, None));
    report.into_result().map(drop).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn suite_catches_every_planted_fault() {
    for fault in Fault::ALL {
        let shown_by = |seed: u64| {
            let make = move |identity, network, limits| PlainStore::new(identity, network, limits, Some(fault));
            let suite = StoreSuite::new(make).only([Group::Schedules, Group::Limits, Group::Deletes]);
            suite.seeds(seed..seed + 1).run().into_result().err()
        };
        // Each seed runs every group: most faults show with the first.
        let failure = (0..16).find_map(shown_by).unwrap_or_else(|| panic!("{fault:?} must be caught"));
        assert_eq!(shown_by(failure.seed), Some(failure), "the seed shows {fault:?} again");
    }
}

#[test]
fn memory_store_equals_the_plain_one_over_many_rows() {
    let memory = MemoryStore::new(identity(1), Limits::default());
    let plain = PlainStore::new(identity(1), NetworkId::default(), Limits::default(), None);
    let mut frozen = Vec::new();
    for round in 0_u64..60 {
        let before = ready(memory.snapshot()).unwrap().unwrap();
        // Multiples of a number without common factor with 1,511 visit the keys far apart from each other.
        let keys: Vec<Key> =
            (0..50).map(|nth| Key::new(format!("row/{:04}", (round * 50 + nth) * 577 % 1_511)).unwrap()).collect();
        let found: Vec<_> = keys.iter().filter_map(|key| ready(before.record(key)).unwrap().unwrap()).collect();
        let mut plan = Plan::new(before.head().clone(), keys.iter().cloned(), found, &Limits::default());
        for key in keys {
            let (body, hlc) = (Body::of(round.to_be_bytes()), Hlc::from_u64(round));
            plan.write(LocalWrite { key, class: Class::BULK, body, hlc, replaces: Replaces::AllLive }).unwrap();
        }
        let batch = plan.finish();
        ready(memory.commit(&batch)).unwrap().unwrap();
        ready(plain.commit(&batch)).unwrap().unwrap();
        if round % 20 == 7 {
            frozen.push((ready(memory.snapshot()).unwrap().unwrap(), ready(plain.snapshot()).unwrap().unwrap()));
        }
    }
    frozen.push((ready(memory.snapshot()).unwrap().unwrap(), ready(plain.snapshot()).unwrap().unwrap()));
    for (memory, plain) in frozen {
        assert_eq!(memory.head(), plain.head());
        for prefix in ["", "row/0", "row/077", "row/15", "row/9"] {
            let start = Cursor::new(Prefix::new(prefix).unwrap());
            let few = ready(memory.by_prefix(&start.clone().with_rows(7))).unwrap().unwrap();
            let all = ready(plain.by_prefix(&start.with_rows(5_000).with_bytes(1 << 30))).unwrap().unwrap();
            let rest = few
                .next
                .map(|next| ready(memory.by_prefix(&next.with_rows(5_000).with_bytes(1 << 30))).unwrap().unwrap());
            let found: Vec<_> = few.items.into_iter().chain(rest.into_iter().flat_map(|page| page.items)).collect();
            assert_eq!(found, all.items);
        }
        for (first, last) in [(1, u64::MAX >> 1), (1_400, 1_900), (2_990, 3_100)] {
            let counter = |number| Counter::new(number).unwrap();
            let range = DotRange::new(identity(1).replica, counter(first), counter(last)).unwrap();
            let start = Cursor::new(range).with_rows(5_000);
            assert_eq!(
                ready(memory.by_origin(&start)).unwrap().unwrap(),
                ready(plain.by_origin(&start)).unwrap().unwrap()
            );
        }
    }
}
