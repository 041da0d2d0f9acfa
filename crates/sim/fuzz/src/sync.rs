//! What the fuzz targets of the sync protocol check. The tests of `reconvene-sim` run the same over the corpus.
//!
//! The checksum of a frame is put on after the bytes were made up, so that they reach what lies behind it.
#![allow(dead_code, reason = "each target uses one of the checks")]

use reconvene_clock::{NodeId, ReplicaId, Timestamp, WallTime};
use reconvene_store::{
    Body, Class, Cursor, Fingerprints, Identity, Key, MemoryStore, MetadataStore, Prefix, Snapshot, ready,
};
use reconvene_sync::{Config, Input, NetworkId, NewWrite, Now, Output, Performed, Replica, StoreDriver, Ticket, forge};

const LIMIT: usize = 1 << 20;
const HELLO: u8 = 1;
const DELTA: u8 = 4;
const CLAIM: u8 = 5;
const REJECT: u8 = 9;
const PUSH: u8 = 10;
const WHOLE: u8 = 16;
const NETWORK: u8 = 0xfd;
const SESSION: u8 = 0xfe;
const TRUE: u8 = 0xff;

/// Refused, or the only spelling of a message. A reason to reject that only later versions know is read and cannot be
/// written.
fn one_spelling(frame: &[u8]) {
    match forge::read_and_write(frame, LIMIT) {
        Some(_) if frame.first() == Some(&REJECT) => {}
        Some(written) => assert_eq!(written, frame),
        None => {}
    }
}

/// Whole frames, checksum included.
pub(crate) fn frames(bytes: &[u8]) {
    one_spelling(bytes);
    if let Some((kind, body)) = bytes.split_first() {
        forge::frame_around(*kind, body).into_iter().for_each(|frame| one_spelling(&frame));
    }
}

/// The columns of a chunk, and of a push.
pub(crate) fn deltas(bytes: &[u8]) {
    let chunk = [&[0; 9], bytes].concat();
    let push = [&[1], bytes].concat();
    let frames = [forge::frame_around(DELTA, &chunk), forge::frame_around(PUSH, &push)];
    frames.into_iter().flatten().for_each(|frame| one_spelling(&frame));
}

/// The last word of a direction, behind the name of its session: in a frame of its own, and with the versions.
pub(crate) fn claims(bytes: &[u8]) {
    let claim = [&[0; 8], bytes].concat();
    let frames = [CLAIM, WHOLE].map(|kind| forge::frame_around(kind, &claim));
    frames.into_iter().flatten().for_each(|frame| one_spelling(&frame));
}

/// Whole sessions: a replica is handed frames with made-up bodies, each as its kind, its length and that many bytes.
/// Whatever they say, it goes on, and its store stays as it says it is.
pub(crate) fn session(bytes: &[u8]) {
    let (mut core, mut store) = empty(1);
    let peer = NodeId::from_bytes([2; 16]);
    core.handle(at(0), Input::LinkUp { peer, address: None });
    let write = NewWrite {
        key: Key::new("a").expect("a key"),
        class: Class::URGENT,
        body: Body::of("1"),
        replaces: reconvene_store::Replaces::AllLive,
    };
    core.handle(at(1), Input::LocalWrite { ticket: Ticket(1), writes: vec![write] });
    let mut sent = perform(&mut core, &mut store, at(1));
    let mut rest = bytes;
    let mut ms = 3_000;
    core.handle(at(ms), Input::Tick);
    sent.extend(perform(&mut core, &mut store, at(ms)));
    while let [kind, length, after @ ..] = rest {
        let (body, next) = after.split_at(after.len().min(usize::from(*length)));
        rest = next;
        ms += 700;
        // What cannot be guessed is filled in where a body asks for it: the network, and the last session of ours.
        let hello =
            sent.iter().rev().find(|frame| frame.first() == Some(&HELLO)).and_then(|frame| forge::body_of(frame));
        let part = |from: usize| hello.and_then(|hello| hello.get(from..from + 8)).unwrap_or_default();
        let body = match body {
            [NETWORK, body @ ..] => [part(0), body].concat(),
            [SESSION, body @ ..] => [part(16), body].concat(),
            body => body.to_vec(),
        };
        if let Some(frame) = forge::frame_around(*kind, &body) {
            core.handle(at(ms), Input::Received { from: peer, frame });
        }
        core.handle(at(ms), Input::Tick);
        sent.extend(perform(&mut core, &mut store, at(ms)));
    }
    is_sound(&store);
}

/// Fragments of bundles. The bytes are read as the body of one; then a replica is handed many with made-up bodies, each as
/// its length and that many bytes, of which the first may stand for the beginning of a true fragment. Whatever they say,
/// the store stays as it says it is.
pub(crate) fn bundles(bytes: &[u8]) {
    let fragment = forge::fragment_around(bytes);
    for bytes in [bytes, &fragment] {
        let written = forge::read_and_write_fragment(bytes, LIMIT);
        assert!(written.is_none_or(|written| written == bytes));
    }
    let (mut core, mut store) = empty(1);
    let (mut maker, mut made) = empty(2);
    let write = NewWrite::new(Key::new("a").expect("a key"), Class::NORMAL, Body::of("1"));
    maker.handle(at(0), Input::LocalWrite { ticket: Ticket(1), writes: vec![write] });
    perform(&mut maker, &mut made, at(0));
    let ask = Input::MakeBundle { ticket: Ticket(2), to: None, budget_bytes: 1 << 16, ttl_s: 60, again: false };
    maker.handle(at(1), ask);
    let fragments = perform(&mut maker, &mut made, at(1));
    let true_body = fragments.first().and_then(|fragment| forge::fragment_body(fragment)).expect("a bundle is made");
    let mut rest = bytes;
    let mut ms = 1;
    while let [length, after @ ..] = rest {
        let (body, next) = after.split_at(after.len().min(usize::from(*length)));
        rest = next;
        ms += 700;
        let body = match body {
            [NETWORK, body @ ..] => [true_body.get(..8).unwrap_or_default(), body].concat(),
            [TRUE, keep, body @ ..] => [true_body.get(..usize::from(*keep)).unwrap_or(true_body), body].concat(),
            body => body.to_vec(),
        };
        let bytes = forge::fragment_around(&body);
        core.handle(at(ms), Input::BundleFragment { ticket: Ticket(ms), bytes });
        core.handle(at(ms), Input::Tick);
        perform(&mut core, &mut store, at(ms));
    }
    is_sound(&store);
}

/// A replica of an empty store.
fn empty(number: u8) -> (Replica, StoreDriver<MemoryStore>) {
    let network = NetworkId::of_name("fuzz");
    let replica = ReplicaId::new(number.into()).expect("not zero");
    let identity = Identity { node: NodeId::from_bytes([number; 16]), replica, incarnation: 1 };
    let store = StoreDriver::new(MemoryStore::for_network(identity, network, reconvene_store::Limits::default()));
    let head = done(store.store().snapshot()).head().clone();
    let core = Replica::open(Config::new(network, 1), head, Vec::new(), at(0)).expect("an empty store opens");
    (core, store)
}

fn at(ms: u64) -> Now {
    Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_700_000_000_000 + ms) }
}

/// A store's prints are those of its records, and it knows all of their dots.
fn is_sound(store: &StoreDriver<MemoryStore>) {
    let snapshot = done(store.store().snapshot());
    let rows = done(snapshot.by_prefix(&Cursor::new(Prefix::all())));
    let records = &rows.items;
    let prints = Fingerprints::of_records(snapshot.head().network(), records);
    assert_eq!(snapshot.head().fingerprints().root(), prints.root());
    for record in records {
        assert!(record.siblings().iter().all(|version| snapshot.head().knowledge().contains(version.dot)));
    }
}

fn done<T, E: core::fmt::Debug>(future: impl Future<Output = Result<T, E>>) -> T {
    ready(future).expect("never waits").expect("a store in memory")
}

/// Performs what the replica asks for, and gives the frames it sends and the fragments it makes.
fn perform(core: &mut Replica, store: &mut StoreDriver<MemoryStore>, now: Now) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(output) = core.poll_output() {
        match done(store.perform(output)) {
            Performed::Input(input) => core.handle(now, input),
            Performed::Other(Output::Send { frame, .. }) => frames.push(frame),
            Performed::Other(Output::BundleReady { fragments, .. }) => frames.extend(fragments),
            Performed::Other(_) | Performed::Done => {}
        }
    }
    frames
}
