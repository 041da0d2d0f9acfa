use reconvene_clock::{Counter, Dot, Hlc, Knowledge, ReplicaId};
use reconvene_executor::{OwnershipEpoch, SpecDigest};

use super::*;
use crate::demo::evidence::{EmergencyRecord, Parting, Seen, Submitted};

fn replica(id: u64) -> ReplicaId {
    ReplicaId::new(id).unwrap()
}

fn job(sequence: u64) -> JobId {
    JobId { admitted_by: replica(1), sequence }
}

fn attempt(sequence: u64, number: u32) -> AttemptId {
    AttemptId { job: job(sequence), epoch: OwnershipEpoch(1), owner: replica(1), number }
}

fn submission(broker: u64, number: u64) -> SubmissionId {
    SubmissionId { accepted_by: replica(broker), number }
}

fn run(executor: usize, attempt: AttemptId, from: u64, to: u64, digest: u8) -> Run {
    let digest = Some(ResultDigest([digest; 32]));
    Run { executor, attempt, started_ms: from, ended_ms: Some(to), digest }
}

fn seen(broker: usize, what: Announced) -> Seen {
    Seen { at_ms: 0, broker, job: job(1), what }
}

/// Two brokers, two jobs. Job 1 ran on executor 0, which vanished, and then on executor 1; broker 0 accepted the second
/// run, then the first, which counts. Job 2 ran once.
fn good() -> Evidence {
    let (first, second) = (submission(1, 2), submission(1, 1));
    let mut evidence = Evidence { faults: true, detection_ms: 700, grace_ms: 100, ..Evidence::default() };
    for sequence in [1, 2] {
        evidence.submitted.push(Submitted { job: job(sequence), spec: SpecDigest([9; 32]) });
    }
    evidence.runs = vec![
        run(0, attempt(1, 1), 100, 2_000, 1),
        run(1, attempt(1, 2), 1_000, 1_500, 2),
        run(1, attempt(2, 1), 100, 200, 3),
    ];
    let vanished = [0].into();
    evidence.partings.push(Parting { from_ms: 200, until_ms: Some(1_800), executors: vanished });
    evidence.seen = vec![
        seen(0, Announced::Redeployed),
        seen(0, Announced::Accepted(second)),
        seen(0, Announced::Accepted(first)),
        seen(0, Announced::Superseded { old: second, new: first }),
    ];
    let spec = Some(SpecDigest([9; 32]));
    let contested = JobEnd {
        spec,
        failed: false,
        canonical: Some(first),
        versions: [(first, (attempt(1, 1), ResultDigest([1; 32]))), (second, (attempt(1, 2), ResultDigest([2; 32])))]
            .into(),
    };
    let plain = JobEnd {
        spec,
        failed: false,
        canonical: Some(submission(1, 3)),
        versions: [(submission(1, 3), (attempt(2, 1), ResultDigest([3; 32])))].into(),
    };
    let end =
        BrokerEnd { digest: "aa".into(), claimed: "aa".into(), jobs: [(job(1), contested), (job(2), plain)].into() };
    evidence.ends = vec![end.clone(), end];
    evidence.emergency = Some(EmergencyRecord { declared_ms: 5, known_ms: vec![Some(5), Some(9)] });
    let mut knowledge = Knowledge::new();
    evidence.clocks.observe(0, 0, knowledge.clone(), Hlc::from_u64(1));
    knowledge.add(Dot::new(replica(1), Counter::new(1).unwrap()));
    evidence.clocks.observe(1, 0, knowledge, Hlc::from_u64(2));
    evidence
}

/// The names of the checks that do not hold.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    all(evidence).into_iter().filter(|check| !check.held).map(|check| check.name).collect()
}

fn detail(evidence: &Evidence, name: &str) -> String {
    all(evidence).into_iter().find(|check| check.name == name).unwrap().detail
}

fn job_at(evidence: &mut Evidence, broker: usize, sequence: u64) -> &mut JobEnd {
    evidence.ends[broker].jobs.get_mut(&job(sequence)).unwrap()
}

#[test]
fn good_evidence_holds() {
    assert_eq!(broken(&good()), [""; 0], "{:#?}", all(&good()));
}

#[test]
fn a_job_without_a_result_is_found() {
    let mut evidence = good();
    job_at(&mut evidence, 1, 2).canonical = None;
    let found = ["every_submitted_job_has_one_canonical_result", "all_brokers_name_the_same_canonical_result"];
    assert_eq!(broken(&evidence), found);
    assert!(detail(&evidence, found[0]).contains("broker-2 names no result"));
}

#[test]
fn a_result_that_no_executor_produced_is_found() {
    let mut evidence = good();
    for broker in 0..2 {
        job_at(&mut evidence, broker, 2).versions.insert(submission(1, 3), (attempt(2, 1), ResultDigest([7; 32])));
    }
    assert_eq!(broken(&evidence), ["every_submitted_job_has_one_canonical_result"]);
}

#[test]
fn no_jobs_at_all_prove_nothing() {
    let mut evidence = good();
    evidence.submitted.clear();
    assert!(broken(&evidence).contains(&"every_submitted_job_has_one_canonical_result"));
}

#[test]
fn brokers_that_name_different_results_are_found() {
    let mut evidence = good();
    job_at(&mut evidence, 1, 1).canonical = Some(submission(1, 1));
    assert_eq!(broken(&evidence), ["all_brokers_name_the_same_canonical_result"]);
}

#[test]
fn different_digests_are_found() {
    let mut evidence = good();
    evidence.ends[1].digest = "ab".into();
    evidence.ends[1].claimed = "ab".into();
    assert_eq!(broken(&evidence), ["all_broker_digests_equal"]);
    for end in &mut evidence.ends {
        end.digest = "ab".into();
    }
    assert!(detail(&evidence, "all_broker_digests_equal").contains("broker-1 claims aa, its store holds ab"));
    assert_eq!(broken(&evidence), ["all_broker_digests_equal"], "equal, but not what one of them believes");
}

#[test]
fn lost_changed_and_invented_jobs_are_found() {
    let mut lost = good();
    lost.ends[1].jobs.remove(&job(2));
    assert!(detail(&lost, "no_job_lost").contains("broker-2 does not know"));
    assert!(broken(&lost).contains(&"no_job_lost"));

    let mut changed = good();
    job_at(&mut changed, 0, 2).spec = Some(SpecDigest([8; 32]));
    assert_eq!(broken(&changed), ["no_job_lost"]);

    let mut invented = good();
    invented.ends[0].jobs.insert(job(3), JobEnd::default());
    assert_eq!(broken(&invented), ["no_job_lost"]);

    let mut twice = good();
    twice.submitted.push(twice.submitted[0].clone());
    assert_eq!(broken(&twice), ["no_job_lost"]);
}

const SUPERSEDED: [&str; 1] = ["superseded_results_kept_and_reported_once"];

#[test]
fn a_supersession_that_is_not_reported_is_found() {
    let mut evidence = good();
    evidence.seen.pop();
    assert_eq!(broken(&evidence), SUPERSEDED);
}

#[test]
fn a_supersession_that_is_reported_twice_is_found() {
    let mut evidence = good();
    evidence.seen.push(evidence.seen[3].clone());
    assert_eq!(broken(&evidence), SUPERSEDED);
    assert!(detail(&evidence, SUPERSEDED[0]).contains("twice"));
}

#[test]
fn a_superseded_result_that_is_gone_is_found() {
    let mut evidence = good();
    for broker in 0..2 {
        job_at(&mut evidence, broker, 1).versions.remove(&submission(1, 1));
    }
    assert!(detail(&evidence, SUPERSEDED[0]).contains("no longer has"), "{}", detail(&evidence, SUPERSEDED[0]));
    assert_eq!(broken(&evidence), SUPERSEDED);
}

#[test]
fn equal_results_supersede_nothing() {
    let mut evidence = good();
    evidence.seen.pop();
    evidence.runs[1].digest = Some(ResultDigest([1; 32]));
    for broker in 0..2 {
        let same = (attempt(1, 2), ResultDigest([1; 32]));
        job_at(&mut evidence, broker, 1).versions.insert(submission(1, 1), same);
    }
    assert_eq!(broken(&evidence), [""; 0]);
}

#[test]
fn faults_without_a_second_result_put_nothing_to_the_test() {
    let mut evidence = good();
    evidence.runs[1].digest = None;
    evidence.seen.truncate(1);
    for broker in 0..2 {
        job_at(&mut evidence, broker, 1).versions.remove(&submission(1, 1));
    }
    assert_eq!(broken(&evidence), SUPERSEDED);
    evidence.faults = false;
    assert_eq!(detail(&evidence, SUPERSEDED[0]), "nothing to check");
}

#[test]
fn a_redeployed_job_without_a_result_is_found() {
    let mut evidence = good();
    job_at(&mut evidence, 0, 1).canonical = None;
    assert!(broken(&evidence).contains(&"redeployed_jobs_completed"));
}

#[test]
fn a_redeployment_must_really_have_happened() {
    let mut evidence = good();
    evidence.runs[1].executor = 0;
    assert!(broken(&evidence).contains(&"redeployed_jobs_completed"));
    let mut evidence = good();
    evidence.seen.remove(0);
    assert_eq!(broken(&evidence), ["redeployed_jobs_completed"]);
    evidence.faults = false;
    assert_eq!(detail(&evidence, "redeployed_jobs_completed"), "nothing to check");
}

#[test]
fn an_emergency_that_did_not_arrive_is_found() {
    let mut evidence = good();
    evidence.emergency.as_mut().unwrap().known_ms[1] = None;
    assert_eq!(broken(&evidence), ["emergency_reached_every_broker"]);
    evidence.emergency.as_mut().unwrap().known_ms.pop();
    assert_eq!(broken(&evidence), ["emergency_reached_every_broker"]);
    evidence.emergency = None;
    assert_eq!(broken(&evidence), ["emergency_reached_every_broker"]);
    evidence.faults = false;
    assert_eq!(detail(&evidence, "emergency_reached_every_broker"), "nothing to check");
}

#[test]
fn clocks_that_go_back_are_found() {
    let mut less = good();
    less.clocks.observe(2, 0, Knowledge::new(), Hlc::from_u64(3));
    assert_eq!(broken(&less), ["clocks_never_went_back"]);
    let mut knowledge = Knowledge::new();
    knowledge.add(Dot::new(replica(1), Counter::new(1).unwrap()));
    let mut earlier = good();
    earlier.clocks.observe(2, 0, knowledge.clone(), Hlc::from_u64(1));
    assert_eq!(broken(&earlier), ["clocks_never_went_back"]);
    let mut equal = good();
    equal.clocks.observe(2, 0, knowledge, Hlc::from_u64(2));
    assert_eq!(broken(&equal), [""; 0]);
    assert_eq!(broken(&Evidence { clocks: crate::demo::evidence::ClockWatch::default(), ..good() }).len(), 1);
}

const TWICE: [&str; 1] = ["no_attempt_ran_twice_in_one_connected_side"];

#[test]
fn one_attempt_run_twice_is_found_wherever_it_ran() {
    let mut evidence = good();
    evidence.runs.push(run(0, attempt(2, 1), 300, 400, 3));
    assert_eq!(broken(&evidence), TWICE);
}

#[test]
fn two_attempts_side_by_side_need_a_parting_of_the_detection_bound() {
    let mut never_apart = good();
    never_apart.partings.clear();
    assert_eq!(broken(&never_apart), TWICE);

    let mut too_early = good();
    too_early.runs[1].started_ms = 500;
    assert_eq!(broken(&too_early), TWICE);

    let mut same_side = good();
    same_side.partings[0].executors = [0, 1].into();
    assert_eq!(broken(&same_side), TWICE);

    let mut long_after = good();
    long_after.runs[0].ended_ms = Some(5_000);
    long_after.runs[1].started_ms = 1_901;
    long_after.runs[1].ended_ms = Some(3_000);
    assert_eq!(broken(&long_after), TWICE);

    let mut over = good();
    over.partings.clear();
    over.runs[0].ended_ms = Some(1_000);
    assert_eq!(broken(&over), [""; 0], "one after the other needs no reason");

    let mut still_running = good();
    still_running.partings.clear();
    still_running.runs[0].ended_ms = None;
    assert!(broken(&still_running).contains(&TWICE[0]));
}
