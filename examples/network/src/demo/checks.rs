//! What the demo promises, as pure functions of the evidence. Each can fail, and the tests show it.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_executor::{AttemptId, JobId, ResultDigest, SubmissionId};

use super::{
    evidence::{Announced, BrokerEnd, Evidence, JobEnd, Run},
    report::{BrokerName, Check},
};

/// All checks, in the order of the report.
pub(crate) fn all(evidence: &Evidence) -> Vec<Check> {
    let checks: [(&'static str, Function); 9] = [
        ("every_submitted_job_has_one_canonical_result", canonical_results),
        ("all_brokers_name_the_same_canonical_result", same_canonical),
        ("all_broker_digests_equal", digests_equal),
        ("no_job_lost", no_job_lost),
        ("superseded_results_kept_and_reported_once", superseded),
        ("redeployed_jobs_completed", redeployed),
        ("emergency_reached_every_broker", emergency),
        ("clocks_never_went_back", clocks),
        ("no_attempt_ran_twice_in_one_connected_side", no_attempt_twice),
    ];
    checks
        .into_iter()
        .map(|(name, check)| match check(evidence) {
            Ok(detail) => Check { name, held: true, detail },
            Err(detail) => Check { name, held: false, detail },
        })
        .collect()
}

/// What was compared, or what was found instead.
type Outcome = Result<String, String>;

/// A check.
type Function = fn(&Evidence) -> Outcome;

/// Every broker names a result for every job, and some executor really produced it in the attempt that it names.
fn canonical_results(evidence: &Evidence) -> Outcome {
    let produced = produced(evidence);
    let mut wrong = Findings::default();
    for submitted in &evidence.submitted {
        for (broker, end) in brokers(evidence) {
            let job = submitted.job;
            match end.jobs.get(&job).and_then(JobEnd::result) {
                None => wrong.add(format_args!("{broker} names no result for {job}")),
                Some(result) if !produced.contains(&result) => {
                    wrong.add(format_args!("{broker} names for {job} a result that no executor produced"));
                }
                Some(_) => {}
            }
        }
    }
    if evidence.submitted.is_empty() {
        return Err("no job was submitted".into());
    }
    wrong.or(format!("{} jobs at {} brokers", evidence.submitted.len(), evidence.ends.len()))
}

fn same_canonical(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    for submitted in &evidence.submitted {
        let job = submitted.job;
        let named: BTreeSet<Option<(SubmissionId, AttemptId, ResultDigest)>> = evidence
            .ends
            .iter()
            .map(|end| {
                let job = end.jobs.get(&job)?;
                let (attempt, digest) = job.result()?;
                Some((job.canonical?, attempt, digest))
            })
            .collect();
        if named.len() != 1 {
            wrong.add(format_args!("{} different answers for {job}", named.len()));
        }
    }
    wrong.or(format!("{} jobs at {} brokers", evidence.submitted.len(), evidence.ends.len()))
}

/// All brokers hold the same values in their stores, and know what they hold.
fn digests_equal(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    for (broker, end) in brokers(evidence) {
        if end.claimed != end.digest {
            wrong.add(format_args!("{broker} claims {}, its store holds {}", end.claimed, end.digest));
        }
    }
    let different: BTreeSet<&str> = evidence.ends.iter().map(|end| end.digest.as_str()).collect();
    if different.len() != 1 {
        wrong.add(format_args!("{} different digests at {} brokers", different.len(), evidence.ends.len()));
    }
    wrong.or(format!("{} brokers", evidence.ends.len()))
}

/// Every broker knows every job as it was submitted, and no other.
fn no_job_lost(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    let submitted: BTreeMap<JobId, _> = evidence.submitted.iter().map(|job| (job.job, job.spec)).collect();
    if submitted.len() != evidence.submitted.len() {
        wrong.add(format_args!("{} submissions got only {} ids", evidence.submitted.len(), submitted.len()));
    }
    for (broker, end) in brokers(evidence) {
        for (job, spec) in &submitted {
            match end.jobs.get(job).and_then(|end| end.spec) {
                None => wrong.add(format_args!("{broker} does not know {job}")),
                Some(known) if known != *spec => wrong.add(format_args!("{broker} knows another {job}")),
                Some(_) => {}
            }
        }
        for job in end.jobs.keys().filter(|job| !submitted.contains_key(job)) {
            wrong.add(format_args!("{broker} knows {job}, which nobody submitted"));
        }
    }
    wrong.or(format!("{} jobs at {} brokers", submitted.len(), evidence.ends.len()))
}

/// A broker that accepted a result and names another one now has said so once, and can still show the old one.
fn superseded(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    let produced = produced(evidence);
    let mut reported: BTreeMap<(usize, JobId), Vec<(SubmissionId, SubmissionId)>> = BTreeMap::new();
    let mut accepted: BTreeMap<(usize, JobId), SubmissionId> = BTreeMap::new();
    for seen in &evidence.seen {
        match seen.what {
            Announced::Accepted(submission) => {
                accepted.entry((seen.broker, seen.job)).or_insert(submission);
            }
            Announced::Superseded { old, new } => {
                let reported = reported.entry((seen.broker, seen.job)).or_default();
                if reported.iter().any(|(earlier, _)| *earlier == old) {
                    let broker = BrokerName(seen.broker);
                    wrong.add(format_args!("{broker} reported twice that a result of {} is superseded", seen.job));
                }
                reported.push((old, new));
            }
            Announced::Redeployed => {}
        }
    }
    let end_of = |broker: usize, job: &JobId| evidence.ends.get(broker).and_then(|end| end.jobs.get(job));
    for ((broker, job), steps) in &reported {
        for (old, _) in steps {
            let kept = end_of(*broker, job).and_then(|end| end.versions.get(old));
            if !kept.is_some_and(|version| produced.contains(version)) {
                wrong.add(format_args!("{} no longer has the superseded result of {job}", BrokerName(*broker)));
            }
        }
    }
    for ((broker, job), first) in &accepted {
        let Some(end) = end_of(*broker, job) else { continue };
        let digest = |submission: &SubmissionId| end.versions.get(submission).map(|(_, digest)| *digest);
        let steps = reported.get(&(*broker, *job)).map_or(&[][..], Vec::as_slice);
        // From what the broker said first, along what it reported since, one must arrive at what it says now. Results
        // with equal digests are one answer: between them nothing is superseded.
        let mut said = digest(first);
        for (old, new) in steps {
            if digest(old) == said {
                said = digest(new);
            }
        }
        if said != end.canonical.as_ref().and_then(digest) {
            wrong.add(format_args!(
                "{} said one result for {job}, names another and never said so",
                BrokerName(*broker)
            ));
        }
    }
    let contested = contested(evidence);
    if evidence.faults && contested == 0 {
        wrong.add(format_args!("no job ran to its end twice, so nothing was put to the test"));
    } else if contested == 0 {
        return wrong.or("nothing to check".into());
    }
    let superseded: usize = reported.values().map(Vec::len).sum();
    wrong.or(format!("{contested} jobs had several results, {superseded} reports"))
}

/// Every job that was redeployed got its result, and at least one really was run by a second executor.
fn redeployed(evidence: &Evidence) -> Outcome {
    let announced = |what| what == Announced::Redeployed;
    let redeployed: BTreeSet<JobId> =
        evidence.seen.iter().filter(|seen| announced(seen.what)).map(|seen| seen.job).collect();
    let mut executors: BTreeMap<JobId, BTreeSet<usize>> = BTreeMap::new();
    for run in &evidence.runs {
        executors.entry(run.attempt.job).or_default().insert(run.executor);
    }
    let moved = redeployed.iter().filter(|job| executors.get(job).is_some_and(|ran| ran.len() > 1)).count();
    let mut wrong = Findings::default();
    let produced = produced(evidence);
    for job in &redeployed {
        for (broker, end) in brokers(evidence) {
            if !end.jobs.get(job).and_then(JobEnd::result).is_some_and(|result| produced.contains(&result)) {
                wrong.add(format_args!("{broker} has no result for {job}, which was redeployed"));
            }
        }
    }
    if evidence.faults && moved == 0 {
        wrong.add(format_args!("no job was really run by a second executor, so nothing was put to the test"));
    } else if redeployed.is_empty() {
        return wrong.or("nothing to check".into());
    }
    wrong.or(format!("{} jobs redeployed, {moved} of them seen on two executors", redeployed.len()))
}

fn emergency(evidence: &Evidence) -> Outcome {
    let Some(record) = &evidence.emergency else {
        return if evidence.faults {
            Err("no emergency was declared, so nothing was put to the test".into())
        } else {
            Ok("nothing to check".into())
        };
    };
    let mut wrong = Findings::default();
    for (broker, known) in record.known_ms.iter().enumerate() {
        if known.is_none() {
            wrong.add(format_args!("{} never heard of it", BrokerName(broker)));
        }
    }
    if record.known_ms.len() != evidence.ends.len() {
        wrong.add(format_args!("only {} of {} brokers were asked", record.known_ms.len(), evidence.ends.len()));
    }
    wrong.or(format!("{} brokers", evidence.ends.len()))
}

fn clocks(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    for finding in &evidence.clocks.wrong {
        wrong.add(format_args!("{finding}"));
    }
    if evidence.clocks.samples == 0 {
        wrong.add(format_args!("nobody looked"));
    }
    wrong.or(format!("{} looks", evidence.clocks.samples))
}

/// No attempt was run twice at all; and two attempts of one job ran at the same time only where their executors had been
/// out of each other's reach for the time after which the first counts as lost.
fn no_attempt_twice(evidence: &Evidence) -> Outcome {
    let mut wrong = Findings::default();
    let mut by_job: BTreeMap<JobId, Vec<&Run>> = BTreeMap::new();
    for run in &evidence.runs {
        by_job.entry(run.attempt.job).or_default().push(run);
    }
    let mut overlaps = 0_usize;
    for (job, runs) in &mut by_job {
        runs.sort_by_key(|run| (run.started_ms, run.attempt));
        for (index, later) in runs.iter().enumerate() {
            for earlier in runs.iter().take(index) {
                if earlier.attempt == later.attempt {
                    wrong.add(format_args!("{:?} was run twice", later.attempt));
                } else if earlier.ended_ms.is_none_or(|ended| ended > later.started_ms) {
                    overlaps = overlaps.saturating_add(1);
                    // Silence counts from the last answer, which may be a heartbeat or two older than the parting.
                    let least_ms = evidence.detection_ms.saturating_mul(3) / 4;
                    if !evidence.were_apart(earlier.executor, later.executor, later.started_ms, least_ms) {
                        wrong.add(format_args!(
                            "{job} ran on executor {} and from {} ms also on executor {}, which could see each other",
                            earlier.executor.saturating_add(1),
                            later.started_ms,
                            later.executor.saturating_add(1),
                        ));
                    }
                }
            }
        }
    }
    wrong.or(format!("{} attempts, {overlaps} side by side on two sides", evidence.runs.len()))
}

/// What executors really produced.
fn produced(evidence: &Evidence) -> BTreeSet<(AttemptId, ResultDigest)> {
    evidence.runs.iter().filter_map(|run| Some((run.attempt, run.digest?))).collect()
}

/// Jobs that ran to their end more than once.
fn contested(evidence: &Evidence) -> usize {
    let mut finished: BTreeMap<JobId, usize> = BTreeMap::new();
    for run in evidence.runs.iter().filter(|run| run.digest.is_some()) {
        let times = finished.entry(run.attempt.job).or_default();
        *times = times.saturating_add(1);
    }
    finished.values().filter(|times| **times > 1).count()
}

fn brokers(evidence: &Evidence) -> impl Iterator<Item = (BrokerName, &BrokerEnd)> {
    evidence.ends.iter().enumerate().map(|(broker, end)| (BrokerName(broker), end))
}

/// Collects what is wrong and says the first few.
#[derive(Default)]
struct Findings {
    shown: Vec<String>,
    count: usize,
}

impl Findings {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        self.count = self.count.saturating_add(1);
        if self.shown.len() < 3 {
            self.shown.push(what.to_string());
        }
    }

    fn or(self, compared: String) -> Outcome {
        let more = self.count.saturating_sub(self.shown.len());
        match (self.count, more) {
            (0, _) => Ok(compared),
            (_, 0) => Err(self.shown.join("; ")),
            (_, more) => Err(format!("{}; and {more} more", self.shown.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests;
