//! Deletes: when they are forgotten, and that nothing comes back.

use std::cell::RefCell;
use std::rc::Rc;

use reconvene_clock::ReplicaId;
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Body, Class, KeyContext, Limits, Replaces};
use reconvene_sync::memory::LinkFaults;
use reconvene_sync::{Event, Input, NewWrite, Ticket, forge};

use crate::kit::*;

fn replica_of(world: &ReplicaWorld, node: usize) -> ReplicaId {
    world.replica(node).head().identity().replica
}

fn waiting(world: &ReplicaWorld) -> Vec<usize> {
    (0..world.count()).map(|node| world.replica(node).waiting_deletes()).collect()
}

/// Deletes are forgotten once every member has them, and not before.
#[test]
fn deletes_are_forgotten_everywhere() {
    let mut world = settled(1, 4);
    for number in 0..10 {
        world.write(number % 4, vec![put(&format!("key/{number}"), "x")]);
    }
    world.run_for(100_000);
    for number in 0..10 {
        world.write((number + 1) % 4, vec![delete(&format!("key/{number}"))]);
        world.run_for(500);
        world.check_forgotten().unwrap();
    }
    for _ in 0..40 {
        world.run_for(10_000);
        world.check_forgotten().unwrap();
    }
    assert_eq!(waiting(&world), [0; 4]);
    for node in 0..4 {
        assert!(world.records(node).iter().all(|record| !record.key().as_bytes().starts_with(b"key/")));
        world.check_knowledge(node).unwrap();
        assert!(world.replica(node).stats().collected >= 10);
    }
    world.check_converged().unwrap();
}

/// Two that are all there is tell each other in their sessions what they have, and need no facts to forget a delete.
#[test]
fn two_members_that_meet_forget_without_facts() {
    let mut world = settled(21, 2);
    world.write(0, vec![put("a", "x"), put("b", "x")]);
    world.run_for(400_000);
    world.check_converged().unwrap();
    world.cut(0, 1, true);
    world.write(0, vec![delete("a"), put("b", "y")]);
    world.run_for(1_000_000);
    assert_eq!(waiting(&world), [1, 0], "nobody else has seen the delete");
    world.heal(0, 1);
    world.run_for(400_000);
    assert_eq!(waiting(&world), [0, 0]);
    assert!(world.records(0).iter().all(|record| !record.key().as_bytes().starts_with(b"sys/ack/")));
}

/// A batch takes fewer rows than are forgotten at once.
#[test]
fn regress_deletes_beyond_a_batch_are_forgotten() {
    let mut world = settled_with(62, 2, |_, config| config.store.batch_rows = 100);
    for number in 0..300 {
        let name = format!("dead/{number}");
        world.write(1, vec![put(&name, "x")]);
        world.write(1, vec![delete(&name)]);
    }
    world.run_for(600_000);
    assert_eq!(waiting(&world), [0; 2]);
    world.check_forgotten().unwrap();
}

/// Alone, one forgets at once: everybody has it.
#[test]
fn alone_in_the_network_nothing_waits() {
    let mut world = ReplicaWorld::new(2, 1, |_, _| {});
    world.write(0, vec![put("a", "x")]);
    world.write(0, vec![delete("a")]);
    world.run_for(200_000);
    assert_eq!(waiting(&world), [0]);
    assert!(world.record(0, &key("a")).is_none());
    assert!(world.replica(0).head().gc_floor().iter().next().is_some());
}

/// A member that is gone for good holds collection back, is named, and stops doing so once it is retired.
#[test]
fn trap_06_retire_unblocks() {
    let mut world = settled_with(6, 3, |_, config| config.blocked_after_ms = 300_000);
    world.write(0, vec![put("a", "x")]);
    world.run_for(100_000);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.write(0, vec![delete("a")]);
    world.run_for(1_200_000);
    let gone = replica_of(&world, 2);
    assert_eq!(waiting(&world)[..2], [1, 1]);
    assert_eq!(world.replica(0).blocked_by(), Some(gone));
    let blocked = |event: &&Event| matches!(event, Event::CollectionBlocked { by, .. } if *by == gone);
    assert_eq!(world.events(0).iter().filter(blocked).count(), 1, "said once");
    world.feed(1, Input::Retire { ticket: Ticket(1 << 40), replica: gone });
    world.run_for(300_000);
    assert_eq!(waiting(&world)[..2], [0, 0]);
    // It comes back with the old value, which everybody else has forgotten.
    assert_eq!(values(&world, 2, "a"), ["x"]);
    world.heal_all();
    world.run_for(900_000);
    assert_eq!(values(&world, 2, "a"), [""; 0]);
    assert!(
        world.replica(2).stats().dropped_dead > 0
            || world.events(2).iter().any(|event| matches!(event, Event::Renewed { .. }))
    );
    world.check_converged().unwrap();
}

/// While a delete waits for a member that is away, the others are quiet: an acknowledgement is a write, and must not be
/// answered by others.
#[test]
fn trap_26_quiet_while_tombstone_waits() {
    let mut world = settled(26, 4);
    world.write(0, vec![put("a", "x")]);
    world.run_for(100_000);
    for peer in 0..3 {
        world.cut(3, peer, true);
    }
    world.write(1, vec![delete("a")]);
    world.run_for(300_000);
    assert!(waiting(&world)[..3].iter().all(|count| *count == 1));
    let log = record(&mut world, |_, _, _| true);
    let before: Vec<u64> = (0..3).map(|node| world.replica(node).head().revision().get()).collect();
    world.run_for(3_600_000);
    assert_eq!(count_of(&log, DELTA) + count_of(&log, CLAIM), 0, "nothing is written, so nothing is sent");
    let after: Vec<u64> = (0..3).map(|node| world.replica(node).head().revision().get()).collect();
    assert_eq!(before, after);
    world.set_tamper(|_, _, frame| Some(frame));
    world.heal_all();
    world.run_for(900_000);
    assert_eq!(waiting(&world), [0; 4]);
    world.check_forgotten().unwrap();
}

/// A store from before a value was deleted and forgotten meets those who forgot: it never saw the tombstone, and no
/// tombstone is left to tell it.
#[test]
fn trap_22_old_backup_meets_floor() {
    for seed in 0..4 {
        let mut world = settled(220 + seed, 3);
        world.write(1, vec![put("dead", "x"), put("alive", "old"), put("stays", "x")]);
        world.run_for(100_000);
        assert_eq!(values(&world, 2, "dead"), ["x"]);
        let backup = world.backup(2);
        world.write(1, vec![delete("dead"), put("alive", "new")]);
        world.run_for(400_000);
        assert_eq!(waiting(&world), [0; 3]);
        for peer in 0..2 {
            world.cut(2, peer, true);
        }
        world.restore(2, backup);
        assert_eq!(values(&world, 2, "dead"), ["x"], "the old copy has it");
        world.write(2, vec![put("own", "unseen")]);
        world.run_for(1_000);
        world.heal_all();
        world.run_for(900_000);
        for node in 0..3 {
            assert_eq!(values(&world, node, "dead"), [""; 0], "node {node}");
            assert_eq!(values(&world, node, "alive"), ["new"], "node {node}");
            assert_eq!(values(&world, node, "stays"), ["x"], "node {node}");
            assert_eq!(values(&world, node, "own"), ["unseen"], "node {node}");
        }
        assert_eq!(world.replica(2).stats().dropped_dead, 1, "seed {seed}");
        for node in 0..3 {
            assert_eq!(world.digest(node), world.digest(0));
        }
    }
}

/// Node 2 is an old copy with values whose deletes the others have forgotten, beside which it writes more of this size.
fn behind_a_floor(seed: u64, dead: usize, beside: usize, limits: impl Fn(&mut Limits)) -> ReplicaWorld {
    let mut world = settled_with(seed, 3, |_, config| limits(&mut config.store));
    let keys: Vec<String> = (0..dead).map(|number| format!("dead/{number}")).collect();
    for name in &keys {
        world.write(1, vec![put(name, "x")]);
    }
    world.run_for(100_000);
    let backup = world.backup(2);
    for name in &keys {
        world.write(1, vec![delete(name)]);
    }
    world.run_for(600_000);
    assert_eq!(waiting(&world), [0; 3]);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.restore(2, backup);
    if beside > 0 {
        let value = "v".repeat(beside);
        for name in &keys {
            let mut write = put(name, &value);
            write.replaces = Replaces::Context(KeyContext::new());
            world.write(2, vec![write]);
        }
    }
    world.run_for(1_000);
    world.set_faults(LinkFaults { delay_ms: 5..=5, ..LinkFaults::NONE });
    world.heal(2, 0);
    world
}

/// Dead values that node 2 still holds.
fn undead(world: &ReplicaWorld, count: usize) -> usize {
    let is_dead = |number: &usize| !values(world, 2, &format!("dead/{number}")).iter().any(|value| value == "x");
    count.saturating_sub((0..count).filter(is_dead).count())
}

/// A store that has dropped what a peer saw the end of, and not yet joined the claim that says so, holds less than others
/// who know the same. They would give it back: so one batch does both.
#[test]
fn regress_ends_are_taken_with_the_claim() {
    let mut world = behind_a_floor(230, 300, 0, |_| {});
    let known = world.replica(0).head().knowledge().clone();
    while undead(&world, 300) == 300 {
        assert!(world.now_ms() < 3_000_000, "nothing was dropped");
        world.run_for(1);
    }
    assert_eq!(undead(&world, 300), 0, "some of them are gone, and some are not");
    assert!(world.replica(2).head().knowledge().covers(&known), "they are gone, and the claim is not joined");
}

/// What is too much for one batch goes in several.
#[test]
fn ends_that_no_batch_holds_are_taken_one_after_the_other() {
    let few_rows = |limits: &mut Limits| limits.batch_rows = 100;
    // Known only when the rows are read: what else is in them the peer does not hold.
    let few_bytes = |limits: &mut Limits| (limits.row_bytes, limits.batch_bytes) = (100_000, 100_000);
    let check = |mut world: ReplicaWorld| {
        world.run_for(1_000_000);
        assert_eq!(undead(&world, 300), 0);
        assert_eq!(world.replica(2).stats().dropped_dead, 300);
        world.heal_all();
        world.run_for(600_000);
        for node in 0..3 {
            assert_eq!(world.digest(node), world.digest(0));
        }
        world
    };
    check(behind_a_floor(231, 300, 0, few_rows));
    let world = check(behind_a_floor(232, 300, 1_000, few_bytes));
    assert_eq!(values(&world, 1, "dead/7"), ["v".repeat(1_000)]);
}

/// A version is refused that names an upper end of the replica whose value was deleted, and so tells nothing of most of its
/// numbers. What was deleted long ago is not given back all the same.
#[test]
fn regress_a_refused_version_keeps_no_old_copy_alive() {
    let mut world = settled(226, 3);
    world.write(1, vec![put("dead", "x"), put("busy", "0")]);
    world.run_for(100_000);
    let backup = world.backup(2);
    // So often that the last version names all before it by an upper end.
    for number in 1..40 {
        world.write(1, vec![put("busy", &number.to_string())]);
        world.run_for(10);
    }
    world.write(0, vec![delete("dead")]);
    world.run_for(600_000);
    assert_eq!(waiting(&world), [0; 3]);
    world.cut(2, 0, true);
    world.cut(2, 1, true);
    world.restore(2, backup);
    world.set_tamper(|_, to, frame| {
        let edited = forge::edit_chunk(&frame, |name, version| {
            if to == 2 && *name == key("busy") {
                version.context.add(version.dot);
            }
        });
        Some(edited.unwrap_or(frame))
    });
    world.heal_all();
    world.run_for(300_000);
    assert!(world.events(2).iter().any(|event| matches!(event, Event::Refused { .. })));
    assert_eq!(values(&world, 2, "busy"), ["0"], "what the refused one replaced is not dropped without it");
    world.set_tamper(|_, _, frame| Some(frame));
    world.run_for(900_000);
    for node in 0..3 {
        assert_eq!(values(&world, node, "dead"), [""; 0], "node {node}");
        assert_eq!(values(&world, node, "busy"), ["39"], "node {node}");
        assert_eq!(world.digest(node), world.digest(0));
        assert_eq!(world.replica(node).stats().repaired, 0, "node {node} was given something back");
    }
}

/// The same, and a second old copy holds a deleted value that the first one never knew. What was refused hides that number
/// from the claim, so the end of it is not taken either: the value would be new here, and nobody would judge it again.
#[test]
fn regress_a_refused_version_hides_ends_of_what_is_unknown() {
    let mut world = settled(227, 4);
    world.write(1, vec![put("busy", "0")]);
    world.run_for(100_000);
    let without = world.backup(2);
    world.write(1, vec![put("dead", "x")]);
    world.run_for(100_000);
    let with = world.backup(3);
    for number in 1..40 {
        world.write(1, vec![put("busy", &number.to_string())]);
        world.run_for(10);
    }
    world.write(0, vec![delete("dead")]);
    world.run_for(900_000);
    assert_eq!(waiting(&world), [0; 4]);
    for (old, peer) in [(2, 0), (2, 1), (3, 0), (3, 1), (2, 3)] {
        world.cut(old, peer, true);
    }
    world.restore(2, without);
    world.restore(3, with);
    world.set_tamper(|from, to, frame| {
        let edited = forge::edit_chunk(&frame, |name, version| {
            if from < 2 && to == 2 && *name == key("busy") {
                version.context.add(version.dot);
            }
        });
        Some(edited.unwrap_or(frame))
    });
    world.heal(2, 0);
    world.run_for(200_000);
    assert!(world.events(2).iter().any(|event| matches!(event, Event::Refused { .. })));
    world.cut(2, 0, true);
    world.heal(2, 3);
    world.run_for(200_000);
    world.set_tamper(|_, _, frame| Some(frame));
    world.heal_all();
    world.run_for(900_000);
    for node in 0..4 {
        assert_eq!(values(&world, node, "dead"), [""; 0], "node {node}");
        assert_eq!(values(&world, node, "busy"), ["39"], "node {node}");
        assert_eq!(world.digest(node), world.digest(0));
        assert_eq!(world.replica(node).stats().repaired, 0, "node {node} was given something back");
    }
}

/// A refused version replaced a value that a forgotten delete had ended as well. That delete is not taken while the value is
/// spared for the sake of the other: who knows it holds the value no more.
#[test]
fn regress_a_spared_value_is_not_known_as_deleted() {
    let mut world = settled(228, 3);
    world.write(1, vec![put("dead", "x")]);
    world.run_for(100_000);
    let backup = world.backup(2);
    world.cut(0, 1, true);
    world.cut(2, 1, true);
    world.write(1, vec![put("dead", "y")]);
    world.write(0, vec![delete("dead")]);
    world.run_for(10);
    let deleted = world.replica(0).head().knowledge().clone();
    world.heal_all();
    world.run_for(600_000);
    assert_eq!(waiting(&world), [0; 3]);
    world.cut(2, 0, true);
    world.cut(2, 1, true);
    world.restore(2, backup);
    world.set_tamper(|_, to, frame| {
        let edited = forge::edit_chunk(&frame, |name, version| {
            if to == 2 && *name == key("dead") {
                version.context.add(version.dot);
            }
        });
        Some(edited.unwrap_or(frame))
    });
    world.heal_all();
    world.run_for(300_000);
    assert!(world.events(2).iter().any(|event| matches!(event, Event::Refused { .. })));
    assert_eq!(values(&world, 2, "dead"), ["x"], "what the refused one replaced is not dropped without it");
    assert!(!world.replica(2).head().knowledge().covers(&deleted), "known as deleted, and live");
    world.set_tamper(|_, _, frame| Some(frame));
    world.run_for(900_000);
    for node in 0..3 {
        assert_eq!(values(&world, node, "dead"), ["y"], "node {node}");
        assert_eq!(world.digest(node), world.digest(0));
    }
}

/// A copy of a replaced value that was on its way for long, after the delete that followed was forgotten.
#[test]
fn trap_23_late_bundle_stays_dead() {
    let mut world = settled(23, 3);
    let late: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let seen = Rc::clone(&late);
    world.set_tamper(move |_, to, frame| {
        // Pushes to node 2 are late.
        if to == 2 && frame[0] == PUSH {
            seen.borrow_mut().push(frame);
            return None;
        }
        Some(frame)
    });
    for peer in 0..2 {
        world.cut(2, peer, true);
        world.heal(2, peer);
    }
    let urgent = |value: &str| NewWrite::new(key("a"), Class::URGENT, Body::of(value));
    world.run_for(60_000);
    world.write(0, vec![urgent("one")]);
    world.run_for(5);
    world.write(0, vec![urgent("two")]);
    world.run_for(5);
    world.write(0, vec![delete("a")]);
    world.run_for(600_000);
    assert!(late.borrow().len() >= 2);
    assert_eq!(waiting(&world), [0; 3]);
    for frame in late.take() {
        let from = world.node_id(0);
        world.feed(2, Input::Received { from, frame });
        world.run_for(100);
        assert_eq!(values(&world, 2, "a"), [""; 0]);
    }
    world.run_for(200_000);
    world.check_converged().unwrap();
}

/// A store from before a value was replaced twice meets those who hold the last one: its context names all before it, so
/// nothing that was settled long ago lives again beside it.
#[test]
fn trap_24_restored_value_meets_successor() {
    let mut world = settled(24, 3);
    world.write(0, vec![put("a", "one")]);
    world.run_for(100_000);
    let backup = world.backup(2);
    world.write(1, vec![put("a", "two")]);
    world.run_for(300_000);
    world.write(0, vec![put("a", "three")]);
    world.run_for(300_000);
    world.restore(2, backup);
    assert_eq!(values(&world, 2, "a"), ["one"]);
    world.run_for(600_000);
    for node in 0..3 {
        assert_eq!(values(&world, node, "a"), ["three"], "node {node}");
    }
    world.check_converged().unwrap();
}

/// A bundle of those who deleted a value and forgot that comes to a store from before: its versions are taken, its claim
/// is not, or the value would be known there as what all others have, and live for ever.
#[test]
fn trap_25_bundle_behind_floor() {
    let mut world = settled(25, 3);
    world.write(1, vec![put("dead", "x"), put("stays", "x")]);
    world.run_for(100_000);
    let backup = world.backup(2);
    world.write(1, vec![delete("dead"), put("new", "x")]);
    world.run_for(400_000);
    assert_eq!(waiting(&world), [0; 3]);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.restore(2, backup);
    assert_eq!(values(&world, 2, "dead"), ["x"], "the old copy has it");
    let fragments = world.make_bundle(0, None, 1 << 30, false);
    let take = |world: &mut ReplicaWorld, node: usize| {
        let progress = fragments.iter().map(|fragment| world.take_fragment(node, fragment.clone()).unwrap());
        progress.last().unwrap()
    };
    assert!(take(&mut world, 1).claimed, "who saw the delete is taught all of it");
    let progress = take(&mut world, 2);
    assert_eq!((progress.applied, progress.claimed), (progress.fragments, false));
    assert_eq!(values(&world, 2, "new"), ["x"], "what it carries is taken");
    assert!(!world.replica(2).knowledge().covers(world.replica(0).knowledge()));
    assert_eq!(world.replica(2).stats().bundles_claimed, 0);
    // A session may ask which of its versions are dead; a bundle cannot.
    world.heal_all();
    world.run_for(900_000);
    for node in 0..3 {
        assert_eq!(values(&world, node, "dead"), [""; 0], "node {node}");
        assert_eq!(values(&world, node, "stays"), ["x"], "node {node}");
        assert_eq!(world.digest(node), world.digest(0));
    }
    assert_eq!(world.replica(2).stats().dropped_dead, 1);
}

/// "Stable" is said when every member has it, however long one of them is away.
#[test]
fn trap_20_stable_means_everywhere() {
    let mut world = settled(200, 4);
    for peer in 0..3 {
        world.cut(3, peer, true);
    }
    let ticket = world.write(0, vec![put("a", "x")]);
    world.run_for(1_000);
    let dot = world.answer(0, ticket).unwrap().as_ref().unwrap()[0];
    world.run_for(1_800_000);
    assert!((0..3).all(|node| world.replica(node).knowledge().contains(dot)));
    assert!((0..4).all(|node| !world.replica(node).is_stable(dot)), "node 3 has not got it");
    let peer = world.node_id(1);
    assert!(world.replica(0).converged_with(peer).is_some(), "which is another thing");
    world.heal_all();
    for _ in 0..200 {
        world.run_for(5_000);
        let everywhere = (0..4).all(|node| world.replica(node).knowledge().contains(dot));
        for node in 0..4 {
            assert!(everywhere || !world.replica(node).is_stable(dot), "node {node} says so too early");
            assert!(world.replica(node).is_stable(dot) || !world.replica(node).is_causally_stable(dot));
        }
    }
    assert!((0..4).all(|node| world.replica(node).is_causally_stable(dot)));
}

/// A retired replica's delete above a hole that nobody can fill is made again by its heir, and then forgotten.
#[test]
fn a_hole_that_nobody_can_fill_does_not_keep_a_delete() {
    let mut world = settled(27, 3);
    world.write(2, vec![NewWrite::new(key("a"), Class::URGENT, Body::of("x"))]);
    world.run_for(100_000);
    let lost = replica_of(&world, 2);
    // Node 2 writes something that never leaves it, then a delete of which only the push gets out.
    record(&mut world, |from, _, frame| from != 2 || frame[0] == PUSH);
    world.write(2, vec![put("never/seen", "x")]);
    world.write(2, vec![NewWrite::new(key("a"), Class::URGENT, Body::Tombstone)]);
    world.run_for(200);
    assert_eq!(values(&world, 0, "a"), [""; 0]);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.set_tamper(|_, _, frame| Some(frame));
    world.run_for(100_000);
    assert_eq!(waiting(&world)[..2], [1, 1]);
    world.feed(0, Input::Retire { ticket: Ticket(1 << 40), replica: lost });
    world.run_for(1_500_000);
    assert_eq!(waiting(&world)[..2], [0, 0]);
    assert_eq!(values(&world, 1, "a"), [""; 0]);
}

/// A delete that stands for all earlier writes of a retired replica, some of which nobody has seen, waits for those: a late copy
/// of one would live again if the delete were forgotten. It blames nobody, and goes once the copies have come.
#[test]
fn a_delete_of_what_nobody_has_seen_waits_for_it() {
    let mut world = settled_with(28, 3, |_, config| config.blocked_after_ms = 300_000);
    let lost = replica_of(&world, 2);
    record(&mut world, |from, _, frame| from != 2 || frame[0] == PUSH);
    for number in 0..12 {
        world.write(2, vec![put("a", &number.to_string())]);
    }
    world.write(2, vec![NewWrite::new(key("a"), Class::URGENT, Body::Tombstone)]);
    world.run_for(200);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.set_tamper(|_, _, frame| Some(frame));
    world.feed(0, Input::Retire { ticket: Ticket(1 << 40), replica: lost });
    world.run_for(3_000_000);
    assert_eq!(waiting(&world)[..2], [1, 1]);
    assert_eq!(world.replica(0).blocked_by(), None);
    let blocked = |event: &&Event| matches!(event, Event::CollectionBlocked { by, .. } if *by != lost);
    assert_eq!(world.events(0).iter().filter(blocked).count(), 0);
    world.heal_all();
    world.run_for(900_000);
    assert_eq!(waiting(&world), [0; 3]);
    assert_eq!(values(&world, 0, "a"), [""; 0]);
    world.check_converged().unwrap();
}
