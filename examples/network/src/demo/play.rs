//! Plays the script: submits the workload, breaks and mends the network, watches, and waits until all agree.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use reconvene_broker::{EventKind, JobStatus, JobView, Node, NodeEvent, Statistics};
use reconvene_clock::{Hlc, Knowledge};
use reconvene_executor::{EmergencyId, JobId};
use reconvene_store::Fingerprints;
use reconvene_sync as sync;

use super::{
    Options,
    evidence::{Announced, BrokerEnd, EmergencyRecord, Evidence, JobEnd, Seen, Submitted},
    network::{Network, Reach, What},
    progress::Progress,
    report::BrokerName,
    script::Script,
    settings,
    timeline::Timeline,
    workload::{PlannedJob, Workload},
};

/// What came of it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) evidence: Evidence,
    pub(crate) timeline: Timeline,
    /// What each broker counted.
    pub(crate) statistics: Vec<Statistics>,
    /// What each broker's exchange counted.
    pub(crate) sync: Vec<sync::Stats>,
    /// From the end of the cut until every broker held what any of them knew then.
    pub(crate) heal_to_converged_ms: u64,
}

/// Plays the whole script on `network`.
///
/// # Errors
/// If a broker refuses a job or stops. Promises that do not hold are no errors here; the evidence shows them.
pub(crate) async fn play<N: Network>(
    network: &mut N,
    options: &Options,
    workload: &Workload,
    script: &Script,
    progress: &mut Progress,
) -> Result<Story> {
    let detection_ms = options.scaled_ms(super::script::DETECTION_BOUND_MS);
    let evidence =
        Evidence { faults: options.faults, detection_ms, grace_ms: options.sync_interval_ms, ..Evidence::default() };
    let mut player = Player {
        network,
        options,
        script,
        region: &workload.emergency_region,
        progress,
        evidence,
        timeline: Timeline::default(),
        reach: Reach::default(),
        next_step: if options.faults { Step::Cut } else { Step::Nothing },
        next_look_ms: 0,
        vanished_ms: None,
        healing: None,
        heal_to_converged_ms: 0,
        emergency: None,
        looks: vec![Look::default(); options.brokers],
    };
    player.wait_until_ready().await?;
    player.submit_all(&workload.jobs).await?;
    player.wait_until_quiet().await?;
    player.finish().await
}

struct Player<'a, N> {
    network: &'a mut N,
    options: &'a Options,
    script: &'a Script,
    region: &'a str,
    progress: &'a mut Progress,
    evidence: Evidence,
    timeline: Timeline,
    reach: Reach,
    next_step: Step,
    next_look_ms: u64,
    vanished_ms: Option<u64>,
    healing: Option<Healing>,
    heal_to_converged_ms: u64,
    emergency: Option<EmergencyId>,
    /// The latest look at each broker.
    looks: Vec<Look>,
}

/// The time between the end of the cut and the moment at which the two sides have compared notes.
struct Healing {
    since_ms: u64,
    /// All that any broker knew when the cut ended.
    union: Knowledge,
    /// The executors of the second side.
    executors: BTreeSet<usize>,
}

/// The steps of the script, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cut,
    Vanish,
    Declare,
    Heal,
    Reappear,
    Nothing,
}

/// What is looked at again and again.
#[derive(Clone, Debug, Default)]
struct Look {
    knowledge: Knowledge,
    stamped: Option<Hlc>,
    digest: String,
    jobs: u64,
    open: u64,
    emergency: bool,
}

impl<N: Network> Player<'_, N> {
    /// Until all brokers have met and know all executors; then the clock starts.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let (brokers, executors) = (self.options.brokers, self.options.executors);
        let patience_ms = self.options.sync_interval_ms.saturating_mul(20).max(10_000);
        loop {
            let mut ready = true;
            for broker in 0..brokers {
                let look = move |node: &Node| {
                    let members = node.replica().members().count();
                    members == brokers && node.coordinator().executors().count() == executors
                };
                ready &= self.network.look(broker, look).await?;
            }
            let now = self.network.now_ms();
            if ready {
                self.progress.say(0, &format!("{brokers} brokers and {executors} executors have found each other"));
                self.network.start_clock();
                return Ok(());
            }
            ensure!(now < patience_ms, "brokers and executors did not find each other within {patience_ms} ms");
            self.network.run_until(now.saturating_add(self.look_every_ms())).await?;
            self.network.happened();
        }
    }

    async fn submit_all(&mut self, jobs: &[PlannedJob]) -> Result<()> {
        for (index, job) in (0_usize..).zip(jobs) {
            self.watch_until(job.at_ms).await?;
            let mut spec = job.spec.clone();
            // While the emergency stands, some jobs where it was declared serve it.
            if self.is_second_side(job.broker) && index.is_multiple_of(3) {
                spec.emergency = self.emergency;
            }
            let digest = spec.digest();
            let broker = BrokerName(job.broker);
            let id = self.network.submit(job.broker, spec).await.with_context(|| format!("{broker} refused a job"))?;
            self.evidence.submitted.push(Submitted { job: id, spec: digest });
        }
        Ok(())
    }

    /// Until every job has a result everywhere and all brokers hold the same, or nothing has changed for too long.
    async fn wait_until_quiet(&mut self) -> Result<()> {
        let interval = self.options.sync_interval_ms;
        let patience_ms = interval.saturating_mul(20).max(10_000);
        let mut last_change = (self.network.now_ms(), self.state());
        let mut quiet_since = None;
        loop {
            let now = self.network.now_ms();
            self.watch_until(now.saturating_add(self.look_every_ms())).await?;
            let now = self.network.now_ms();
            let state = self.state();
            if self.is_over() {
                // A little longer, for what is still on its way.
                let since = *quiet_since.get_or_insert(now);
                if state == last_change.1 && now.saturating_sub(since) >= interval / 2 {
                    return Ok(());
                }
            } else {
                quiet_since = None;
            }
            if state != last_change.1 {
                last_change = (now, state);
            } else if now.saturating_sub(last_change.0) >= patience_ms {
                self.progress.say(now, "nothing changes any more, and not all is as it should be");
                return Ok(());
            }
        }
    }

    /// Lets the network run until then, looking at it and doing what the script says on the way: also where the machine
    /// is so busy that the time has come already.
    async fn watch_until(&mut self, at_ms: u64) -> Result<()> {
        loop {
            if self.network.now_ms() >= self.next_look_ms {
                self.collect()?;
                self.look().await?;
                self.do_step().await?;
                self.next_look_ms = self.network.now_ms().saturating_add(self.look_every_ms());
            }
            if self.network.now_ms() >= at_ms {
                return self.collect();
            }
            self.network.run_until(at_ms.min(self.next_look_ms)).await?;
        }
    }

    async fn do_step(&mut self) -> Result<()> {
        let now = self.network.now_ms();
        match self.next_step {
            Step::Cut if now >= self.script.cut_ms => {
                let first = self.options.brokers.div_ceil(2);
                self.reach.second_side = (first..self.options.brokers).collect();
                let home = |executor: usize| executor.checked_rem(self.options.brokers).unwrap_or(0);
                self.reach.second_side_executors =
                    (0..self.options.executors).filter(|executor| home(*executor) >= first).collect();
                self.network.set_reach(&self.reach);
                self.evidence.parted(now, self.reach.second_side_executors.clone());
                self.timeline.cut = Some((now, u64::MAX, self.reach.second_side.clone()));
                self.progress.say(now, &format!("the network is cut: {} on one side", names(&self.reach.second_side)));
                self.next_step = Step::Vanish;
            }
            Step::Vanish if now >= self.script.vanish_ms => {
                let wanted = self.options.executors.div_ceil(3);
                let chosen = self.executors_to_vanish(wanted);
                // Those that run something now are worth waiting for, though not for ever.
                let waited = now.saturating_sub(self.script.vanish_ms) >= self.options.sync_interval_ms;
                if chosen.len() < wanted && !waited {
                    return Ok(());
                }
                for executor in &chosen {
                    self.evidence.parted(now, [*executor].into());
                    self.timeline.vanished.push((now, u64::MAX, *executor));
                }
                self.progress.say(now, &format!("executors {} vanish", numbers(&chosen)));
                self.reach.vanished = chosen;
                self.network.set_reach(&self.reach);
                self.vanished_ms = Some(now);
                self.next_step = Step::Declare;
            }
            Step::Declare if now >= self.script.emergency_ms => {
                let broker = self.options.brokers.saturating_sub(1);
                let id = self.network.declare_emergency(broker, EMERGENCY_LEVEL, self.region).await?;
                self.emergency = Some(id);
                let known_ms = vec![None; self.options.brokers];
                self.evidence.emergency = Some(EmergencyRecord { declared_ms: now, known_ms });
                self.progress.say(now, &format!("{} declares an emergency", BrokerName(broker)));
                self.next_step = Step::Heal;
            }
            Step::Heal if now >= self.script.heal_ms => {
                let mut union = Knowledge::new();
                for look in &self.looks {
                    union.merge(&look.knowledge);
                }
                let executors = std::mem::take(&mut self.reach.second_side_executors);
                self.healing = Some(Healing { since_ms: now, union, executors });
                self.reach.second_side.clear();
                self.network.set_reach(&self.reach);
                if let Some((_, until, _)) = &mut self.timeline.cut {
                    *until = now;
                }
                self.progress.say(now, "the network is whole again");
                self.next_step = Step::Reappear;
            }
            Step::Reappear
                if now >= self.script.reappear_ms
                    && self.vanished_ms.is_none_or(|gone| now.saturating_sub(gone) >= self.script.gone_ms) =>
            {
                for executor in std::mem::take(&mut self.reach.vanished) {
                    self.evidence.met(now, &[executor].into());
                }
                for (_, until, _) in &mut self.timeline.vanished {
                    *until = now;
                }
                self.network.set_reach(&self.reach);
                self.progress.say(now, "the vanished executors are back, with what they did meanwhile");
                self.next_step = Step::Nothing;
            }
            Step::Cut | Step::Vanish | Step::Declare | Step::Heal | Step::Reappear | Step::Nothing => {}
        }
        Ok(())
    }

    /// Busy executors, the busiest first, never all of one side.
    fn executors_to_vanish(&self, wanted: usize) -> BTreeSet<usize> {
        let busy = self.evidence.busy();
        let mut candidates: Vec<(usize, usize)> = busy.into_iter().collect();
        candidates.sort_by_key(|(executor, running)| (std::cmp::Reverse(*running), *executor));
        let side = |executor: &usize| self.reach.second_side_executors.contains(executor);
        let mut left = [0_usize; 2];
        for executor in 0..self.options.executors {
            let [first, second] = &mut left;
            let count = if side(&executor) { second } else { first };
            *count = count.saturating_add(1);
        }
        let mut chosen = BTreeSet::new();
        for (executor, _) in candidates {
            let [first, second] = &mut left;
            let count = if side(&executor) { second } else { first };
            if chosen.len() < wanted && *count > 1 {
                *count = count.saturating_sub(1);
                chosen.insert(executor);
            }
        }
        chosen
    }

    /// Takes in what happened.
    fn collect(&mut self) -> Result<()> {
        for happened in self.network.happened() {
            let at_ms = happened.at_ms;
            match happened.what {
                What::RunStarted { executor, attempt } => self.evidence.run_started(at_ms, executor, attempt),
                What::RunEnded { executor, attempt, digest } => {
                    self.evidence.run_ended(at_ms, executor, attempt, digest);
                }
                What::Event { broker, event: NodeEvent::Job(event) } => {
                    if let Some((job, what)) = announced(&event.kind) {
                        self.evidence.seen.push(Seen { at_ms, broker, job, what });
                    }
                }
                What::Event { broker, event: NodeEvent::Sync(sync::Event::SessionDone { .. }) } => {
                    self.timeline.syncs.push((at_ms, broker));
                }
                What::Event { .. } => {}
                What::Missed { missed } => bail!("{missed} announcements were not read in time; the record has a hole"),
            }
        }
        Ok(())
    }

    /// Looks at every broker from outside.
    async fn look(&mut self) -> Result<()> {
        let emergency = self.emergency;
        for broker in 0..self.options.brokers {
            let look = self.network.look(broker, move |node| Look::at(node, emergency)).await?;
            let now = self.network.now_ms();
            let stamped = look.stamped.unwrap_or(Hlc::from_u64(0));
            self.evidence.clocks.observe(now, broker, look.knowledge.clone(), stamped);
            if look.emergency
                && let Some(record) = &mut self.evidence.emergency
                && let Some(known) = record.known_ms.get_mut(broker)
            {
                known.get_or_insert(now);
            }
            if let Some(last) = self.looks.get_mut(broker) {
                *last = look;
            }
        }
        let now = self.network.now_ms();
        let compared = |healing: &mut Healing| self.looks.iter().all(|look| look.knowledge.covers(&healing.union));
        if let Some(healing) = self.healing.take_if(compared) {
            self.heal_to_converged_ms = now.saturating_sub(healing.since_ms).max(1);
            self.evidence.met(now, &healing.executors);
            self.progress.say(now, &format!("all brokers know what any knew, {} ms after", self.heal_to_converged_ms));
        }
        let completed = self.completed();
        self.progress.update(now, self.evidence.submitted.len(), completed);
        Ok(())
    }

    /// Jobs that are over at every broker.
    fn completed(&self) -> usize {
        let over = |look: &Look| look.jobs.saturating_sub(look.open);
        let least = self.looks.iter().map(over).min().unwrap_or(0);
        usize::try_from(least).unwrap_or(usize::MAX).min(self.evidence.submitted.len())
    }

    /// Whether nothing is left to happen: the script is through, nothing runs, and all brokers hold the same, all jobs
    /// over.
    fn is_over(&self) -> bool {
        let Some(first) = self.looks.first() else { return false };
        self.next_step == Step::Nothing
            && self.evidence.runs.iter().all(|run| run.ended_ms.is_some())
            && self.completed() == self.evidence.submitted.len()
            && self.looks.iter().all(|look| look.open == 0 && look.digest == first.digest)
    }

    /// What changes as long as anything goes on.
    fn state(&self) -> (usize, usize, Step, Vec<(String, u64, u64)>) {
        let ended = self.evidence.runs.iter().filter(|run| run.ended_ms.is_some()).count();
        let looks = self.looks.iter().map(|look| (look.digest.clone(), look.jobs, look.open)).collect();
        (self.evidence.runs.len(), ended, self.next_step, looks)
    }

    async fn finish(mut self) -> Result<Story> {
        self.look().await?;
        self.collect()?;
        let mut statistics = Vec::new();
        let mut sync = Vec::new();
        for broker in 0..self.options.brokers {
            let (mut end, counted, stats) = self.network.look(broker, end).await?;
            let records = self.network.records(broker).await?;
            end.digest = Fingerprints::of_records(settings::network(), &records).root().to_string();
            self.evidence.ends.push(end);
            statistics.push(counted);
            sync.push(stats);
        }
        self.timeline.end_ms = self.network.now_ms();
        Ok(Story {
            evidence: self.evidence,
            timeline: self.timeline,
            statistics,
            sync,
            heal_to_converged_ms: self.heal_to_converged_ms,
        })
    }

    fn is_second_side(&self, broker: usize) -> bool {
        broker >= self.options.brokers.div_ceil(2)
    }

    fn look_every_ms(&self) -> u64 {
        (self.options.sync_interval_ms / 20).clamp(10, 200)
    }
}

fn names(brokers: &BTreeSet<usize>) -> String {
    brokers.iter().map(|broker| BrokerName(*broker).to_string()).collect::<Vec<_>>().join(", ")
}

fn numbers(executors: &BTreeSet<usize>) -> String {
    executors.iter().map(|executor| executor.saturating_add(1).to_string()).collect::<Vec<_>>().join(", ")
}

/// What of a broker's events the checks look at.
fn announced(kind: &EventKind) -> Option<(JobId, Announced)> {
    if let EventKind::ResultAccepted { job, submission, .. } = kind {
        Some((*job, Announced::Accepted(*submission)))
    } else if let EventKind::ResultSuperseded { job, old, new, .. } = kind {
        Some((*job, Announced::Superseded { old: *old, new: *new }))
    } else if let EventKind::JobRedeployed { job, .. } = kind {
        Some((*job, Announced::Redeployed))
    } else {
        None
    }
}

/// Severe, in the scale of 1 to 200.
const EMERGENCY_LEVEL: u8 = 180;

impl Look {
    fn at(node: &Node, emergency: Option<EmergencyId>) -> Self {
        let head = node.replica().head();
        let statistics = node.coordinator().statistics();
        Self {
            knowledge: node.replica().knowledge().clone(),
            stamped: head.stamped(),
            digest: digest(node),
            jobs: statistics.jobs,
            open: statistics.jobs_open,
            emergency: emergency.is_some_and(|id| node.coordinator().emergencies().any(|known| known.id == id)),
        }
    }
}

/// The fingerprint of all live values: of what a broker holds, however it came by it.
fn digest(node: &Node) -> String {
    node.replica().head().digest().root.to_string()
}

/// What a broker says at the end.
fn end(node: &Node) -> (BrokerEnd, Statistics, sync::Stats) {
    let jobs = node.coordinator().jobs().map(|job| (job.id, job_end(&job))).collect();
    let end = BrokerEnd { claimed: digest(node), digest: String::new(), jobs };
    (end, node.coordinator().statistics(), *node.replica().stats())
}

fn job_end(job: &JobView) -> JobEnd {
    JobEnd {
        spec: job.spec,
        failed: job.status == JobStatus::Failed,
        canonical: job.result.as_ref().map(|result| result.submission),
        versions: job
            .submissions
            .iter()
            .filter(|version| version.accepted && version.success)
            .map(|version| (version.id, (version.attempt, version.digest)))
            .collect(),
    }
}
