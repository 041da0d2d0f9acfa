//! What holds for every history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use reconvene_broker::{Command, Config, Coordinator, EventKind, Input, JobStatus, Now, Output, StrategyKind};
use reconvene_clock::{Hlc, Timestamp, WallTime};
use reconvene_executor::message::{Heartbeat, HeldAttempt, Leave, Refusal, Refused, Register, Submit, ToBroker};
use reconvene_executor::{
    AttemptId, EmergencyId, FencingToken, JobId, JobSpec, Outcome, OwnershipEpoch, Resources, ResultDigest,
    SessionEpoch, SpecDigest,
};
use reconvene_store::{Identity, Key, Record};
use reconvene_sync::Ticket;

use crate::world::{SECOND, World, node, replica};

/// Something that happens to a network.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        broker: usize,
        priority: u8,
    },
    Cancel {
        broker: usize,
        job: usize,
    },
    Wait {
        seconds: u64,
    },
    Cut {
        a: usize,
        b: usize,
    },
    Heal {
        a: usize,
        b: usize,
    },
    /// An executor goes silent.
    Vanish {
        executor: usize,
    },
    /// It comes back, at this broker.
    Return {
        executor: usize,
        broker: usize,
    },
    /// It loses what it ran.
    Crash {
        executor: usize,
    },
    /// It finishes something, and reports it at this broker.
    Finish {
        executor: usize,
        broker: usize,
        output: u8,
        quality: u16,
        fails: bool,
    },
    Stop {
        broker: usize,
    },
    Start {
        broker: usize,
    },
    Declare {
        broker: usize,
        level: u8,
    },
}

const BROKERS: usize = 3;
const EXECUTORS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let broker = 0..BROKERS;
    let executor = 0..EXECUTORS;
    prop_oneof![
        4 => (broker.clone(), any::<u8>()).prop_map(|(broker, priority)| Step::Submit { broker, priority }),
        1 => (broker.clone(), 0_usize..8).prop_map(|(broker, job)| Step::Cancel { broker, job }),
        6 => (1_u64..120).prop_map(|seconds| Step::Wait { seconds }),
        2 => (broker.clone(), broker.clone()).prop_map(|(a, b)| Step::Cut { a, b }),
        2 => (broker.clone(), broker.clone()).prop_map(|(a, b)| Step::Heal { a, b }),
        2 => executor.clone().prop_map(|executor| Step::Vanish { executor }),
        2 => (executor.clone(), broker.clone()).prop_map(|(executor, broker)| Step::Return { executor, broker }),
        1 => executor.clone().prop_map(|executor| Step::Crash { executor }),
        6 => (executor, broker.clone(), 0_u8..3, 0_u16..10_000, proptest::bool::weighted(0.1)).prop_map(
            |(executor, broker, output, quality, fails)| Step::Finish { executor, broker, output, quality, fails }
        ),
        1 => broker.clone().prop_map(|broker| Step::Stop { broker }),
        2 => broker.clone().prop_map(|broker| Step::Start { broker }),
        1 => (broker, 1_u8..=200).prop_map(|(broker, level)| Step::Declare { broker, level }),
    ]
}

fn run(strategy: StrategyKind, steps: &[Step]) -> (World, Vec<JobId>) {
    let mut world = World::new(BROKERS as u64, strategy);
    for executor in 0..EXECUTORS {
        world.add_executor(executor % BROKERS, 2);
    }
    let mut jobs = Vec::new();
    for step in steps {
        take(&mut world, &mut jobs, step);
    }
    (world, jobs)
}

fn take(world: &mut World, jobs: &mut Vec<JobId>, step: &Step) {
    let up = |world: &World, broker: usize| world.brokers[broker].coordinator.is_some();
    match *step {
        Step::Submit { broker, priority } if up(world, broker) => {
            let id = EmergencyId { declared_by: replica(1), number: 1 };
            let mut spec = JobSpec::new(b"work".to_vec()).with_priority(priority);
            spec.emergency = (priority % 2 == 0).then_some(id);
            jobs.push(world.submit_job(broker, spec));
        }
        Step::Cancel { broker, job } if up(world, broker) => {
            if let Some(job) = jobs.get(job) {
                let _ = world.command(broker, Command::Cancel { job: *job });
            }
        }
        Step::Wait { seconds } => world.run_to(world.now / SECOND + seconds),
        Step::Cut { a, b } if a != b => world.cut(a, b),
        Step::Heal { a, b } if a != b && up(world, a) && up(world, b) => world.heal(a, b),
        Step::Vanish { executor } => world.executors[executor].alive = false,
        Step::Return { executor, broker } if up(world, broker) => world.register(executor, broker),
        Step::Crash { executor } => {
            let session = world.executors[executor].session;
            world.executors[executor].session = SessionEpoch::new(session.start, session.random + 1_000);
            world.executors[executor].running.clear();
            world.executors[executor].alive = false;
        }
        Step::Finish { executor, broker, output, quality, fails } if up(world, broker) => {
            finish(world, executor, broker, output, quality, fails);
        }
        Step::Stop { broker } => world.stop(broker),
        Step::Start { broker } if !up(world, broker) => {
            world.start(broker);
            for other in 0..BROKERS {
                if other != broker && world.connected(broker, other) {
                    world.exchange(broker, other);
                }
            }
        }
        Step::Declare { broker, level } if up(world, broker) => {
            let command = Command::DeclareEmergency { level, region: String::new(), lifetime_ms: 0 };
            let _ = world.command(broker, command);
        }
        _ => {}
    }
}

fn finish(world: &mut World, executor: usize, broker: usize, output: u8, quality: u16, fails: bool) {
    let Some(attempt) = world.executors[executor].running.keys().next().copied() else { return };
    world.executors[executor].alive = true;
    let mut submit =
        if fails { world.failure(executor, attempt, "broken") } else { world.result(executor, attempt, &[output]) };
    submit.quality_bp = quality;
    world.submit(executor, broker, submit);
}

/// Everything is repaired, and whatever is started finishes.
fn calm(world: &mut World) {
    for broker in 0..BROKERS {
        if world.brokers[broker].coordinator.is_none() {
            world.start(broker);
        }
    }
    for _ in 0..2 {
        for a in 0..BROKERS {
            for b in 0..a {
                world.heal(a, b);
            }
        }
    }
    for executor in 0..EXECUTORS {
        world.register(executor, executor % BROKERS);
    }
    for _ in 0..400 {
        world.run_to(world.now / SECOND + 60);
        for executor in 0..EXECUTORS {
            // An executor goes on until it has a final answer.
            for submit in world.executors[executor].pending.clone().into_values() {
                let home = world.executors[executor].home.unwrap();
                world.submit(executor, home, submit);
            }
            while let Some(attempt) = world.executors[executor].running.keys().next().copied() {
                let home = world.executors[executor].home.unwrap();
                world.finish(executor, home, attempt, b"done");
            }
        }
        // An operator looks after what is suspected of crashing its executors.
        let held: Vec<_> = world.coordinator(0).jobs().filter(|job| job.status == JobStatus::Quarantined).collect();
        for job in held {
            world.command(0, Command::Release { job: job.id }).unwrap();
        }
        let open: u64 = (0..BROKERS).map(|broker| world.coordinator(broker).statistics().jobs_open).sum();
        if open == 0 {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    /// After every history of cuts, crashes and silences: no job is lost, all brokers have the same view, and each
    /// change of a canonical result that somebody had been told was reported once.
    #[test]
    fn law_brokers_reconvene(
        strategy in proptest::sample::select(StrategyKind::ALL.to_vec()),
        steps in vec(step(), 1..60),
    ) {
        let (mut world, jobs) = run(strategy, &steps);
        calm(&mut world);
        for job in &jobs {
            let view = world.job(0, *job);
            for broker in 1..BROKERS {
                prop_assert_eq!(&view, &world.job(broker, *job));
            }
            let over = matches!(view.status, JobStatus::Completed | JobStatus::Cancelled | JobStatus::Failed);
            prop_assert!(over, "{:?} is {:?}", job, view);
        }
        for broker in 0..BROKERS {
            prop_assert_eq!(world.coordinator(broker).statistics().fact_faults, 0);
        }
        reported_once(&world, &jobs)?;
    }

    #[test]
    fn law_same_seed_same_outputs(
        strategy in proptest::sample::select(StrategyKind::ALL.to_vec()),
        steps in vec(step(), 1..30),
    ) {
        let (one, two) = (run(strategy, &steps).0, run(strategy, &steps).0);
        prop_assert_eq!(one.log, two.log);
    }

    #[test]
    fn law_no_message_is_a_panic(inputs in vec(message(), 1..80)) {
        let config = Config::new(StrategyKind::PriorityBased).build().unwrap();
        let own = Identity { node: node(1), replica: replica(1), incarnation: 1 };
        let mut coordinator = Coordinator::open(config, own, Vec::new(), at(0));
        let mut now = 0;
        for number in 1..=3 {
            let spec = JobSpec::new(Vec::new()).with_demand(Resources::new(number, 0, 0));
            coordinator.handle(at(0), Input::Command { ticket: Ticket(number), command: Command::Submit { spec } });
        }
        for (from, wait, message) in inputs {
            now += wait;
            coordinator.handle(at(now), Input::FromExecutor { from: node(from), message });
            while let Some(output) = coordinator.poll_output() {
                if let Output::Write { ticket, .. } = output {
                    coordinator.handle(at(now), Input::Written { ticket });
                }
            }
            let due = coordinator.next_deadline().unwrap();
            prop_assert!(due > at(now).mono, "a deadline is in the future");
        }
    }

    #[test]
    fn law_no_row_is_a_panic(rows in vec((key(), vec(any::<u8>(), 0..40)), 1..40)) {
        let config = Config::new(StrategyKind::PriorityBased).build().unwrap();
        let own = Identity { node: node(1), replica: replica(1), incarnation: 1 };
        let mut coordinator = Coordinator::open(config, own, Vec::new(), at(0));
        for (index, (key, bytes)) in rows.into_iter().enumerate() {
            let row = row(&key, bytes, index as u64 + 1);
            coordinator.handle(at(index as u64), Input::Facts(vec![row]));
        }
    }
}

/// Each broker that named a result and was wrong has said so, never twice the same.
fn reported_once(world: &World, jobs: &[JobId]) -> Result<(), TestCaseError> {
    let mut told: BTreeMap<(usize, JobId), BTreeSet<_>> = BTreeMap::new();
    let mut named = BTreeMap::new();
    for (_, broker, event) in &world.events {
        match &event.kind {
            EventKind::ResultAccepted { job, submission, .. } => {
                named.entry((*broker, *job)).or_insert(*submission);
            }
            EventKind::ResultSuperseded { job, old, new, .. } | EventKind::ResultConfirmed { job, old, new, .. } => {
                prop_assert!(told.entry((*broker, *job)).or_default().insert((*old, *new)), "told twice");
                let before = named.insert((*broker, *job), *new);
                prop_assert_eq!(before, Some(*old), "what is taken back was named before");
            }
            _ => {}
        }
    }
    for ((broker, job), last) in named {
        if jobs.contains(&job) {
            prop_assert_eq!(
                world.coordinator(broker).canonical(job),
                Some(last),
                "the last word is the canonical result"
            );
        }
    }
    Ok(())
}

fn at(ms: u64) -> Now {
    Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_000_000 + ms) }
}

fn any_attempt() -> impl Strategy<Value = AttemptId> {
    (1_u64..3, 0_u64..5, 0_u32..3, 1_u64..3, 0_u32..3).prop_map(|(by, sequence, epoch, owner, number)| AttemptId {
        job: JobId::new(replica(by), sequence),
        epoch: OwnershipEpoch(epoch),
        owner: replica(owner),
        number,
    })
}

fn any_session() -> impl Strategy<Value = SessionEpoch> {
    (0_u64..3).prop_map(|random| SessionEpoch::new(Hlc::default(), random))
}

fn any_held() -> impl Strategy<Value = HeldAttempt> {
    (any_attempt(), any::<u64>(), any::<u16>()).prop_map(|(attempt, tie, progress_bp)| {
        let AttemptId { epoch, owner, number, .. } = attempt;
        HeldAttempt { attempt, token: FencingToken { epoch, tie, owner, number }, progress_bp }
    })
}

/// Any message, at any time, from one of three executors.
fn message() -> impl Strategy<Value = (u8, u64, ToBroker)> {
    let number = prop_oneof![0_u64..3, Just(u64::MAX)];
    let register =
        (any_session(), number.clone(), number.clone(), any::<u32>(), vec(any_held(), 0..4), vec(any_attempt(), 0..3))
            .prop_map(|(session, registration, amount, slots, held, kept)| {
                let (capacity, tags) = (Resources::new(amount, amount, amount), BTreeSet::new());
                ToBroker::Register(Register { session, registration, capacity, slots, tags, held, kept, heir: None })
            });
    let refused = (any_attempt(), any::<bool>()).prop_map(|(attempt, passes)| Refused {
        attempt,
        reason: if passes { Refusal::NoFreeSlot } else { Refusal::Draining },
    });
    let heartbeat = (
        any_session(),
        number.clone(),
        number.clone(),
        vec(any_held(), 0..4),
        vec(any_attempt(), 0..3),
        vec(refused, 0..3),
    )
        .prop_map(|(session, registration, sequence, running, kept, refused)| {
            ToBroker::Heartbeat(Heartbeat { session, registration, sequence, running, kept, refused })
        });
    let submit =
        (any_attempt(), any_session(), number.clone(), any::<bool>(), any::<bool>(), any::<u64>(), any::<u16>())
            .prop_map(|(attempt, session, sequence, current, success, cost_resource_ms, quality_bp)| {
                let spec = JobSpec::new(Vec::new()).with_demand(Resources::new(attempt.job.sequence, 0, 0));
                let spec_digest = if current { spec.digest() } else { SpecDigest([0; 32]) };
                let outcome = if success {
                    Outcome::Success { output: vec![1] }
                } else {
                    Outcome::Failure { error: "é".repeat(200) }
                };
                let digest = ResultDigest([u8::from(success); 32]);
                ToBroker::Submit(Submit {
                    attempt,
                    session,
                    sequence,
                    spec_digest,
                    digest,
                    outcome,
                    cost_resource_ms,
                    quality_bp,
                })
            });
    let leave =
        (any_session(), number).prop_map(|(session, registration)| ToBroker::Leave(Leave { session, registration }));
    let wait = prop_oneof![4 => 0_u64..1_000, 1 => 0_u64..100_000];
    let message = prop_oneof![3 => register, 6 => heartbeat, 4 => submit, 1 => leave];
    (100_u8..103, wait, message)
}

/// Keys of facts, with any bytes under them.
fn key() -> impl Strategy<Value = Key> {
    let one = "0000000000000001";
    let job = format!("job/{one}-{one}");
    let keys = vec![
        format!("{job}/spec"),
        format!("{job}/own/00000002/{one}"),
        format!("{job}/att/00000001/00000001/{one}"),
        format!("{job}/seen/00000001/00000001/{one}/{one}"),
        format!("{job}/sub/{one}/{one}"),
        format!("{job}/settle/{one}"),
        format!("{job}/cancel/{one}"),
        format!("{job}/told/{one}"),
        format!("exec/{:032x}/{one}", 7),
        format!("emg/{one}-{one}/{one}"),
        format!("sys/member/{one}"),
        "app/other".to_owned(),
    ];
    proptest::sample::select(keys).prop_map(|key| Key::new(key).unwrap())
}

fn row(key: &Key, mut bytes: Vec<u8>, counter: u64) -> Record {
    use reconvene_clock::{Counter, Dot, Height};
    use reconvene_store::{Body, Class, KeyContext, Version};
    if let Some(first) = bytes.first_mut() {
        // Most get past the version.
        *first = u8::from(*first < 240);
    }
    let version = Version {
        dot: Dot::new(replica(1), Counter::new(counter).unwrap()),
        context: KeyContext::new(),
        height: Height::MIN,
        hlc: Hlc::default(),
        class: Class::NORMAL,
        body: Body::of(bytes),
    };
    Record::new(key.clone(), [version]).unwrap()
}
