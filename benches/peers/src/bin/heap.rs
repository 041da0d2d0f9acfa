//! Prints what clocks hold on the heap: one line of name, entries and bytes for each.

use std::sync::Arc;

use allocation_counter::measure;
use loro_internal::VersionVector;
use peers::clock::inputs::entries;
use peers::clock::subject::Subject;
use reconvene_clock::{Limits, ReplicaId, Roster, RosterClock, VectorClock};

fn main() {
    for n in [3, 4, 10_000] {
        let entries = entries(n);
        held::<VectorClock>(&entries);
        held::<crdts::VClock<u64>>(&entries);
        held::<vclock::VClock<u64, u64>>(&entries);
        held::<VersionVector>(&entries);

        let ids = entries.iter().map(|(id, _)| ReplicaId::new(*id).expect("not zero"));
        let roster = Arc::new(Roster::new(1, ids, &Limits::default()).expect("within limits"));
        let clock = VectorClock::build(&entries);
        print("roster", n, || RosterClock::from_clock(roster, &clock).expect("members"));
    }
}

fn held<T: Subject>(entries: &[(u64, u64)]) {
    print(T::NAME, entries.len(), || T::build(entries));
}

fn print<T>(name: &str, n: usize, build: impl FnOnce() -> T) {
    let mut kept = None;
    let bytes = measure(|| kept = Some(build())).bytes_current;
    println!("{name} {n} {bytes}");
    drop(kept);
}
