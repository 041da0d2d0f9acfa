//! Mistakes that replication protocols are known for, each with the schedule that shows it.

use reconvene_clock::Dot;
use reconvene_store::{Body, Class};
use reconvene_sync::memory::LinkFaults;
use reconvene_sync::{Event, Frozen, NewWrite, PeerState, RejectReason, forge};

use crate::kit::*;

/// A claim that arrives while a chunk of its direction never does must teach nothing: the chunk may hold the only copy
/// of what superseded something here.
#[test]
fn trap_01_cut_before_superseder() {
    let mut world = settled(1, 2);
    world.write(0, vec![put("a", "old")]);
    world.run_for(60_000);
    assert_eq!(values(&world, 1, "a"), ["old"]);
    world.write(0, vec![put("a", "new")]);
    // Chunks from node 0 are lost; claims are not.
    record(&mut world, |from, _, frame| !(from == 0 && frame[0] == DELTA));
    world.run_for(60_000);
    assert_eq!(values(&world, 1, "a"), ["old"]);
    world.check_knowledge(1).unwrap();
    record(&mut world, |_, _, _| true);
    world.run_for(200_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 1, "a"), ["new"]);
}

/// Numbers of versions that were replaced before they ever travelled must not stay holes for ever.
#[test]
fn trap_02_holes_are_filled() {
    let mut world = settled(2, 3);
    for number in 0..20 {
        world.write(0, vec![put("a", &number.to_string()), put(&format!("b{}", number % 3), "x")]);
    }
    world.write(0, vec![delete("b0")]);
    world.run_for(200_000);
    world.check_converged().unwrap();
    for node in 0..3 {
        assert!(world.replica(node).knowledge().ranges().is_empty(), "node {node} has holes");
    }
}

/// A crash at any store call leaves whole chunks, and the next session sends the rest.
#[test]
fn trap_03_crash_at_each_store_call() {
    for commit in 0..12 {
        for after in [false, true] {
            let mut world = settled_with(3, 2, |_, config| config.chunk_bytes = 400);
            for number in 0..10 {
                world.write(0, vec![put(&format!("key/{number}"), &"v".repeat(150)), put("same", &number.to_string())]);
            }
            world.crash_at_commit(1, commit, after);
            while world.crashes(1) == 0 && world.now_ms() < 400_000 {
                world.run_for(100);
                world.check_knowledge(1).unwrap();
            }
            world.run_for(300_000);
            world.check_knowledge(1).unwrap();
            world.check_converged().unwrap();
            if commit < 6 {
                assert_eq!(world.crashes(1), 1, "commit {commit} was never reached");
            }
        }
    }
}

/// A deleted value does not come back from a replica that was away.
#[test]
fn trap_05_no_resurrection() {
    let mut world = settled(5, 3);
    world.write(0, vec![put("a", "x")]);
    world.run_for(100_000);
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.write(1, vec![delete("a")]);
    world.run_for(200_000);
    assert_eq!(values(&world, 2, "a"), ["x"]);
    world.heal_all();
    world.run_for(500_000);
    world.check_converged().unwrap();
    for node in 0..3 {
        assert_eq!(values(&world, node, "a"), [] as [&str; 0]);
    }
}

/// Siblings are kept as they are: nobody writes a merged version, so a conflict ends in silence.
#[test]
fn trap_09_quiet_after_conflict() {
    let mut world = settled(9, 3);
    for node in 0..3 {
        world.write(node, vec![put("a", &format!("from {node}"))]);
    }
    world.run_for(200_000);
    world.check_converged().unwrap();
    for node in 0..3 {
        assert_eq!(values(&world, node, "a"), ["from 0", "from 1", "from 2"]);
        assert!(world.events(node).iter().any(|event| matches!(event, Event::Siblings { count: 3, .. })));
    }
    let issued: Vec<_> = (0..3).map(|node| world.replica(node).head().issued()).collect();
    let log = record(&mut world, |_, _, _| true);
    world.run_for(600_000);
    assert_eq!(issued, (0..3).map(|node| world.replica(node).head().issued()).collect::<Vec<_>>());
    assert_eq!(count_of(&log, DELTA) + count_of(&log, CLAIM), 0, "nothing is left to send");
    assert!(count_of(&log, IN_SYNC) > 0);
}

/// A node that saw everybody go finds back by itself, however long it took.
#[test]
fn trap_10_full_isolation_heals() {
    let mut world = settled(10, 3);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        world.cut(a, b, true);
    }
    for node in 0..3 {
        world.write(node, vec![put(&format!("alone/{node}"), "x")]);
    }
    world.run_for(3_600_000);
    for node in 0..3 {
        let peer = world.node_id((node + 1) % 3);
        assert_eq!(world.replica(node).peer_state(peer), PeerState::Unreachable);
    }
    world.heal_all();
    // The longest backoff, and a round.
    world.run_for(300_000 + 72_000);
    world.check_converged().unwrap();
}

/// Wall clocks that jump by a year in either direction change which stamps are written and nothing else.
#[test]
fn trap_11_clock_jumps_change_nothing() {
    let year_ms = 365 * 24 * 3_600_000_u64;
    let run = |jumps: bool| {
        let mut world = settled(11, 3);
        let start_ms = 1_735_689_600_000;
        for round in 0..6_u64 {
            if jumps {
                world.set_wall(0, start_ms + round % 2 * year_ms);
                world.set_wall(1, start_ms - round % 3 * year_ms);
            }
            for node in 0..3 {
                world.write(node, vec![put("shared", &format!("{node} in {round}")), put(&format!("own/{node}"), "x")]);
            }
            world.run_for(20_000);
        }
        world.run_for(200_000);
        world.check_converged().unwrap();
        let stats = (0..3).map(|node| world.replica(node).stats().sessions).collect::<Vec<_>>();
        (stats, values(&world, 0, "shared"), world)
    };
    let (steady, jumping) = (run(false), run(true));
    assert_eq!((steady.0, steady.1), (jumping.0, jumping.1));
    let alarm = |event: &Event| matches!(event, Event::AheadOfBound { by_ms, .. } if *by_ms > year_ms / 2);
    assert!(jumping.2.events(2).iter().any(alarm), "the sick clock is reported");
    let far = jumping.2.replica(2).head().stamped().unwrap();
    assert!(far.wall().as_millis() < 1_735_689_600_000 + year_ms / 2, "and was not followed");
}

/// A version larger than a chunk travels in pieces, whole or not at all, and keeps nothing else waiting.
#[test]
fn trap_12_oversize_version_arrives() {
    let mut world = settled_with(12, 3, |_, config| config.chunk_bytes = 4_000);
    let large: String = (0..40_000).map(|number| format!("{number:05}")).collect();
    world.write(0, vec![put("a", "x"), put("large", &large), put("z", "y")]);
    let alarm = NewWrite::new(key("alarm"), Class::URGENT, Body::of("now"));
    let log = record(&mut world, |_, _, _| true);
    while count_of(&log, PART) == 0 {
        world.run_for(1);
    }
    world.write(0, vec![alarm]);
    world.run_for(1_000);
    for node in 0..3 {
        assert_eq!(values(&world, node, "alarm"), ["now"]);
    }
    world.run_for(200_000);
    world.check_converged().unwrap();
    for node in 0..3 {
        assert_eq!(values(&world, node, "large"), std::slice::from_ref(&large));
        assert_eq!(values(&world, node, "z"), ["y"]);
    }
    assert!(count_of(&log, PART) >= 2 * large.len() / 4_000, "it reached both others");
    let longest = log.borrow().iter().map(|(_, _, frame)| frame.len()).max().unwrap();
    assert!(longest <= 4_000 + 64, "a frame of {longest} bytes");
}

/// A summary that builds on something the peer has forgotten is noticed, and sent in full.
#[test]
fn trap_15_stale_base_is_noticed() {
    let mut world = settled(15, 2);
    // Node 0 restarts and forgets what it and node 1 had in common; node 1 remembers.
    world.crash(0);
    world.cut(0, 1, true);
    world.write(0, vec![put("a", "0")]);
    world.write(1, vec![put("a", "1")]);
    world.run_for(1_000);
    world.heal_all();
    // Node 1 is the one to say hello.
    let log = record(&mut world, |from, _, frame| !(from == 0 && frame[0] == HELLO));
    world.run_for(400_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 0, "a"), ["0", "1"]);
    let sessions: Vec<Vec<u8>> =
        log.borrow().iter().filter(|(_, _, frame)| frame[0] == HELLO).map(|(_, _, frame)| session_of(frame)).collect();
    assert!(sessions.windows(2).any(|pair| pair[0] == pair[1]), "no second hello in one session");
}

/// Who a peer is, the transport says: a hello in the name of another's replica is refused and evicts nobody.
#[test]
fn trap_17_spoofed_introduction() {
    let mut world = settled(17, 3);
    let stolen = world.replica(2).head().identity().replica;
    world.set_tamper(move |from, _, frame| match from {
        1 => Some(forge::hello_from(&frame, stolen).unwrap_or(frame)),
        _ => Some(frame),
    });
    world.run_for(200_000);
    let liar = world.node_id(1);
    let rejected = Event::Rejected { peer: liar, why: RejectReason::Identity, by_peer: false };
    assert!(world.events(0).contains(&rejected));
    let victim = world.node_id(2);
    let owner = |node: usize| world.replica(node).members().find(|member| member.replica == stolen).unwrap().node;
    assert!((0..3).all(|node| owner(node) == victim && !world.replica(node).is_retired(stolen)));
    assert_eq!(world.replica(0).peer_state(victim), PeerState::Alive);
    world.write(2, vec![put("a", "x")]);
    world.run_for(100_000);
    assert_eq!(values(&world, 0, "a"), ["x"], "the victim's sessions go on");
}

/// A class that this version does not know is stored, counted and passed on as it is.
#[test]
fn trap_18_old_relay_keeps_new_class() {
    let mut world = settled(18, 3);
    // Node 1 is the only way from 0 to 2.
    world.cut(0, 2, true);
    let class = Class::new(213);
    world.write(0, vec![NewWrite::new(key("a"), class, Body::of("x"))]);
    world.run_for(300_000);
    let record = world.record(2, &key("a")).unwrap();
    assert_eq!(record.siblings()[0].class, class);
    assert_eq!(world.digest(0), world.digest(2));
}

/// A store that moves while a session reads it: the session sends what its frozen view held, and claims that alone.
///
/// Where the view must be given up half-way, the session goes on in a new one under the old claim: what was overwritten
/// meanwhile is replaced by what is live under its key.
#[test]
fn trap_21_overwrite_mid_session() {
    for (seed, view_max_ms) in (0..8).flat_map(|seed| [(seed, 600_000), (seed, 700)]) {
        let mut world = settled_with(seed, 2, |_, config| {
            config.chunk_bytes = 300;
            config.window_bytes = 300;
            config.view_max_ms = view_max_ms;
        });
        let wide = |number: usize| put(&format!("key/{number}"), &"v".repeat(200));
        for number in 0..20 {
            world.write(0, vec![wide(number), put(&format!("gone/{number}"), "x")]);
        }
        world.set_faults(LinkFaults { delay_ms: 50..=200, ..LinkFaults::NONE });
        let log = record(&mut world, |_, _, _| true);
        // In the middle of the session, what was not sent yet is overwritten or deleted.
        while count_of(&log, DELTA) < 4 && world.now_ms() < 400_000 {
            world.run_for(10);
        }
        assert!(count_of(&log, DELTA) >= 4);
        for number in 0..20 {
            let name = format!("key/{number}");
            world.write(0, vec![if number % 3 == 0 { delete(&name) } else { put(&name, "new") }]);
            world.write(0, vec![delete(&format!("gone/{number}"))]);
            world.run_for(seed % 5 * 20);
            world.check_knowledge(1).unwrap();
        }
        // The claim must not cover what was overwritten while it waited: the superseder comes with the session, or with
        // a later one.
        let claimed = |log: &Log| log.borrow().iter().any(|(from, _, frame)| *from == 0 && frame[0] == CLAIM);
        while !claimed(&log) {
            world.run_for(20);
            world.check_knowledge(1).unwrap();
        }
        let sessions: std::collections::BTreeSet<Vec<u8>> = log
            .borrow()
            .iter()
            .filter(|(from, _, f)| *from == 0 && f[0] == DELTA)
            .map(|(_, _, f)| chunk_session(f))
            .collect();
        assert_eq!(sessions.len(), 1, "one session, whether or not it kept its view");
        world.run_for(300_000);
        world.check_knowledge(1).unwrap();
        world.check_converged().unwrap();
    }
}

/// A version that is refused takes nothing with it: the claim that covers it is not joined.
#[test]
fn trap_27_forged_superseder_kills_nothing() {
    let mut world = settled(27, 2);
    world.write(1, vec![put("a", "live"), put("b", "live")]);
    world.run_for(100_000);
    world.cut(0, 1, true);
    world.write(0, vec![put("a", "newer"), put("c", "fine"), put("d", "replaced")]);
    world.write(0, vec![put("d", "fine")]);
    world.run_for(1_000);
    let hole = values_dots(&world, 0, "c")[0].counter.checked_next().unwrap();
    world.heal_all();
    // Whatever node 0 sends about `a` says that it replaces itself, which no version can.
    world.set_tamper(|from, _, frame| {
        let forged = forge::edit_chunk(&frame, |name, version| {
            if *name == key("a") {
                let replaced = version.context.dots().iter().copied().chain([version.dot]);
                version.context = reconvene_store::KeyContext::from_parts(replaced, version.context.upto().clone());
            }
        });
        Some(forged.filter(|_| from == 0).unwrap_or(frame))
    });
    world.run_for(400_000);
    let sender = world.node_id(0);
    assert!(world.events(1).iter().any(|event| matches!(event, Event::Refused { from, .. } if *from == sender)));
    assert_eq!(values(&world, 1, "a"), ["live"]);
    assert_eq!(values(&world, 1, "c"), ["fine"], "the rest of the chunk was applied");
    let hole = Dot::new(world.replica(0).head().identity().replica, hole);
    assert!(world.replica(1).knowledge().contains(hole), "the rest of the claim was joined");
    world.check_knowledge(1).unwrap();
    world.set_tamper(|_, _, frame| Some(frame));
    world.run_for(400_000);
    world.check_converged().unwrap();
    assert_eq!(values(&world, 1, "a"), ["newer"]);
}

/// A replica that hears of own writes which its store never made is told so, issues no number twice, and goes on under
/// another name.
#[test]
fn lost_state_is_reported() {
    let mut world = settled(4, 2);
    let own = world.replica(0).head().identity().replica;
    // Node 1 tells of a version of node 0 that node 0 never made.
    world.write(1, vec![put("a", "x")]);
    world.set_tamper(move |from, _, frame| {
        let forged = forge::edit_chunk(&frame, |_, version| {
            version.dot.replica = own;
            version.dot.counter = reconvene_clock::Counter::new(1_000).unwrap();
        });
        Some(forged.filter(|_| from == 1).unwrap_or(frame))
    });
    world.run_for(100_000);
    assert!(world.events(0).iter().any(|event| matches!(event, Event::Amnesia { held: 1_000, .. })));
    assert!(world.events(0).contains(&Event::Frozen { why: Frozen::Amnesia }));
    let now = world.replica(0).head().identity();
    assert_ne!(now.replica, own);
    assert_eq!(now.incarnation, 2);
    assert!(world.replica(0).is_retired(own));
    let ticket = world.write(0, vec![put("b", "y")]);
    world.run_for(1_000);
    let dots = world.answer(0, ticket).unwrap().as_ref().unwrap();
    assert_eq!(dots[0].replica, now.replica);
}
