//! The table of bad input, row by row: each gets its typed answer, and nothing acknowledged is lost.

use reconvene_broker::{
    Command, CommandError, Config, Coordinator, EventKind, Fact, FactKey, Input, JobStatus, LossCause, Output, Phase,
    Reply, SpecFact, StrategyKind,
};
use reconvene_clock::{Height, Hlc, Timestamp, WallTime};
use reconvene_executor::message::{Heartbeat, ToBroker, ToExecutor};
use reconvene_executor::{Answer, EmergencyId, Finality, JobId, JobSpec, Rejection, ResultDigest, SubmissionId, Tag};
use reconvene_store::{Class, Key, PlanError};
use reconvene_sync::Ticket;

use crate::world::{SECOND, World, node, replica};

const A: usize = 0;
const B: usize = 1;
const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

fn spec() -> JobSpec {
    JobSpec::new(b"work".to_vec())
}

fn faults(world: &World, broker: usize) -> Vec<(String, String)> {
    let faults = world.kinds(broker).filter_map(|(_, kind)| match kind {
        EventKind::FactFault { key, reason } => Some((key.clone(), reason.clone())),
        _ => None,
    });
    faults.collect()
}

/// A world in which these settings hold at A.
fn with(change: impl FnOnce(&mut Config)) -> World {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    change(&mut world.brokers[A].config);
    world.start(A);
    world
}

#[test]
fn spec_invalid() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let past = WallTime::from_millis(1);
    for (bad, named) in [
        (spec().with_value(0), ("value", "0".to_owned())),
        (spec().with_value(1_000_001), ("value", "1000001".to_owned())),
        (spec().with_deadline(past), ("deadline", past.to_string())),
        (spec().with_client("x".repeat(200), 1), ("client bytes", "200".to_owned())),
    ] {
        match world.command(A, Command::Submit { spec: bad }) {
            Err(CommandError::Spec { field, value, expected }) => {
                assert_eq!((field.as_str(), value), (named.0, named.1));
                assert!(!expected.is_empty());
            }
            other => panic!("{named:?}: {other:?}"),
        }
    }
    assert_eq!(world.coordinator(A).jobs().count(), 0);
    assert!(world.brokers[A].store.keys().all(|key| !key.to_string().starts_with("job/")), "nothing was written");
    // A tag that is none cannot be made; resources have three dimensions and no room for a fourth.
    assert!(Tag::new("No Tag").is_err() && Tag::new("").is_err());
}

#[test]
fn queue_full_disk_full_or_store_error() {
    let mut world = with(|config| config.max_jobs = 2);
    for _ in 0..2 {
        world.submit_job(A, spec());
    }
    let busy = world.command(A, Command::Submit { spec: spec() });
    assert!(matches!(busy, Err(CommandError::Busy { retry_after_ms: 1.., .. })), "{busy:?}");
    assert_eq!(world.coordinator(A).jobs().count(), 2);

    // A store that does not take the write: not admitted, and nothing else was said.
    let mut broker = Coordinator::open(
        Config::new(StrategyKind::FirstComeFirstServed).build().unwrap(),
        world.brokers[A].identity,
        Vec::new(),
        world.at(),
    );
    broker.handle(world.at(), Input::Command { ticket: Ticket(7), command: Command::Submit { spec: spec() } });
    let Some(Output::Write { ticket, .. }) = broker.poll_output() else { panic!() };
    assert_eq!(broker.poll_output(), None, "not acknowledged before it is durable");
    let key = Key::try_from("job/x").unwrap();
    let error = PlanError::ValueTooLarge { key, len: 9, limit: 8 };
    broker.handle(world.at(), Input::WriteRefused { ticket, error });
    let said: Vec<_> = std::iter::from_fn(|| broker.poll_output()).collect();
    let [Output::Reply { ticket: Ticket(7), reply: Err(CommandError::Store { reason }) }] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(reason.contains("limit") || reason.contains('8'), "{reason}");
    assert_eq!(broker.jobs().count(), 0);
}

#[test]
fn result_too_large_or_digest_mismatch() {
    let mut world = with(|config| config.result_max = 8);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let attempt = world.started(x).1;
    let large = world.result(x, attempt, b"more than eight");
    let answer = world.submit(x, A, large.clone());
    assert_eq!(answer, Answer::Rejected(Rejection::TooLarge { limit: 8 }));
    let mut other = world.result(x, attempt, b"short");
    other.digest = ResultDigest::of(b"other");
    let found = ResultDigest::of(b"short");
    assert_eq!(world.submit(x, A, other), Answer::Rejected(Rejection::DigestMismatch { found }));
    assert!(!answer.is_final() && world.executors[x].kept.contains(&attempt), "the executor keeps it");
    assert_eq!(world.coordinator(A).statistics().damaged, 2);
    // The job does not wait for it: it is placed again.
    let lost = |kind: &EventKind| matches!(kind, EventKind::AttemptLost { cause: LossCause::ResultRefused, .. });
    assert_eq!(world.count(A, lost), 1);
    assert_eq!(world.job(A, job).attempts[0].phase, Some(Phase::Lost));
    // A broker that takes as much takes it still.
    assert_eq!(world.submit(x, B, large), ACCEPTED);
    assert_eq!(world.job(A, job).status, JobStatus::Completed);
}

#[test]
fn parked_store_full_and_parked_expired() {
    let mut world = with(|config| (config.parked_limit, config.parked_ttl_ms) = (1, 100 * SECOND));
    let x = world.add_executor(B, 4);
    world.cut(A, B);
    let (one, two) = (world.submit_job(B, spec()), world.submit_job(B, spec()));
    world.run_to(10);
    let [first, second] = [one, two].map(|job| world.starts(job)[0].2);
    let first = world.result(x, first, b"one");
    let second = world.result(x, second, b"two");
    assert_eq!(world.submit(x, A, first.clone()), Answer::Parked { until_ms: 100 * SECOND });
    assert!(matches!(world.submit(x, A, second.clone()), Answer::Busy { retry_after_ms: 1.. }));
    world.run_to(111);
    let expired: Vec<_> = world.kinds(A).filter(|(_, kind)| matches!(kind, EventKind::ParkedExpired { .. })).collect();
    assert_eq!(expired, [(110 * SECOND, &EventKind::ParkedExpired { job: one, attempt: first.attempt })]);
    // A later copy is welcome: first kept again, and judged when the job is known.
    assert!(matches!(world.submit(x, A, first), Answer::Parked { .. }));
    assert!(matches!(world.submit(x, A, second.clone()), Answer::Busy { .. }));
    world.heal(A, B);
    assert_eq!(world.job(A, one).result.unwrap().submission.accepted_by, replica(1));
    assert_eq!(world.submit(x, A, second), ACCEPTED);
}

#[test]
fn unknown_executor_wrong_role_or_no_authority() {
    // Certificates and roles are the transport's to check, which says no more than that. Here: who never registered is
    // told so, and who may not declare an emergency hears nothing else.
    let mut world = with(|config| config.max_emergency_level = 50);
    let x = world.add_executor(B, 1);
    let (session, from) = (world.executors[x].session, world.executors[x].node);
    let nobody = node(77);
    let mut broker = world.brokers[A].coordinator.take().unwrap();
    let heartbeat = Heartbeat { session, registration: 1, sequence: 1, running: vec![], kept: vec![], refused: vec![] };
    for from in [nobody, from] {
        let message = ToBroker::Heartbeat(heartbeat.clone());
        broker.handle(world.at(), Input::FromExecutor { from, message });
        let said: Vec<_> = std::iter::from_fn(|| broker.poll_output()).collect();
        let refused = ToExecutor::NotRegistered { registration: 1 };
        assert_eq!(said, [Output::SendExecutor { to: from, message: refused }], "and nothing is written");
    }
    world.brokers[A].coordinator = Some(broker);
    let command = Command::DeclareEmergency { level: 200, region: String::new(), lifetime_ms: 0 };
    let refused = world.command(A, command).unwrap_err();
    assert_eq!((&refused, refused.to_string().as_str()), (&CommandError::NotAuthorised, "not authorised"));
}

#[test]
fn unknown_fact_class_from_a_newer_peer() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, spec());
    let before = (world.events.len(), world.job(A, job));
    for key in [format!("job/{job}/novelty/{}", replica(2)), "novel/thing".to_owned()] {
        world.write_as(B, &key, Class::NORMAL, b"of a later version".to_vec());
        let key = Key::try_from(key.as_str()).unwrap();
        assert!(world.brokers[A].store.contains_key(&key), "kept and passed on");
    }
    assert_eq!((world.events.len(), world.job(A, job)), before, "and not folded");
}

#[test]
fn two_specs_for_one_id() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, spec());
    world.run_to(1);
    let mut specs: Vec<_> = [b"one".to_vec(), b"two".to_vec()].into_iter().map(JobSpec::new).collect();
    specs.push(spec());
    specs.sort_by_key(JobSpec::digest);
    let policy = world.job(A, job).policy.unwrap();
    for other in &specs {
        let fact = SpecFact {
            spec: other.clone(),
            submitted: Hlc::default(),
            height: Height::MIN,
            policy,
            reappearance: Default::default(),
        };
        let bytes = Fact::Spec(Box::new(fact)).encode().unwrap();
        // The store has both as siblings; here they come one by one.
        let record = world.row(B, &FactKey::Spec(job).to_string(), Class::NORMAL, bytes);
        for broker in [A, B] {
            world.input(broker, Input::Facts(vec![record.clone()]));
        }
    }
    for broker in [A, B] {
        assert_eq!(world.job(broker, job).spec, Some(specs[0].digest()), "the smaller digest, everywhere");
        assert!(!faults(&world, broker).is_empty());
        assert!(faults(&world, broker).iter().all(|(key, reason)| {
            *key == FactKey::Spec(job).to_string() && reason.contains("two specifications of one job")
        }));
    }
}

#[test]
fn counter_or_epoch_near_its_maximum_or_overflowing_duration() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let out_of_range = |reply: Result<Reply, CommandError>| matches!(reply, Err(CommandError::OutOfRange { .. }));
    let declare = |lifetime_ms| Command::DeclareEmergency { level: 1, region: String::new(), lifetime_ms };
    assert!(out_of_range(world.command(A, declare(u64::MAX))));
    let level = Command::DeclareEmergency { level: 201, region: String::new(), lifetime_ms: 1 };
    assert!(out_of_range(world.command(A, level)));

    // The last number that this incarnation can give was given.
    let job = JobId::new(replica(1), u64::MAX);
    let policy = Config::new(StrategyKind::FirstComeFirstServed).policy.id();
    let fact = SpecFact {
        spec: spec(),
        submitted: Hlc::default(),
        height: Height::MIN,
        policy,
        reappearance: Default::default(),
    };
    world.write_as(A, &FactKey::Spec(job).to_string(), Class::NORMAL, Fact::Spec(Box::new(fact)).encode().unwrap());
    let known = world.brokers[A].store.len();
    assert!(out_of_range(world.command(A, Command::Submit { spec: spec() })));
    assert_eq!(world.brokers[A].store.len(), known, "refused before storing");
    let id = EmergencyId { declared_by: replica(1), number: u64::MAX };
    let emergency = reconvene_broker::EmergencyFact {
        revision: u64::MAX,
        revoked: false,
        level: 1,
        region: String::new(),
        issued: WallTime::from_millis(0),
        expires: WallTime::from_millis(u64::MAX),
    };
    let key = FactKey::Emergency { id, by: replica(1) }.to_string();
    world.write_as(A, &key, Class::URGENT, Fact::Emergency(emergency).encode().unwrap());
    assert!(out_of_range(world.command(A, declare(1))));
    assert!(out_of_range(world.command(A, Command::RevokeEmergency { id })));
    let mut config = Config::new(StrategyKind::FirstComeFirstServed);
    config.lease_ms = u64::MAX;
    assert!(config.build().is_err());
    assert!(Timestamp::from_millis(u64::MAX).saturating_add(1) == Timestamp::from_millis(u64::MAX));
}

#[test]
fn a_fact_that_cannot_be_folded() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, spec());
    let bad = FactKey::Submission { job, id: SubmissionId { accepted_by: replica(2), number: 9 } }.to_string();
    let aside = |world: &World| world.coordinator(A).set_aside().map(|aside| aside.key.clone()).collect::<Vec<_>>();
    world.write_as(B, &bad, Class::URGENT, b"\x01not a submission".to_vec());
    assert_eq!(aside(&world), std::slice::from_ref(&bad));
    assert_eq!(faults(&world, A).len(), 1);
    let entry = world.coordinator(A).set_aside().next().unwrap().clone();
    assert_eq!(entry.digest, reconvene_clock::digest::sha256(b"\x01not a submission"));
    assert!(entry.reason.starts_with("fact of 17 bytes: "), "{}", entry.reason);
    // The same again is no news, and the rest goes on.
    world.heal(A, B);
    world.write_as(B, &bad, Class::URGENT, b"\x01not a submission".to_vec());
    assert_eq!((faults(&world, A).len(), aside(&world).len()), (1, 1));
    let x = world.add_executor(A, 1);
    world.run_to(10);
    let attempt = world.started(x).1;
    assert_eq!(world.finish(x, A, attempt, b"done"), ACCEPTED);
    assert_eq!(world.job(B, job).status, JobStatus::Completed);
}
