//! What the fuzz targets of the clock check. The tests of `reconvene-sim` run the same over the committed corpus.
#![allow(dead_code, reason = "each target uses one of the two checks")]

use std::collections::BTreeSet;
use std::sync::Arc;

use reconvene_clock::{
    Base, CausalContext, Causality, Counter, Decoder, Dot, Hlc, Limits, ReplicaId, Roster, RosterClock, VectorClock,
};

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("not zero")
}

fn dot(replica: u64, number: u64) -> Dot {
    Dot::new(id(replica), Counter::new(number).expect("in range"))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.max_entries, limits.max_ranges, limits.max_ranges_per_replica) = (64, 32, 16);
    limits
}

fn roster() -> Arc<Roster> {
    Arc::new(Roster::new(1, (1..=REPLICAS).map(id), &limits()).expect("within limits"))
}

const REPLICAS: u64 = 6;

/// Bytes that nobody vouches for: refused, or within limits and the only spelling of a canonical value.
pub(crate) fn raw(bytes: &[u8]) {
    let rosters = [roster()];
    let bases = [Base::new(VectorClock::new()), Base::new([dot(1, 1), dot(3, 2)].into_iter().collect())];
    for limits in [limits(), Limits::default()] {
        let decoder = Decoder::new(limits).with_rosters(&rosters).with_bases(&bases);
        let base = bases.iter().find(|base| bytes.get(1..9) == Some(base.digest().to_be_bytes().as_slice()));
        if let Ok(clock) = decoder.clock(bytes) {
            assert!(clock.len() <= limits.max_entries);
            assert_eq!(VectorClock::try_from_entries_within(clock.iter(), &limits).as_ref(), Ok(&clock));
            let mut again = Vec::new();
            match (bytes.first(), base) {
                (Some(1), _) => clock.encode(&mut again),
                (Some(2), _) => clock.encode_in(&rosters[0], &mut again).expect("its members"),
                (_, base) => assert!(clock.encode_delta(base.expect("known"), &mut again)),
            }
            assert_eq!(again, bytes);
        }
        if let Ok(context) = decoder.context(bytes) {
            assert!(context.ranges().len() <= limits.max_ranges);
            let parts = context.ranges().iter().copied();
            assert_eq!(
                CausalContext::from_parts_within(context.vector().clone(), parts, &limits).as_ref(),
                Ok(&context)
            );
            let mut again = Vec::new();
            match (bytes.first(), base) {
                (Some(1), _) => context.encode(&mut again),
                (Some(2), _) => context.encode_in(&rosters[0], &mut again).expect("its members"),
                (_, base) => assert!(context.encode_delta(base.expect("known"), &mut again)),
            }
            assert_eq!(again, bytes);
        }
        if let Ok(clock) = decoder.roster_clock(bytes) {
            let mut again = Vec::new();
            clock.encode(&mut again);
            assert_eq!(again, bytes);
        }
    }
    if let Ok(dot) = Dot::<ReplicaId>::decode(bytes) {
        let mut again = Vec::new();
        dot.encode(&mut again);
        assert_eq!(again, bytes);
    }
    assert_eq!(Hlc::decode(bytes).is_ok(), bytes.len() == 8);
}

/// A few contexts and what they mean, changed step by step as the bytes say.
pub(crate) fn structured(bytes: &[u8]) {
    let mut held: [(CausalContext, Model); 3] = Default::default();
    for step in bytes.as_chunks::<4>().0.iter().take(64) {
        let [kind, one, other, number] = step.map(u64::from);
        let (one, other) = ((one % 3) as usize, (other % 3) as usize);
        let (replica, number) = (1 + number % REPLICAS, 1 + number / REPLICAS % 12);
        let (theirs, their_model) = held[other].clone();
        let (own, model) = &mut held[one];
        match kind % 4 {
            0 => assert_eq!(own.add(dot(replica, number)), model.insert((replica, number))),
            1 => {
                let before = own.clone();
                assert_eq!(own.merge(&theirs), *own != before);
                model.extend(their_model);
            }
            2 => {
                *own = own.meet(&theirs);
                model.retain(|dot| their_model.contains(dot));
            }
            _ => {
                let missing: Model = dots_of(own.missing_from(&theirs));
                assert_eq!(missing, &*model - &their_model);
                let relation = own.compare(&theirs);
                assert_eq!(relation == Causality::Equal, *model == their_model);
                assert_eq!(own.covers(&theirs), model.is_superset(&their_model));
                check_vectors(own.vector(), theirs.vector());
            }
        }
        let (own, model) = &held[one];
        assert_eq!(&dots_of(own.runs()), model);
        check_codec(own, theirs.vector());
    }
}

type Model = BTreeSet<(u64, u64)>;

fn dots_of(runs: impl Iterator<Item = reconvene_clock::DotRange>) -> Model {
    runs.flat_map(|run| run.dots()).map(|dot| (dot.replica.get(), dot.counter.get())).collect()
}

/// The two kinds of clock agree.
fn check_vectors(left: &VectorClock, right: &VectorClock) {
    let roster = roster();
    let dense = |clock| RosterClock::from_clock(roster.clone(), clock).expect("members");
    assert_eq!(left.compare(right), dense(left).compare(&dense(right)));
    let (mut merged, mut dense_merged) = (left.clone(), dense(left));
    assert_eq!(Ok(merged.merge(right)), dense_merged.merge(&dense(right)));
    assert_eq!(merged, VectorClock::from(dense_merged));
    assert!(merged.dominates(left) && merged.dominates(right));
}

/// Every form gives back what was written.
fn check_codec(context: &CausalContext, other: &VectorClock) {
    let mut base = other.clone();
    base.meet(context.vector());
    let (rosters, bases) = ([roster()], [Base::new(base)]);
    let decoder = Decoder::default().with_rosters(&rosters).with_bases(&bases);
    let (mut full, mut over, mut delta) = (Vec::new(), Vec::new(), Vec::new());
    context.encode(&mut full);
    context.encode_in(&rosters[0], &mut over).expect("members");
    assert!(context.encode_delta(&bases[0], &mut delta));
    for bytes in [full, over, delta] {
        assert_eq!(decoder.context(&bytes).as_ref(), Ok(context));
    }
}
