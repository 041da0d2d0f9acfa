//! What the planner promises for all histories.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconvene_clock::Knowledge;
use reconvene_store::{Applied, Body, Fingerprints, Key, Plan, Replaces, Version};

use crate::world::{Event, Replica, key, universe, write};

/// Keys are drawn unevenly, so that some contexts grow long enough to collapse.
pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0_usize..3, prop_oneof![Just(0_u8), 0_u8..12], any::<u8>()), 1..90)
}

/// An order of a list, how often each element comes, and how the whole is cut.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    places: Vec<u16>,
    times: Vec<u8>,
    chunk: usize,
}

pub(crate) fn delivery() -> impl Strategy<Value = Delivery> {
    (prop::collection::vec(any::<u16>(), 100), prop::collection::vec(1_u8..3, 100), 1_usize..20)
        .prop_map(|(places, times, chunk)| Delivery { places, times, chunk })
}

impl Delivery {
    pub(crate) fn deliver(&self, replica: &mut Replica, versions: &[(Key, Version)]) {
        let mut all: Vec<(u16, &(Key, Version))> = Vec::new();
        for (number, version) in versions.iter().enumerate() {
            for time in 0..self.times[number] {
                all.push((self.places[(number + usize::from(time) * 31) % self.places.len()], version));
            }
        }
        all.sort_by_key(|(place, _)| *place);
        for chunk in all.chunks(self.chunk) {
            let mut plan = replica.plan();
            for (_, (key, version)) in chunk {
                plan.apply(key.clone(), version.clone()).unwrap();
            }
            replica.commit(&plan.finish());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn law_apply_ignores_order(
        events in events(),
        some in prop::collection::vec(prop::bool::weighted(0.7), 100),
        one in delivery(),
        other in delivery(),
    ) {
        let (_, versions) = universe(&events);
        // Not only whole histories: any part of one may arrive.
        let part: Vec<_> = versions.iter().zip(some).filter(|(_, here)| *here).map(|(version, _)| version.clone()).collect();
        let (mut left, mut right) = (Replica::new(8), Replica::new(9));
        one.deliver(&mut left, &part);
        other.deliver(&mut right, &part);
        prop_assert_eq!(&left.rows, &right.rows);
        prop_assert_eq!(left.knowledge(), right.knowledge());
        prop_assert_eq!(left.head.fingerprints(), right.head.fingerprints());
        prop_assert_eq!(left.head.digest(), right.head.digest());
        prop_assert_eq!(left.head.height(), right.head.height());

        let known: Knowledge = part.iter().flat_map(|(_, version)| version.seen().dots().to_vec()).collect();
        let every: BTreeSet<_> = part.iter().map(|(_, version)| version.dot).collect();
        prop_assert!(left.knowledge().covers(&known));
        prop_assert!(every.iter().all(|dot| left.knowledge().contains(*dot)));
        for (key, version) in &part {
            let dead = part.iter().any(|(other, by)| other == key && by.replaces(version.dot));
            let live = left.rows[key].version(version.dot).is_some();
            prop_assert_eq!(live, !dead, "{} is dead if and only if something here replaces it", version.dot);
        }
        prop_assert_eq!(left.head.fingerprints(), &Fingerprints::of_records(left.head.network(), left.rows.values()));
    }

    #[test]
    fn law_apply_is_idempotent(events in events(), once in delivery()) {
        let (_, versions) = universe(&events);
        let mut replica = Replica::new(9);
        once.deliver(&mut replica, &versions);
        let mut plan = replica.plan();
        for (key, version) in &versions {
            prop_assert_eq!(plan.apply(key.clone(), version.clone()), Ok(Applied::Known));
        }
        let batch = plan.finish();
        prop_assert!(batch.is_empty());
        prop_assert_eq!(batch.head().knowledge(), replica.knowledge());
        prop_assert_eq!(batch.head().fingerprints(), replica.head.fingerprints());
    }

    #[test]
    fn law_write_supersedes_what_it_saw(events in events(), who in 0_usize..3, pick in any::<u16>(), order in delivery()) {
        let (mut replicas, mut versions) = universe(&events);
        let Some((key_of, before)) = replicas[who].rows.first_key_value().map(|(key, row)| (key.clone(), row.clone())) else {
            return Ok(());
        };
        let number = (0..4).find(|number| key(*number) == key_of).unwrap();
        let one = before.siblings()[usize::from(pick) % before.siblings().len()].clone();

        let beside = replicas[who].write(number, Body::of("beside"), Replaces::Context(one.seen()));
        let mut expected: Vec<_> = before.siblings().iter().map(|version| version.dot).filter(|dot| *dot != one.dot).collect();
        expected.push(beside.dot);
        expected.sort();
        prop_assert_eq!(replicas[who].live(number), expected, "the write replaces the one that it saw");

        let last = replicas[who].put(number, "last");
        prop_assert_eq!(replicas[who].live(number), vec![last.dot], "the write replaces all that are live");
        prop_assert!(last.height > beside.height && beside.height > one.height);

        versions.extend([(key_of.clone(), beside), (key_of, last.clone())]);
        let mut elsewhere = Replica::new(9);
        order.deliver(&mut elsewhere, &versions);
        prop_assert!(elsewhere.live(number).contains(&last.dot));
        for dead in before.siblings() {
            prop_assert!(!elsewhere.live(number).contains(&dead.dot), "{} lives elsewhere", dead.dot);
        }
    }

    #[test]
    fn law_live_records_follow_from_knowledge(events in events()) {
        let (replicas, versions) = universe(&events);
        for replica in replicas {
            let known = || versions.iter().filter(|(_, version)| replica.knowledge().contains(version.dot));
            for (key, version) in known() {
                let dead = known().any(|(other, by)| other == key && by.replaces(version.dot));
                let live = replica.rows[key].version(version.dot).is_some();
                prop_assert_eq!(live, !dead);
            }
            for row in replica.rows.values().flat_map(|row| row.siblings()) {
                prop_assert!(replica.knowledge().contains(row.dot));
                prop_assert!(row.context.dots().iter().all(|dot| replica.knowledge().contains(*dot)));
            }
        }
    }

    #[test]
    fn law_replicas_that_exchanged_everything_are_equal(events in events()) {
        let ([mut one, mut two, mut three], _) = universe(&events);
        two.pull(&one);
        three.pull(&two);
        one.pull(&three);
        two.pull(&three);
        prop_assert_eq!(&one.rows, &two.rows);
        prop_assert_eq!(&two.rows, &three.rows);
        prop_assert_eq!(one.head.digest(), two.head.digest());
        prop_assert_eq!(two.head.digest(), three.head.digest());
    }

    #[test]
    fn law_same_plan_same_batch(events in events(), who in 0_usize..3) {
        let (replicas, versions) = universe(&events);
        let run = |mut plan: Plan| {
            for (key, version) in versions.iter().filter(|(_, version)| version.dot.replica != replicas[who].head.identity().replica) {
                let _ = plan.apply(key.clone(), version.clone());
            }
            let _ = plan.write(write(1, Body::of("new"), Replaces::AllLive));
            plan.finish()
        };
        let (left, right) = (run(replicas[who].plan()), run(replicas[who].plan()));
        prop_assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }
}
