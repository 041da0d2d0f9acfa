//! Traps of replication without a leader, each at the level of the planner.

use reconvene_clock::VectorClock;
use reconvene_store::{Applied, Body, KeyContext, Replaces};

use crate::world::{Replica, dot};

#[test]
fn regress_late_copy_of_a_replaced_value_stays_dead() {
    let (mut one, mut two, mut three) = (Replica::new(1), Replica::new(2), Replica::new(3));
    let old = one.put(0, "old");
    two.apply(0, &old).unwrap();
    let deleted = two.write(0, Body::Tombstone, Replaces::AllLive);
    assert_eq!(three.apply(0, &deleted), Ok(Applied::New));
    assert!(three.knowledge().contains(old.dot), "what the tombstone names is known with it");
    // The tombstone itself may be forgotten later; that its victim is known must keep the victim out.
    assert_eq!(three.apply(0, &old), Ok(Applied::Known));
    assert_eq!(three.live(0), [deleted.dot]);
}

#[test]
fn regress_restored_value_meets_the_successor_of_its_successor() {
    let (mut one, mut two, mut late) = (Replica::new(1), Replica::new(2), Replica::new(3));
    let first = one.put(0, "first");
    two.pull(&one);
    let second = two.put(0, "second");
    one.pull(&two);
    let third = one.put(0, "third");
    assert_eq!(third.context.dots(), [first.dot, second.dot], "contexts inherit what they replace");
    for order in [[&third, &first, &second], [&first, &third, &second], [&second, &third, &first]] {
        let mut fresh = late.clone();
        for version in order {
            fresh.apply(0, version).unwrap();
        }
        assert_eq!(fresh.live(0), [third.dot]);
    }
    late.apply(0, &first).unwrap();
    late.pull(&one);
    assert_eq!(late.live(0), [third.dot]);
}

#[test]
fn regress_write_with_a_stale_context_names_what_it_saw() {
    let (mut one, mut late) = (Replica::new(1), Replica::new(2));
    let first = one.put(0, "first");
    let second = one.put(0, "second");
    // The writer has read `first` alone, which is no longer live.
    let third = one.write(0, Body::of("third"), Replaces::Context(first.seen()));
    assert_eq!(third.context, first.seen());
    assert_eq!(one.live(0), [second.dot, third.dot]);
    late.apply(0, &first).unwrap();
    late.apply(0, &third).unwrap();
    assert_eq!(late.live(0), [third.dot], "without `second`, `third` itself replaces what its writer saw");
}

/// Found by the simulator: the write named what had replaced old values, and not the old values.
#[test]
fn regress_context_from_before_a_collapse_revives_nothing() {
    let (mut one, mut two, mut late) = (Replica::new(1), Replica::new(2), Replica::new(3));
    let first = one.put(0, "first");
    late.apply(0, &first).unwrap();
    for number in 0..7 {
        one.put(0, &number.to_string());
    }
    two.pull(&one);
    let read = two.put(0, "read");
    one.pull(&two);
    // Nine dots of `one`, the last of which collapses them all.
    one.put(0, "ninth");
    let stays = one.put(0, "tenth");
    assert!(stays.context.upto().contains(first.dot) && !stays.context.dots().contains(&first.dot));
    let write = one.write(0, Body::of("late"), Replaces::Context(read.seen()));
    assert_eq!(one.live(0), [stays.dot, write.dot]);
    // Wherever it replaces `read`, it also names what `read` replaced.
    assert!(!write.replaces(read.dot) || write.replaces(first.dot));
    two.apply(0, &write).unwrap();
    late.pull(&two);
    assert!(!late.live(0).contains(&first.dot), "{:?}", late.live(0));
}

#[test]
fn regress_collapsed_context_speaks_of_its_key_alone() {
    let (mut writer, mut late) = (Replica::new(1), Replica::new(2));
    let (mut versions, mut others) = (Vec::new(), Vec::new());
    for number in 0..12 {
        versions.push(writer.put(0, &number.to_string()));
        others.push(writer.write(1, Body::of(number.to_string()), Replaces::Context(KeyContext::new())));
    }
    let last = versions.pop().unwrap();
    assert_eq!(last.context.upto(), &VectorClock::from_iter([dot(1, 17)]), "collapsed once nine dots were replaced");
    assert_eq!(last.context.dots(), [dot(1, 19), dot(1, 21)]);

    assert_eq!(late.apply(0, &last), Ok(Applied::New));
    assert!(!late.knowledge().contains(versions[0].dot), "a collapsed part does not become known");
    for version in &versions {
        let expected = if last.context.dots().contains(&version.dot) { Applied::Known } else { Applied::Obsolete };
        assert_eq!(late.apply(0, version), Ok(expected));
        assert_eq!(late.live(0), [last.dot]);
    }
    for version in &others {
        late.apply(1, version).unwrap();
    }
    assert_eq!(late.live(1).len(), 12, "versions of another key between those counters live");
    assert_eq!((late.knowledge(), &late.rows), (writer.knowledge(), &writer.rows));
}

#[test]
fn regress_context_collapses_only_where_the_writer_knows_all_before() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    // One write of another key that `two` has not seen leaves a hole below the others.
    one.put(1, "unseen");
    for number in 0..12 {
        let version = one.write(0, Body::of(number.to_string()), Replaces::Context(KeyContext::new()));
        two.apply(0, &version).unwrap();
    }
    let exact = two.put(0, "all of them");
    assert_eq!((exact.context.dots().len(), exact.context.upto().len()), (12, 0));
    two.pull(&one);
    let collapsed = two.put(0, "all of them");
    assert_eq!((collapsed.context.dots(), collapsed.context.upto().len()), (&[exact.dot][..], 1));
}

#[test]
fn regress_context_collapses_only_where_no_sibling_is_left() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let sibling = two.put(0, "beside");
    for number in 0..12 {
        one.put(0, &number.to_string());
    }
    let before = one.rows.values().next().unwrap().context();
    one.apply(0, &sibling).unwrap();
    let beside = one.write(0, Body::of("beside"), Replaces::Context(before.clone()));
    assert_eq!(beside.context.upto(), before.upto(), "an entry is inherited, and none is made");
    assert_eq!(one.live(0), [beside.dot, sibling.dot]);
    for number in 0..9 {
        let seen = one.rows.values().next().unwrap().version(dot(1, 13 + number)).unwrap().seen();
        one.write(0, Body::of("beside"), Replaces::Context(seen));
    }
    let last = one.rows.values().next().unwrap().version(dot(1, 22)).unwrap().clone();
    assert_eq!((last.context.upto(), last.context.dots().len()), (before.upto(), 12));
}

#[test]
fn regress_knowledge_with_collapsed_contexts_ignores_order() {
    // `bridge` names `first` of the other replica exactly; `last` names `bridge` exactly, and has collapsed the rest.
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let first = one.put(0, "first");
    two.apply(0, &first).unwrap();
    let bridge = two.put(0, "bridge");
    one.apply(0, &bridge).unwrap();
    let mut last = one.put(0, "second");
    for number in 0..9 {
        last = one.put(0, &number.to_string());
    }
    assert!(last.context.upto().contains(first.dot) && last.context.dots().contains(&bridge.dot));
    let (mut left, mut right) = (Replica::new(3), Replica::new(4));
    left.apply(0, &bridge).unwrap();
    left.apply(0, &last).unwrap();
    right.apply(0, &last).unwrap();
    right.apply(0, &bridge).unwrap();
    assert!(left.knowledge().contains(first.dot));
    assert_eq!(left.knowledge(), right.knowledge());
}

#[test]
fn regress_alternating_writers_leave_two_siblings() {
    // Each of two writers hands back the context of its own last write and sees nothing of the other.
    let mut replica = Replica::new(1);
    let mut other = Replica::new(2);
    let (mut seen_by_one, mut seen_by_two) = (KeyContext::new(), KeyContext::new());
    for round in 0..60 {
        let mine = replica.write(0, Body::of("one"), Replaces::Context(seen_by_one));
        seen_by_one = mine.seen();
        other.pull(&replica);
        let yours = other.write(0, Body::of("two"), Replaces::Context(seen_by_two));
        seen_by_two = yours.seen();
        replica.pull(&other);
        assert_eq!(replica.live(0), [mine.dot, yours.dot], "round {round}");
    }
    let merged = replica.put(0, "both");
    assert_eq!(replica.live(0), [merged.dot]);
    assert_eq!((merged.context.dots().len(), merged.context.upto().len()), (0, 2), "and the contexts collapse");
}
