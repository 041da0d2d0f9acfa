//! The conformance suite against stores that are right, and against stores that each do one thing wrong.

use reconvene_sim::suite;
use reconvene_store::MemoryStore;

use crate::plain::{Fault, PlainStore};

#[test]
fn memory_store_conforms() {
    let report = suite::store(MemoryStore::for_network).unwrap_or_else(|failure| panic!("{failure}"));
    for (what, count) in [
        ("commits", report.commits),
        ("refusals", report.refusals),
        ("full", report.full),
        ("siblings", report.siblings),
        ("collapsed contexts", report.collapsed),
        ("obsolete versions", report.obsolete),
    ] {
        assert!(count > 20, "the schedules have only {count} {what}");
    }
}

#[test]
fn plain_store_conforms() {
    suite::store(|identity, network, limits| PlainStore::new(identity, network, limits, None))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn suite_catches_every_planted_fault() {
    for fault in Fault::ALL {
        let failure = suite::store(|identity, network, limits| PlainStore::new(identity, network, limits, Some(fault)));
        let failure = failure.expect_err(&format!("{fault:?} must be caught"));
        let again = suite::store_seed(
            |identity, network, limits| PlainStore::new(identity, network, limits, Some(fault)),
            failure.seed,
        );
        assert_eq!(again, Err(failure), "the seed shows {fault:?} again");
    }
}
