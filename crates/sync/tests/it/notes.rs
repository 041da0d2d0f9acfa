//! Notes: what the programs around two replicas say to each other.

use reconvene_sync::{Input, Output};

use crate::kit::{put, record, settled, settled_with};

const NOTE: u8 = 19;

#[test]
fn a_note_arrives_once_and_is_neither_stored_nor_relayed() {
    let mut world = settled(1, 3);
    let log = record(&mut world, |_, _, _| true);
    let (to, revision) = (world.node_id(1), world.replica(1).head().revision());
    world.feed(0, Input::Note { to, bytes: b"room?".to_vec() });
    world.run_for(60_000);
    assert_eq!(world.notes(1), [(0, b"room?".to_vec())]);
    assert_eq!((world.notes(0).len(), world.notes(2).len()), (0, 0));
    assert_eq!(world.replica(1).head().revision(), revision);
    let sent = log.borrow().iter().filter(|(_, _, frame)| frame[0] == NOTE).count();
    assert_eq!((sent, world.replica(0).stats().notes_sent), (1, 1));
}

#[test]
fn a_note_that_cannot_be_sent_is_dropped_and_counted() {
    let mut world = settled_with(2, 2, |_, config| config.max_note_bytes = 8);
    let to = world.node_id(1);
    let nobody = reconvene_clock::NodeId::new([9; 16]);
    world.feed(0, Input::Note { to, bytes: vec![0; 9] });
    world.feed(0, Input::Note { to: nobody, bytes: vec![0] });
    assert_eq!(world.replica(0).stats().notes_dropped, 2);
    world.feed(0, Input::Note { to, bytes: vec![0; 8] });
    world.run_for(1_000);
    assert_eq!((world.notes(1).len(), world.replica(0).stats().notes_dropped), (1, 2));
}

#[test]
fn who_has_not_shown_that_it_belongs_here_says_nothing() {
    let mut world = settled(3, 2);
    // Frames of two that know each other, brought by one that only has a link.
    let log = record(&mut world, |_, _, _| true);
    world.write(0, vec![put("job/1", "a")]);
    let to = world.node_id(1);
    world.feed(0, Input::Note { to, bytes: b"room?".to_vec() });
    world.run_for(1_000);
    let frame = log.borrow().iter().find(|(_, _, frame)| frame[0] == NOTE).unwrap().2.clone();
    let mut replica = world.replica(1).clone();
    let now = reconvene_clock::Now {
        mono: reconvene_clock::Timestamp::from_millis(1_000_000),
        wall: reconvene_clock::WallTime::from_millis(1_000_000),
    };
    let stranger = reconvene_clock::NodeId::new([9; 16]);
    replica.handle(now, Input::LinkUp { peer: stranger, address: None });
    let dropped = replica.stats().notes_dropped;
    replica.handle(now, Input::Received { from: stranger, frame });
    let handed_out = core::iter::from_fn(|| replica.poll_output()).any(|output| matches!(output, Output::Note { .. }));
    assert!(!handed_out);
    assert_eq!(replica.stats().notes_dropped, dropped + 1);
}
