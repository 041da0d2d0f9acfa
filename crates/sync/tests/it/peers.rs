//! Links, addresses, silence and goodbyes.

use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Head, Identity};
use reconvene_sync::{Config, Event, Input, NetworkId, OpenError, Output, PeerState, RejectReason, Replica};

use crate::kit::*;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_700_000_000_000 + ms) }
}

fn alone(config: Config) -> Replica {
    let identity = Identity { node: NodeId::from_bytes([1; 16]), replica: ReplicaId::new(1).unwrap(), incarnation: 1 };
    Replica::open(config.clone(), Head::new(identity, config.network), Vec::new(), at(0)).unwrap()
}

fn config() -> Config {
    Config::new(NetworkId::of_name("test"), 1)
}

fn outputs(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.poll_output()).collect()
}

#[test]
fn dialling_never_ends_and_waits_longer_each_time() {
    let mut replica = alone(config());
    replica.handle(at(0), Input::Candidate { address: "there".into() });
    let mut dials = Vec::new();
    while let Some(due) = replica.next_deadline().map(Timestamp::as_millis).filter(|due| *due < 86_400_000) {
        let now = dials.last().copied().unwrap_or(0).max(due);
        replica.handle(at(now), Input::Tick);
        for output in outputs(&mut replica) {
            if let Output::Connect { address } = output {
                dials.push(now);
                replica.handle(at(now), Input::ConnectFailed { address });
            }
        }
        if dials.is_empty() {
            dials.push(0);
        }
    }
    let gaps: Vec<u64> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() > 86_400 / 300, "{} dials in a day", gaps.len());
    assert!(gaps.iter().all(|gap| *gap <= 300_000));
    assert!(gaps[gaps.len() - 50..].iter().sum::<u64>() > 50 * 60_000, "full jitter around a half of five minutes");
}

#[test]
fn a_driver_that_never_answers_a_dial_does_not_end_it() {
    let mut replica = alone(config());
    replica.handle(at(0), Input::Candidate { address: "there".into() });
    let mut dials = 0;
    for second in 0..3_600 {
        replica.handle(at(second * 1_000), Input::Tick);
        dials += outputs(&mut replica).iter().filter(|output| matches!(output, Output::Connect { .. })).count();
    }
    assert!(dials > 10, "{dials} dials in an hour");
}

#[test]
fn own_addresses_are_not_dialled() {
    let mut config = config();
    config.advertise = Some("here".into());
    let mut replica = alone(config);
    let connects = |replica: &mut Replica| {
        outputs(replica).iter().filter(|output| matches!(output, Output::Connect { .. })).count()
    };
    replica.handle(at(0), Input::Candidate { address: "here".into() });
    assert_eq!(connects(&mut replica), 0);
    // Another name of this very node shows when it answers.
    replica.handle(at(0), Input::Candidate { address: "mirror".into() });
    assert_eq!(connects(&mut replica), 1);
    let own = NodeId::from_bytes([1; 16]);
    replica.handle(at(1), Input::LinkUp { peer: own, address: Some("mirror".into()) });
    let looped = |output: &Output| matches!(output, Output::Disconnect { why: RejectReason::Loop, .. });
    assert!(outputs(&mut replica).iter().any(looped));
    replica.handle(at(1), Input::LinkDown { peer: own });
    replica.handle(at(900_000), Input::Tick);
    assert_eq!(connects(&mut replica), 0);
}

#[test]
fn links_and_addresses_beyond_the_limits_are_refused() {
    let mut config = config();
    config.max_peers = 2;
    config.max_addresses = 2;
    let mut replica = alone(config);
    for number in 10..13 {
        replica.handle(at(0), Input::LinkUp { peer: NodeId::from_bytes([number; 16]), address: None });
        replica.handle(at(0), Input::Candidate { address: format!("node-{number}") });
    }
    let outputs = outputs(&mut replica);
    let refused = |output: &&Output| matches!(output, Output::Disconnect { why: RejectReason::Budget, .. });
    assert_eq!(outputs.iter().filter(refused).count(), 1);
    assert_eq!(replica.linked_peers().count(), 2);
    let limits: Vec<&str> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Notify(Event::LimitReached { limit }) => Some(*limit),
            _ => None,
        })
        .collect();
    assert_eq!(limits, ["max_peers", "max_addresses"]);
    // A peer that went makes room.
    replica.handle(at(1), Input::LinkDown { peer: NodeId::from_bytes([10; 16]) });
    replica.handle(at(2), Input::LinkUp { peer: NodeId::from_bytes([12; 16]), address: None });
    assert_eq!(replica.linked_peers().count(), 2);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let identity = Identity { node: NodeId::from_bytes([1; 16]), replica: ReplicaId::new(1).unwrap(), incarnation: 1 };
    let head = |network| Head::new(identity, network);
    let open = |config: Config| Replica::open(config.clone(), head(config.network), Vec::new(), at(0));
    let mut idle = config();
    idle.session_idle_ms = 0;
    assert!(matches!(open(idle), Err(OpenError::Setting { field: "session_idle_ms", .. })));
    let mut frames = config();
    frames.max_frame_bytes = 1_000;
    assert!(matches!(open(frames), Err(OpenError::Setting { field: "max_frame_bytes", .. })));
    let other = Replica::open(config(), head(NetworkId::of_name("other")), Vec::new(), at(0));
    assert!(matches!(other, Err(OpenError::WrongNetwork { .. })));
}

#[test]
fn one_seed_makes_a_mesh() {
    let world = settled(1, 5);
    for node in 0..5 {
        assert_eq!(world.replica(node).linked_peers().count(), 4, "node {node}");
        assert_eq!(world.replica(node).members().count(), 5);
    }
}

#[test]
fn silence_makes_suspect_then_unreachable_and_a_frame_alive() {
    let mut world = settled(2, 2);
    let peer = world.node_id(1);
    world.cut(0, 1, false);
    let cut_at = world.now_ms();
    world.run_for(8_000);
    assert_eq!(world.replica(0).peer_state(peer), PeerState::Alive);
    world.run_for(23_000);
    assert_eq!(world.replica(0).peer_state(peer), PeerState::Suspect);
    world.run_for(30_000);
    assert_eq!(world.replica(0).peer_state(peer), PeerState::Unreachable);
    let changes: Vec<(PeerState, u64)> = world
        .events(0)
        .iter()
        .filter_map(|event| match event {
            Event::PeerState { peer: of, state, since } if *of == peer => Some((*state, since.as_millis())),
            _ => None,
        })
        .filter(|(_, since)| *since > cut_at)
        .collect();
    assert_eq!(
        changes.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        [PeerState::Suspect, PeerState::Unreachable]
    );
    world.heal_all();
    world.run_for(300_000);
    assert_eq!(world.replica(0).peer_state(peer), PeerState::Alive);
    world.check_converged().unwrap();
}

/// A link that is dead and a broker that is dead look alike from one end: others know.
#[test]
fn a_dead_link_is_told_from_a_dead_broker() {
    let mut world = settled(21, 4);
    world.cut(0, 1, false);
    world.run_for(600_000);
    let (lonely, gone) = (world.node_id(1), world.node_id(3));
    assert_eq!(world.replica(0).peer_state(lonely), PeerState::Suspect, "others hear of it");
    for peer in 0..3 {
        world.cut(3, peer, false);
    }
    world.run_for(300_000);
    assert_eq!(world.replica(0).peer_state(gone), PeerState::Unreachable);
    assert_eq!(world.replica(0).peer_state(lonely), PeerState::Suspect);
    world.heal_all();
    world.run_for(900_000);
    assert_eq!(world.replica(0).peer_state(lonely), PeerState::Alive);
    assert_eq!(world.replica(0).peer_state(gone), PeerState::Alive);
}

/// Whoever was stopped for a while does not take the silence of that while for its peers'.
#[test]
fn a_replica_that_slept_suspects_nobody() {
    let mut replica = alone(config());
    let peer = NodeId::from_bytes([9; 16]);
    replica.handle(at(0), Input::LinkUp { peer, address: None });
    drop(outputs(&mut replica));
    replica.handle(at(900_000), Input::Tick);
    assert_eq!(replica.peer_state(peer), PeerState::Alive);
    let mut now = 900_000;
    while replica.peer_state(peer) != PeerState::Unreachable && now < 4_000_000 {
        now = replica.next_deadline().unwrap().as_millis().max(now);
        replica.handle(at(now), Input::Tick);
        drop(outputs(&mut replica));
    }
    assert!(now >= 950_000, "its own silence counts from there");
    assert!(now < 4_000_000);
}

/// However long the backoff, every fifth round tries somebody who is not linked.
#[test]
fn every_fifth_round_looks_outward() {
    let mut config = config();
    (config.backoff_min_ms, config.backoff_max_ms) = (86_400_000, 86_400_000);
    let mut replica = alone(config);
    replica.handle(at(0), Input::Candidate { address: "there".into() });
    let mut dials = Vec::new();
    while let Some(due) = replica.next_deadline().map(Timestamp::as_millis).filter(|due| *due < 36_000_000) {
        replica.handle(at(due), Input::Tick);
        for output in outputs(&mut replica) {
            if let Output::Connect { address } = output {
                dials.push(due);
                replica.handle(at(due), Input::ConnectFailed { address });
            }
        }
    }
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] <= 5 * 72_000), "{dials:?}");
    assert!(dials.len() >= 36_000 / 360);
}

#[test]
fn probes_keep_a_quiet_link_alive() {
    let mut world = ReplicaWorld::new(3, 2, |_, config| config.sync_interval_ms = 3_600_000);
    world.run_for(60_000);
    let log = record(&mut world, |_, _, _| true);
    world.run_for(1_200_000);
    assert!(count_of(&log, PROBE) > 50);
    assert_eq!(count_of(&log, HELLO), 0);
    let peer = world.node_id(1);
    assert_eq!(world.replica(0).peer_state(peer), PeerState::Alive);
    let wavered = |event: &Event| matches!(event, Event::PeerState { state: PeerState::Suspect, .. });
    assert!(!world.events(0).iter().any(wavered));
}

#[test]
fn a_goodbye_is_no_failure() {
    let mut world = settled(4, 3);
    let leaver = world.node_id(2);
    world.feed(2, Input::Leave);
    world.run_for(100_000);
    for node in 0..2 {
        assert_eq!(world.replica(node).peer_state(leaver), PeerState::Left);
        let failed = |event: &Event| {
            matches!(event, Event::PeerState { peer, state, .. }
                if *peer == leaver && [PeerState::Suspect, PeerState::Unreachable].contains(state))
        };
        assert!(!world.events(node).iter().any(failed));
    }
    world.crash(2);
    world.run_for(400_000);
    assert_eq!(world.replica(0).peer_state(leaver), PeerState::Alive);
    world.check_converged().unwrap();
}

#[test]
fn another_network_is_refused_and_learns_nothing() {
    let mut world = ReplicaWorld::new(5, 2, |node, config| {
        if node == 1 {
            config.network = NetworkId::of_name("another");
        }
    });
    world.write(0, vec![put("secret", "x")]);
    world.write(1, vec![put("other", "y")]);
    let log = record(&mut world, |_, _, _| true);
    world.run_for(600_000);
    let why = RejectReason::Network;
    assert!(world.events(0).iter().any(|event| matches!(event, Event::Rejected { why: of, .. } if *of == why)));
    assert!(values(&world, 1, "secret").is_empty() && values(&world, 0, "other").is_empty());
    assert_eq!(count_of(&log, DELTA) + count_of(&log, CLAIM) + count_of(&log, PUSH), 0);
    assert_eq!(world.replica(0).members().count(), 1);
}
