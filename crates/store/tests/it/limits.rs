//! Refusals: each is typed, and leaves the plan as it was.

use reconvene_clock::{ClockError, Counter, Height, Hlc, Knowledge, VectorClock};
use reconvene_store::{
    Applied, Body, Class, CommitError, Cursor, Key, KeyContext, KeyError, Limits, LocalWrite, MAX_KEY_BYTES,
    MemoryStore, MetadataStore, Plan, PlanError, Prefix, Record, RecordError, Replaces, Snapshot, Version, ready,
};

use crate::world::{Replica, dot, identity, key, write};

/// Makes a call that must fail, checks that nothing changed, and returns the error.
fn refused<T: core::fmt::Debug>(plan: &mut Plan, call: impl FnOnce(&mut Plan) -> Result<T, PlanError>) -> PlanError {
    let before = plan.clone().finish();
    let error = call(plan).unwrap_err();
    assert_eq!(plan.clone().finish(), before, "{error} changed something");
    error
}

fn version(replica: u64, counter: u64, context: KeyContext, body: Body) -> Version {
    let (height, hlc) = (Height::MIN, Hlc::default());
    Version { dot: dot(replica, counter), context, height, hlc, class: Class::NORMAL, body }
}

fn exact(dots: impl IntoIterator<Item = (u64, u64)>) -> KeyContext {
    KeyContext::from_parts(dots.into_iter().map(|(replica, counter)| dot(replica, counter)), Default::default())
}

#[test]
fn local_writes_stay_within_limits() {
    let mut limits = Limits::default();
    (limits.value_bytes, limits.siblings, limits.context_dots) = (10, 3, 4);
    let replica = Replica::new(1);
    let mut plan = replica.plan_within(&limits);
    let beside = || Replaces::Context(KeyContext::new());

    let error = refused(&mut plan, |plan| plan.write(write(0, Body::of("eleven byte"), beside())));
    assert_eq!(error, PlanError::ValueTooLarge { key: key(0), len: 11, limit: 10 });
    plan.write(write(0, Body::of("ten bytes!"), beside())).unwrap();
    plan.write(write(0, Body::of("2"), beside())).unwrap();
    plan.write(write(0, Body::of("3"), beside())).unwrap();
    let error = refused(&mut plan, |plan| plan.write(write(0, Body::of("4"), beside())));
    assert_eq!(error, PlanError::SiblingsFull { key: key(0), count: 4, limit: 3 });
    plan.write(write(0, Body::of("4"), Replaces::AllLive)).unwrap();
    plan.write(write(0, Body::of("5"), Replaces::AllLive)).unwrap();
    let error = refused(&mut plan, |plan| plan.write(write(0, Body::of("6"), Replaces::AllLive)));
    assert_eq!(error, PlanError::ContextFull { key: key(0), count: 5, limit: 4 });
}

#[test]
fn replicated_versions_pass_the_limits_of_local_writes() {
    let mut limits = Limits::default();
    (limits.value_bytes, limits.siblings, limits.context_dots) = (1, 1, 1);
    let mut plan = Replica::new(1).plan_within(&limits);
    for counter in 1..5 {
        plan.apply(key(0), version(2, counter, exact([(3, 1), (3, 2)]), Body::of("long"))).unwrap();
    }
    assert_eq!(plan.siblings(&key(0)).unwrap().len(), 4);
}

#[test]
fn rows_and_batches_are_bounded() {
    let mut limits = Limits::default();
    (limits.row_bytes, limits.batch_rows) = (200, 2);
    let mut plan = Replica::new(1).plan_within(&limits);
    let error = refused(&mut plan, |plan| plan.write(write(0, Body::of([0; 200]), Replaces::AllLive)));
    assert_eq!(error, PlanError::RowTooLarge { key: key(0), len: 253, limit: 200 });
    plan.write(write(0, Body::of("a"), Replaces::AllLive)).unwrap();
    plan.write(write(1, Body::of("b"), Replaces::AllLive)).unwrap();
    let error = refused(&mut plan, |plan| plan.write(write(2, Body::of("c"), Replaces::AllLive)));
    assert_eq!(error, PlanError::BatchFull { what: "rows", count: 3, limit: 2 });
    plan.write(write(1, Body::of("d"), Replaces::AllLive)).unwrap();
    let batch = plan.finish();
    assert_eq!((batch.len(), batch.versions().count(), batch.index().count()), (2, 2, 2));
    assert_eq!(batch.byte_len(), batch.rows().iter().map(|row| row.after().unwrap().byte_len()).sum::<usize>());

    limits.batch_bytes = 100;
    let mut plan = Replica::new(1).plan_within(&limits);
    plan.write(write(0, Body::of([0; 40]), Replaces::AllLive)).unwrap();
    let error = refused(&mut plan, |plan| plan.write(write(1, Body::of("b"), Replaces::AllLive)));
    assert_eq!(error, PlanError::BatchFull { what: "bytes", count: 147, limit: 100 });
}

#[test]
fn unread_keys_are_not_planned_for() {
    let stranger = Key::new("stranger").unwrap();
    let mut plan = Replica::new(1).plan();
    let incoming = version(2, 1, KeyContext::new(), Body::of("x"));
    assert!(Plan::keys_needed(&[(stranger.clone(), incoming.clone())]).contains(&stranger));
    let error = refused(&mut plan, |plan| plan.apply(stranger.clone(), incoming));
    assert_eq!(error, PlanError::RowNotLoaded { key: stranger.clone() });
    let mine = LocalWrite { key: stranger.clone(), ..write(0, Body::of("x"), Replaces::AllLive) };
    let error = refused(&mut plan, |plan| plan.write(mine));
    assert_eq!(error, PlanError::RowNotLoaded { key: stranger });
}

#[test]
fn one_dot_with_two_contents_is_a_collision() {
    let one = version(2, 1, KeyContext::new(), Body::of("one"));
    let two = Version { body: Body::of("two"), ..one.clone() };
    let lesser = if one.content_hash(&key(0)) < two.content_hash(&key(0)) { &one } else { &two };
    for [first, second] in [[&one, &two], [&two, &one]] {
        let mut replica = Replica::new(1);
        assert_eq!(replica.apply(0, first), Ok(Applied::New));
        assert_eq!(replica.apply(0, second), Ok(Applied::Collided));
        assert_eq!(replica.apply(0, first), Ok(Applied::Known));
        assert_eq!(replica.apply(0, second), Ok(Applied::Known));
        let row = &replica.rows[&key(0)];
        assert_eq!(row.siblings(), std::slice::from_ref(lesser), "the lesser content hash is shown");
        assert_eq!(row.evidence().len(), 1, "and the other is kept");
        assert_ne!(row.evidence(), row.siblings());
    }
}

#[test]
fn versions_that_replace_themselves_are_refused() {
    let mut plan = Replica::new(1).plan();
    for context in [exact([(2, 5)]), KeyContext::from_parts([], [dot(2, 7)].into_iter().collect())] {
        let error = refused(&mut plan, |plan| plan.apply(key(0), version(2, 5, context, Body::Tombstone)));
        assert_eq!(error, PlanError::SelfReplacing { key: key(0), dot: dot(2, 5) });
    }
}

#[test]
fn own_dots_never_made_here_are_lost_state() {
    let mut replica = Replica::new(1);
    replica.put(0, "first");
    let mut plan = replica.plan();
    let lost = PlanError::Clock(ClockError::StateLoss { held: Counter::new(2).unwrap(), issued: Counter::new(1) });
    let collapsed = KeyContext::from_parts([], [dot(1, 2)].into_iter().collect());
    for arriving in [
        version(1, 2, KeyContext::new(), Body::of("mine")),
        version(2, 1, exact([(1, 2)]), Body::of("over mine")),
        version(2, 1, collapsed, Body::of("over all mine")),
    ] {
        assert_eq!(refused(&mut plan, |plan| plan.apply(key(0), arriving)), lost);
    }
    let claimed: Knowledge = [dot(1, 2)].into_iter().collect();
    assert_eq!(refused(&mut plan, |plan| plan.claim(&claimed, &VectorClock::new())), lost);
}

#[test]
fn contexts_of_other_keys_are_refused() {
    let mut replica = Replica::new(1);
    let elsewhere = replica.put(0, "elsewhere");
    let here = replica.put(1, "here");
    let mut plan = replica.plan();
    let mut seen = here.seen();
    seen.add(elsewhere.dot);
    let error = refused(&mut plan, |plan| plan.write(write(1, Body::of("x"), Replaces::Context(seen))));
    assert_eq!(error, PlanError::ForeignContext { key: key(1), dot: elsewhere.dot });
    let collapsed = KeyContext::from_parts([], [here.dot].into_iter().collect());
    let error = refused(&mut plan, |plan| plan.write(write(1, Body::of("x"), Replaces::Context(collapsed))));
    assert_eq!(error, PlanError::ForeignContext { key: key(1), dot: here.dot });
    plan.write(write(1, Body::of("x"), Replaces::Context(here.seen()))).unwrap();
    assert_eq!(plan.siblings(&key(1)).unwrap().len(), 1);
}

#[test]
fn heights_run_out_in_order() {
    let mut replica = Replica::new(1);
    let top = Version { height: Height::new(u64::MAX).unwrap(), ..version(2, 1, KeyContext::new(), Body::of("top")) };
    replica.apply(0, &top).unwrap();
    let mut plan = replica.plan();
    let error = refused(&mut plan, |plan| plan.write(write(1, Body::of("x"), Replaces::AllLive)));
    assert_eq!(error, PlanError::HeightExhausted);
}

#[test]
fn keys_and_records_are_checked() {
    assert_eq!(Key::new("").unwrap_err().to_string(), "a key has 1 to 512 bytes, not 0");
    assert!(Key::new([b'k'; MAX_KEY_BYTES]).is_ok());
    assert!(matches!(Key::new([b'k'; MAX_KEY_BYTES + 1]), Err(KeyError { len: 513, .. })));
    assert!(Prefix::new([b'k'; MAX_KEY_BYTES + 1]).is_err());

    let (one, two) = (version(1, 1, KeyContext::new(), Body::of("1")), version(2, 1, exact([(1, 1)]), Body::of("2")));
    assert_eq!(Record::new(key(0), []), Err(RecordError::Empty { key: key(0) }));
    assert_eq!(
        Record::new(key(0), [one.clone(), one.clone()]),
        Err(RecordError::Repeated { key: key(0), dot: one.dot })
    );
    assert_eq!(
        Record::new(key(0), [two.clone(), one.clone()]),
        Err(RecordError::Dead { key: key(0), dot: one.dot, by: two.dot })
    );
    let three = version(3, 1, KeyContext::new(), Body::Tombstone);
    let record = Record::new(key(0), [three.clone(), two.clone()]).unwrap();
    assert_eq!(record.siblings(), [two.clone(), three]);
    assert_eq!(
        record.values().map(|(version, value)| (version.dot, value)).collect::<Vec<_>>(),
        [(two.dot, &b"2"[..])]
    );
}

#[test]
fn full_memory_store_takes_what_makes_room() {
    let mut limits = Limits::default();
    limits.store_bytes = 200;
    let store = MemoryStore::new(identity(1), limits);
    let plan_write = |number: u8, body: Body| {
        let head = ready(store.snapshot()).unwrap().unwrap();
        let found = ready(head.by_prefix(&Cursor::new(Prefix::all()))).unwrap().unwrap();
        let mut plan = Plan::new(head.head().clone(), (0..4).map(key), found.items, &Limits::default());
        plan.write(write(number, body, Replaces::AllLive)).unwrap();
        ready(store.commit(&plan.finish())).unwrap()
    };
    plan_write(0, Body::of([0; 100])).unwrap();
    let error = plan_write(1, Body::of("x")).unwrap_err();
    assert!(matches!(error, CommitError::Full { what: "bytes", count: 207, limit: 200, .. }), "{error}");
    plan_write(0, Body::of("short")).unwrap();
    plan_write(1, Body::of("x")).unwrap();
}
