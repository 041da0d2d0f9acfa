//! Bundles: brokers that never meet, and files that are lost, repeated and late.

use proptest::prelude::*;
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_sync::{BundleError, Event};

use super::kit::{delete, put, values};

const PLENTY: u64 = 1 << 30;

/// Nodes without any link among them.
fn apart(seed: u64, count: usize) -> ReplicaWorld {
    let mut world = ReplicaWorld::new(seed, count, |_, config| config.chunk_bytes = 600);
    for a in 0..count {
        for b in 0..a {
            world.cut(a, b, true);
        }
    }
    world.run_for(10);
    world
}

fn fill(world: &mut ReplicaWorld, node: usize, count: usize) {
    for number in 0..count {
        world.write(node, vec![put(&format!("{node}/{number:03}"), "a value of some length, so that chunks fill")]);
    }
    world.run_for(1);
}

/// Hands fragments over and says whether the last of them completed a claim.
fn deliver(world: &mut ReplicaWorld, to: usize, fragments: &[Vec<u8>]) -> bool {
    fragments.iter().fold(false, |_, fragment| world.take_fragment(to, fragment.clone()).unwrap().claimed)
}

#[test]
fn two_that_never_meet_converge_by_bundles() {
    let mut world = apart(1, 2);
    fill(&mut world, 0, 40);
    fill(&mut world, 1, 25);
    world.write(0, vec![put("shared", "from 0")]);
    world.write(1, vec![put("shared", "from 1")]);
    world.run_for(1);
    let there = world.make_bundle(0, Some(1), PLENTY, false);
    let back = world.make_bundle(1, Some(0), PLENTY, false);
    assert!(there.len() > 4, "{} fragments", there.len());
    assert!(deliver(&mut world, 1, &there));
    let backwards: Vec<_> = back.iter().rev().flat_map(|fragment| [fragment.clone(), fragment.clone()]).collect();
    deliver(&mut world, 0, &backwards);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 0, "shared"), ["from 0", "from 1"]);
    // A deletion that replaces both travels the same way, as the only thing there is.
    world.write(1, vec![delete("shared")]);
    world.run_for(1);
    let small = world.make_bundle(1, Some(0), PLENTY, false);
    assert!(small.iter().map(Vec::len).sum::<usize>() < 400);
    assert!(deliver(&mut world, 0, &small));
    world.check_converged().unwrap();
    assert!(values(&world, 0, "shared").is_empty());
}

#[test]
fn nothing_is_claimed_while_a_fragment_is_missing() {
    let mut world = apart(2, 2);
    fill(&mut world, 0, 40);
    // Overwritten: only a claim can teach the dots that this leaves behind.
    fill(&mut world, 0, 40);
    let fragments = world.make_bundle(0, Some(1), PLENTY, false);
    for missing in 0..fragments.len() {
        let mut world = apart(2, 2);
        let rest = (0..fragments.len()).filter(|index| *index != missing).map(|index| fragments[index].clone());
        assert!(!deliver(&mut world, 1, &rest.collect::<Vec<_>>()), "without fragment {missing}");
        world.check_knowledge(1).unwrap();
        assert!(deliver(&mut world, 1, &fragments[missing..=missing]), "with fragment {missing}");
    }
    assert!(deliver(&mut world, 1, &fragments));
    assert!(world.replica(1).knowledge().covers(world.replica(0).knowledge()));
}

#[test]
fn a_bundle_waits_for_what_it_builds_on() {
    let mut world = apart(3, 2);
    fill(&mut world, 0, 10);
    fill(&mut world, 0, 10);
    let first = world.make_bundle(0, Some(1), PLENTY, false);
    fill(&mut world, 0, 5);
    let second = world.make_bundle(0, Some(1), PLENTY, false);
    assert!(second.len() < first.len());
    assert!(!deliver(&mut world, 1, &second));
    assert!(!world.replica(1).knowledge().covers(world.replica(0).knowledge()));
    deliver(&mut world, 1, &first);
    assert_eq!(world.replica(1).stats().bundles_claimed, 2);
    assert!(world.replica(1).knowledge().covers(world.replica(0).knowledge()));
}

#[test]
fn a_lost_bundle_is_made_again() {
    let mut world = apart(4, 2);
    fill(&mut world, 0, 10);
    let lost = world.make_bundle(0, Some(1), PLENTY, false);
    let on_top = world.make_bundle(0, Some(1), PLENTY, false);
    assert!(on_top.len() < lost.len());
    assert!(!deliver(&mut world, 1, &on_top));
    let again = world.make_bundle(0, Some(1), PLENTY, true);
    assert_eq!(again.len(), lost.len());
    assert!(deliver(&mut world, 1, &again));
    // After its time a bundle is no longer relied on.
    let mut world = apart(4, 2);
    fill(&mut world, 0, 10);
    let lost = world.make_bundle(0, Some(1), PLENTY, false);
    world.run_for(3_601_000);
    assert_eq!(world.make_bundle(0, Some(1), PLENTY, false).len(), lost.len());
}

#[test]
fn a_bundle_that_is_cut_short_goes_on_in_the_next() {
    let mut world = apart(5, 2);
    fill(&mut world, 0, 60);
    let mut bundles = Vec::new();
    while bundles.len() < 40 {
        let fragments = world.make_bundle(0, Some(1), 2_000, false);
        assert!(fragments.iter().map(Vec::len).sum::<usize>() < 3_000);
        let last = fragments.len() == 1;
        bundles.push(fragments);
        if last {
            break;
        }
    }
    assert!((4..40).contains(&bundles.len()), "{} bundles", bundles.len());
    for fragments in bundles.iter().rev() {
        deliver(&mut world, 1, fragments);
    }
    assert!(world.replica(1).knowledge().covers(world.replica(0).knowledge()));
    assert_eq!(values(&world, 1, "0/059").len(), 1);
}

#[test]
fn parts_of_a_bundle_are_forgotten_in_time_and_kept_as_data() {
    let mut world = apart(6, 2);
    fill(&mut world, 0, 40);
    let fragments = world.make_bundle(0, Some(1), PLENTY, false);
    let (late, early) = fragments.split_last().unwrap();
    deliver(&mut world, 1, early);
    world.run_for(3_700_000);
    let expired =
        |event: &Event| matches!(event, Event::BundleExpired { applied, fragments: all, .. } if applied + 1 == *all);
    assert!(world.events(1).iter().any(expired));
    assert!(!deliver(&mut world, 1, std::slice::from_ref(late)));
    assert_eq!(values(&world, 1, "0/039").len(), 1);
    assert_eq!(world.replica(1).stats().bundles_claimed, 0);
}

#[test]
fn fragments_that_are_not_ours_change_nothing() {
    let mut world = apart(7, 2);
    fill(&mut world, 0, 20);
    let fragments = world.make_bundle(0, Some(1), PLENTY, false);
    let before = world.digest(1);
    let mut damaged = fragments[1].clone();
    damaged[40] ^= 1;
    for bytes in [damaged, Vec::new(), fragments[1][..30].to_vec(), b"RCVB\x01 and nothing that makes sense".to_vec()] {
        assert!(matches!(world.take_fragment(1, bytes), Err(BundleError::Malformed(_))));
    }
    assert_eq!(world.digest(1), before);
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        node: usize,
        key: u8,
    },
    Delete {
        node: usize,
        key: u8,
    },
    /// Makes a bundle; each fragment comes as often as the digits of `fate` say, some of them first.
    Carry {
        from: usize,
        to: usize,
        broadcast: bool,
        again: bool,
        fate: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 0..5_u8).prop_map(|(node, key)| Step::Write { node, key }),
        1 => (0..3_usize, 0..5_u8).prop_map(|(node, key)| Step::Delete { node, key }),
        2 => (0..3_usize, 1..3_usize, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
            |(from, further, broadcast, again, fate)| Step::Carry { from, to: (from + further) % 3, broadcast, again, fate }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is lost, repeated or late: once a bundle of everything has come from everybody, all are equal, and at
    /// no time did anybody know what it did not hold.
    #[test]
    fn law_bundles_converge(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = apart(8, 3);
        let mut under_way: Vec<(usize, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Write { node, key } => drop(world.write(node, vec![put(&format!("k{key}"), &format!("by {node}"))])),
                Step::Delete { node, key } => drop(world.write(node, vec![delete(&format!("k{key}"))])),
                Step::Carry { from, to, broadcast, again, mut fate } => {
                    for fragment in world.make_bundle(from, (!broadcast).then_some(to), PLENTY, again) {
                        for _ in 0..fate % 3 {
                            under_way.insert((fate / 3) as usize % (under_way.len() + 1), (to, fragment.clone()));
                        }
                        fate = fate.rotate_right(5);
                    }
                    for _ in 0..fate % 7 {
                        if let Some((to, fragment)) = under_way.pop() {
                            world.take_fragment(to, fragment).unwrap();
                        }
                    }
                }
            }
            world.run_for(1);
            for node in 0..3 {
                world.check_knowledge(node).map_err(|violation| TestCaseError::fail(violation.to_string()))?;
            }
        }
        for _ in 0..2 {
            for from in 0..3 {
                let fragments = world.make_bundle(from, None, PLENTY, true);
                for to in (0..3).filter(|to| *to != from) {
                    deliver(&mut world, to, &fragments);
                }
            }
        }
        world.check_converged().map_err(|violation| TestCaseError::fail(violation.to_string()))?;
    }
}
