use reconvene_broker::{Config, EventKind, JobStatus, Reply};
use reconvene_clock::Hlc;
use reconvene_executor::{JobId, JobSpec, SessionEpoch, TraceJob};
use reconvene_resolve::StrategyKind;
use reconvene_sync::NetworkId;

use super::*;

const SYNC_MS: u64 = 1_000;

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// `brokers` brokers with one executor each.
fn world(seed: u64, brokers: usize) -> World {
    world_of(WorldConfig::new(seed), brokers)
}

fn world_of(config: WorldConfig, brokers: usize) -> World {
    let mut world = World::new(config);
    for broker in 0..brokers {
        let sync = sync::Config::new(NetworkId::new([7; 16]), 0).scaled(SYNC_MS);
        let lifecycle = Config::new(StrategyKind::FirstComeFirstServed).scaled(SYNC_MS).build().unwrap();
        assert_eq!(world.add_broker(NodeConfig::new(sync, lifecycle)).unwrap(), broker);
    }
    for broker in 0..brokers {
        let session = SessionEpoch { start: Hlc::from_u64(0), random: 0 };
        let mut config = AgentConfig::new(session, 0).scaled(SYNC_MS);
        config.slots = 2;
        config.capacity.cpu_milli = 2_000;
        assert_eq!(world.add_executor(config, &[broker]).unwrap(), broker);
    }
    world
}

fn submit(world: &mut World, broker: usize, run_ms: u64) -> JobId {
    let job = TraceJob { run_ms, input: b"input".to_vec(), varies: true };
    let command = Command::Submit { spec: JobSpec::new(job.encode().unwrap()) };
    match world.command(broker, command).unwrap() {
        Ok(Reply::Submitted { job }) => job,
        other => panic!("{other:?}"),
    }
}

fn status(world: &World, broker: usize, job: JobId) -> Option<JobStatus> {
    Some(world.broker(broker).unwrap().coordinator().job(job)?.status)
}

#[test]
fn a_job_runs_and_every_broker_names_its_result() {
    let mut world = world(1, 3);
    world.run_until(ms(3_000)).unwrap();
    let job = submit(&mut world, 2, 500);
    world.run_until(ms(3_400)).unwrap();
    assert_eq!(status(&world, 2, job), Some(JobStatus::Running));
    world.run_until(ms(8_000)).unwrap();
    let roots: BTreeSet<String> = (0..3)
        .map(|broker| {
            assert_eq!(status(&world, broker, job), Some(JobStatus::Completed));
            world.broker(broker).unwrap().replica().head().digest().root.to_string()
        })
        .collect();
    assert_eq!(roots.len(), 1, "all hold the same");
    let happened = world.take_happened();
    let ran =
        |what: &What| matches!(what, What::RunEnded { executor: 2, attempt, digest: Some(_) } if attempt.job == job);
    assert_eq!(happened.iter().filter(|happened| ran(&happened.what)).count(), 1);
    assert!(happened.is_sorted_by_key(|happened| happened.at));
}

/// Cuts broker 0 and its executor off, runs, heals, runs, and writes down everything that happened.
fn cut_and_heal(config: WorldConfig) -> String {
    let seed = config.seed;
    let mut world = world_of(config, 3);
    world.run_until(ms(3_000)).unwrap();
    let job = submit(&mut world, 0, 30_000);
    world.run_until(ms(6_000)).unwrap();
    let alone = [Place::Broker(0), Place::Executor(0)];
    let others = [Place::Broker(1), Place::Broker(2), Place::Executor(1), Place::Executor(2)];
    for (a, b) in alone.into_iter().flat_map(|a| others.map(|b| (a, b))) {
        world.cut(a, b);
    }
    world.run_until(ms(14_000)).unwrap();
    let taken = |what: &What| {
        matches!(what, What::Broker { event: NodeEvent::Job(event), .. }
            if matches!(event.kind, EventKind::OwnershipTaken { job: other, .. } if other == job))
    };
    assert!(world.happened.iter().any(|happened| taken(&happened.what)), "the other side takes the job over");
    for (a, b) in alone.into_iter().flat_map(|a| others.map(|b| (a, b))) {
        world.heal(a, b);
    }
    world.run_until(ms(60_000)).unwrap();
    for broker in 0..3 {
        assert_eq!(status(&world, broker, job), Some(JobStatus::Completed), "seed {seed}, broker {broker}");
    }
    world.take_happened().into_iter().map(|happened| format!("{happened:?}\n")).collect()
}

#[test]
fn law_same_seed_same_events() {
    let run = |seed| cut_and_heal(WorldConfig::new(seed));
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn links_that_lose_repeat_and_reorder_change_nothing_in_the_end() {
    let mut config = WorldConfig::new(8);
    config.delay_ms = 1..=30;
    config.loss_per_mille = 50;
    config.duplicate_per_mille = 50;
    cut_and_heal(config);
}

#[test]
fn a_link_outlives_a_short_cut_and_not_a_long_one() {
    let mut world = world(3, 2);
    world.run_until(ms(3_000)).unwrap();
    let (a, b) = (Place::Broker(0), Place::Broker(1));
    let pair = world.pair(a, b).unwrap();
    assert!(world.links.contains(&pair));
    world.cut(a, b);
    world.run_until(ms(3_500)).unwrap();
    world.heal(a, b);
    world.run_until(ms(3_900)).unwrap();
    assert!(world.links.contains(&pair), "healed before anybody noticed");
    world.cut(a, b);
    world.run_until(ms(4_501)).unwrap();
    assert!(!world.links.contains(&pair));
    world.heal(a, b);
    world.run_until(ms(30_000)).unwrap();
    assert!(world.links.contains(&pair), "dialled again");
}

#[test]
fn what_is_no_trace_job_fails() {
    let mut world = world(4, 1);
    world.run_until(ms(1_000)).unwrap();
    let spec = JobSpec::new(b"no trace job".to_vec());
    let submitted = world.command(0, Command::Submit { spec }).unwrap();
    let Ok(Reply::Submitted { job }) = submitted else { panic!("{submitted:?}") };
    world.run_until(ms(20_000)).unwrap();
    assert_eq!(status(&world, 0, job), Some(JobStatus::Failed));
}

#[test]
fn a_command_to_nobody_is_an_error() {
    let error = world(1, 1).command(1, Command::Statistics).unwrap_err();
    assert!(matches!(error, WorldError::NoReply { broker: 1 }));
}
