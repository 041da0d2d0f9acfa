//! Versions larger than a chunk: pieces that are lost, mixed up, or lie about themselves.

use std::cell::Cell;
use std::rc::Rc;

use reconvene_sync::forge::{PartClaims, edit_part};

use crate::kit::*;

const LENGTH: usize = 20_000;

fn with_small_chunks() -> reconvene_sim::replicas::ReplicaWorld {
    let mut world = settled_with(31, 2, |_, config| config.chunk_bytes = 1_000);
    world.write(0, vec![put("large", &"v".repeat(LENGTH)), put("small", "x")]);
    world
}

#[test]
fn a_missing_piece_voids_the_claim_and_the_next_session_brings_all() {
    let mut world = with_small_chunks();
    let lost = Rc::new(Cell::new(0));
    let count = Rc::clone(&lost);
    world.set_tamper(move |_, _, frame| {
        let is_seventh = frame[0] == PART && number_of(&frame) == 7;
        count.set(count.get() + u32::from(is_seventh));
        (!is_seventh || count.get() > 1).then_some(frame)
    });
    while lost.get() == 0 {
        world.run_for(10);
    }
    world.run_for(2_000);
    assert_eq!(values(&world, 1, "large"), [] as [&str; 0], "a part of a version is nothing");
    world.check_knowledge(1).unwrap();
    world.run_for(400_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 1, "large")[0].len(), LENGTH);
}

#[test]
fn pieces_in_any_order_make_the_same_version() {
    let mut world = with_small_chunks();
    let faults = reconvene_sync::memory::LinkFaults { delay_ms: 1..=400, ..reconvene_sync::memory::LinkFaults::NONE };
    world.set_faults(faults);
    let log = record(&mut world, |_, _, _| true);
    world.run_for(200_000);
    let numbers: Vec<u32> =
        log.borrow().iter().filter(|(_, _, f)| f[0] == PART).map(|(_, _, frame)| number_of(frame)).collect();
    assert!(numbers.len() >= LENGTH / 1_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 1, "large")[0].len(), LENGTH);
    assert_eq!(world.replica(1).stats().duplicates_received, 0);
}

/// What a piece says of itself is checked against the piece, against the others, and against what may be.
#[test]
fn pieces_that_lie_are_refused_and_change_nothing() {
    let lies: [fn(&mut PartClaims); 6] = [
        |part| part.total += 1_000,
        |part| part.total = u32::MAX,
        |part| part.size = 1,
        |part| part.size = 0,
        |part| part.number += 1,
        |part| part.chunk += 1,
    ];
    for lie in lies {
        let mut world = with_small_chunks();
        let lies = Rc::new(Cell::new(0));
        let count = Rc::clone(&lies);
        world.set_tamper(move |_, _, frame| {
            let lie = if frame[0] == PART && number_of(&frame) == 7 { edit_part(&frame, lie) } else { None };
            count.set(count.get() + u32::from(lie.is_some()));
            Some(lie.unwrap_or(frame))
        });
        world.run_for(100_000);
        assert!(lies.get() > 0);
        assert_eq!(values(&world, 1, "large"), [] as [&str; 0]);
        world.check_knowledge(1).unwrap();
        record(&mut world, |_, _, _| true);
        world.run_for(600_000);
        world.check_converged().unwrap();
        assert_eq!(values(&world, 1, "large")[0].len(), LENGTH);
    }
}

fn number_of(part: &[u8]) -> u32 {
    let mut number = 0;
    edit_part(part, |part| number = part.number).unwrap();
    number
}
