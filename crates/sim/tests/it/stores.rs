//! The conformance suite for stores, on stores that are right and on stores that are broken on purpose.

use reconvene_sim::suite::{Check, Group, StoreSuite};
use reconvene_store::MemoryStore;

#[test]
fn memory_store_conforms() {
    for group in Group::ALL {
        let now = std::time::Instant::now();
        let report = StoreSuite::new(MemoryStore::for_network).only([group]).run();
        eprintln!("{group:?} {:?}\n{report}", now.elapsed());
        eprintln!("{:?}", report.counts().collect::<Vec<_>>());
    }
}
