//! Who a replica is: restored copies, clones, retirement.

use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Identity, MemoryStore, MetadataStore, Snapshot, ready};
use reconvene_sync::{
    Config, Event, Frozen, Input, NetworkId, Output, PeerState, Performed, RejectReason, Replica, StoreDriver, Ticket,
};

use crate::kit::*;

fn replica_of(world: &ReplicaWorld, node: usize) -> ReplicaId {
    world.replica(node).head().identity().replica
}

fn retire(world: &mut ReplicaWorld, node: usize, replica: ReplicaId) {
    world.feed(node, Input::Retire { ticket: Ticket(1 << 40), replica });
}

/// A store that is put back to an old state gives out no dot twice: it hears of its own later writes, goes on under
/// another name and fetches them.
#[test]
fn trap_04_restore_never_reuses_dots() {
    let mut world = settled(1, 3);
    world.write(0, vec![put("a", "1")]);
    world.run_for(100_000);
    let backup = world.backup(0);
    let own = replica_of(&world, 0);
    world.write(0, vec![put("a", "2"), put("b", "later")]);
    world.run_for(100_000);
    world.restore(0, backup);
    assert_eq!(values(&world, 0, "a"), ["1"]);
    world.run_for(400_000);
    assert!(world.events(0).contains(&Event::Frozen { why: Frozen::Amnesia }));
    let now = replica_of(&world, 0);
    assert_ne!(now, own);
    assert_eq!(values(&world, 0, "a"), ["2"], "its past came back");
    assert_eq!(values(&world, 0, "b"), ["later"]);
    let ticket = world.write(0, vec![put("c", "new")]);
    world.run_for(400_000);
    assert_eq!(world.answer(0, ticket).unwrap().as_ref().unwrap()[0].replica, now);
    world.check_converged().unwrap();
    assert!((0..3).all(|node| world.replica(node).is_retired(own)));
    assert!(!world.events(1).iter().any(|event| matches!(event, Event::DotCollision { .. })));
}

/// Restored and written to before anybody could say so: one dot has two contents. Both stay as evidence, all show the
/// same one, and the name is given up.
#[test]
fn a_dot_with_two_contents_is_shown_alike_everywhere() {
    let mut world = settled(2, 3);
    let backup = world.backup(0);
    world.write(0, vec![put("a", "first")]);
    world.run_for(100_000);
    for peer in 1..3 {
        world.cut(0, peer, true);
    }
    world.restore(0, backup);
    world.write(0, vec![put("a", "second")]);
    world.run_for(1_000);
    world.heal_all();
    world.run_for(900_000);
    let shown = values(&world, 0, "a");
    assert_eq!(shown.len(), 1);
    for node in 0..3 {
        assert_eq!(values(&world, node, "a"), shown, "node {node}");
        assert_eq!(world.digest(node), world.digest(0), "node {node}");
    }
    assert!((0..3).any(|node| world.events(node).iter().any(|event| matches!(event, Event::DotCollision { .. }))));
    assert!(world.events(0).iter().any(|event| matches!(event, Event::Renewed { .. })));
}

/// A node that is stopped and started again and again keeps its name, and its vector entry.
#[test]
fn trap_07_ten_thousand_restarts() {
    let network = NetworkId::of_name("restarts");
    let replica = ReplicaId::new(7).unwrap();
    let identity = Identity { node: NodeId::from_bytes([1; 16]), replica, incarnation: 1 };
    let mut driver = StoreDriver::new(MemoryStore::for_network(identity, network, reconvene_store::Limits::default()));
    let mut facts = Vec::new();
    for restart in 0..10_000_u64 {
        let now =
            Now { mono: Timestamp::from_millis(restart), wall: WallTime::from_millis(1_700_000_000_000 + restart) };
        let head = ready(driver.store().snapshot()).unwrap().unwrap().head().clone();
        let mut opened = Replica::open(Config::new(network, restart), head, facts.clone(), now).unwrap();
        opened.handle(now, Input::LocalWrite { ticket: Ticket(restart), writes: vec![put("a", "x")] });
        while let Some(output) = opened.poll_output() {
            if let Output::Persist(batch) = &output {
                let members = batch.rows().iter().filter(|row| row.key().as_bytes().starts_with(b"sys/"));
                facts.extend(members.filter_map(|row| row.after().cloned()));
            }
            if let Performed::Input(input) = ready(driver.perform(output)).unwrap().unwrap() {
                opened.handle(now, input);
            }
        }
        assert_eq!(opened.head().identity(), identity);
    }
    let head = ready(driver.store().snapshot()).unwrap().unwrap().head().clone();
    assert_eq!(head.knowledge().vector().len(), 1);
    assert!(head.knowledge().ranges().is_empty());
    assert_eq!(facts.len(), 1, "one member fact, written once");
    assert_eq!(head.issued().unwrap().get(), 10_001);
}

/// Peers that had not heard of a retirement do not undo it, and the retired store comes back under another name.
#[test]
fn trap_08_removed_stays_removed() {
    let mut world = settled(8, 4);
    let retired = replica_of(&world, 3);
    world.write(3, vec![put("a", "kept")]);
    world.run_for(100_000);
    // Node 3 is away, and so is node 2, which will still believe in it.
    for peer in 0..3 {
        world.cut(3, peer, true);
    }
    for peer in 0..2 {
        world.cut(2, peer, true);
    }
    world.write(3, vec![put("b", "unseen")]);
    retire(&mut world, 0, retired);
    world.run_for(100_000);
    assert!(world.replica(1).is_retired(retired) && !world.replica(2).is_retired(retired));
    assert_eq!(world.replica(0).peer_state(world.node_id(3)), PeerState::Retired);
    // First the two that do not know meet, then all.
    world.heal(2, 3);
    world.run_for(400_000);
    assert_eq!(values(&world, 2, "b"), ["unseen"]);
    world.heal_all();
    world.run_for(900_000);
    world.check_converged().unwrap();
    for node in 0..4 {
        assert!(world.replica(node).is_retired(retired), "node {node}");
        assert_eq!(values(&world, node, "a"), ["kept"]);
        assert_eq!(values(&world, node, "b"), ["unseen"], "nothing it wrote was refused");
        assert_eq!(world.replica(node).epoch(), world.replica(0).epoch());
        assert_eq!(world.replica(node).cut_of(retired), world.replica(0).cut_of(retired));
    }
    assert_ne!(replica_of(&world, 3), retired);
    assert_eq!(world.replica(0).peer_state(world.node_id(3)), PeerState::Alive, "it is back");
}

/// Each side of a cut retires a member of the other. Sessions are refused, data never is.
#[test]
fn trap_19_two_sided_retirement() {
    let mut world = settled(19, 4);
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut(a, b, true);
    }
    let (left, right) = (replica_of(&world, 0), replica_of(&world, 2));
    for node in 0..4 {
        world.write(node, vec![put(&format!("by/{node}"), "x"), put("shared", &node.to_string())]);
    }
    world.run_for(50_000);
    retire(&mut world, 1, right);
    retire(&mut world, 3, left);
    for node in 0..4 {
        world.write(node, vec![put(&format!("after/{node}"), "x")]);
    }
    world.run_for(50_000);
    world.heal_all();
    world.run_for(1_200_000);
    world.check_converged().unwrap();
    assert_ne!(replica_of(&world, 0), left);
    assert_ne!(replica_of(&world, 2), right);
    for node in 0..4 {
        for other in 0..4 {
            assert_eq!(values(&world, node, &format!("by/{other}")), ["x"]);
            assert_eq!(values(&world, node, &format!("after/{other}")), ["x"]);
        }
        // The cut covers all that anybody held when it was retired: what its own side had seen by then.
        assert_eq!(world.replica(node).cut_of(left), world.replica(0).cut_of(left));
    }
}

/// A member that is retired while it is running hears of it and goes on under another name.
#[test]
fn a_retired_member_that_is_alive_comes_back() {
    let mut world = settled(20, 3);
    let retired = replica_of(&world, 2);
    retire(&mut world, 0, retired);
    world.run_for(400_000);
    assert_ne!(replica_of(&world, 2), retired);
    world.write(2, vec![put("a", "x")]);
    world.run_for(200_000);
    world.check_converged().unwrap();
    let refused = Event::Rejected { peer: world.node_id(2), why: RejectReason::Retired, by_peer: false };
    assert!(world.events(2).iter().any(|event| matches!(event, Event::Frozen { .. })));
    drop(refused);
}
