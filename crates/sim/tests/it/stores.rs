//! The conformance suite for stores, on stores that are right and on stores that are broken on purpose.

use reconvene_sim::suite::{Group, Report, SimStores, StoreFactory, StoreSuite};
use reconvene_store::MemoryStore;

use crate::number;

/// Everything but the 65,536 rows of the overflow of feeds, which take a while without optimisation.
const QUICK: [Group; 9] = [
    Group::Schedules,
    Group::Limits,
    Group::Dropped,
    Group::Concurrency,
    Group::Feed,
    Group::Deletes,
    Group::Faults,
    Group::Kills,
    Group::Reopening,
];

fn run<F: StoreFactory>(factory: F, seeds: u64, calls: usize, groups: &[Group]) -> Report {
    let report = StoreSuite::new(factory).seeds(0..seeds).calls(calls).only(groups.iter().copied()).run();
    eprintln!("{report}{:?}", report.counts().collect::<Vec<_>>());
    assert_eq!(report.failures().next(), None);
    report
}

#[test]
fn memory_store_conforms() {
    let _ = run(MemoryStore::for_network, 8, 40, &QUICK);
}

#[test]
fn sim_store_conforms() {
    let _ = run(SimStores::default(), 2, 30, &QUICK);
    let _ = run(SimStores::default().queueing().slow(), 2, 30, &QUICK);
}
