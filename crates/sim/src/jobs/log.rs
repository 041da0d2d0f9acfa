//! The jobs of a real log, on brokers that are cut off from each other and executors that vanish.
//!
//! Sites of the log are dealt to brokers in turn, and share the executors of their broker. Everything goes at the pace that
//! brokers have outside of simulations: an exchange each minute, a heartbeat each five seconds. The oracle is that of
//! [`Scenario`]: a replay that ends without a [`Violation`] has lost no job, named one result of each, everywhere the same,
//! and kept every result that it had accepted.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{AttemptCause, EventKind, NodeEvent, OwnCause, StrategyKind};
use reconvene_executor::{AttemptId, JobId};
use reconvene_sync::memory::LinkFaults;
use serde::Serialize;

use super::plan::{Chance, Pace};
use super::{Act, ExecutorPlan, JobPlan, Plan, Sabotage, Scenario, Step, Violation};
use crate::swf::SwfJob;
use crate::world::rng::Rng;
use crate::world::{ExecutorTraits, Happened, Place, What};

/// A log, and the network that it is replayed on.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct LogReplay {
    /// The jobs. They are submitted in the order of their times.
    pub jobs: Vec<SwfJob>,
    /// How many brokers there are.
    pub brokers: usize,
    /// How many executors each broker has at most. Its sites share them.
    pub executors: usize,
    /// Where chance comes from.
    pub seed: u64,
    /// What runs longer than this is cut to it, in milliseconds.
    pub longest_ms: u64,
    /// Whether brokers forget jobs five minutes after all of them know that they are over. If so, the run ends when all
    /// are forgotten.
    pub forgets: bool,
}

/// What came of a replay in which no promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogReport {
    /// Brokers.
    pub brokers: usize,
    /// Executors.
    pub executors: usize,
    /// Jobs submitted. Each has ended, with one result, the same at every broker.
    pub jobs: u64,
    /// From the first submission until everything was at rest, in virtual seconds.
    pub virtual_seconds: u64,
    /// Cuts between two halves of the network.
    pub splits: u64,
    /// Executors that fell silent and worked on.
    pub silences: u64,
    /// Executors whose process ended, with all that ran there.
    pub crashes: u64,
    /// Brokers that stopped and started again.
    pub restarts: u64,
    /// Attempts placed because an earlier one was lost.
    pub redeployments: u64,
    /// Jobs whose owner was silent and that another broker took over.
    pub taken_over: u64,
    /// Results beyond the first of each job, accepted or not.
    pub duplicates: u64,
    /// Those of them that were accepted.
    pub duplicates_accepted: u64,
    /// Changes of the canonical result, each reported once.
    pub supersessions: u64,
    /// Changes to an equal result.
    pub confirmations: u64,
    /// Jobs that were forgotten.
    pub forgotten: u64,
    /// How long jobs waited for their first start, by how long they run.
    pub waiting: Vec<Waiting>,
}

/// How long jobs of one class waited for their first start, in virtual seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Which jobs.
    pub class: &'static str,
    /// How many.
    pub jobs: usize,
    /// Half of them waited less.
    pub p50_s: u64,
    /// Nine of ten waited less.
    pub p90_s: u64,
    /// 99 of 100 waited less.
    pub p99_s: u64,
    /// The longest.
    pub max_s: u64,
}

/// What is counted while the replay goes on.
#[derive(Debug, Default)]
struct Tally {
    submitted_ms: BTreeMap<JobId, u64>,
    /// How long each job waited for its first start.
    waited_ms: BTreeMap<JobId, u64>,
    started_ms: BTreeMap<AttemptId, u64>,
    /// How long it took a run that came to its end.
    took_ms: BTreeMap<JobId, u64>,
    report: LogReport,
    ended_ms: u64,
}

impl LogReplay {
    /// Runs it to the end. `hour` is told each virtual hour that has passed, and how many jobs have been submitted.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&self, hour: impl FnMut(u64, u64)) -> Result<LogReport, Violation> {
        self.watch(hour, |_| {})
    }

    /// The same, and shows everything that happens.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn watch(
        &self,
        mut hour: impl FnMut(u64, u64),
        mut watch: impl FnMut(&Happened),
    ) -> Result<LogReport, Violation> {
        let plan = self.plan();
        let mut tally = Tally::default();
        let mut hours = 0;
        let acts = |wanted: fn(&Act) -> bool| count(plan.steps.iter().filter(|step| wanted(&step.act)).count());
        let is_silence =
            |act: &Act| matches!(act, Act::Split { side, .. } if matches!(side.as_slice(), [Place::Executor(_)]));
        tally.report = LogReport {
            brokers: plan.brokers.len(),
            executors: plan.executors.len(),
            splits: acts(|act| matches!(act, Act::Split { .. })).saturating_sub(acts(is_silence)),
            silences: acts(is_silence),
            crashes: acts(|act| matches!(act, Act::RestartExecutor { .. })),
            restarts: acts(|act| matches!(act, Act::RestartBroker { .. })),
            ..LogReport::default()
        };
        let wanted = acts(|act| matches!(act, Act::Submit { .. }));
        let scenario = Scenario { plan, sabotage: Sabotage::None };
        scenario.watch(|happened| {
            watch(happened);
            tally.see(happened);
            let passed = happened.at.as_millis() / 3_600_000;
            if passed > hours {
                hours = passed;
                hour(passed, tally.report.jobs);
            }
        })?;
        if tally.report.jobs != wanted {
            let what = format!("{} of {wanted} jobs were admitted", tally.report.jobs);
            return Err(Violation { promise: "S1", at_ms: tally.ended_ms, what });
        }
        Ok(tally.close())
    }

    /// The network, the jobs and the faults.
    fn plan(&self) -> Plan {
        let brokers = self.brokers.max(1);
        let first = self.jobs.iter().map(|job| job.submit_ms).min().unwrap_or(0);
        let mut pace = Pace {
            sync_ms: 60_000,
            faults_until_ms: 0,
            calm_ms: self.longest_ms.saturating_mul(4).saturating_add(24 * HOUR_MS),
            sample_ms: 6 * HOUR_MS,
            poll_ms: HOUR_MS / 4,
            clients_persist: true,
            // The oracle compares all brokers at the end.
            audits: false,
        };
        let mut jobs = Vec::new();
        for job in &self.jobs {
            let at = job.submit_ms.saturating_sub(first).saturating_add(pace.warm_up_ms()).saturating_add(1);
            let run_ms = job.run_ms.unwrap_or(1_000).clamp(1, self.longest_ms.max(1));
            jobs.push((at, job.partition.unwrap_or(0), job.line, run_ms));
        }
        let last = jobs.iter().map(|(at, ..)| *at).max().unwrap_or(0);
        pace.faults_until_ms = last.saturating_add(1);
        let sites: BTreeSet<u64> = jobs.iter().map(|(_, site, ..)| *site).collect();
        let dealt = |(number, site): (usize, u64)| {
            let (round, home) = (number.checked_div(brokers).unwrap_or(0), number.checked_rem(brokers).unwrap_or(0));
            (site, (home, round.checked_rem(self.executors.max(1)).unwrap_or(0)))
        };
        let homes: BTreeMap<u64, (usize, usize)> = sites.into_iter().enumerate().map(dealt).collect();
        let mut spans: BTreeMap<(usize, usize), Vec<(u64, u64)>> = BTreeMap::new();
        for (at, site, _, run_ms) in &jobs {
            let place = homes.get(site).copied().unwrap_or((0, 0));
            spans.entry(place).or_default().push((*at, at.saturating_add(*run_ms)));
        }
        let executors = spans.iter().map(|((home, _), runs)| {
            let others = [1, brokers / 2].map(|step| home.saturating_add(step).checked_rem(brokers).unwrap_or(0));
            let mut known = vec![*home];
            known.extend(others.into_iter().filter(|other| other != home));
            known.dedup();
            // Three quarters of what would run at once if nobody ever waited.
            let slots = u32::try_from(most_at_once(runs).saturating_mul(3) / 4).unwrap_or(u32::MAX);
            ExecutorPlan { slots: slots.clamp(2, 1_024), traits: ExecutorTraits::default(), brokers: known, also: None }
        });
        let executors: Vec<ExecutorPlan> = executors.collect();
        let mut steps: Vec<Step> = jobs
            .into_iter()
            .map(|(at_ms, site, line, run_ms)| {
                let job = JobPlan {
                    run_ms,
                    varies: line.is_multiple_of(2),
                    fails: false,
                    only: None,
                    cpu_milli: 1_000,
                    priority: 0,
                    value: 1,
                    fenced: false,
                    emergency: false,
                    elsewhere: false,
                };
                let (broker, _) = homes.get(&site).copied().unwrap_or((0, 0));
                Step { at_ms, act: Act::Submit { broker, key: line, job } }
            })
            .collect();
        steps.extend(self.faults(brokers, &executors, &pace));
        steps.sort_by_key(|step| step.at_ms);
        Plan {
            seed: self.seed,
            skew_ms: 5_000,
            brokers: vec![StrategyKind::FirstComeFirstServed; brokers],
            executors,
            pace,
            links: LinkFaults { delay_ms: 1..=80, loss_per_mille: 2, duplicate_per_mille: 2 },
            forgets: self.forgets,
            steps,
        }
    }

    /// Each day: four cuts through the whole network, each executor silent once and gone every other day, an eighth of the
    /// brokers started again.
    fn faults(&self, brokers: usize, executors: &[ExecutorPlan], pace: &Pace) -> Vec<Step> {
        let mut chance = Chance::new(Rng::new(self.seed));
        let mut steps = Vec::new();
        // Nothing is out of order any more when faults are over.
        let until = pace.faults_until_ms.saturating_sub(2 * HOUR_MS).max(pace.warm_up_ms());
        let days = until.checked_div(24 * HOUR_MS).unwrap_or(0).saturating_add(1);
        for _ in 0..days.saturating_mul(4) {
            let at_ms = chance.between(pace.warm_up_ms(), until);
            let away: BTreeSet<usize> = (0..brokers).filter(|_| chance.one_in(2)).collect();
            let sites = executors.iter().enumerate();
            let homed = sites.filter(|(_, plan)| plan.brokers.first().is_some_and(|home| away.contains(home)));
            let side = away.iter().copied().map(Place::Broker).chain(homed.map(|(site, _)| Place::Executor(site)));
            let act = Act::Split { side: side.collect(), for_ms: chance.between(HOUR_MS / 6, HOUR_MS * 3 / 2) };
            steps.push(Step { at_ms, act });
        }
        for executor in 0..executors.len() {
            for _ in 0..days {
                let (at_ms, for_ms) = (chance.between(pace.warm_up_ms(), until), chance.between(60_000, HOUR_MS));
                steps.push(Step { at_ms, act: Act::Split { side: vec![Place::Executor(executor)], for_ms } });
                if chance.one_in(2) {
                    let (at_ms, for_ms) = (chance.between(pace.warm_up_ms(), until), chance.between(60_000, HOUR_MS));
                    steps.push(Step { at_ms, act: Act::RestartExecutor { executor, for_ms, clock_lost: false } });
                }
            }
        }
        for _ in 0..days.saturating_mul(count(brokers).div_ceil(8)) {
            let (at_ms, for_ms) = (chance.between(pace.warm_up_ms(), until), chance.between(60_000, HOUR_MS / 3));
            steps.push(Step { at_ms, act: Act::RestartBroker { broker: chance.index(brokers), for_ms } });
        }
        steps
    }
}

impl Tally {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events are not counted")]
    fn see(&mut self, happened: &Happened) {
        let at_ms = happened.at.as_millis();
        self.ended_ms = at_ms;
        let kind = match &happened.what {
            What::Broker { event: NodeEvent::Job(event), .. } => &event.kind,
            What::RunStarted { attempt, .. } => {
                self.started_ms.insert(*attempt, at_ms);
                if let Some(submitted) = self.submitted_ms.get(&attempt.job) {
                    let waited = at_ms.saturating_sub(*submitted);
                    self.waited_ms.entry(attempt.job).or_insert(waited);
                }
                return;
            }
            What::RunEnded { attempt, digest, .. } => {
                let started = self.started_ms.remove(attempt).filter(|_| digest.is_some());
                self.took_ms.extend(started.map(|started| (attempt.job, at_ms.saturating_sub(started))));
                return;
            }
            What::Broker { .. } | What::Executor { .. } => return,
        };
        let report = &mut self.report;
        let counter = match kind {
            EventKind::JobAdmitted { job, .. } => {
                self.submitted_ms.insert(*job, at_ms);
                &mut report.jobs
            }
            EventKind::AttemptOffered { cause: AttemptCause::Redeployed, .. } => &mut report.redeployments,
            EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. } => &mut report.taken_over,
            EventKind::ResultAccepted { .. } => &mut report.duplicates_accepted,
            EventKind::ResultRejected { .. } => &mut report.duplicates,
            EventKind::ResultSuperseded { .. } => &mut report.supersessions,
            EventKind::ResultConfirmed { .. } => &mut report.confirmations,
            EventKind::JobCompacted { .. } => &mut report.forgotten,
            _ => return,
        };
        *counter = counter.saturating_add(1);
    }

    fn close(mut self) -> LogReport {
        let report = &mut self.report;
        // One of those accepted of each job is the first.
        report.duplicates_accepted = report.duplicates_accepted.saturating_sub(report.jobs);
        report.duplicates = report.duplicates.saturating_add(report.duplicates_accepted);
        report.virtual_seconds = self.ended_ms / 1_000;
        let mut from_ms = 0;
        for (class, until_ms) in CLASSES {
            let in_class = |job: &JobId| {
                let took = self.took_ms.get(job).copied().unwrap_or(0);
                (from_ms..until_ms).contains(&took)
            };
            let waits = self.waited_ms.iter().filter(|(job, _)| in_class(job));
            let mut waits: Vec<u64> = waits.map(|(_, waited)| waited / 1_000).collect();
            waits.sort_unstable();
            let of_hundred = |share: usize| {
                let place = waits.len().saturating_sub(1).saturating_mul(share) / 100;
                waits.get(place).copied().unwrap_or(0)
            };
            let (p50_s, p90_s, p99_s, max_s) = (of_hundred(50), of_hundred(90), of_hundred(99), of_hundred(100));
            self.report.waiting.push(Waiting { class, jobs: waits.len(), p50_s, p90_s, p99_s, max_s });
            from_ms = until_ms;
        }
        self.report
    }
}

/// Classes of jobs, and how long those in each run at most.
const CLASSES: [(&str, u64); 3] =
    [("under 10 minutes", HOUR_MS / 6), ("under 2 hours", 2 * HOUR_MS), ("2 hours and more", u64::MAX)];

/// The greatest number of these spans of time that overlap.
fn most_at_once(spans: &[(u64, u64)]) -> u64 {
    let ends = spans.iter().map(|(_, end)| (*end, false));
    let mut changes: Vec<(u64, bool)> = spans.iter().map(|(begin, _)| (*begin, true)).chain(ends).collect();
    changes.sort_unstable();
    let (mut now, mut most) = (0_u64, 0);
    for (_, begins) in changes {
        now = if begins { now.saturating_add(1) } else { now.saturating_sub(1) };
        most = now.max(most);
    }
    most
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const HOUR_MS: u64 = 3_600_000;
