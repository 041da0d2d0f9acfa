//! What the tests share.

use std::cell::RefCell;
use std::rc::Rc;

use reconvene_clock::Dot;
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_store::{Body, Class, Key};
use reconvene_sync::NewWrite;

/// The first bytes of frames, as docs/wire-format.md numbers them.
pub(crate) const HELLO: u8 = 1;
pub(crate) const IN_SYNC: u8 = 3;
pub(crate) const DELTA: u8 = 4;
pub(crate) const CLAIM: u8 = 5;
pub(crate) const CREDIT: u8 = 6;
pub(crate) const ACK: u8 = 7;
pub(crate) const BUSY: u8 = 8;
pub(crate) const PUSH: u8 = 10;
pub(crate) const AS_BEFORE: u8 = 15;
pub(crate) const PROBE: u8 = 11;
pub(crate) const WHOLE: u8 = 16;
pub(crate) const WHOLE_BACK: u8 = 17;
pub(crate) const PART: u8 = 18;

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

pub(crate) fn put(name: &str, value: &str) -> NewWrite {
    NewWrite::new(key(name), Class::NORMAL, Body::of(value))
}

pub(crate) fn delete(name: &str) -> NewWrite {
    NewWrite::new(key(name), Class::NORMAL, Body::Tombstone)
}

/// Nodes that met and agree.
pub(crate) fn settled(seed: u64, count: usize) -> ReplicaWorld {
    settled_with(seed, count, |_, _| {})
}

/// Nodes with changed settings that met and agree.
pub(crate) fn settled_with(
    seed: u64,
    count: usize,
    configure: impl FnMut(usize, &mut reconvene_sync::Config),
) -> ReplicaWorld {
    let mut world = ReplicaWorld::new(seed, count, configure);
    world.run_for(150_000);
    world.check_converged().unwrap();
    world
}

/// The frames that arrived, as (from, to, frame).
pub(crate) type Log = Rc<RefCell<Vec<(usize, usize, Vec<u8>)>>>;

/// Records all frames from now on, and delivers those that `keep` keeps.
pub(crate) fn record(world: &mut ReplicaWorld, keep: impl Fn(usize, usize, &[u8]) -> bool + 'static) -> Log {
    let log = Log::default();
    let seen = Rc::clone(&log);
    world.set_tamper(move |from, to, frame| {
        seen.borrow_mut().push((from, to, frame.clone()));
        keep(from, to, &frame).then_some(frame)
    });
    log
}

/// How many of the recorded frames begin with this byte.
pub(crate) fn count_of(log: &Log, kind: u8) -> usize {
    log.borrow().iter().filter(|(_, _, frame)| frame[0] == kind).count()
}

/// The live values of a key at a node, as text, in the order of their dots.
pub(crate) fn values(world: &ReplicaWorld, node: usize, name: &str) -> Vec<String> {
    let record = world.record(node, &key(name));
    let values = record.iter().flat_map(|record| record.values());
    values.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect()
}

/// The dots of the live values of a key at a node.
pub(crate) fn values_dots(world: &ReplicaWorld, node: usize, name: &str) -> Vec<Dot> {
    world.record(node, &key(name)).iter().flat_map(|record| record.values()).map(|(version, _)| version.dot).collect()
}

/// The name of the session in a hello.
pub(crate) fn session_of(hello: &[u8]) -> Vec<u8> {
    assert_eq!(hello[0], HELLO);
    // Kind, codec and a length of one or two bytes; then the network and the replica.
    let body = if hello[2] & 0x80 == 0 { 3 } else { 4 };
    hello[body + 16..body + 24].to_vec()
}

/// The name of the session that a chunk belongs to.
pub(crate) fn chunk_session(delta: &[u8]) -> Vec<u8> {
    assert_eq!(delta[0], DELTA);
    let length = delta[2..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    delta[2 + length..10 + length].to_vec()
}
