//! Collection, repair, quotas, identities: what the planner promises beside ordinary arrival.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reconvene_clock::{Dot, Height, Hlc, Knowledge, ReplicaId, VectorClock};
use reconvene_store::{
    Applied, Body, CheckReport, Checker, Class, Fact, FactKind, Fingerprints, Frozen, Key, KeyContext, Limits, Plan,
    PlanError, Prefix, Quota, Record, Replaces, SessionNonce, StoreError, Usage, Version,
};

use crate::laws::{delivery, events};
use crate::world::{Replica, dot, key, universe, write};

fn recomputed(replica: &Replica) -> Fingerprints {
    Fingerprints::of_records(replica.head.network(), replica.rows.values())
}

/// The values that a reader sees.
fn values(replica: &Replica) -> BTreeSet<(Key, Dot)> {
    let rows = replica.rows.values();
    rows.flat_map(|row| row.values().map(|(version, _)| (row.key().clone(), version.dot))).collect()
}

fn tombstones(replica: &Replica) -> usize {
    let versions = replica.rows.values().flat_map(Record::siblings);
    versions.filter(|version| version.body == Body::Tombstone).count()
}

fn stable(replicas: &[Replica]) -> VectorClock {
    let mut stable = replicas[0].knowledge().vector().clone();
    replicas.iter().for_each(|replica| stable.meet(replica.knowledge().vector()));
    stable
}

fn collect(replica: &mut Replica, stable: &VectorClock) -> usize {
    let mut plan = replica.plan();
    let collected = plan.collect(stable);
    let batch = plan.finish();
    assert_eq!(batch.is_idle(), collected == 0);
    replica.commit(&batch);
    collected
}

fn version(at: Dot, context: KeyContext, body: Body) -> Version {
    let (height, hlc, class) = (Height::MIN, Hlc::default(), Class::NORMAL);
    Version { dot: at, context, height, hlc, class, body }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn law_collection_never_resurrects(
        before in events(),
        meetings in prop::collection::vec((0_usize..3, 0_usize..3, any::<bool>()), 0..12),
        late in delivery(),
    ) {
        let (mut replicas, versions) = universe(&before);
        for (to, from, collects) in meetings {
            let other = replicas[from].clone();
            replicas[to].pull(&other);
            if collects {
                let stable = stable(&replicas);
                let (values_before, knowledge) = (values(&replicas[to]), replicas[to].knowledge().clone());
                collect(&mut replicas[to], &stable);
                prop_assert_eq!(values(&replicas[to]), values_before, "readers see no difference");
                prop_assert_eq!(replicas[to].knowledge(), &knowledge, "what is collected stays known");
                prop_assert!(replicas[to].knowledge().vector().dominates(replicas[to].head.gc_floor()));
            }
        }
        for _ in 0..2 {
            for (to, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
                let other = replicas[from].clone();
                replicas[to].pull(&other);
            }
        }
        let dead = |key: &Key, at: Dot| versions.iter().any(|(other, by)| other == key && by.replaces(at));
        let expected: BTreeSet<(Key, Dot)> = versions.iter()
            .filter(|(key, version)| version.body != Body::Tombstone && !dead(key, version.dot))
            .map(|(key, version)| (key.clone(), version.dot)).collect();
        let all = stable(&replicas);
        for replica in &mut replicas {
            collect(replica, &all);
            prop_assert_eq!(tombstones(replica), 0, "everybody has everything, so that all tombstones go");
            prop_assert_eq!(&values(replica), &expected);
            prop_assert_eq!(replica.head.fingerprints(), &recomputed(replica));
            // Copies that come late, in any order, bring nothing back.
            late.deliver(replica, &versions);
            prop_assert_eq!(&values(replica), &expected);
            prop_assert_eq!(tombstones(replica), 0);
        }
        prop_assert_eq!(replicas[0].head.digest(), replicas[1].head.digest());
    }

    #[test]
    fn law_repair_keeps_fingerprints(
        events in events(),
        steps in prop::collection::vec((0_usize..3, any::<prop::sample::Index>(), 0_u8..3), 1..20),
    ) {
        let (mut replicas, versions) = universe(&events);
        if versions.is_empty() {
            return Ok(());
        }
        for (who, which, what) in steps {
            let replica = &mut replicas[who];
            let (key, version) = which.get(&versions).clone();
            if version.dot.replica == replica.head.identity().replica && !replica.knowledge().contains(version.dot) {
                continue;
            }
            let mut plan = replica.plan();
            let before: Vec<Dot> = plan.siblings(&key).unwrap().iter().map(|live| live.dot).collect();
            match what {
                0 => {
                    let dropped = plan.drop_dead(&key, version.dot).unwrap();
                    prop_assert_eq!(dropped, before.contains(&version.dot));
                }
                1 => {
                    let applied = plan.restore(key.clone(), version.clone()).unwrap();
                    let live = plan.siblings(&key).unwrap().iter().any(|live| live.dot == version.dot);
                    let blocked = plan.siblings(&key).unwrap().iter().any(|live| live.replaces(version.dot));
                    prop_assert_eq!(live, !blocked, "{:?}", applied);
                    // Nothing goes without a live version that names it.
                    for dot in before {
                        let here = plan.siblings(&key).unwrap().iter().any(|live| live.dot == dot || live.replaces(dot));
                        prop_assert!(here);
                    }
                }
                _ => {
                    plan.apply(key, version).unwrap();
                }
            }
            replica.commit(&plan.finish());
            prop_assert_eq!(replica.head.fingerprints(), &recomputed(replica));
            prop_assert_eq!(replica.head.fingerprints().parts().count() > 0, !values(replica).is_empty());
        }
    }

    #[test]
    fn law_two_contents_of_a_dot_ignore_order(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        chunk in 1_usize..7,
    ) {
        // Three contents of one dot, each of which replaced something else, beside what they replaced.
        let replaced = |number| version(dot(3, number), KeyContext::new(), Body::of([1]));
        let twin = |number| {
            let context = KeyContext::from_parts([dot(3, number)], VectorClock::new());
            version(dot(2, 1), context, Body::of([u8::try_from(number).unwrap()]))
        };
        let all = [twin(1), twin(2), twin(3), replaced(1), replaced(2), replaced(3)];
        let mut replica = Replica::new(1);
        for part in order.chunks(chunk) {
            let mut plan = replica.plan();
            for place in part {
                plan.apply(key(0), all[*place].clone()).unwrap();
            }
            replica.commit(&plan.finish());
        }
        let shown = all[..3].iter().min_by_key(|twin| twin.content_hash(&key(0))).unwrap();
        let row = &replica.rows[&key(0)];
        prop_assert_eq!(row.siblings(), std::slice::from_ref(shown), "the contexts of all three count");
        prop_assert_eq!(row.evidence().len(), 2);
        prop_assert_eq!(replica.head.fingerprints(), &recomputed(&replica));
        prop_assert_eq!(replica.knowledge(), &[dot(2, 1), dot(3, 1), dot(3, 2), dot(3, 3)].into_iter().collect::<Knowledge>());
        // Whoever replaces the dot replaces all of it, and names what any of them replaced.
        let after = replica.put(0, "settled");
        prop_assert_eq!(replica.live(0), vec![after.dot]);
        prop_assert_eq!(after.context.dots().len(), 4);
        prop_assert!(replica.rows[&key(0)].evidence().is_empty());
    }

    #[test]
    fn law_quotas_bind_local_writes_alone(
        events in events(),
        rows in 0_u64..4,
        bytes in 0_u64..400,
    ) {
        let (_, versions) = universe(&events);
        let mut replica = Replica::new(9);
        let prefix = Prefix::new("key/").unwrap();
        let mut plan = replica.plan();
        let set = plan.set_quota(prefix.clone(), Quota { rows, bytes }, Usage::default());
        prop_assert!(set);
        for (key, version) in versions {
            plan.apply(key, version).unwrap();
        }
        replica.commit(&plan.finish());
        let usage = |replica: &Replica| replica.head.quotas().next().unwrap().1.usage;
        let counted = |replica: &Replica| {
            let mut usage = Usage::default();
            replica.rows.values().for_each(|row| usage.add(row));
            usage
        };
        prop_assert_eq!(usage(&replica), counted(&replica));
        for number in 0..4 {
            let before = usage(&replica);
            let mut plan = replica.plan();
            match plan.write(write(number, Body::of([7; 30]), Replaces::AllLive)) {
                Ok(_) => {
                    let batch = plan.finish();
                    replica.commit(&batch);
                    let after = usage(&replica);
                    prop_assert!(after.rows <= rows.max(before.rows) && after.bytes <= bytes.max(before.bytes));
                }
                Err(PlanError::QuotaFull { limit, count, .. }) => {
                    prop_assert!(count > limit);
                    prop_assert_eq!(plan.head().quotas().next().unwrap().1.usage, before);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
            prop_assert_eq!(usage(&replica), counted(&replica));
        }
    }

    #[test]
    fn law_same_repairs_same_batch(events in events(), which in any::<prop::sample::Index>()) {
        let (replicas, versions) = universe(&events);
        if versions.is_empty() {
            return Ok(());
        }
        let run = || {
            let mut plan = replicas[0].plan();
            let (key, version) = which.get(&versions).clone();
            let _ = plan.restore(key.clone(), version.clone());
            let _ = plan.drop_dead(&key, version.dot);
            plan.acknowledge(ReplicaId::new(3).unwrap(), replicas[1].knowledge().vector());
            plan.acknowledge(ReplicaId::new(2).unwrap(), replicas[2].knowledge().vector());
            plan.collect(&stable(&replicas));
            plan.resume(SessionNonce::new(4));
            plan.finish()
        };
        prop_assert_eq!(format!("{:?}", run()), format!("{:?}", run()));
        prop_assert!(run().facts().is_sorted_by_key(|fact| (fact.kind(), fact.id())));
    }

    #[test]
    fn law_facts_join_in_any_order(counters in prop::collection::vec((1_u64..4, 1_u64..9), 1..8), order in any::<prop::sample::Index>()) {
        let member = ReplicaId::new(5).unwrap();
        let fact = |(origin, counter): (u64, u64)| Fact::Ack { member, prefix: VectorClock::from_iter([dot(origin, counter)]) };
        let join = |list: &[(u64, u64)]| {
            let mut joined = fact(list[0]);
            for entry in list {
                joined.merge(&fact(*entry));
            }
            joined
        };
        let mut turned = counters.clone();
        turned.rotate_left(order.index(counters.len()));
        prop_assert_eq!(join(&counters), join(&turned));
        prop_assert!(!join(&counters).merge(&join(&turned)), "nothing is new the second time");
    }
}

#[test]
fn unsettled_tombstones_and_values_stay() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    one.put(0, "value");
    let deleted = one.write(1, Body::Tombstone, Replaces::AllLive);
    two.pull(&one);
    let short = VectorClock::from_iter([dot(1, 1)]);
    assert_eq!(collect(&mut one, &short), 0, "not everybody has it");
    let beyond = VectorClock::from_iter([dot(1, 2), dot(2, 9)]);
    let mut late = Replica::new(3);
    late.apply(1, &deleted).unwrap();
    assert_eq!(collect(&mut late, &beyond), 0, "one's own prefix counts, whatever the caller says");
    assert_eq!(collect(&mut one, &beyond), 1);
    assert_eq!(one.head.gc_floor(), &VectorClock::from_iter([deleted.dot]));
    assert_eq!(one.rows.len(), 1, "a value is never collected");
    // A collapsed context is settled only where everything under it is.
    let context = KeyContext::from_parts([], VectorClock::from_iter([dot(2, 40)]));
    one.apply(2, &version(dot(3, 1), context, Body::Tombstone)).unwrap();
    assert_eq!(collect(&mut one, &VectorClock::from_iter([dot(1, 2), dot(3, 1)])), 0);
}

#[test]
fn regress_collected_tombstone_and_a_floor_behind() {
    // `old` slept through the delete and its collection: it learns the floor before it may join a claim.
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let value = one.put(0, "value");
    two.pull(&one);
    let mut old = two.clone();
    one.write(0, Body::Tombstone, Replaces::AllLive);
    two.pull(&one);
    let all = stable(&[one.clone(), two.clone()]);
    assert_eq!((collect(&mut one, &all), collect(&mut two, &all)), (1, 1));
    assert!(!old.knowledge().vector().dominates(one.head.gc_floor()), "the test before the claim fails");
    let mut plan = old.plan();
    // Known to the sender, and not held by it: dead.
    assert!(one.knowledge().contains(value.dot) && !one.rows.contains_key(&key(0)));
    assert_eq!(plan.drop_dead(&key(0), value.dot), Ok(true));
    assert_eq!(plan.drop_dead(&key(0), value.dot), Ok(false));
    plan.claim(one.knowledge(), one.head.gc_floor()).unwrap();
    old.commit(&plan.finish());
    assert_eq!(old.head.digest(), one.head.digest());
    assert_eq!(old.head.gc_floor(), one.head.gc_floor(), "the floor spreads with the claim");
    assert_eq!(old.apply(0, &value), Ok(Applied::Known));
    assert!(old.rows.is_empty());
}

#[test]
fn forged_superseder_that_has_no_place_kills_nothing() {
    let mut limits = Limits::default();
    limits.row_bytes = 300;
    let (mut one, mut other) = (Replica::new(1), Replica::new(2));
    let value = other.put(0, "value");
    // Too large for this store, and it says that it replaced the value, which its sender therefore no longer holds.
    let context = KeyContext::from_parts([value.dot], VectorClock::from_iter([dot(4, 2)]));
    let huge = version(dot(3, 1), context, Body::of([0; 300]));
    other.apply(0, &huge).unwrap();
    let unrelated = other.put(1, "unrelated");
    let mut plan = one.plan_within(&limits);
    assert_eq!(plan.apply(key(0), huge.clone()), Ok(Applied::PutAside));
    plan.apply(key(1), unrelated.clone()).unwrap();
    let mut claimed = other.knowledge().clone();
    claimed.extend([dot(4, 1), dot(4, 2), dot(4, 3)]);
    plan.claim(&claimed, other.head.gc_floor()).unwrap();
    one.commit(&plan.finish());
    assert_eq!(one.knowledge(), &[unrelated.dot].into_iter().collect::<Knowledge>());
    let (aside, what) = one.head.put_aside().next().unwrap();
    assert_eq!((aside, what.hash, &what.key), (huge.dot, huge.content_hash(&key(0)), &key(0)));
    // The next session's claim leaves it out as well, and somebody else still brings the value.
    let mut plan = one.plan_within(&limits);
    plan.claim(&claimed, &VectorClock::new()).unwrap();
    one.commit(&plan.finish());
    assert_eq!(one.apply(0, &value), Ok(Applied::New));
    assert!(!one.knowledge().contains(huge.dot));
    // With more room it is taken in, and no longer aside.
    assert_eq!(one.apply(0, &huge), Ok(Applied::New));
    assert_eq!((one.head.put_aside().count(), one.live(0)), (0, vec![huge.dot]));

    limits.put_aside = 0;
    let mut plan = Replica::new(5).plan_within(&limits);
    assert_eq!(plan.apply(key(0), huge.clone()), Err(PlanError::PutAsideFull { key: key(0), dot: huge.dot, limit: 0 }));
}

fn check(replica: &Replica, damaged: Option<&Key>) -> CheckReport {
    let mut checker = Checker::new(&replica.head);
    for row in replica.rows.values() {
        match damaged {
            Some(key) if key == row.key() => {
                checker.damaged_row(key.clone(), &StoreError::Corrupt { what: "checksum".to_owned() });
            }
            _ => checker.row(row),
        }
    }
    for row in replica.rows.values() {
        for version in row.siblings() {
            checker.live(version.dot, row.key());
            if version.body == Body::Tombstone {
                checker.tombstone(version.dot, row.key());
            }
        }
    }
    checker.finish()
}

#[test]
fn lost_row_comes_back_by_a_session_and_nothing_older_does() {
    let (mut one, mut two) = (Replica::new(1), Replica::new(2));
    let first = one.put(0, "first");
    let second = one.put(0, "second");
    one.put(1, "other");
    one.write(2, Body::Tombstone, Replaces::AllLive);
    two.pull(&one);
    let before = one.head.digest();
    let report = check(&one, Some(&key(0)));
    assert_eq!((report.damaged, report.rows, report.tombstones), (1, 2, 1));
    let mut plan = one.plan();
    plan.lose(report.lost(), report.prints.clone()).unwrap();
    let batch = plan.finish();
    assert_eq!((batch.rows().len(), batch.rows()[0].removed(), batch.rows()[0].after()), (1, &[second.dot][..], None));
    one.commit(&batch);
    assert!(check(&one, None).is_sound());
    assert_eq!(one.head.fingerprints(), &recomputed(&one));
    for (id, print) in batch.prints() {
        assert_eq!(one.head.fingerprints().part(*id), *print);
    }
    assert!(!one.knowledge().contains(second.dot) && one.knowledge().contains(first.dot));
    assert_eq!(one.apply(0, &first), Ok(Applied::Known), "no older copy returns in between");
    let mut plan = one.plan();
    plan.write(write(3, Body::of("own"), Replaces::AllLive)).unwrap();
    assert_eq!(plan.lose([], report.prints), Err(PlanError::NotFirst));
    one.pull(&two);
    assert_eq!(one.head.digest(), before);
}

#[test]
fn check_names_what_is_wrong() {
    let (_, versions) = universe(&[(0, 0, 5), (0, 1, 5), (1, 0, 6), (0, 2, 7)]);
    let mut replica = Replica::new(9);
    for (key, version) in &versions {
        let mut plan = replica.plan();
        plan.apply(key.clone(), version.clone()).unwrap();
        replica.commit(&plan.finish());
    }
    assert!(check(&replica, None).is_sound());
    let mut checker = Checker::new(&replica.head);
    replica.rows.values().for_each(|row| checker.row(row));
    let (origin, some) = (versions[0].1.dot.replica, &versions[0].0);
    checker.live(versions[0].1.dot, some);
    checker.tombstone(dot(77, 1), some);
    checker.damaged("the head of the table");
    let text = format!("{:?}", checker.finish().damage);
    for part in ["Index", "Tombstones", "Other", &format!("{origin:?}")] {
        assert!(text.contains(part), "{text} names {part}");
    }
    let mut rows = replica.clone();
    rows.rows.pop_first();
    assert!(format!("{:?}", check(&rows, None).damage).contains("Print"));
    let mut unknown = Replica::new(9);
    unknown.rows = replica.rows;
    assert!(format!("{:?}", check(&unknown, None).damage).contains("Unknown"));
}

#[test]
fn lost_writes_show_in_unused_numbers() {
    // A copy restored within one block of counters: peers hold what the lost session wrote.
    let mut one = Replica::new(1);
    one.put(0, "before");
    let mut lost = one.clone();
    let forgotten = lost.put(1, "forgotten");
    let mut plan = one.plan();
    plan.resume(SessionNonce::new(9));
    one.commit(&plan.finish());
    assert!(one.knowledge().contains(forgotten.dot), "taken for unused");
    assert_eq!(one.put(2, "after").dot, dot(1, 1_025));

    let unused = PlanError::UnusedDot { dot: forgotten.dot };
    let mut plan = one.plan();
    assert_eq!(plan.apply(key(1), forgotten.clone()), Err(unused.clone()));
    assert_eq!(plan.claim(lost.knowledge(), &VectorClock::new()), Err(unused), "a peer that has part of the block");
    let mut plan = one.plan();
    plan.claim(one.knowledge(), &VectorClock::new()).unwrap();
    plan.freeze(Frozen::Amnesia);
    let frozen = plan.write(write(3, Body::of("x"), Replaces::AllLive));
    assert_eq!(frozen, Err(PlanError::Frozen { why: Frozen::Amnesia }));
    let mut again = plan.clone();
    plan.renew(ReplicaId::new(50).unwrap(), 7, SessionNonce::new(10));
    assert!(plan.reclaim_unused(forgotten.dot) && !plan.reclaim_unused(forgotten.dot));
    one.commit(&plan.finish());
    assert!(!one.knowledge().contains(forgotten.dot) && one.knowledge().contains(dot(1, 1_025)));
    assert_eq!(one.apply(1, &forgotten), Ok(Applied::New));
    assert_eq!(one.put(3, "x").dot, dot(50, 1));

    // Under a new name no call is needed: what others hold of the old one shows which numbers were used.
    again.renew(ReplicaId::new(50).unwrap(), 7, SessionNonce::new(10));
    assert_eq!(again.apply(key(1), forgotten.clone()), Ok(Applied::New));
    assert!(again.knowledge().contains(forgotten.dot) && !again.knowledge().contains(dot(1, 3)));
}

#[test]
fn unused_numbers_are_forgotten_once_everybody_has_them() {
    let mut one = Replica::new(1);
    one.put(0, "before");
    for session in 0..3 {
        let mut plan = one.plan();
        plan.resume(SessionNonce::new(session));
        one.commit(&plan.finish());
    }
    assert_eq!(one.head.marks().unused().len(), 1, "an opening without writes reserves nothing");
    assert_eq!(one.head.knowledge().ranges().len(), 0);
    let mut plan = one.plan();
    plan.settle_unused(&VectorClock::from_iter([dot(1, 1_023)]));
    assert_eq!(plan.head().marks().unused().len(), 1);
    plan.settle_unused(&VectorClock::from_iter([dot(1, 1_024)]));
    assert_eq!(plan.head().marks().unused().len(), 0);
}

#[test]
fn own_dot_with_two_contents_freezes() {
    let mut one = Replica::new(1);
    let mine = one.put(0, "mine");
    let other = Version { body: Body::of("not mine"), ..mine };
    assert_eq!(one.apply(0, &other), Ok(Applied::Collided));
    assert_eq!(one.head.marks().frozen(), Some(Frozen::Collision));
    let mut plan = one.plan();
    assert!(matches!(plan.write(write(1, Body::of("x"), Replaces::AllLive)), Err(PlanError::Frozen { .. })));
}

#[test]
fn acknowledgements_are_joined_in_the_batch() {
    let mut plan = Replica::new(1).plan();
    let member = ReplicaId::new(4).unwrap();
    plan.acknowledge(member, &VectorClock::from_iter([dot(1, 5)]));
    plan.acknowledge(member, &VectorClock::from_iter([dot(1, 3), dot(2, 1)]));
    let batch = plan.finish();
    assert!(batch.is_empty() && !batch.is_idle());
    let expected = Fact::Ack { member, prefix: VectorClock::from_iter([dot(1, 5), dot(2, 1)]) };
    assert_eq!((batch.facts(), expected.kind()), (&[expected.clone()][..], FactKind::Ack));
}

#[test]
fn prints_of_a_batch_are_those_that_changed() {
    let mut one = Replica::new(1);
    let mut kept = BTreeMap::new();
    for round in 0..6_u8 {
        let before: BTreeMap<_, _> = one.head.fingerprints().parts().collect();
        let mut plan: Plan = one.plan();
        let body = if round % 3 == 2 { Body::Tombstone } else { Body::of([round]) };
        plan.write(write(round % 2, body, Replaces::AllLive)).unwrap();
        let batch = plan.finish();
        one.commit(&batch);
        for (id, print) in batch.prints() {
            assert_ne!(before.get(id).copied().unwrap_or_default(), *print);
            kept.insert(*id, *print);
        }
        kept.retain(|_, print| *print != reconvene_store::Fingerprint::EMPTY);
        assert_eq!(kept, one.head.fingerprints().parts().collect());
        assert_eq!(Fingerprints::from_parts(one.head.network(), kept.clone()).unwrap(), *one.head.fingerprints());
    }
}
