//! Sessions: what goes over the wire, what a cut leaves, and what bounds them.

use std::cell::Cell;
use std::rc::Rc;

use reconvene_sync::memory::LinkFaults;
use reconvene_sync::{Compression, Compressor, Event};

use crate::kit::*;

#[test]
fn nothing_to_do_costs_two_small_frames() {
    for count in [2, 10] {
        let mut world = settled(1, count);
        let log = record(&mut world, |_, _, _| true);
        world.run_for(300_000);
        let log = log.borrow();
        let exchange: Vec<&(usize, usize, Vec<u8>)> = log.iter().filter(|(_, _, frame)| frame[0] < PROBE).collect();
        assert!(exchange.len() > 4);
        assert!(exchange.iter().all(|(_, _, frame)| [HELLO, IN_SYNC].contains(&frame[0])));
        let bytes = world.replica(0).stats().converged_exchange_bytes;
        assert!((1..=150).contains(&bytes), "{bytes} bytes among {count} nodes");
    }
}

#[test]
fn both_directions_take_one_and_a_half_round_trips() {
    let mut world = settled(2, 2);
    world.cut(0, 1, true);
    world.write(0, vec![put("a", "0")]);
    world.write(1, vec![put("b", "1")]);
    world.run_for(100);
    world.heal_all();
    let log = record(&mut world, |_, _, _| true);
    while count_of(&log, ACK) == 0 && world.now_ms() < 400_000 {
        world.run_for(10);
    }
    let log = log.borrow();
    let kinds: Vec<u8> = log.iter().map(|(_, _, frame)| frame[0]).filter(|kind| *kind < PROBE).collect();
    let from_first = kinds.len() - 7;
    assert_eq!(kinds[from_first..], [HELLO, 2, DELTA, CLAIM, DELTA, CLAIM, ACK]);
    world.check_converged().unwrap();
    // Both know that they are equal, from one session.
    assert!(world.replica(0).converged_with(world.node_id(1)).is_some());
    assert!(world.replica(1).converged_with(world.node_id(0)).is_some());
    world.write(0, vec![put("a", "again")]);
    world.run_for(1);
    assert!(world.replica(0).converged_with(world.node_id(1)).is_none(), "a change ends it");
}

#[test]
fn a_cut_session_leaves_whole_chunks_and_the_next_sends_the_rest() {
    for after_chunks in 1..6 {
        let mut world = settled_with(3, 2, |_, config| {
            config.chunk_bytes = 400;
            config.window_bytes = 800;
        });
        let before = (world.replica(0).stats().records_sent, world.replica(1).stats().records_received);
        for number in 0..30 {
            world.write(0, vec![put(&format!("key/{number:02}"), &"v".repeat(100))]);
        }
        let arrived = Rc::new(Cell::new(0));
        let seen = Rc::clone(&arrived);
        world.set_faults(LinkFaults { delay_ms: 5..=5, ..LinkFaults::NONE });
        world.set_tamper(move |_, _, frame| {
            seen.set(seen.get() + u32::from(frame[0] == DELTA));
            Some(frame)
        });
        while arrived.get() < after_chunks {
            world.run_for(1);
        }
        world.cut(0, 1, true);
        world.run_for(1_000);
        let held = world.records(1).iter().filter(|record| record.key().as_bytes().starts_with(b"key/")).count();
        assert!((1..30).contains(&held), "{held} records after {after_chunks} chunks");
        world.check_knowledge(1).unwrap();
        world.heal_all();
        world.run_for(400_000);
        world.check_converged().unwrap();
        let stats = world.replica(1).stats();
        assert_eq!(stats.records_received - before.1, 30, "each version arrived once");
        assert_eq!(stats.duplicates_received, 0);
        // At most what was under way when the link broke went twice.
        assert!(world.replica(0).stats().records_sent - before.0 <= 30 + 8);
    }
}

#[test]
fn no_more_is_underway_than_the_window() {
    let mut world = settled_with(4, 2, |_, config| {
        config.chunk_bytes = 300;
        config.window_bytes = 1_000;
    });
    for number in 0..40 {
        world.write(0, vec![put(&format!("key/{number}"), &"v".repeat(150))]);
    }
    // Without credit, a session stops after one window.
    let log = record(&mut world, |_, _, frame| frame[0] != CREDIT);
    while count_of(&log, CREDIT) == 0 {
        world.run_for(10);
    }
    world.run_for(5_000);
    let bytes: usize = log.borrow().iter().filter(|(_, _, frame)| frame[0] == DELTA).map(|(_, _, f)| f.len()).sum();
    assert!((500..=1_000).contains(&bytes), "{bytes} bytes without credit");
    let claimed = log.borrow().iter().any(|(from, _, frame)| *from == 0 && frame[0] == CLAIM);
    assert!(!claimed, "nothing is claimed while chunks wait");
    record(&mut world, |_, _, _| true);
    world.run_for(400_000);
    world.check_converged().unwrap();
}

#[test]
fn a_round_sends_no_more_than_its_budget() {
    let mut world = settled_with(14, 2, |_, config| {
        config.chunk_bytes = 2_000;
        config.round_bytes = 10_000;
    });
    for number in 0..100 {
        world.write(0, vec![put(&format!("key/{number}"), &"v".repeat(500))]);
    }
    let log = record(&mut world, |_, _, _| true);
    world.run_for(45_000);
    let bytes: usize = log.borrow().iter().filter(|(_, _, frame)| frame[0] == DELTA).map(|(_, _, f)| f.len()).sum();
    assert!((5_000..25_000).contains(&bytes), "{bytes} bytes in at most two rounds");
    world.run_for(900_000);
    world.check_converged().unwrap();
    assert_eq!(world.replica(1).stats().duplicates_received, 0, "what is left goes first next time");
}

#[test]
fn a_session_that_stands_still_is_dropped_and_tried_again() {
    let mut world = settled(5, 2);
    world.write(0, vec![put("a", "x")]);
    let log = record(&mut world, |_, _, frame| frame[0] != CLAIM && frame[0] != AS_BEFORE);
    world.run_for(400_000);
    assert!(world.replica(0).stats().failed_sessions + world.replica(1).stats().failed_sessions > 0);
    assert!(count_of(&log, CLAIM) + count_of(&log, AS_BEFORE) > 2, "it is tried again and again");
    assert_eq!(values(&world, 1, "a"), ["x"], "the chunk was applied, with or without a claim");
    assert_ne!(world.digest(0).knowledge, 0);
    record(&mut world, |_, _, _| true);
    world.run_for(400_000);
    world.check_converged().unwrap();
}

#[test]
fn busy_peers_are_asked_again_later() {
    let mut world = settled_with(6, 6, |_, config| {
        config.max_inbound_sessions = 1;
        config.chunk_bytes = 300;
        config.window_bytes = 300;
    });
    for node in 0..6 {
        for number in 0..10 {
            world.write(node, vec![put(&format!("{node}/{number}"), &"v".repeat(200))]);
        }
    }
    world.set_faults(LinkFaults { delay_ms: 100..=200, ..LinkFaults::NONE });
    let log = record(&mut world, |_, _, _| true);
    world.run_for(600_000);
    assert!(count_of(&log, BUSY) > 0);
    world.check_converged().unwrap();
}

#[test]
fn the_largest_value_travels() {
    let mut world = settled(7, 2);
    world.write(0, vec![put("large", &"v".repeat(1 << 20)), put("small", "x")]);
    world.run_for(100_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 1, "large")[0].len(), 1 << 20);
}

#[test]
fn all_of_a_local_batch_is_refused_or_none() {
    let mut world = settled(8, 2);
    let before = world.digest(0);
    let ticket = world.write(0, vec![put("a", "fine"), put("b", &"v".repeat((1 << 20) + 1))]);
    world.run_for(1);
    assert!(world.answer(0, ticket).unwrap().as_ref().unwrap_err().contains("limit"));
    assert_eq!(world.digest(0), before);
    let ticket = world.write(0, vec![put("a", "fine"), put("b", "fine too")]);
    world.run_for(1);
    assert_eq!(world.answer(0, ticket).unwrap().as_ref().unwrap().len(), 2);
}

#[test]
fn damaged_frames_are_counted_and_change_nothing() {
    let mut world = settled(9, 2);
    let flips = Cell::new(0);
    world.set_tamper(move |_, _, mut frame| {
        flips.set(flips.get() + 1);
        let place = flips.get() % frame.len();
        frame[place] ^= 0x10;
        Some(frame)
    });
    let before = world.digest(1);
    world.write(0, vec![put("a", "x")]);
    world.run_for(50_000);
    assert_eq!(world.digest(1), before);
    assert!(world.replica(1).stats().frames_refused > 0);
    record(&mut world, |_, _, _| true);
    world.run_for(400_000);
    world.check_converged().unwrap();
}

#[test]
fn a_newcomer_gets_everything_in_one_session() {
    let mut world = settled(10, 2);
    world.cut(0, 1, true);
    for number in 0..100 {
        // Several keys of one record's worth, so that pages end in the middle of batches.
        let writes = (0..20).map(|other| put(&format!("key/{:03}/{other}", (number * 37) % 100), "value")).collect();
        world.write(0, writes);
    }
    world.run_for(1_000);
    world.heal_all();
    let log = record(&mut world, |_, _, _| true);
    while count_of(&log, CLAIM) == 0 {
        world.run_for(100);
    }
    world.run_for(1_000);
    world.check_converged().unwrap();
    assert_eq!(world.records(1).len(), 2_002);
    assert_eq!(world.replica(1).stats().duplicates_received, 0);
    assert!(count_of(&log, DELTA) > 1);
    let bytes: usize = log.borrow().iter().filter(|(_, _, frame)| frame[0] == DELTA).map(|(_, _, f)| f.len()).sum();
    let payload = world.records(1).iter().map(|record| record.key().as_bytes().len() + 5).sum::<usize>();
    assert!(bytes < payload + 2_000 * 20, "{bytes} bytes for {payload} of keys and values");
}

/// A delete and a write on one side of a long cut: three frames, of which most is the value itself.
#[test]
fn a_delete_and_a_write_take_three_frames() {
    let mut world = settled_with(15, 2, |_, config| config.max_whole_bytes = 16 << 10);
    for number in 0..20 {
        world.write(0, vec![put(&format!("job/00/{number:06}"), &"v".repeat(48))]);
    }
    world.run_for(150_000);
    world.check_converged().unwrap();
    world.cut(0, 1, true);
    world.write(0, vec![delete("job/00/000007"), put("job/00/000008", &"w".repeat(48))]);
    world.run_for(6 * 3_600_000);
    world.heal_all();
    let log = record(&mut world, |_, _, _| true);
    while count_of(&log, ACK) == 0 {
        world.run_for(10);
    }
    let frames: Vec<(u8, usize)> =
        log.borrow().iter().filter(|(_, _, frame)| frame[0] != PROBE).map(|(_, _, f)| (f[0], f.len())).collect();
    let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
    assert!([&[HELLO, WHOLE_BACK, ACK][..], &[HELLO, AS_BEFORE, WHOLE, ACK]].contains(&&kinds[..]), "{kinds:?}");
    let bytes: usize = frames.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= 250, "{frames:?}");
    world.check_converged().unwrap();
    for node in 0..2 {
        let other = world.node_id(1 - node);
        assert!(world.replica(node).converged_with(other).is_some(), "node {node} knows that both are equal");
    }
}

/// Whatever a session has to say in either direction, it says the same in one frame as in several.
#[test]
fn whole_directions_are_lost_as_a_whole() {
    for (lost, seed) in [(WHOLE_BACK, 16), (WHOLE, 17), (ACK, 18)] {
        let mut world = settled_with(seed, 3, |_, config| config.max_whole_bytes = 16 << 10);
        let log = record(&mut world, move |_, _, frame| frame[0] != lost);
        for node in 0..3 {
            world.write(node, vec![put("a", &format!("from {node}")), put(&format!("own/{node}"), "x")]);
        }
        world.run_for(60_000);
        assert!(count_of(&log, lost) > 0, "no frame of kind {lost}");
        for node in 0..3 {
            world.check_knowledge(node).unwrap();
        }
        record(&mut world, |_, _, _| true);
        world.run_for(600_000);
        world.check_converged().unwrap();
        for node in 0..3 {
            assert_eq!(values(&world, node, "a").len(), 3);
        }
    }
}

/// Runs of equal bytes as a length and the byte.
#[derive(Debug)]
struct Runs;

impl Compression for Runs {
    fn compress(&self, front: &[u8], values: &[u8]) -> Option<Vec<u8>> {
        let bytes = [front, values].concat();
        let runs = bytes.chunk_by(|left, right| left == right).flat_map(|run| run.chunks(100));
        Some(runs.flat_map(|run| [u8::try_from(run.len()).unwrap(), run[0]]).collect())
    }

    fn decompress(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        let (runs, rest) = bytes.as_chunks::<2>();
        let total: usize = runs.iter().map(|[count, _]| usize::from(*count)).sum();
        let fits = rest.is_empty() && total == length;
        fits.then(|| runs.iter().flat_map(|[count, byte]| vec![*byte; usize::from(*count)]).collect())
    }
}

/// Two of three compress: those speak shorter with each other, and all understand one another.
#[test]
fn only_peers_that_both_compress_do() {
    let mut world = settled_with(19, 3, |node, config| {
        config.chunk_bytes = 4_000;
        config.window_bytes = 8_000;
        config.compression = (node < 2).then(|| Compressor::new(Runs));
    });
    let log = record(&mut world, |_, _, _| true);
    for number in 0..50 {
        world.write(0, vec![put(&format!("key/{number}"), &"v".repeat(500))]);
    }
    world.write(0, vec![put("large", &"v".repeat(100_000))]);
    world.run_for(200_000);
    world.check_converged().unwrap();
    let compressed = |from: usize, to: usize| {
        log.borrow().iter().filter(|(f, t, frame)| (*f, *t) == (from, to) && frame[1] == 2).count()
    };
    assert!(compressed(0, 1) > 0);
    assert_eq!(compressed(0, 2) + compressed(1, 2) + compressed(2, 0) + compressed(2, 1), 0);
    for node in 0..3 {
        assert_eq!(world.replica(node).stats().frames_refused, 0);
        assert!(!world.events(node).iter().any(|event| matches!(event, Event::Rejected { .. })));
    }
}
