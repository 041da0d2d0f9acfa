//! Repair of stores that know the same and hold something else.

use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_sim::disk::{SimDisk, SimStore};
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Identity, MemoryStore, MetadataStore, SessionNonce, Snapshot, ready};
use reconvene_sync::{Config, Event, Input, NetworkId, Output, Performed, Replica, StoreDriver, Ticket, forge};

use crate::kit::*;

/// Node 1 gets another value of `a` than node 0 sent, under the same dot: as if a bit had turned in its memory.
fn damaged(seed: u64, audit_every: u32) -> ReplicaWorld {
    let mut world = settled_with(seed, 2, |_, config| config.audit_every = audit_every);
    for number in 0..50 {
        world.write(0, vec![put(&format!("key/{number}"), "fine")]);
    }
    world.run_for(100_000);
    world.write(0, vec![put("a", "right")]);
    world.set_tamper(|_, _, frame| {
        let edited = forge::edit_chunk(&frame, |name, version| {
            if *name == key("a") {
                version.body = reconvene_store::Body::of("wrong");
            }
        });
        Some(edited.unwrap_or(frame))
    });
    while values(&world, 1, "a").is_empty() {
        world.run_for(10);
    }
    assert_ne!(values(&world, 0, "a"), values(&world, 1, "a"));
    world
}

/// Equal knowledge with other values is damage: it is reported by both, and both end with the same.
#[test]
fn trap_13_silent_divergence_found() {
    let mut world = damaged(13, 0);
    record(&mut world, |_, _, _| true);
    world.run_for(400_000);
    let (one, other) = (world.node_id(0), world.node_id(1));
    assert!(world.events(0).contains(&Event::Divergence { peer: other }));
    assert!(world.events(1).contains(&Event::Divergence { peer: one }));
    assert_eq!(values(&world, 0, "a"), values(&world, 1, "a"));
    assert_eq!(values(&world, 0, "a").len(), 1, "nothing was dropped");
    assert_eq!(world.digest(0), world.digest(1));
    assert!(world.replica(1).stats().repairs > 0);
}

/// A member found values whose prints are equal, so that roots agree: the comparison by prints that nobody could prepare
/// for finds the difference all the same.
#[test]
fn trap_14_forged_equal_root() {
    let forge_equal = |world: &mut ReplicaWorld| {
        let network = ReplicaWorld::network_id();
        let digests = [world.digest(0), world.digest(1)];
        assert_eq!(digests[0].knowledge, digests[1].knowledge);
        world.set_tamper(move |_, to, frame| {
            let hello = forge::hello_with_root(&frame, digests[to].root);
            Some(hello.or_else(|| forge::in_sync_with(&frame, network, &digests[to])).unwrap_or(frame))
        });
    };
    let mut world = damaged(14, 0);
    // The session that brought it has to end first.
    world.run_for(5);
    forge_equal(&mut world);
    world.run_for(1_200_000);
    assert_ne!(values(&world, 0, "a"), values(&world, 1, "a"), "without looking nobody notices");
    let mut world = damaged(14, 5);
    world.run_for(5);
    forge_equal(&mut world);
    world.run_for(1_200_000);
    assert_eq!(values(&world, 0, "a"), values(&world, 1, "a"));
}

/// A comparison that finds nothing costs two frames.
#[test]
fn an_audit_of_equal_stores_changes_nothing() {
    let mut world = settled_with(15, 2, |_, config| config.audit_every = 2);
    world.write(0, vec![put("a", "x"), put("b", "y")]);
    world.run_for(100_000);
    let before = (world.digest(0), world.replica(0).head().revision());
    let log = record(&mut world, |_, _, _| true);
    world.run_for(900_000);
    let repairs: Vec<usize> =
        log.borrow().iter().filter(|(_, _, frame)| frame[0] == 14).map(|(_, _, f)| f.len()).collect();
    assert!(repairs.len() >= 2);
    assert!(repairs.chunks(2).all(|pair| pair[0] < 2_100 && pair.get(1).is_none_or(|answer| *answer < 20)));
    assert_eq!(before, (world.digest(0), world.replica(0).head().revision()));
    assert!(!world.events(0).iter().any(|event| matches!(event, Event::Divergence { .. } | Event::Damaged { .. })));
}

/// Of many versions few are damaged: what it costs to find and mend them depends on the few.
#[test]
fn repair_costs_little_beyond_what_it_brings() {
    let (count, lost) = if cfg!(debug_assertions) { (4_000, 20) } else { (100_000, 100) };
    let mut world = settled_with(16, 2, |_, config| config.audit_every = 0);
    for part in 0..count / 100 {
        world.write(0, (0..100).map(|number| put(&format!("job/{part:04}/{number:02}"), &"v".repeat(48))).collect());
    }
    // On its way, some of them turned into something else.
    let step = count / lost;
    let seen = std::cell::Cell::new(0);
    world.set_tamper(move |_, _, frame| {
        let edited = forge::edit_chunk(&frame, |name, version| {
            if name.as_bytes().starts_with(b"job/") {
                seen.set(seen.get() + 1);
                if seen.get() % step == 1 {
                    version.body = reconvene_store::Body::of("w".repeat(48));
                }
            }
        });
        Some(edited.unwrap_or(frame))
    });
    while world.records(1).len() < count {
        world.run_for(1_000);
    }
    let log = record(&mut world, |_, _, _| true);
    world.run_for(400_000);
    assert_eq!(world.digest(0), world.digest(1));
    let bytes: usize = log.borrow().iter().filter(|(_, _, frame)| frame[0] == 14).map(|(_, _, f)| f.len()).sum();
    // Both contents of each travel: a key of 12 bytes and a value of 48, with their dots.
    let payload = 2 * lost * 60;
    eprintln!("{bytes} bytes of repair, {payload} of them keys and values");
    // Twice as many versions differ as keys, and the author of them begins anew in between, under another name.
    assert!(bytes <= payload + 10_000, "{bytes} bytes for {lost} of {count}");
}

/// A replica with its store, and what it sent and reported since it was last asked.
struct Side<S: MetadataStore> {
    replica: Replica,
    driver: StoreDriver<S>,
    frames: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl<S: MetadataStore> Side<S> {
    fn new(store: S, seed: u64, now: Now) -> Self {
        let driver = StoreDriver::new(store);
        let head = ready(driver.store().snapshot()).unwrap().unwrap().head().clone();
        let replica = Replica::open(Config::new(head.network(), seed), head, Vec::new(), now).unwrap();
        Self { replica, driver, frames: Vec::new(), events: Vec::new() }
    }

    fn feed(&mut self, now: Now, input: Input) {
        self.replica.handle(now, input);
        while let Some(output) = self.replica.poll_output() {
            match ready(self.driver.perform(output)).unwrap().unwrap() {
                Performed::Input(input) => self.replica.handle(now, input),
                Performed::Other(Output::Send { frame, .. }) => self.frames.push(frame),
                Performed::Other(Output::Notify(event)) => self.events.push(event),
                Performed::Other(_) | Performed::Done => {}
            }
        }
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let snapshot = ready(self.driver.store().snapshot()).unwrap().unwrap();
        let record = ready(snapshot.record(&key(name))).unwrap().ok().flatten()?;
        record.values().next().map(|(_, value)| value.to_vec())
    }
}

/// A row that its store cannot read any more is given up, is no reason to delete anything, and comes back by itself.
#[test]
fn a_row_that_cannot_be_read_is_fetched_again() {
    let at = |ms: u64| Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_700_000_000_000 + ms) };
    let network = NetworkId::of_name("damage");
    let identity = |number: u8| Identity {
        node: NodeId::from_bytes([number; 16]),
        replica: ReplicaId::new(number.into()).unwrap(),
        incarnation: 1,
    };
    let limits = reconvene_store::Limits::default();
    let disk = SimDisk::new(1);
    let on_disk = SimStore::create(&disk, identity(1), SessionNonce::new(1), network, limits).unwrap();
    let mut one = Side::new(on_disk, 1, at(0));
    let mut two = Side::new(MemoryStore::for_network(identity(2), network, limits), 2, at(0));
    let [id_one, id_two] = [identity(1).node, identity(2).node];
    one.feed(at(0), Input::LinkUp { peer: id_two, address: None });
    two.feed(at(0), Input::LinkUp { peer: id_one, address: None });
    let mut now = 0;
    let mut run = |one: &mut Side<SimStore>, two: &mut Side<MemoryStore>, seconds: u64| {
        for _ in 0..seconds * 10 {
            now += 100;
            one.feed(at(now), Input::Tick);
            two.feed(at(now), Input::Tick);
            while !one.frames.is_empty() || !two.frames.is_empty() {
                for frame in std::mem::take(&mut one.frames) {
                    two.feed(at(now), Input::Received { from: id_one, frame });
                }
                for frame in std::mem::take(&mut two.frames) {
                    one.feed(at(now), Input::Received { from: id_two, frame });
                }
            }
        }
        at(now)
    };
    for number in 0..40 {
        let writes = vec![put(&format!("key/{number}"), "fine")];
        one.feed(at(0), Input::LocalWrite { ticket: Ticket(number), writes });
    }
    let now = run(&mut one, &mut two, 30);
    assert_eq!(two.value("key/39").as_deref(), Some(&b"fine"[..]));
    let hex: String = b"key/39".iter().map(|byte| format!("{byte:02x}")).collect();
    // A bit turns over once the cell is synced, which some later batch does.
    for number in 40..120 {
        one.feed(
            now,
            Input::LocalWrite { ticket: Ticket(number), writes: vec![put(&format!("key/{number}"), "fine")] },
        );
        if one.value("key/39").is_some() {
            let cells = disk.image();
            if let Some((cell, _)) = cells.cells().find(|(name, _)| name.ends_with(&hex)) {
                disk.rot(cell).unwrap();
            }
        }
    }
    assert_eq!(one.value("key/39"), None);
    // Somebody touches the row, which is how it is noticed.
    two.feed(now, Input::LocalWrite { ticket: Ticket(1_000), writes: vec![put("key/39", "newer")] });
    run(&mut one, &mut two, 200);
    assert!(one.events.contains(&Event::RowsLost { rows: 1 }), "{:?}", one.events);
    assert_eq!(one.value("key/39").as_deref(), Some(&b"newer"[..]));
    assert_eq!(two.value("key/39").as_deref(), Some(&b"newer"[..]));
    assert_eq!(one.replica.head().digest(), two.replica.head().digest());
}
