//! Explanations, status by status, to the letter.

use reconvene_broker::{
    Choice, Command, CommandError, Config, Explanation, Ground, JobStatus, Obstacle, Policy, Preference, Reply,
    StrategyKind, Subject,
};
use reconvene_executor::message::{Leave, ToBroker};
use reconvene_executor::{Answer, JobId, Reappearance, Resources, SessionEpoch, SubmissionId, Tag};
use reconvene_resolve::{HeadStartMinutes, Reason};

use crate::preemption::{busy, declare, routine, urgent};
use crate::reappearance::Replaced;
use crate::world::{World, attempt, node, replica, spec};

const A: usize = 0;
const B: usize = 1;

fn ask(world: &mut World, broker: usize, of: Subject) -> Explanation {
    match world.command(broker, Command::Explain { of }) {
        Ok(Reply::Explanation(explanation)) => *explanation,
        other => panic!("{other:?}"),
    }
}

fn why(world: &mut World, broker: usize, job: JobId) -> Explanation {
    ask(world, broker, Subject::Job(job))
}

/// What is said of a job, in short: brokers are R1 and R2, executors X0 to X9.
fn words(explanation: &Explanation) -> String {
    let mut text = explanation.to_string();
    for number in 0..10_u8 {
        text = text.replace(&node(100 + number).to_string(), &format!("X{number}"));
        text = text.replace(&format!("{}", replica(u64::from(number) + 1)), &format!("R{}", number + 1));
    }
    text
}

#[track_caller]
fn says(world: &mut World, broker: usize, job: JobId, expected: &str) {
    let explanation = why(world, broker, job);
    assert_eq!(explanation.status, world.job(broker, job).status);
    assert_eq!(words(&explanation), expected.trim());
}

fn result(by: u64, number: u64) -> SubmissionId {
    SubmissionId { accepted_by: replica(by), number }
}

/// One executor at A, whose process crashes.
fn crash(world: &mut World, executor: usize) {
    let session = world.executors[executor].session;
    world.executors[executor].session = SessionEpoch::new(session.start, session.random + 1_000);
    world.executors[executor].running.clear();
    world.register(executor, A);
}

#[test]
fn waiting_without_executors() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let job = world.submit_job(A, spec());
    says(
        &mut world,
        A,
        job,
        "job R1-1: waiting
  as broker R1 knows it; owner R1, epoch 1
  number 1 of 1 waiting here, ranked by FIRST_COME_FIRST_SERVED
  no executor is registered here",
    );
}

#[test]
fn waiting_behind_others_and_for_room() {
    let mut world = World::new(2, StrategyKind::PriorityBased);
    let needs = |tag: &str| spec().with_demand(Resources::new(3_000, 0, 0)).with_tag(Tag::new(tag).unwrap());
    world.add_executor(A, 1);
    world.add_executor_with(A, 4, Resources::new(1_000, 1_000, 0), &["gpu"]);
    world.add_executor_with(A, 4, Resources::new(4_000, 1_000, 0), &["gpu"]);
    world.add_executor_with(B, 4, Resources::new(4_000, 1_000, 0), &["gpu"]);
    world.submit_job(A, needs("gpu"));
    let graver = world.submit_job(A, needs("gpu").with_priority(200));
    world.run_to(10);
    let job = world.submit_job(A, needs("gpu").with_priority(50));
    says(
        &mut world,
        A,
        job,
        "job R1-3: waiting
  as broker R1 knows it; owner R1, epoch 1
  number 2 of 2 waiting here, ranked by PRIORITY_BASED
  behind R1-2 in virtual start by 2127.8 s; to go first: it needs 36 min more head start
  executor X0: no executor with the tags: missing gpu
  executor X1: too small even when idle: short of 2000 in cpu
  executor X2: waiting for capacity: short of 2000 in cpu
  executor X3: takes its orders from broker R2
  it would start if executor X2 had 2000 more cpu free
  4 slots at other brokers could run it; to hand it over is considered within 60 s",
    );
    says(
        &mut world,
        B,
        job,
        "job R1-3: waiting
  as broker R2 knows it; owner R1, epoch 1
  its owner places it: ask there what it waits for",
    );
    assert!(!words(&why(&mut world, A, graver)).contains("behind"), "it is the first");
}

#[test]
fn each_obstacle_of_an_executor_has_words() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let (busy, refusing, silent, gone) =
        (world.add_executor(A, 1), world.add_executor(A, 1), world.add_executor(A, 1), world.add_executor(A, 1));
    for executor in [refusing, silent, gone] {
        world.executors[executor].refusing = true;
    }
    world.submit_job(A, spec());
    world.run_to(100);
    let from = world.executors[gone].node;
    let (session, registration) = (world.executors[gone].session, world.executors[gone].registration);
    world.executors[gone].alive = false;
    world.input(
        A,
        reconvene_broker::Input::FromExecutor { from, message: ToBroker::Leave(Leave { session, registration }) },
    );
    world.executors[silent].alive = false;
    world.run_to(121);
    let job = world.submit_job(A, spec());
    world.run_to(126);
    says(
        &mut world,
        A,
        job,
        "job R1-2: waiting
  as broker R1 knows it; owner R1, epoch 1
  number 1 of 1 waiting here, ranked by FIRST_COME_FIRST_SERVED
  executor X0: none of its 1 slots is free
  executor X1: refused it; asked again in 41 s
  executor X2: silent for 26 s
  it would start if executor X0 had a free slot
  attempt 1.1 of R1 on executor X1: refused; the first attempt, there because no other could take the job then; placed 5 s ago",
    );
    assert_eq!(world.starts(job)[0].1, refusing);
    let executors = why(&mut world, A, job).grounds.into_iter().filter_map(|ground| match ground {
        Ground::Executor { obstacle, .. } => Some(obstacle.code()),
        _ => None,
    });
    assert_eq!(executors.collect::<Vec<_>>(), ["NoFreeSlot", "Refused", "Silent"]);
    assert!(world.executors[busy].alive);
}

#[test]
fn emergencies_that_give_a_level_and_that_do_not() {
    let mut world = World::new(1, StrategyKind::EmergencyFirst);
    world.add_executor(A, 1);
    world.submit_job(A, spec());
    let declare = Command::DeclareEmergency { level: 200, region: "north".to_owned(), lifetime_ms: 60_000 };
    let Ok(Reply::EmergencyDeclared { id }) = world.command(A, declare) else { panic!() };
    let job = world.submit_job(A, spec().with_emergency(id).with_region("north/pier"));
    let outside = world.submit_job(A, spec().with_emergency(id).with_region("south"));
    says(
        &mut world,
        A,
        outside,
        "job R1-3: waiting
  as broker R1 knows it; owner R1, epoch 1
  number 2 of 2 waiting here, ranked by EMERGENCY_FIRST
  behind R1-2 in tier by 200 levels; to go first: it needs an emergency 201 levels higher
  executor X0: none of its 1 slots is free
  it would start if executor X0 had a free slot
  emergency R1-1, which it names, does not cover its region: no level",
    );
    let level = |world: &mut World, job| {
        let grounds = why(world, A, job).grounds;
        grounds.into_iter().find(|ground| matches!(ground, Ground::Emergency { .. })).unwrap().to_string()
    };
    assert_eq!(level(&mut world, job), "serves emergency 0000000000000001-1, level 200");
    world.run_to(61);
    assert_eq!(level(&mut world, job), "emergency 0000000000000001-1, which it names, has ended: no level");
}

#[test]
fn offered_running_lost_and_redeployed() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    world.executors[x].alive = false;
    let job = world.submit_job(A, spec());
    says(&mut world, A, job, "job R1-1: dispatched
  as broker R1 knows it; owner R1, epoch 1
  attempt 1.1 of R1 on executor X0: offered; the first attempt, there because no other could take the job then; placed 0 ms ago");
    world.executors[x].alive = true;
    world.run_to(10);
    says(&mut world, A, job, "job R1-1: running
  as broker R1 knows it; owner R1, epoch 1
  attempt 1.1 of R1 on executor X0: running; the first attempt, there because no other could take the job then; placed 10 s ago");
    world.executors[x].alive = false;
    world.run_to(60);
    says(&mut world, A, job, "job R1-1: redeploying
  as broker R1 knows it; owner R1, epoch 1
  number 1 of 1 waiting here, ranked by FIRST_COME_FIRST_SERVED
  executor X0: gone
  it would start if executor X0 registered again
  attempt 1.1 of R1 on executor X0: lost, as nothing was heard of it for longer than its lease; the first attempt, there because no other could take the job then; placed 60 s ago");
    world.add_executor(A, 1);
    world.run_to(65);
    says(&mut world, A, job, "job R1-1: running
  as broker R1 knows it; owner R1, epoch 1
  attempt 1.1 of R1 on executor X0: lost, as nothing was heard of it for longer than its lease; the first attempt; placed 65 s ago; replaced by 1.2 of R1
  attempt 1.2 of R1 on executor X1: running; made because the one before was lost, there because no other could take the job then; placed 5 s ago");
}

/// The words of why the last attempt was placed on its executor.
fn there_because(world: &mut World, job: JobId) -> String {
    let text = words(&why(world, A, job));
    let (_, choice) = text.split_once("there because ").expect("it was placed here");
    choice.split(';').next().unwrap().to_owned()
}

#[test]
fn an_executor_is_chosen_for_what_it_has_in_use() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let room = Resources::new(8_000, 8_000, 0);
    world.add_executor_with(A, 4, room, &[]);
    world.add_executor_with(A, 4, room, &[]);
    let demand = || spec().with_demand(Resources::new(1_000, 1_000, 0));
    let first = world.submit_job(A, demand());
    let second = world.submit_job(A, demand());
    let third = world.submit_job(A, demand());
    world.run_to(10);
    let name = "it was as good as X1 and its name comes first, of 2 that could take it";
    assert_eq!(there_because(&mut world, first), name);
    let less = "it was less busy (0 of 4 slots) than X0 (1 of 4), of 2 that could take it";
    assert_eq!(there_because(&mut world, second), less);
    assert_eq!(there_because(&mut world, third), name);
    assert_eq!([first, second, third].map(|job| world.starts(job)[0].1), [0, 1, 0]);
}

#[test]
fn an_executor_is_chosen_for_how_evenly_it_is_used() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    world.add_executor_with(A, 4, Resources::new(4_000, 16_000, 1_000), &[]);
    world.add_executor_with(A, 4, Resources::new(8_000, 8_000, 1_000), &[]);
    let job = world.submit_job(A, spec().with_demand(Resources::new(2_000, 2_000, 0)));
    world.run_to(10);
    let even = "it was as busy as X0 and is used more evenly with the job, of 2 that could take it";
    assert_eq!(there_because(&mut world, job), even);
    assert_eq!(world.starts(job)[0].1, 1);
}

#[test]
fn an_executor_is_chosen_for_not_having_lost_the_job() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let [x, other] = [(); 2].map(|()| world.add_executor(A, 4));
    let job = world.submit_job(A, spec());
    world.run_to(10);
    // It forgot the job and says so, in its old session: as idle as the other.
    world.executors[x].running.clear();
    world.register(x, A);
    world.run_to(20);
    let explained = why(&mut world, A, job);
    let chosen = explained.grounds.iter().filter_map(|ground| match ground {
        Ground::Attempt { choice, .. } => *choice,
        _ => None,
    });
    let of = Choice::Of { fitting: 2, second: node(100), by: Preference::HadNotLostIt };
    assert_eq!(chosen.collect::<Vec<_>>(), [of], "{explained}");
    assert_eq!(world.starts(job)[1].1, other);
}

#[test]
fn held_back_by_a_storm() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let executors: Vec<_> = (0..3).map(|_| world.add_executor(A, 1)).collect();
    let job = world.submit_job(A, spec());
    world.run_to(100);
    for executor in [1, 2] {
        world.executors[executors[executor]].alive = false;
    }
    world.run_to(121);
    assert!(world.coordinator(A).is_storm_guard_on());
    crash(&mut world, executors[0]);
    world.executors[executors[0]].alive = true;
    says(&mut world, A, job, "job R1-1: redeploying
  as broker R1 knows it; owner R1, epoch 1
  its last attempt was lost while this broker takes itself for cut off (storm guard)
  attempt 1.1 of R1 on executor X0: lost, as its executor came back in a new session; the first attempt, there because it was as good as X1 and its name comes first, of 3 that could take it; placed 121 s ago");
}

#[test]
fn taken_over() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    world.add_executor(B, 1);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    world.stop(A);
    world.executors[x].alive = false;
    world.run_to(170);
    says(&mut world, B, job, "job R1-1: running
  as broker R2 knows it; owner R2, epoch 2
  taken over by its owner, because the one before was silent
  attempt 1.1 of R1 on executor X0: running; the first attempt, there because it was the least busy with room for it; placed 170 s ago");
    world.run_to(220);
    says(&mut world, B, job, "job R1-1: running
  as broker R2 knows it; owner R2, epoch 2
  taken over by its owner, because the one before was silent
  attempt 1.1 of R1 on executor X0: lost, as the broker of its executor is silent; the first attempt; placed 220 s ago; replaced by 2.1 of R2
  attempt 2.1 of R2 on executor X1: running; made because the one before was lost, there because no other could take the job then; placed 18 s ago");
}

#[test]
fn in_quarantine() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    for _ in 0..5 {
        world.add_executor(A, 1);
    }
    let poison = world.submit_job(A, spec());
    for at in [100, 300] {
        world.run_to(at);
        let executor = world.starts(poison).last().unwrap().1;
        world.executors[executor].slots = 0;
        crash(&mut world, executor);
    }
    world.run_to(310);
    says(&mut world, A, poison, "job R1-1: redeploying
  as broker R1 knows it; owner R1, epoch 1
  executors crashed under it: waits until it is clear whether others did too, for 50 s more
  attempt 1.1 of R1 on executor X0: lost, as its executor came back in a new session; the first attempt; placed 310 s ago; replaced by 1.2 of R1
  attempt 1.2 of R1 on executor X1: lost, as its executor came back in a new session; made because the one before was lost, there because it was as good as X2 and its name comes first, of 4 that could take it; placed 210 s ago");
    world.run_to(400);
    says(&mut world, A, poison, "job R1-1: quarantined
  as broker R1 knows it; owner R1, epoch 1
  in quarantine: executors crashed under attempts placed by R1, and no others did; an operator has to release it
  attempt 1.1 of R1 on executor X0: lost, as its executor came back in a new session; the first attempt; placed 400 s ago; replaced by 1.2 of R1
  attempt 1.2 of R1 on executor X1: lost, as its executor came back in a new session; made because the one before was lost, there because it was as good as X2 and its name comes first, of 4 that could take it; placed 300 s ago");

    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let lost = world.submit_job(A, spec());
    for round in 1..=4 {
        world.run_to(round * 100);
        world.executors[x].running.clear();
        world.register(x, A);
    }
    world.run_to(420);
    says(&mut world, A, lost, "job R1-1: quarantined
  as broker R1 knows it; owner R1, epoch 1
  in quarantine: 4 attempts placed by R1 were lost; released in 580 s
  attempt 1.1 of R1 on executor X0: lost, as its executor registered without it; the first attempt; placed 420 s ago; replaced by 1.4 of R1
  attempt 1.2 of R1 on executor X0: lost, as its executor registered without it; made because the one before was lost; placed 320 s ago; replaced by 1.4 of R1
  attempt 1.3 of R1 on executor X0: lost, as its executor registered without it; made because the one before was lost; placed 220 s ago; replaced by 1.4 of R1
  attempt 1.4 of R1 on executor X0: lost, as its executor registered without it; made because the one before was lost, there because no other could take the job then; placed 120 s ago");
}

#[test]
fn failed_and_cancelled() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let failing = world.submit_job(A, spec());
    for at in 1..=3 {
        world.run_to(at * 10);
        let attempt = world.started(x).1;
        let failure = world.failure(x, attempt, "no");
        assert_eq!(world.submit(x, A, failure), Answer::AcceptedFailure);
    }
    says(
        &mut world,
        A,
        failing,
        "job R1-1: failed
  as broker R1 knows it; owner R1, epoch 1
  3 attempts placed by its owner failed, and 2 failures are tried again
  attempt 1.1 of R1 on executor X0: failed; the first attempt; placed 30 s ago; replaced by 1.3 of R1
  attempt 1.2 of R1 on executor X0: failed; made because the one before failed; placed 20 s ago; replaced by 1.3 of R1
  attempt 1.3 of R1 on executor X0: failed; made because the one before failed, there because no other could take the job then; placed 10 s ago
  failure R1/1 of attempt 1.1 of R1 on executor X0: taken, as of the current attempt
  failure R1/2 of attempt 1.2 of R1 on executor X0: taken, as of the current attempt
  failure R1/3 of attempt 1.3 of R1 on executor X0: taken, as of the current attempt",
    );

    let cancelled = world.submit_job(A, spec());
    world.command(A, Command::Cancel { job: cancelled }).unwrap();
    world.run_to(40);
    says(&mut world, A, cancelled, "job R1-2: cancelled
  as broker R1 knows it; owner R1, epoch 1
  cancelled by a client of R1 10 s ago
  attempt 1.1 of R1 on executor X0: offered; the first attempt, there because no other could take the job then; placed 10 s ago");
}

#[test]
fn the_first_result_stands() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let (x, y) = (world.add_executor(A, 4), world.add_executor(A, 4));
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let first = world.started(x).1;
    world.finish(x, A, first, b"one");
    world.run_to(130);
    for (executor, attempt, output) in [
        (x, first, &b"one again"[..]),
        (x, attempt(job, 2, 9, 1), b"other"),
        (y, attempt(job, 2, 9, 2), b"another"),
        (y, attempt(job, 2, 9, 3), b"one"),
    ] {
        let submit = world.result(executor, attempt, output);
        assert!(matches!(world.submit(executor, A, submit), Answer::Rejected(_)));
    }
    says(&mut world, A, job, "job R1-1: completed
  as broker R1 knows it; owner R1, epoch 1
  its result is R1/1: FIRST_COME_FIRST_SERVED had no other to choose from (policy b22dd21e2a0c88e041e936c8aa1ed6c8); the first accepted result stands; provisional: a broker not heard since may know one that goes before it
  attempt 1.1 of R1 on executor X0: finished; the first attempt, there because it was as good as X1 and its name comes first, of 2 that could take it; placed 130 s ago
  result R1/1 of attempt 1.1 of R1 on executor X0: accepted, as no other was known there; it counts
  result R1/2 of attempt 1.1 of R1 on executor X0: refused (D2): the attempt had submitted another result; behind R1/1 in accepted by 120 s; to count: it would have to be 2 min earlier in accepted
  result R1/3 of attempt 2.1 of R9 on executor X0: refused (D3): R1/1 was accepted first, and the first stands; behind R1/1 in accepted by 120 s; to count: it would have to be 2 min earlier in accepted
  result R1/4 of attempt 2.2 of R9 on executor X1: refused (D4): R1/1 was accepted first, and the first stands; behind R1/1 in accepted by 120 s; to count: it would have to be 2 min earlier in accepted
  result R1/5 of attempt 2.3 of R9 on executor X1: refused (D4): R1/1 is the same result, 2 attempts agree; the same result as the one that counts");
    let one = ask(&mut world, A, Subject::Result(result(1, 3)));
    assert_eq!(words(&one), "result R1/3 of job R1-1: completed
  as broker R1 knows it; owner R1, epoch 1
  result R1/3 of attempt 2.1 of R9 on executor X0: refused (D3): R1/1 was accepted first, and the first stands; behind R1/1 in accepted by 120 s; to count: it would have to be 2 min earlier in accepted
  its result is R1/1: FIRST_COME_FIRST_SERVED had no other to choose from (policy b22dd21e2a0c88e041e936c8aa1ed6c8); the first accepted result stands; provisional: a broker not heard since may know one that goes before it");
}

#[test]
fn the_better_result_supersedes() {
    let mut world = World::new(1, StrategyKind::PriorityBased);
    let (x, y) = (world.add_executor(A, 4), world.add_executor(A, 4));
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let first = world.started(x).1;
    world.executors[x].alive = false;
    world.run_to(60);
    let second = world.started(y).1;
    world.register(x, A);
    world.run_to(70);
    for (executor, attempt, quality, at) in
        [(x, first, 9_000, 70), (y, attempt(job, 2, 9, 1), 8_900, 75), (y, second, 9_500, 80)]
    {
        world.run_to(at);
        let mut submit = world.result(executor, attempt, &[quality as u8]);
        submit.quality_bp = quality;
        world.submit(executor, A, submit);
    }
    world.run_to(100);
    let mut best = world.result(x, attempt(job, 2, 9, 3), b"best");
    best.quality_bp = 9_900;
    assert!(matches!(world.submit(x, A, best), Answer::Rejected(_)));
    says(&mut world, A, job, "job R1-1: completed
  as broker R1 knows it; owner R1, epoch 1
  its result is R1/3: PRIORITY_BASED chose it of 2, in quality 500 bp ahead of the second (policy c4fd8af3b25c9741dfec5c6897a3db41); settled, no challenger is admitted; provisional: a broker not heard since may know one that goes before it
  attempt 1.1 of R1 on executor X0: finished; the first attempt; placed 100 s ago; replaced by 1.2 of R1
  attempt 1.2 of R1 on executor X1: finished; made because the one before was lost, there because no other could take the job then; placed 48 s ago
  result R1/1 of attempt 1.1 of R1 on executor X0: accepted, as no other was known there; superseded by R1/3 in quality by 500 bp; to count: it needs 500 bp more in quality
  result R1/2 of attempt 2.1 of R9 on executor X1: refused (D4): R1/1 goes before it; behind R1/3 in quality by 600 bp; to count: it needs 600 bp more in quality
  result R1/3 of attempt 1.2 of R1 on executor X1: accepted as a challenger (D4); it counts
  result R1/4 of attempt 2.3 of R9 on executor X0: refused (D4): the job was settled, with R1/3; to count: it would have had to come before the job was settled");
    let superseded = ask(&mut world, A, Subject::Result(result(1, 1)));
    let Ground::Judged { standing: Some(Reason::LostTo { link, margin, .. }), .. } = &superseded.grounds[0] else {
        panic!("{superseded:?}")
    };
    assert_eq!((link.as_ref(), *margin), ("quality", 500));
}

#[test]
fn two_sides_of_a_cut() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let (x, z) = (world.add_executor(A, 1), world.add_executor(B, 1));
    let job = world.submit_job(A, spec());
    world.run_to(10);
    world.cut(A, B);
    world.run_to(202);
    let second = world.started(z).1;
    world.run_to(210);
    world.finish(x, A, attempt(job, 1, 1, 1), b"one");
    world.run_to(270);
    world.finish(z, B, second, b"two");
    world.heal(A, B);
    says(&mut world, B, job, "job R1-1: completed
  as broker R2 knows it; owner R2, epoch 2
  its result is R1/1: FIRST_COME_FIRST_SERVED chose it of 2, in accepted 60 s ahead of the second (policy b22dd21e2a0c88e041e936c8aa1ed6c8); the first accepted result stands; provisional: a broker not heard since may know one that goes before it
  taken over by its owner, because the one before was silent
  attempt 1.1 of R1 on executor X0: finished; the first attempt; placed 270 s ago; replaced by 2.1 of R2
  attempt 2.1 of R2 on executor X1: finished; made because the one before was lost, there because no other could take the job then; placed 68 s ago
  result R1/1 of attempt 1.1 of R1 on executor X0: accepted, as no other was known there; it counts
  result R2/1 of attempt 2.1 of R2 on executor X1: accepted, as no other was known there; superseded by R1/1 in accepted by 60 s; to count: it would have to be 1 min earlier in accepted");
    assert_eq!(why(&mut world, A, job).grounds.len(), why(&mut world, B, job).grounds.len());
}

#[test]
fn results_of_a_job_that_is_not_known() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    world.cut(A, B);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    assert_eq!(world.command(B, Command::Explain { of: Subject::Job(job) }), Err(CommandError::UnknownJob { job }));
    let attempt = world.started(x).1;
    let submit = world.result(x, attempt, b"one");
    assert!(matches!(world.submit(x, B, submit), Answer::Parked { .. }));
    let parked = why(&mut world, B, job);
    assert_eq!(
        (parked.status, words(&parked).as_str()),
        (
            JobStatus::Unknown,
            "job R1-1: unknown
  as broker R2 knows it; owner R1, epoch 1
  its specification has not arrived here; something that did refers to it
  a result of attempt R1-1/1.1@R1 by executor X0 is kept here until the job is known, for 604800 s more at most"
        )
    );
    let of = Subject::Result(result(7, 7));
    assert_eq!(world.command(A, Command::Explain { of }), Err(CommandError::UnknownResult { result: result(7, 7) }));
}

#[test]
fn results_that_nobody_here_can_judge() {
    let policy = Policy::priority_based(HeadStartMinutes { priority: 7, ..HeadStartMinutes::PRIORITY_BASED }).unwrap();
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let mut config = Config::new(StrategyKind::FirstComeFirstServed);
    config.policy = policy.clone();
    world.brokers[A].config = config;
    world.start(A);
    let x = world.add_executor(A, 1);
    let job = world.submit_job(A, spec());
    world.run_to(10);
    let attempt = world.started(x).1;
    world.finish(x, A, attempt, b"one");
    // The definition of the policy has not come to B.
    let is_policy = |key: &reconvene_store::Key| key.to_string().starts_with("policy/");
    world.brokers[B].store.retain(|key, _| !is_policy(key));
    world.start(B);
    let explained = why(&mut world, B, job);
    assert!(explained.grounds.contains(&Ground::AwaitingPolicy { policy: policy.id() }), "{explained}");
}

#[test]
fn lists_are_cut_and_say_so() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    for _ in 0..20 {
        world.add_executor(A, 1);
    }
    let gpu = spec().with_tag(Tag::new("gpu").unwrap());
    let jobs: Vec<_> = (0..20).map(|_| world.submit_job(A, gpu.clone())).collect();
    let explained = why(&mut world, A, jobs[19]);
    let count = |wanted: fn(&Ground) -> bool| explained.grounds.iter().filter(|ground| wanted(ground)).count();
    assert_eq!(count(|ground| matches!(ground, Ground::Executor { .. })), Explanation::LISTED);
    assert_eq!(count(|ground| matches!(ground, Ground::MoreExecutors { more: 4 })), 1);
    assert_eq!(count(|ground| matches!(ground, Ground::Queued { place: 20, waiting: 20, .. })), 1);
    let ahead = explained.grounds.iter().filter_map(|ground| match ground {
        Ground::Behind { job, .. } => Some(*job),
        _ => None,
    });
    assert_eq!(ahead.collect::<Vec<_>>(), jobs[3..19], "those directly ahead");
    let missing = ["gpu".to_owned()].into();
    let obstacle = Obstacle::Reason(Reason::NoExecutorWithTags { missing });
    assert!(explained.grounds.contains(&Ground::WouldStartIf { executor: node(100), obstacle }));
}

#[test]
fn who_is_preempted_and_who_waits_for_the_room_that_is_kept() {
    let (mut world, victim) = busy(120, None);
    let id = declare(&mut world, A, 200, "north");
    let graver = world.submit_job(A, urgent(id));
    let other = world.submit_job(A, routine());
    let kept = |text: &str| text.lines().find(|line| line.contains("is kept")).unwrap_or("").trim().to_owned();
    let text = words(&why(&mut world, A, graver));
    let place = "room at executor X0 is kept for R1-2, for 60 s more at most; 1 attempt there comes to an end for it";
    assert_eq!(kept(&text), place);
    assert_eq!(kept(&words(&why(&mut world, A, other))), place);
    world.run_to(200);
    let text = words(&why(&mut world, A, victim));
    assert_eq!(
        text.lines().find(|line| line.contains("graver")).unwrap().trim(),
        "attempt 1.1 of R1 was stopped so that R1-2, which is graver, got its place"
    );
}

#[test]
fn why_nobody_is_preempted() {
    let (mut world, _) = busy(1, None);
    let id = declare(&mut world, A, 200, "north");
    let graver = world.submit_job(A, urgent(id));
    let text = words(&why(&mut world, A, graver));
    let said = text.lines().find(|line| line.contains("preemption")).unwrap_or("");
    assert_eq!(said.trim(), "no preemption: nothing of a lower tier runs");
}

#[test]
fn what_becomes_of_attempts_when_a_lost_one_comes_back() {
    for (policy, expected) in [
        (Reappearance::FirstResult, "by first-result all go on until one has a result"),
        (Reappearance::KeepOriginal, "by keep-original 1.2 of R1 was stopped, and 1.1 of R1 goes on"),
        (Reappearance::KeepReplacement, "by keep-replacement 1.1 of R1 was stopped, and 1.2 of R1 goes on"),
    ] {
        let mut replaced = Replaced::new(spec().with_reappearance(policy));
        replaced.reappear();
        let job = replaced.job;
        let text = words(&why(&mut replaced.world, A, job));
        let said = text.lines().find(|line| line.contains("came back")).unwrap_or("");
        assert_eq!(said.trim(), format!("a lost attempt came back while another ran: {expected}"));
    }
}
