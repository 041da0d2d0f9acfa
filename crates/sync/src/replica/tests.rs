//! What a hostile or clumsy peer can do: frames that no replica of ours would send.

use proptest::prelude::*;
use reconvene_clock::{Counter, Dot, DotRange, Height};
use reconvene_store::{
    Body, Class, Cursor, Identity, Key, KeyContext, MemoryStore, MetadataStore, Prefix, Snapshot, Version, ready,
};

use super::*;
use crate::message::{Claim, Delta, Hello, Message, SessionId, Summary};
use crate::ranges::Ranges;
use crate::wire::decode_message;
use crate::wire::encode_message;
use crate::wire::tests::any_message;
use crate::{NewWrite, Performed, RejectReason, StoreDriver};

const PEER: NodeId = NodeId::from_bytes([2; 16]);
const OTHER: NodeId = NodeId::from_bytes([3; 16]);
const SESSION: SessionId = SessionId(77);

struct Bench {
    replica: Replica,
    store: StoreDriver<MemoryStore>,
    now: u64,
}

impl Bench {
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let identity =
            Identity { node: NodeId::from_bytes([1; 16]), replica: ReplicaId::new(1).unwrap(), incarnation: 1 };
        let mut config = Config::new(NetworkId::of_name("test"), 1);
        configure(&mut config);
        let store = StoreDriver::new(MemoryStore::for_network(identity, config.network, config.store));
        let head = ready(store.store().snapshot()).unwrap().unwrap().head().clone();
        let replica = Replica::open(config, head, Vec::new(), at(0)).unwrap();
        let mut bench = Self { replica, store, now: 0 };
        bench.perform();
        for peer in [PEER, OTHER] {
            bench.feed(Input::LinkUp { peer, address: None });
        }
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.replica.handle(at(self.now), input);
        self.perform()
    }

    /// Performs what concerns the store, and gives the rest.
    fn perform(&mut self) -> Vec<Output> {
        let mut others = Vec::new();
        while let Some(output) = self.replica.poll_output() {
            match ready(self.store.perform(output)).unwrap().unwrap() {
                Performed::Done => {}
                Performed::Input(input) => self.replica.handle(at(self.now), input),
                Performed::Other(output) => others.push(output),
            }
        }
        others
    }

    fn receive(&mut self, from: NodeId, message: &Message) -> Vec<Output> {
        let frame = encode_message(message, 4 << 20).unwrap();
        self.feed(Input::Received { from, frame })
    }

    fn hello(&self, session: SessionId, summary: Summary) -> Message {
        Message::Hello(Hello {
            network: self.replica.network_hash(),
            from: ReplicaId::new(2).unwrap(),
            session,
            versions: (1, 1),
            capabilities: 0,
            digest: Digest { root: reconvene_store::Fingerprint::from_u128(5), knowledge: 5 },
            window_bytes: u64::MAX,
            summary,
        })
    }

    fn records(&self) -> Vec<Record> {
        let snapshot = ready(self.store.store().snapshot()).unwrap().unwrap();
        ready(snapshot.by_prefix(&Cursor::new(Prefix::all()))).unwrap().unwrap().items
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_700_000_000_000 + ms) }
}

fn version(counter: u64, body: Body) -> Version {
    Version {
        dot: Dot::new(ReplicaId::new(2).unwrap(), Counter::new(counter).unwrap()),
        context: KeyContext::new(),
        height: Height::MIN,
        hlc: Hlc::from_u64(1_700_000_000_000 << 16),
        class: Class::NORMAL,
        body,
    }
}

fn chunk(session: SessionId, chunk: u32, counter: u64, bytes: usize) -> Message {
    let key = Key::new(format!("key/{counter}")).unwrap();
    Message::Delta(Delta { session, chunk, versions: vec![(key, version(counter, Body::of(vec![7; bytes])))] })
}

fn sent(outputs: &[Output]) -> Vec<Message> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Send { frame, .. } => Some(decode_message(frame, 4 << 20).unwrap()),
        _ => None,
    });
    frames.collect()
}

fn rejected(outputs: &[Output]) -> Option<RejectReason> {
    sent(outputs).iter().find_map(|message| match message {
        Message::Reject { why, .. } => Some(*why),
        _ => None,
    })
}

#[test]
fn a_claim_waits_for_its_chunks_in_any_order() {
    let mut bench = Bench::new(|_| {});
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    let range = |first: u64, last: u64| {
        DotRange::new(ReplicaId::new(2).unwrap(), Counter::new(first).unwrap(), Counter::new(last).unwrap()).unwrap()
    };
    let digest = Digest { root: reconvene_store::Fingerprint::from_u128(5), knowledge: 5 };
    let floor = VectorClock::new();
    let claim = Claim {
        session: SESSION,
        chunks: 2,
        whole: true,
        knowledge: Some([range(1, 9)].into_iter().collect()),
        digest: Some(digest),
        floor,
    };
    bench.receive(PEER, &Message::Claim(claim));
    bench.receive(PEER, &chunk(SESSION, 1, 9, 10));
    let replica = ReplicaId::new(2).unwrap();
    let known =
        |bench: &Bench, counter| bench.replica.knowledge().contains(Dot::new(replica, Counter::new(counter).unwrap()));
    assert!(known(&bench, 9) && !known(&bench, 5), "an exact dot, and no claim");
    let outputs = bench.receive(PEER, &chunk(SESSION, 0, 4, 10));
    assert!(known(&bench, 5), "both chunks are in");
    assert!(sent(&outputs).iter().any(|message| matches!(message, Message::Ack { .. })));
    assert_eq!(bench.replica.stats().sessions, 1);
}

#[test]
fn chunks_without_a_session_or_beyond_its_number_change_nothing() {
    let mut bench = Bench::new(|config| config.max_chunks = 4);
    let before = bench.records();
    bench.receive(PEER, &chunk(SESSION, 0, 1, 10));
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    bench.receive(PEER, &chunk(SESSION, 4, 1, 10));
    bench.receive(OTHER, &chunk(SESSION, 0, 1, 10));
    assert_eq!(bench.records(), before);
    bench.receive(PEER, &chunk(SESSION, 3, 1, 10));
    assert_eq!(bench.records().len(), before.len() + 1);
}

#[test]
fn a_frame_without_a_link_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    let stranger = NodeId::from_bytes([9; 16]);
    let outputs = bench.receive(stranger, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    assert!(sent(&outputs).is_empty());
    assert_eq!(bench.replica.peer_state(stranger), PeerState::Unreachable);
}

#[test]
fn more_than_the_window_is_rejected() {
    let mut bench = Bench::new(|config| config.window_bytes = 10_000);
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    // The store stands still: outputs are not performed.
    let mut reason = None;
    for number in 0..10_u64 {
        let message = chunk(SESSION, number as u32, number + 1, 900_000);
        let frame = encode_message(&message, 4 << 20).unwrap();
        bench.replica.handle(at(0), Input::Received { from: PEER, frame });
        let queued: Vec<Output> = bench.replica.outputs.iter().cloned().collect();
        reason = reason.or_else(|| rejected(&queued));
    }
    assert_eq!(reason, Some(RejectReason::Budget));
    assert!(bench.replica.queued_bytes() < 4 << 20);
}

#[test]
fn session_after_session_does_not_fill_the_queue() {
    let mut bench = Bench::new(|config| config.window_bytes = 10_000);
    for number in 0..100_u64 {
        let session = SessionId(1_000 + number);
        for message in [bench.hello(session, Summary::Full(Ranges::default())), chunk(session, 0, number + 1, 900_000)]
        {
            let frame = encode_message(&message, 4 << 20).unwrap();
            bench.replica.handle(at(0), Input::Received { from: PEER, frame });
        }
    }
    assert!(bench.replica.queued_bytes() <= 13 << 20, "{}", bench.replica.queued_bytes());
    assert!(bench.replica.sessions.len() <= 4);
}

#[test]
fn inbound_slots_are_bounded_and_the_rest_is_told_to_wait() {
    let mut bench = Bench::new(|config| config.max_inbound_sessions = 1);
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    let outputs = bench.receive(OTHER, &{
        let Message::Hello(mut hello) = bench.hello(SessionId(5), Summary::Full(Ranges::default())) else {
            unreachable!()
        };
        hello.from = ReplicaId::new(3).unwrap();
        Message::Hello(hello)
    });
    assert!(matches!(sent(&outputs)[..], [Message::Busy { retry_after_ms: 1.., .. }]));
}

#[test]
fn a_repeated_hello_opens_no_second_session() {
    let mut bench = Bench::new(|_| {});
    let hello = bench.hello(SESSION, Summary::Full(Ranges::default()));
    assert!(!sent(&bench.receive(PEER, &hello)).is_empty());
    assert!(sent(&bench.receive(PEER, &hello)).is_empty(), "while it is open");
    bench.replica.fail((PEER, SESSION));
    assert!(sent(&bench.receive(PEER, &hello)).is_empty(), "nor later");
}

/// An opening of a store that comes back again and again, with another in between, is a second copy that runs.
#[test]
fn sessions_of_two_openings_prove_a_copy() {
    let mut bench = Bench::new(|_| {});
    let mut begin = |opening: u32, number: u64| {
        let session = SessionId::new(opening, number << 32);
        let reason = rejected(&bench.receive(PEER, &bench.hello(session, Summary::Full(Ranges::default()))));
        bench.replica.fail((PEER, session));
        reason
    };
    assert_eq!(begin(1, 1), None);
    assert_eq!(begin(2, 2), None, "it was restarted");
    assert_eq!(begin(2, 3), None);
    assert_eq!(begin(1, 4), None, "a hello that was on its way for long");
    assert_eq!(begin(2, 5), Some(RejectReason::Incarnation));
    // A replica that is told so gives up its name.
    bench.now = 100_000;
    bench.feed(Input::Tick);
    let open = bench.replica.sessions.iter().find(|(_, session)| session.initiated).map(|(key, _)| *key).unwrap();
    let outputs = bench.receive(open.0, &Message::Reject { session: open.1, why: RejectReason::Incarnation });
    let frozen = |output: &Output| matches!(output, Output::Notify(Event::Frozen { why: Frozen::Cloned }));
    assert!(outputs.iter().any(frozen));
    let write = NewWrite::new(Key::new("a").unwrap(), Class::NORMAL, Body::of("x"));
    let outputs = bench.feed(Input::LocalWrite { ticket: Ticket(9), writes: vec![write] });
    assert!(outputs.iter().any(|output| matches!(output, Output::WriteRefused { .. })));
    // Opened again, it has another.
    let head = bench.replica.head().clone();
    let reopened = Replica::open(bench.replica.config.clone(), head, Vec::new(), at(0)).unwrap();
    assert_ne!(reopened.head().identity().replica, bench.replica.head().identity().replica);
    assert_eq!(reopened.head().identity().incarnation, 2);
}

/// What is urgent does not wait behind bulk, in the queue of changes either.
#[test]
fn urgent_work_goes_ahead_of_bulk() {
    let mut bench = Bench::new(|_| {});
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    // The store stands still: outputs are not performed.
    for (number, message) in [chunk(SESSION, 0, 1, 10), chunk(SESSION, 1, 2, 10)].iter().enumerate() {
        let frame = encode_message(message, 4 << 20).unwrap();
        bench.replica.handle(at(number as u64), Input::Received { from: PEER, frame });
    }
    let push = Message::Push { hops: 1, versions: vec![(Key::new("urgent").unwrap(), version(9, Body::of("x")))] };
    let frame = encode_message(&push, 4 << 20).unwrap();
    bench.replica.handle(at(3), Input::Received { from: PEER, frame });
    let write = NewWrite::new(Key::new("own").unwrap(), Class::NORMAL, Body::of("x"));
    bench.replica.handle(at(4), Input::LocalWrite { ticket: Ticket(1), writes: vec![write] });
    let kinds: Vec<&str> = bench
        .replica
        .jobs
        .iter()
        .map(|job| match job {
            Job::Push { .. } => "push",
            Job::Local { .. } => "local",
            Job::Chunk { .. } => "chunk",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["push", "local", "chunk"], "the first chunk is under way");
}

#[test]
fn a_restart_with_the_same_seed_names_its_sessions_anew() {
    let identity = Identity { node: NodeId::from_bytes([1; 16]), replica: ReplicaId::new(1).unwrap(), incarnation: 1 };
    let config = Config::new(NetworkId::of_name("test"), 1);
    let head = Head::new(identity, config.network);
    let first = |now| Replica::open(config.clone(), head.clone(), Vec::new(), now).unwrap().rng.next();
    assert_eq!(first(at(0)), first(at(0)));
    assert_ne!(first(at(0)), first(at(1)));
}

#[test]
fn a_wait_that_a_peer_asks_for_is_clamped() {
    let mut bench = Bench::new(|config| config.busy_max_ms = 5_000);
    bench.now = 10_000;
    bench.feed(Input::Tick);
    let waiting = bench.replica.sessions.keys().next().copied().unwrap();
    bench.receive(waiting.0, &Message::Busy { session: waiting.1, retry_after_ms: u64::MAX });
    assert!(bench.replica.peers[&waiting.0].retry_at.is_some_and(|at| at.as_millis() <= 15_000));
}

#[test]
fn pushes_need_an_introduction_and_are_bounded() {
    let mut bench = Bench::new(|config| config.max_queued_pushes = 3);
    let push = |counter: u64, bytes: usize| Message::Push {
        hops: 250,
        versions: vec![(Key::new(format!("key/{counter}")).unwrap(), {
            let mut version = version(counter, Body::of(vec![7; bytes]));
            version.class = Class::URGENT;
            version
        })],
    };
    let before = bench.records().len();
    bench.receive(PEER, &push(1, 10));
    assert_eq!(bench.records().len(), before, "nobody knows this peer yet");
    bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    bench.receive(OTHER, &{
        let Message::Hello(mut hello) = bench.hello(SessionId(5), Summary::Full(Ranges::default())) else {
            unreachable!()
        };
        hello.from = ReplicaId::new(3).unwrap();
        Message::Hello(hello)
    });
    let outputs = bench.receive(PEER, &push(1, 10));
    assert_eq!(bench.records().len(), before + 1);
    let relayed = |outputs: &[Output]| {
        sent(outputs).iter().filter(|message| matches!(message, Message::Push { hops: ..=1, .. })).count()
    };
    assert_eq!(relayed(&outputs), 1, "to the other peer, with no more hops than this network needs");
    assert_eq!(relayed(&bench.receive(PEER, &push(1, 10))), 0, "only what was new");
    bench.receive(PEER, &push(2, 70_000));
    assert_eq!(bench.records().len(), before + 1, "larger than a push may be");
    for counter in 10..20 {
        let frame = encode_message(&push(counter, 10), 4 << 20).unwrap();
        bench.replica.handle(at(0), Input::Received { from: PEER, frame });
    }
    assert!(bench.replica.queued_pushes() <= 3);
}

#[test]
fn a_summary_without_its_base_is_asked_for_in_full() {
    let mut bench = Bench::new(|_| {});
    let unchanged = bench.hello(SESSION, Summary::Unchanged);
    let outputs = bench.receive(PEER, &unchanged);
    assert!(matches!(&sent(&outputs)[..], [Message::HelloBack(back)] if back.need_full));
    let outputs = bench.receive(PEER, &bench.hello(SESSION, Summary::Full(Ranges::default())));
    // And then it goes on.
    assert!(matches!(&sent(&outputs)[..], [Message::WholeBack(back, _)] if !back.need_full));
}

#[test]
fn stamps_of_own_writes_ascend_while_wall_time_goes_back() {
    let mut bench = Bench::new(|_| {});
    let mut last = None;
    for wall in [1_700_000_000_000, 1_600_000_000_000, 0, 1_700_000_000_001] {
        let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(wall) };
        let writes = vec![NewWrite::new(Key::new("a").unwrap(), Class::NORMAL, Body::of("x"))];
        bench.replica.handle(now, Input::LocalWrite { ticket: Ticket(1), writes });
        while let Some(output) = bench.replica.poll_output() {
            if let Performed::Input(input) = ready(bench.store.perform(output)).unwrap().unwrap() {
                bench.replica.handle(now, input);
            }
        }
        let stamped = bench.replica.head().stamped();
        assert!(stamped > last);
        last = stamped;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any frames in any order from an authenticated peer: no panic, and the store agrees with the replica.
    #[test]
    fn law_any_frames_never_panic(
        messages in proptest::collection::vec((any_message(), any::<bool>(), 0..3_000_u64), 1..30),
    ) {
        let mut bench = Bench::new(|_| {});
        for (message, first, wait) in messages {
            bench.now += wait;
            // Most frames belong to a session that is open, so that they are not just ignored.
            let session = bench.replica.sessions.keys().next().map(|(_, session)| *session);
            let message = match (message, session) {
                (Message::Delta(mut delta), Some(session)) => {
                    delta.session = session;
                    delta.chunk %= 3;
                    Message::Delta(delta)
                }
                (Message::Claim(mut claim), Some(session)) => {
                    claim.session = session;
                    claim.chunks = u32::from(first);
                    Message::Claim(claim)
                }
                (Message::HelloBack(mut back), Some(session)) => {
                    back.session = session;
                    Message::HelloBack(back)
                }
                (Message::Part(mut part), Some(session)) => {
                    part.session = session;
                    Message::Part(part)
                }
                (Message::Whole(mut whole), Some(session)) => {
                    whole.session = session;
                    Message::Whole(whole)
                }
                (Message::WholeBack(mut back, mut whole), Some(session)) => {
                    (back.session, whole.session) = (session, session);
                    Message::WholeBack(back, whole)
                }
                (Message::Hello(mut hello), _) => {
                    hello.network = bench.replica.network_hash();
                    hello.session = SessionId(wait);
                    Message::Hello(hello)
                }
                (other, _) => other,
            };
            bench.receive(if first { PEER } else { OTHER }, &message);
            let head = ready(bench.store.store().snapshot()).unwrap().unwrap().head().clone();
            prop_assert_eq!(&head, bench.replica.head());
        }
        bench.now += 100_000;
        bench.feed(Input::Tick);
        prop_assert!(bench.replica.sessions.len() <= 2);
    }
}
