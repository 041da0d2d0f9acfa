//! When sessions happen: rounds, cascades, pushes.

use reconvene_store::{Body, Class};
use reconvene_sync::NewWrite;
use reconvene_sync::memory::LinkFaults;

use crate::kit::*;

#[test]
fn quiet_rounds_keep_their_period() {
    let mut world = settled(1, 3);
    world.run_for(60_000);
    let before = world.replica(0).stats().rounds;
    world.run_for(3_600_000);
    let rounds = world.replica(0).stats().rounds - before;
    assert!((3_600 / 72..=3_600 / 48).contains(&rounds), "{rounds} rounds in an hour");
}

#[test]
fn every_peer_gets_its_turn() {
    let mut world = settled(2, 7);
    let log = record(&mut world, |_, _, _| true);
    // Three peers longest without a session, and three at random.
    world.run_for(6 * 72_000);
    for peer in 1..7 {
        let met = log
            .borrow()
            .iter()
            .any(|(from, to, frame)| frame[0] == HELLO && [(0, peer), (peer, 0)].contains(&(*from, *to)));
        assert!(met, "no session with node {peer}");
    }
}

#[test]
fn news_travels_in_a_cascade_that_ends() {
    let mut world = settled(3, 8);
    world.run_for(60_000);
    world.write(3, vec![put("a", "x")]);
    world.run_for(10_000);
    for node in 0..8 {
        assert_eq!(values(&world, node, "a"), ["x"], "node {node}");
    }
    world.run_for(10_000);
    let rounds: Vec<u64> = (0..8).map(|node| world.replica(node).stats().rounds).collect();
    world.run_for(24_000);
    for (node, before) in rounds.into_iter().enumerate() {
        assert!(world.replica(node).stats().rounds - before <= 1, "node {node} goes on");
    }
}

#[test]
fn a_heal_starts_a_cascade() {
    let mut world = settled(4, 4);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut(a, b, true);
    }
    world.write(0, vec![put("a", "left")]);
    world.write(2, vec![put("a", "right")]);
    world.run_for(20_000);
    assert_eq!(values(&world, 1, "a"), ["left"]);
    assert_eq!(values(&world, 3, "a"), ["right"]);
    world.heal_all();
    // The greatest backoff after 20 s of failures, then a few rounds of the cascade, long before the next period.
    world.run_for(45_000);
    for node in 0..4 {
        assert_eq!(values(&world, node, "a"), ["left", "right"], "node {node}");
    }
}

#[test]
fn urgent_versions_are_pushed_at_once_and_relayed_once() {
    let mut world = settled(5, 10);
    world.set_faults(LinkFaults { delay_ms: 5..=5, ..LinkFaults::NONE });
    let log = record(&mut world, |_, _, frame| [PUSH, PROBE].contains(&frame[0]));
    world.write(0, vec![NewWrite::new(key("alarm"), Class::URGENT, Body::of("now"))]);
    world.write(0, vec![put("other", "later")]);
    world.run_for(100);
    let reached = (0..10).filter(|node| values(&world, *node, "alarm") == ["now"]).count();
    assert!(reached >= 9, "{reached} of 10 nodes");
    assert!((0..10).skip(1).all(|node| values(&world, node, "other").is_empty()), "only urgent versions are pushed");
    // Each node passes on only what was new to it, to four others.
    assert!(count_of(&log, PUSH) <= 10 * 4);
    let pushed = count_of(&log, PUSH);
    world.run_for(5_000);
    assert_eq!(count_of(&log, PUSH), pushed, "pushes end");
    world.set_tamper(|_, _, frame| Some(frame));
    world.run_for(200_000);
    world.check_converged().unwrap();
}

/// When two halves of a large network meet again, all become equal soon, and nobody is overrun.
#[test]
fn trap_16_heal_of_hundred_is_calm() {
    let count = if cfg!(debug_assertions) { 24 } else { 100 };
    let mut world = settled(16, count);
    let half = count / 2;
    for a in 0..half {
        for b in half..count {
            world.cut(a, b, true);
        }
    }
    for node in 0..count {
        world.write(node, vec![put(&format!("by/{node}"), "x")]);
    }
    world.run_for(120_000);
    let before: Vec<_> = (0..count).map(|node| *world.replica(node).stats()).collect();
    let log = record(&mut world, |_, _, _| true);
    world.heal_all();
    // The greatest backoff of a dial, and a dozen rounds of the cascade.
    world.run_for(200_000);
    world.check_converged().unwrap();
    for (node, before) in before.iter().enumerate() {
        let now = world.replica(node).stats();
        let rounds = now.rounds - before.rounds;
        assert!(rounds < 220, "node {node}: {rounds} rounds");
        let duplicates = now.duplicates_received - before.duplicates_received;
        assert!(duplicates < 4 * count as u64, "node {node} got {duplicates} versions again");
    }
    let sent = count_of(&log, DELTA);
    assert!(sent < 40 * count, "{sent} chunks for {count} brokers");
    world.run_for(60_000);
    let log = record(&mut world, |_, _, _| true);
    world.run_for(120_000);
    assert_eq!(count_of(&log, DELTA) + count_of(&log, CLAIM), 0, "and then it is quiet");
}

#[test]
fn lost_pushes_are_brought_by_sessions() {
    let mut world = settled(6, 3);
    record(&mut world, |_, _, frame| frame[0] != PUSH);
    world.write(0, vec![NewWrite::new(key("alarm"), Class::URGENT, Body::of("now"))]);
    world.run_for(100_000);
    world.check_converged().unwrap();
}

/// Pushes reach everybody before the first round that news sets off, whoever writes.
#[test]
fn an_urgent_write_is_pushed_to_everybody() {
    for seed in 0..3 {
        let mut world = settled(40 + seed, 24);
        for writer in [0, 11, 23] {
            let name = format!("urgent/{writer}");
            world.write(writer, vec![NewWrite::new(key(&name), Class::URGENT, Body::of("now"))]);
            world.run_for(400);
            let reached = (0..24).filter(|node| values(&world, *node, &name) == ["now"]).count();
            assert_eq!(reached, 24, "from {writer} with seed {seed}");
        }
    }
}
