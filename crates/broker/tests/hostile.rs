//! A million messages of hostile executors in ten seconds: they cost no more memory than `Config` says, and every honest
//! executor is answered in between. In a test binary of its own, because its allocator counts.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "tests index and add freely, and fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{Command, Config, Coordinator, EventKind, Input, JobStatus, Output, Reply, StrategyKind};
use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, Now, ReplicaId, Timestamp, WallTime};
use reconvene_executor::codec::{decode_to_broker, encode_to_broker};
use reconvene_executor::message::{
    Heartbeat, HeldAttempt, HeldSpec, Leave, Order, Refusal, Refused, Register, Submit, ToBroker, ToExecutor,
};
use reconvene_executor::{
    Answer, AttemptId, FencingToken, JobId, JobSpec, Outcome, OwnershipEpoch, Resources, ResultDigest, SessionEpoch,
    SpecDigest, Tag, limits,
};
use reconvene_store::{Identity, KeyContext, Record, Version};
use reconvene_sync::{NewWrite, Ticket};

/// Without optimisation a fifth of them, at the same pace: every limit is reached long before.
const MESSAGES: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
const VIRTUAL_MS: u64 = MESSAGES / 100;
const HONEST: u64 = 8;
/// One for each honest executor. The first half also gets results that nobody ran.
const JOBS: u64 = 8;
/// Hostile executors that stay.
const STAYING: u64 = 32;
const KINDS: u64 = 16;

struct Site {
    broker: Coordinator,
    replica: ReplicaId,
    now_ms: u64,
    written: u64,
    /// What the honest executors run.
    running: Vec<Option<HeldAttempt>>,
    answered: BTreeSet<u64>,
    /// Honest executors that were taken for silent, and their attempts that were lost.
    lost: u64,
    /// What hostile executors were told, and how often.
    told: BTreeMap<&'static str, u64>,
    accepted: u64,
}

fn node(number: u64) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    NodeId::new(bytes)
}

fn is_honest(executor: NodeId) -> bool {
    (0..HONEST).any(|number| node(number) == executor)
}

fn session(random: u64) -> SessionEpoch {
    SessionEpoch::new(Hlc::default(), random)
}

fn attempt(job: JobId, number: u64) -> AttemptId {
    let owner = ReplicaId::new(9 + number % 97).unwrap();
    AttemptId { job, epoch: OwnershipEpoch(2 + (number % 7) as u32), owner, number: number as u32 }
}

fn held(attempt: AttemptId) -> HeldAttempt {
    let AttemptId { epoch, owner, number, .. } = attempt;
    HeldAttempt { attempt, token: FencingToken { epoch, tie: u64::MAX, owner, number }, progress_bp: 1 }
}

fn register(epoch: u64, tags: usize, held: Vec<HeldAttempt>) -> Register {
    let tag = |place| Tag::new(format!("{:0width$}-{place:03}", epoch % 1_000, width = limits::TAG_BYTES - 4)).unwrap();
    Register {
        session: session(epoch),
        registration: 1,
        capacity: Resources::new(1, 1, 0),
        slots: limits::SLOTS,
        tags: (0..tags).map(tag).collect(),
        held,
        kept: Vec::new(),
        heir: None,
    }
}

fn submit(attempt: AttemptId, sequence: u64, output: Vec<u8>, spec_digest: SpecDigest) -> Submit {
    Submit {
        attempt,
        session: session(1),
        sequence,
        spec_digest,
        digest: ResultDigest::of(&output),
        outcome: Outcome::Success { output },
        cost_resource_ms: 1,
        quality_bp: (sequence % 10_000) as u16,
    }
}

impl Site {
    fn now(&self) -> Now {
        Now { mono: Timestamp::from_millis(self.now_ms), wall: WallTime::from_millis(1_000_000 + self.now_ms) }
    }

    fn handle(&mut self, input: Input) -> Option<Reply> {
        self.broker.handle(self.now(), input);
        let mut replied = None;
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Write { ticket, writes } => {
                    let rows = writes.into_iter().map(|write| self.row(write)).collect();
                    self.broker.handle(self.now(), Input::Facts(rows));
                    self.broker.handle(self.now(), Input::Written { ticket });
                }
                Output::Reply { reply, .. } => replied = Some(reply.unwrap()),
                Output::Notify(event) => match event.kind {
                    EventKind::ExecutorSuspect { executor, .. }
                    | EventKind::AttemptLost { executor: Some(executor), .. } => {
                        self.lost += u64::from(is_honest(executor));
                    }
                    _ => {}
                },
                Output::SendExecutor { to, message } => self.hear(to, message),
                Output::SendPeer { .. } | Output::Retire { .. } => {}
            }
        }
        replied
    }

    /// A row as the store would have it.
    fn row(&mut self, write: NewWrite) -> Record {
        self.written += 1;
        let version = Version {
            dot: Dot::new(self.replica, Counter::new(self.written).unwrap()),
            context: KeyContext::new(),
            height: Height::MIN,
            hlc: Hlc::from_parts(self.now().wall, 0).unwrap(),
            class: write.class,
            body: write.body,
        };
        Record::new(write.key, [version]).unwrap()
    }

    fn hear(&mut self, to: NodeId, message: ToExecutor) {
        let honest = (0..HONEST).find(|number| node(*number) == to);
        let told = match message {
            ToExecutor::HeartbeatAnswer { sequence, orders, .. } => {
                let Some(number) = honest else { return };
                self.answered.insert(sequence);
                for order in orders {
                    match order {
                        Order::Start { attempt, token, .. } => {
                            self.running[number as usize] = Some(HeldAttempt { attempt, token, progress_bp: 0 });
                        }
                        Order::Stop { .. } => self.running[number as usize] = None,
                    }
                }
                return;
            }
            ToExecutor::SubmitAnswer { answer: Answer::Accepted { .. }, .. } if honest.is_some() => {
                self.accepted += 1;
                return;
            }
            ToExecutor::SubmitAnswer { answer, .. } => match answer {
                Answer::Accepted { .. } | Answer::AcceptedFailure => "accepted",
                Answer::Rejected(_) => "rejected",
                Answer::Parked { .. } => "parked",
                Answer::Busy { .. } => "busy",
                Answer::Fault(_) => "fault",
            },
            ToExecutor::NotRegistered { .. } => "not registered",
            ToExecutor::SessionBehind { .. } => "session behind",
            ToExecutor::Registered { .. } => "registered",
            ToExecutor::AskSpec { .. } => "asked",
        };
        *self.told.entry(told).or_default() += 1;
    }

    fn says(&mut self, from: NodeId, message: ToBroker) {
        self.handle(Input::FromExecutor { from, message });
    }

    /// The heartbeat of an honest executor must be answered at once.
    fn beat(&mut self, number: u64, sequence: u64) {
        let running = self.running[number as usize].into_iter().collect();
        let (session, registration) = (session(number + 1), 1);
        let beat = Heartbeat { session, registration, sequence, running, kept: vec![], refused: vec![] };
        self.says(node(number), ToBroker::Heartbeat(beat));
        assert!(self.answered.remove(&sequence), "heartbeat {sequence} of {number} was not answered");
    }
}

/// Something that no good executor says.
fn hostile(number: u64, known: &[(JobId, SpecDigest)]) -> (NodeId, ToBroker) {
    let (running, _) = known[(number / KINDS % JOBS) as usize];
    let (over, spec) = known[(number / KINDS % (JOBS / 2)) as usize];
    let none = JobId::new(ReplicaId::new(77).unwrap(), number);
    let place = 1_000 + number / KINDS % STAYING;
    let (staying, stranger) = (node(place), node(1_000_000 + number));
    let beat = |running, kept, refused| {
        let (session, registration) = (session(place), 1);
        ToBroker::Heartbeat(Heartbeat { session, registration, sequence: number, running, kept, refused })
    };
    match number % KINDS {
        0 => {
            let output = vec![1; 40_000 * usize::from(number.is_multiple_of(1_024))];
            (staying, ToBroker::Submit(submit(attempt(none, number), number, output, spec)))
        }
        1 => (staying, ToBroker::Submit(submit(attempt(over, number), number, number.to_be_bytes().to_vec(), spec))),
        2 => {
            let digest = ResultDigest::of(b"something else");
            (stranger, ToBroker::Submit(Submit { digest, ..submit(attempt(over, number), 1, vec![7], spec) }))
        }
        3 => {
            let tags = if number / KINDS % 10 == 3 { limits::TAGS } else { 0 };
            (stranger, ToBroker::Register(register(number, tags, vec![])))
        }
        4 => {
            let made_up = (0..4).map(|more| held(attempt(none, number + more))).collect();
            let tags = if number / KINDS % 100 < STAYING { limits::TAGS } else { 0 };
            (staying, ToBroker::Register(register(place, tags, made_up)))
        }
        5 => {
            let made_up = (0..4).map(|more| held(attempt(none, number + more))).collect();
            let refused = vec![Refused { attempt: attempt(running, number), reason: Refusal::NoFreeSlot }];
            (staying, beat(made_up, vec![attempt(none, number)], refused))
        }
        6 => {
            let many = if number / KINDS % 10_000 == 6 { limits::ATTEMPTS as u64 } else { 1 };
            let all: Vec<_> = (0..many).map(|more| held(attempt(running, number + more))).collect();
            (stranger, ToBroker::Register(register(number, 0, all)))
        }
        7 => (node(1_000_000 + number - 4), ToBroker::Leave(Leave { session: session(number - 4), registration: 1 })),
        // One name, and always another content.
        8 => (
            staying,
            ToBroker::Submit(submit(
                attempt(JobId::new(ReplicaId::new(77).unwrap(), 0), 0),
                0,
                number.to_be_bytes().to_vec(),
                spec,
            )),
        ),
        9 => {
            let error = "x".repeat(100);
            let digest = ResultDigest::of(error.as_bytes());
            let failed = Submit {
                outcome: Outcome::Failure { error },
                digest,
                ..submit(attempt(over, number), number, vec![], spec)
            };
            (staying, ToBroker::Submit(failed))
        }
        // Attempts of a job that is over.
        10 => {
            let many = if number / KINDS % 10_000 == 10 { limits::ATTEMPTS as u64 } else { 4 };
            let all = (0..many).map(|more| held(attempt(over, number + more))).collect();
            (staying, beat(all, vec![], vec![]))
        }
        // A message from before, and one of a session that nobody has begun.
        11 => (staying, ToBroker::Register(register(place - 1, 0, vec![]))),
        12 => {
            let (session, registration) = (session(number), number);
            let (running, kept, refused) = (vec![], vec![], vec![]);
            let beat = Heartbeat { session, registration, sequence: number, running, kept, refused };
            (staying, ToBroker::Heartbeat(beat))
        }
        // Attempts whose job nobody knows, and then what they are said to run.
        13 => {
            let job = JobId::new(ReplicaId::new(78).unwrap(), number / 32);
            (staying, beat(vec![held(attempt(job, 1))], vec![], vec![]))
        }
        14 => {
            let job = JobId::new(ReplicaId::new(78).unwrap(), (number - 1) / 32);
            let large = vec![3; if number % 64 == 14 { 100_000 } else { 10 }];
            (staying, ToBroker::Spec(HeldSpec { attempt: attempt(job, 1), spec: JobSpec::new(large) }))
        }
        // Each replay is the same as the one before.
        _ => (staying, ToBroker::Submit(submit(attempt(over, 1), 15, vec![15], spec))),
    }
}

/// The bytes of a message, damaged. Whatever decodes all the same is said.
fn damaged(number: u64, message: &ToBroker) -> Option<ToBroker> {
    let mut bytes = encode_to_broker(message).unwrap();
    let place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % bytes.len() as u64) as usize;
    match number % 3 {
        0 => bytes[place] ^= 1 << (number % 8),
        1 => bytes.truncate(place),
        _ => bytes.push(0),
    }
    decode_to_broker(&bytes).ok()
}

#[test]
fn a_million_hostile_messages_stay_within_the_memory_cap() {
    let mut config = Config::new(StrategyKind::PriorityBased);
    config.max_executors = 500;
    config.max_unattested = 1_000;
    config.max_submissions = 64;
    config.inline_result_max = 16 << 10;
    config.parked_limit = 1_000;
    config.parked_bytes = 4 << 20;
    let config = config.build().unwrap();
    let cap = config.executors_memory_bytes(JOBS as usize) as u64;
    let used = allocation_counter::measure(|| run(config)).bytes_max;
    eprintln!("{used} bytes were held at once, and {cap} are allowed");
    assert!(used <= cap, "{used} bytes were held at once, and {cap} are allowed");
    assert!(used > cap / 20, "the cap says nothing: {used} of {cap}");
}

fn run(config: Config) {
    let replica = ReplicaId::new(1).unwrap();
    let own = Identity { node: node(u64::MAX), replica, incarnation: 1 };
    let start = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(1_000_000) };
    let broker = Coordinator::open(config, own, Vec::new(), start);
    let mut site = Site {
        broker,
        replica,
        now_ms: 0,
        written: 0,
        running: vec![None; HONEST as usize],
        answered: BTreeSet::new(),
        lost: 0,
        told: BTreeMap::new(),
        accepted: 0,
    };
    for number in 0..HONEST {
        let registered = Register { capacity: Resources::new(8_000, 8_000, 0), ..register(number + 1, 0, vec![]) };
        site.handle(Input::ExecutorUp { executor: node(number) });
        site.says(node(number), ToBroker::Register(registered));
    }
    let specs: Vec<_> = (0..JOBS)
        .map(|number| JobSpec::new(number.to_be_bytes().to_vec()).with_demand(Resources::new(8_000, 0, 0)))
        .collect();
    let known: Vec<_> = specs
        .iter()
        .enumerate()
        .map(|(number, spec)| {
            let command = Command::Submit { spec: spec.clone() };
            match site.handle(Input::Command { ticket: Ticket(number as u64), command }) {
                Some(Reply::Submitted { job }) => (job, spec.digest()),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert!(site.running.iter().all(Option::is_some), "each honest executor has a job");
    let first = site.running.clone();
    for place in 1_000..1_000 + STAYING {
        site.says(node(place), ToBroker::Register(register(place, 0, vec![])));
    }
    let mut undecoded = 0;
    for number in 0..MESSAGES {
        site.now_ms = number * VIRTUAL_MS / MESSAGES;
        let (from, message) = hostile(number, &known);
        if number % 97 == 0 {
            match damaged(number, &message) {
                Some(message) => site.says(from, message),
                None => undecoded += 1,
            }
        } else {
            site.says(from, message);
        }
        if number % 2_500 == 0 {
            site.beat(number / 2_500 % HONEST, number + 1);
        }
    }
    assert_eq!(site.lost, 0, "an honest executor was given up");
    assert!(undecoded > MESSAGES / 97 / 2, "damaged frames decode: {undecoded}");
    for what in ["rejected", "parked", "busy", "fault", "not registered", "session behind", "registered"] {
        assert!(site.told.get(what).is_some_and(|times| *times > 100), "{what}: {:?}", site.told);
    }
    let statistics = site.broker.statistics();
    assert!(statistics.over_limits > MESSAGES / 20, "{statistics:?}");
    assert!(statistics.parked_refused > 0 && statistics.damaged > 0 && statistics.recovered > 0, "{statistics:?}");
    // What the honest executors ran and nobody else meddled with counts.
    for number in JOBS / 2..JOBS {
        let held = first.iter().flatten().find(|held| held.attempt.job == known[number as usize].0).unwrap();
        let executor = first.iter().position(|other| other.as_ref() == Some(held)).unwrap() as u64;
        let mut result = submit(held.attempt, 1, vec![9], known[number as usize].1);
        result.session = session(executor + 1);
        site.says(node(executor), ToBroker::Submit(result));
    }
    assert_eq!(site.accepted, JOBS / 2);
    assert!(known.iter().all(|(job, _)| site.broker.job(*job).unwrap().status == JobStatus::Completed));
}
