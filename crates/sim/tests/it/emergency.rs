//! Promise L2 with whole brokers: an emergency on slow links that bulk saturates, and what it does where it arrives.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    clippy::wildcard_enum_match_arm,
    reason = "tests index and add freely"
)]

mod row;

use std::collections::BTreeMap;

use reconvene_broker::{Command, EventKind, JobStatus, Phase, PreemptionRefusal, PreemptionRules, Reply};
use reconvene_executor::message::StopReason;
use reconvene_executor::{self as executor, AttemptId, EmergencyId, JobId, JobSpec, StopCause, TraceJob};

use self::row::{BESIDE_MS, PACKET_BYTES, PROPAGATION_MS, Row, took};

const BROKERS: usize = 5;

/// Propagation, a packet that is on the wire, and the declaration itself.
fn link_ms() -> u64 {
    PROPAGATION_MS + took(PACKET_BYTES) + took(DECLARATION_BYTES)
}

/// Minutes of bulk in both directions of each link: jobs that nobody here can run.
fn saturate(row: &mut Row, jobs: u64) {
    for index in 0..BROKERS {
        for number in 0..jobs {
            let payload: Vec<u8> = (0..20_000_u64).map(|at| (at * 7 + number * 13 + 5) as u8).collect();
            let spec = JobSpec::new(payload).with_tag("nobody-has-this".parse().unwrap());
            row.command(index, Command::Submit { spec });
        }
    }
}

/// Whether bulk waits for this link in either direction.
fn is_busy(row: &Row, index: usize) -> bool {
    row.backlog_ms(index - 1, index).max(row.backlog_ms(index, index - 1)) > took(PACKET_BYTES)
}

fn declare(row: &mut Row) -> EmergencyId {
    let command = Command::DeclareEmergency { level: 200, region: "north".to_owned(), lifetime_ms: 0 };
    match row.command(0, command) {
        Reply::EmergencyDeclared { id } => id,
        other => panic!("{other:?}"),
    }
}

/// Done when an emergency reaches a broker k hops away within k x (link delay + 50 ms), where bulk would take minutes.
#[test]
fn sim_an_emergency_overtakes_bulk_on_every_hop() {
    let mut row = Row::new(BROKERS);
    row.run_until(300_000);
    saturate(&mut row, 60);
    let link_ms = link_ms();
    let mut busy = BTreeMap::<usize, u64>::new();
    let mut longest = [0; BROKERS];
    for number in 1..=DECLARATIONS {
        row.run_until(row.now + 7_300);
        for index in 1..BROKERS {
            *busy.entry(index).or_default() += u64::from(is_busy(&row, index));
        }
        let declared = row.now;
        declare(&mut row);
        row.run_until(declared + 3_000);
        for hops in 1..BROKERS {
            let heard = row.heard.get(&(hops, number)).map(|at| at - declared);
            let bound = u64::try_from(hops).unwrap() * (link_ms + 50);
            assert!(heard.is_some_and(|heard| heard <= bound), "{hops} hops: {heard:?} ms, {bound} at most");
            longest[hops] = longest[hops].max(heard.unwrap());
        }
    }
    eprintln!("longest by hops: {longest:?} ms, {} ms a hop allowed; busy links: {busy:?}", link_ms + 50);
    // Silence must not mean that nothing happened.
    assert!(busy.values().all(|times| *times > 0), "each link was busy with bulk: {busy:?}");
}

fn submit(row: &mut Row, index: usize, run_s: u64, emergency: Option<EmergencyId>) -> JobId {
    let job = TraceJob { run_ms: run_s * 1_000, input: vec![index as u8], varies: true };
    let mut spec = JobSpec::new(job.encode().unwrap()).with_region("north");
    if let Some(emergency) = emergency {
        spec = spec.with_emergency(emergency);
    }
    match row.command(index, Command::Submit { spec }) {
        Reply::Submitted { job } => job,
        other => panic!("{other:?}"),
    }
}

/// Done when the declaration has reached each broker in time, and each has done at once what the policy says: told a routine
/// job that has run for long enough to come to its end within the grace, stopped it when that was over, given its place to
/// the job of the emergency, and in the end each job has one result, of which all brokers say the same.
#[test]
fn sim_an_emergency_preempts_k_hops_away_under_bulk() {
    let rules = PreemptionRules::default();
    let mut row = Row::new(BROKERS);
    row.run_until(290_000);
    row.add_executors();
    row.run_until(300_000);
    // The last broker's executor has just begun when the emergency comes, and must be left alone for a while.
    let mut routine: Vec<JobId> = (0..BROKERS - 1).map(|index| submit(&mut row, index, 400, None)).collect();
    row.run_until(345_000);
    saturate(&mut row, 30);
    row.run_until(350_000);
    routine.push(submit(&mut row, BROKERS - 1, 400, None));
    let behind: Vec<JobId> = (0..BROKERS).map(|index| submit(&mut row, index, 20, None)).collect();
    row.run_until(370_000);
    let began: Vec<u64> = (0..BROKERS).map(|index| starts(&row, routine[index])[0].0).collect();
    assert!((1..BROKERS).all(|index| is_busy(&row, index)), "each link is busy with bulk");

    let declared = row.now;
    let emergency = declare(&mut row);
    // Clients everywhere know of it at once, by other ways, and their jobs come before the declaration does.
    let urgent: Vec<JobId> = (0..BROKERS).map(|index| submit(&mut row, index, 50, Some(emergency))).collect();
    row.run_until(declared + 120_000);
    let mut after = Vec::new();
    for hops in 0..BROKERS {
        let heard = row.heard[&(hops, 1)] - declared;
        let bound = u64::try_from(hops).unwrap() * (link_ms() + 50);
        assert!(heard <= bound, "{hops} hops: {heard} ms, {bound} at most");

        // At once, unless the job that runs there has run for less than it may.
        let victim = starts(&row, routine[hops])[0].2;
        let ripe = (began[hops] + rules.min_run_ms).saturating_sub(declared).max(heard);
        let told = reported(&row, hops, |event| {
            matches!(event, executor::Event::AttemptDrains { attempt, reason: StopReason::Preempted, drain_ms, .. }
                if *attempt == victim && *drain_ms <= rules.grace_ms)
        });
        assert_eq!(told.len(), 1, "{hops} hops: {told:?}");
        let told = told[0] - declared;
        assert!((ripe..=ripe + AT_ONCE_MS).contains(&told), "{hops} hops: told at {told}, {ripe} at the earliest");
        let refused = announced(
            &row,
            hops,
            |kind| matches!(kind, EventKind::PreemptionRefused { job, reason: PreemptionRefusal::MinRun } if *job == urgent[hops]),
        );
        assert_eq!(refused.len(), usize::from(ripe > heard), "{hops} hops");

        // It has the grace, and no more.
        let stopped = reported(&row, hops, |event| {
            let cause = StopCause::Ordered(StopReason::Preempted);
            matches!(event, executor::Event::AttemptStopped { attempt, cause: by, .. } if (*attempt, *by) == (victim, cause))
        });
        assert_eq!(stopped.len(), 1, "{hops} hops: {stopped:?}");
        let stopped = stopped[0] - declared;
        assert!(
            stopped > told && stopped <= told + rules.grace_ms,
            "{hops} hops: told at {told}, stopped at {stopped}"
        );

        let (at, by, attempt) = starts(&row, urgent[hops])[0];
        assert_eq!((by, attempt.number), (hops, 1), "in the place that was made for it");
        let at = at - declared;
        assert!(at >= stopped && at <= stopped + NEWS_MS, "{hops} hops: stopped at {stopped}, started at {at}");
        after.push((heard, told, stopped, at));
        let preempted = announced(
            &row,
            hops,
            |kind| matches!(kind, EventKind::JobPreempted { job, by, .. } if (*job, *by) == (routine[hops], urgent[hops])),
        );
        assert_eq!(preempted.len(), 1);
    }
    eprintln!("heard, told, stopped and started by hops: {after:?} ms after the declaration");
    assert!((1..BROKERS).all(|index| is_busy(&row, index)), "each link is still busy with bulk");

    // What was stopped goes on in its turn, before those who came after it, and all brokers say the same of everybody.
    let all: Vec<JobId> = routine.iter().chain(&behind).chain(&urgent).copied().collect();
    let is_done = |row: &Row, index: usize| {
        let ended = |job: &JobId| row.known(index, *job).is_some_and(|view| view.status == JobStatus::Completed);
        all.iter().all(ended) && row.root(index) == row.root(0)
    };
    while !(0..BROKERS).all(|index| is_done(&row, index)) {
        assert!(row.now < declared + 3_000_000, "not equal yet");
        row.run_until(row.now + 30_000);
    }
    eprintln!("all is done, and brokers equal, {} s after the declaration", (row.now - declared) / 1_000);
    for job in &all {
        let view = row.job(0, *job);
        assert_eq!(view.submissions.len(), 1, "{job}");
        for index in 1..BROKERS {
            let same = row.job(index, *job);
            assert_eq!(same.submissions, view.submissions, "{job} at {index}");
            let [there, here] = [&same, &view].map(|view| view.result.as_ref().map(|result| result.submission));
            assert_eq!((there, there.is_some()), (here, true));
        }
    }
    for hops in 0..BROKERS {
        let (again, later) = (starts(&row, routine[hops]), starts(&row, behind[hops]));
        assert_eq!((again.len(), later.len(), starts(&row, urgent[hops]).len()), (2, 1, 1));
        assert!(again[1].0 < later[0].0, "{hops} hops: it has kept its place among those that wait");
        let phases: Vec<_> = row.job(hops, routine[hops]).attempts.iter().map(|attempt| attempt.phase).collect();
        assert_eq!(phases, [Some(Phase::Preempted), Some(Phase::Finished)]);
    }
}

fn starts(row: &Row, job: JobId) -> Vec<(u64, usize, AttemptId)> {
    row.started.iter().copied().filter(|(_, _, attempt)| attempt.job == job).collect()
}

fn announced(row: &Row, index: usize, of: impl Fn(&EventKind) -> bool) -> Vec<u64> {
    row.announced.iter().filter(|(_, by, kind)| *by == index && of(kind)).map(|(at, ..)| *at).collect()
}

fn reported(row: &Row, index: usize, of: impl Fn(&executor::Event) -> bool) -> Vec<u64> {
    row.reported.iter().filter(|(_, by, event)| *by == index && of(event)).map(|(at, ..)| *at).collect()
}

/// From what a broker hears or reckons until its executor has heard of it.
const AT_ONCE_MS: u64 = BESIDE_MS;
/// From what an executor does until its broker has heard of it with the next heartbeat, which comes early, and has answered.
const NEWS_MS: u64 = 200 + 2 * BESIDE_MS;

/// Declarations one after another; a broker takes ten a minute.
const DECLARATIONS: usize = 20;
/// More than the frame of a declaration has.
const DECLARATION_BYTES: usize = 160;
