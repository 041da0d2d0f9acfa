//! Running a plan: a world, what happens to it, and an oracle that watches.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{
    Command, CommandError, Config, HoldReason, JobView, NodeConfig, Policy, PreemptionRules, Reply, StrategyKind,
};
use reconvene_clock::{Hlc, Timestamp};
use reconvene_executor::{
    AgentConfig, EmergencyId, JobId, JobSpec, Resources, ResultDigest, SessionEpoch, Tag, ToBroker, ToExecutor,
    TraceJob, codec,
};
use reconvene_sync::memory::LinkFaults;
use reconvene_sync::{self as sync, NetworkId};

use super::plan::Pace;
use super::{Act, JobPlan, Oracle, Reached, Sabotage, Scenario, Violation};
use crate::world::{Happened, Place, World, WorldConfig};

pub(super) fn run(scenario: &Scenario, watch: &mut dyn FnMut(&Happened)) -> Result<Reached, Violation> {
    let mut run = Run::new(scenario, watch)?;
    run.faults(scenario)?;
    run.calm()?;
    run.oracle.check_done(&run.world)?;
    run.quiet_minute()?;
    run.oracle.reach_often("virtual seconds", run.now() / 1_000);
    Ok(run.oracle.into_reached())
}

struct Run<'a> {
    watch: &'a mut dyn FnMut(&Happened),
    pace: Pace,
    world: World,
    oracle: Oracle,
    /// How often each pair is cut at the moment.
    cuts: BTreeMap<(Place, Place), u32>,
    undo: BTreeMap<(u64, u64), Undo>,
    undone: u64,
    killed: BTreeSet<usize>,
    /// Executors that are gone for good.
    dead: BTreeSet<usize>,
    /// What clients were told their jobs are called.
    jobs: BTreeMap<u64, JobId>,
    emergency: Option<EmergencyId>,
    /// Whether jobs are forgotten when they are over.
    forgets: bool,
    disturbed: bool,
    /// When brokers were last looked into.
    checked: u64,
}

/// What a fault that passes has done.
enum Undo {
    Heal(Vec<(Place, Place)>),
    StartBroker(usize),
    StartExecutor {
        executor: usize,
        clock_lost: bool,
    },
    /// The executor may still be at work.
    RestartExecutor(usize),
    StopBroker {
        broker: usize,
        for_ms: u64,
    },
    Resume(Place),
}

/// Emergency first, with preemption as fast as all else here.
fn preempting(seed: u64) -> Result<Policy, Violation> {
    let rules = PreemptionRules {
        min_run_ms: 300,
        cool_down_ms: 2_000,
        grace_ms: if seed.is_multiple_of(2) { 300 } else { 0 },
        reserve_ms: 1_000,
        refill_ms: 1_000,
        ..PreemptionRules::default()
    };
    let policy = Policy::builder(StrategyKind::EmergencyFirst).preemption(rules).build();
    policy.map_err(|error| broken("policies are accepted", 0, error.to_string()))
}

impl<'a> Run<'a> {
    fn new(scenario: &Scenario, watch: &'a mut dyn FnMut(&Happened)) -> Result<Self, Violation> {
        let plan = &scenario.plan;
        let pace = plan.pace;
        let mut config = WorldConfig::new(plan.seed);
        config.skew_ms = plan.skew_ms;
        let mut world = World::new(config);
        for strategy in &plan.brokers {
            let mut sync = sync::Config::new(NetworkId::of_name("simulated jobs"), 0).scaled(pace.sync_ms);
            if !pace.audits {
                sync.audit_every = 0;
            }
            let mut lifecycle = Config::new(*strategy).scaled(pace.sync_ms);
            // In some runs so few losses are allowed that the budget is used up.
            if plan.seed.is_multiple_of(3) {
                lifecycle.redeploys = 1;
            }
            // A policy's durations are its own, and do not shrink with the settings.
            if *strategy == StrategyKind::EmergencyFirst {
                lifecycle.policy = preempting(plan.seed)?;
            }
            // A job that was lost again and again does not wait for longer than a run lasts.
            lifecycle.redeploy_delay_ms = pace.sync_ms.saturating_mul(2);
            lifecycle.redeploy_delay_max_ms = pace.sync_ms.saturating_mul(8);
            // In some runs what is over is forgotten before the run is.
            if plan.forgets {
                lifecycle.keep_results_ms = pace.sync_ms.saturating_mul(KEPT);
            }
            let lifecycle = lifecycle.build().map_err(|error| broken("settings are accepted", 0, error.to_string()))?;
            world.add_broker(NodeConfig::new(sync, lifecycle))?;
        }
        for (executor, drawn) in plan.executors.iter().enumerate() {
            let session = SessionEpoch { start: Hlc::from_u64(0), random: 0 };
            let mut config = AgentConfig::new(session, 0).scaled(pace.sync_ms);
            config.slots = drawn.slots;
            config.capacity = Resources::new(u64::from(drawn.slots).saturating_mul(1_000), 0, 0);
            for whose in [Some(executor), drawn.also].into_iter().flatten() {
                config.tags.insert(only(whose)?);
            }
            world.add_executor(config, &drawn.brokers)?;
            world.set_traits(executor, drawn.traits);
        }
        sabotage(&mut world, scenario.sabotage);
        Ok(Self {
            watch,
            pace,
            world,
            oracle: Oracle::new(plan.brokers.len(), pace.sync_ms),
            cuts: BTreeMap::new(),
            undo: BTreeMap::new(),
            undone: 0,
            killed: BTreeSet::new(),
            dead: BTreeSet::new(),
            jobs: BTreeMap::new(),
            emergency: None,
            forgets: plan.forgets,
            disturbed: false,
            checked: 0,
        })
    }

    fn now(&self) -> u64 {
        self.world.now().as_millis()
    }

    /// Lets time pass, undoes what is to be undone meanwhile, and has the oracle look at all that happens.
    fn pass_until(&mut self, until_ms: u64) -> Result<(), Violation> {
        loop {
            let undo = self.undo.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= until_ms);
            let sample = self.now().saturating_add(self.pace.sample_ms);
            let next = undo.unwrap_or(until_ms).min(sample).max(self.now());
            self.world.run_until(Timestamp::from_millis(next))?;
            self.look()?;
            if next >= self.checked.saturating_add(self.pace.sample_ms) {
                self.checked = next;
                self.oracle.check(&self.world)?;
            }
            while self.undo.first_key_value().is_some_and(|((at, _), _)| *at <= next) {
                if let Some((_, undo)) = self.undo.pop_first() {
                    self.undo_one(undo)?;
                }
            }
            if next >= until_ms {
                return Ok(());
            }
        }
    }

    /// Tells the oracle what has happened.
    fn look(&mut self) -> Result<(), Violation> {
        for happened in self.world.take_happened() {
            (self.watch)(&happened);
            self.oracle.happened(&self.world, &happened)?;
        }
        Ok(())
    }

    fn faults(&mut self, scenario: &Scenario) -> Result<(), Violation> {
        let warm_up_ms = self.pace.warm_up_ms().saturating_sub(1);
        let (early, steps): (Vec<_>, Vec<_>) = scenario.plan.steps.iter().partition(|step| step.at_ms < warm_up_ms);
        for step in early {
            self.pass_until(step.at_ms)?;
            self.act(&step.act)?;
            if let Act::Cut { a: Place::Broker(_), b: Place::Broker(_), .. } = step.act {
                self.oracle.kept_apart();
            }
        }
        self.pass_until(warm_up_ms)?;
        let links = &scenario.plan.links;
        self.disturbed = links.loss_per_mille > 0 || links.duplicate_per_mille > 0 || *links.delay_ms.end() > 3;
        self.world.set_faults(links.clone());
        for step in steps {
            self.pass_until(step.at_ms)?;
            self.act(&step.act)?;
            if self.disturbed || !self.undo.is_empty() || is_fault(&step.act) {
                self.oracle.disturbed(self.now());
            }
            self.look()?;
        }
        self.pass_until(self.pace.faults_until_ms)?;
        self.oracle.disturbed(self.now());
        self.world.set_faults(LinkFaults { delay_ms: 1..=3, ..LinkFaults::NONE });
        // Undoing may leave something else to be undone.
        while let Some((_, undo)) = self.undo.pop_first() {
            self.undo_one(undo)?;
        }
        Ok(())
    }

    fn calm(&mut self) -> Result<(), Violation> {
        self.disturbed = false;
        let deadline = self.now().saturating_add(self.pace.calm_ms);
        while let Some(unrest) = self.oracle.unrest(&self.world) {
            if self.now() >= deadline {
                return Err(broken("L3, all is done when faults are over", self.now(), unrest));
            }
            self.release_suspects()?;
            self.pass_until(self.now().saturating_add(self.pace.poll_ms))?;
        }
        // What was decided last may still be told, and told back.
        self.pass_until(self.now().saturating_add(self.pace.sync_ms.saturating_mul(SETTLING)))?;
        // A broker that has just been opened hears only now who is silent.
        while self.guards() && self.now() < deadline {
            self.pass_until(self.now().saturating_add(self.pace.poll_ms))?;
        }
        if !self.forgets {
            return Ok(());
        }
        // What is over is forgotten, and that goes round as well.
        let deadline = self.now().saturating_add(self.pace.sync_ms.saturating_mul(FORGETTING));
        while let Some(left) = self.oracle.left(&self.world) {
            if self.now() >= deadline {
                return Err(broken("L6", self.now(), left));
            }
            self.pass_until(self.now().saturating_add(self.pace.poll_ms))?;
        }
        self.pass_until(self.now().saturating_add(self.pace.sync_ms.saturating_mul(COLLECTING)))
    }

    /// Whether a broker takes itself for cut off.
    fn guards(&self) -> bool {
        let brokers = (0..self.world.counts().0).filter(|broker| self.world.runs(Place::Broker(*broker)));
        let mut nodes = brokers.filter_map(|broker| self.world.broker(broker));
        nodes.any(|node| node.coordinator().is_storm_guard_on())
    }

    /// What an operator does about jobs that wait for one.
    fn release_suspects(&mut self) -> Result<(), Violation> {
        for broker in 0..self.world.counts().0 {
            let jobs = self.world.broker(broker).filter(|_| self.world.runs(Place::Broker(broker)));
            let held = |job: JobView| (job.quarantine == Some(HoldReason::PoisonSuspected)).then_some(job.id);
            let suspects: Vec<_> =
                jobs.into_iter().flat_map(|node| node.coordinator().jobs().filter_map(held)).collect();
            for job in suspects {
                self.command(broker, Command::Release { job })?;
                self.oracle.reach("suspects released");
            }
        }
        Ok(())
    }

    /// Nothing is to be done any more: nobody writes, and little is said.
    fn quiet_minute(&mut self) -> Result<(), Violation> {
        let (brokers, executors) = self.world.counts();
        let (before, revisions) = (self.world.inputs(), self.revisions());
        let quiet_ms = self.pace.sync_ms.saturating_mul(QUIET);
        self.pass_until(self.now().saturating_add(quiet_ms))?;
        let inputs = self.world.inputs().saturating_sub(before);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (brokers, executors) = (number(brokers), number(executors));
        let bound = brokers.saturating_mul(brokers).saturating_mul(PAIR_INPUTS);
        let bound = bound.saturating_add(executors.saturating_mul(EXECUTOR_INPUTS));
        if inputs > bound {
            let what = format!("{inputs} inputs in {quiet_ms} quiet ms, expected {bound} at most");
            return Err(broken("nobody spins", self.now(), what));
        }
        if self.revisions() != revisions {
            let what = format!("revisions {revisions:?} became {:?}", self.revisions());
            return Err(broken("nobody writes when all is done", self.now(), what));
        }
        match self.oracle.unrest(&self.world) {
            Some(unrest) => Err(broken("what is done stays done", self.now(), unrest)),
            None => Ok(()),
        }
    }

    fn revisions(&self) -> Vec<Option<u64>> {
        let brokers = 0..self.world.counts().0;
        brokers.map(|broker| Some(self.world.broker(broker)?.replica().head().revision().get())).collect()
    }

    fn act(&mut self, act: &Act) -> Result<(), Violation> {
        match act {
            Act::Submit { broker, key, job } => self.submit(*broker, *key, job),
            Act::Cancel { broker, key } => self.cancel(*broker, *key),
            Act::Declare { broker, level, lifetime_ms } => {
                let (level, lifetime_ms) = (*level, *lifetime_ms);
                let region = STRICKEN.to_owned();
                let reply = self.command(*broker, Command::DeclareEmergency { level, region, lifetime_ms });
                if let Some(Ok(Reply::EmergencyDeclared { id })) = reply? {
                    self.emergency = Some(id);
                }
                Ok(())
            }
            Act::Revoke { broker } => {
                if let Some(id) = self.emergency {
                    self.command(*broker, Command::RevokeEmergency { id })?;
                }
                Ok(())
            }
            Act::SetPolicy { broker, policy, rank } => {
                let command = Command::SetPolicy { canonical: policy.canonical_bytes(), issuer_rank: *rank };
                match self.command(*broker, command)? {
                    None | Some(Ok(Reply::PolicySet { .. })) => Ok(()),
                    Some(other) => Err(broken("a policy can be set", self.now(), format!("{other:?}"))),
                }
            }
            Act::Repin { broker, key, policy } => self.repin(*broker, *key, policy),
            Act::Cut { a, b, for_ms } => {
                self.cut(vec![(*a, *b)], *for_ms);
                Ok(())
            }
            Act::Split { side, for_ms } => {
                let (brokers, executors) = self.world.counts();
                let all = (0..brokers).map(Place::Broker).chain((0..executors).map(Place::Executor));
                let others: Vec<_> = all.filter(|place| !side.contains(place)).collect();
                let pairs = side.iter().flat_map(|a| others.iter().map(|b| (*a, *b)));
                self.cut(pairs.collect(), *for_ms);
                Ok(())
            }
            Act::RestartBroker { broker, for_ms } => {
                if self.world.runs(Place::Broker(*broker)) {
                    self.look()?;
                    self.world.stop_broker(*broker);
                    self.later(*for_ms, Undo::StartBroker(*broker));
                    self.oracle.reach("brokers restarted");
                }
                Ok(())
            }
            Act::BackUp { broker } => {
                self.world.back_up(*broker);
                Ok(())
            }
            Act::RestoreBroker { broker, for_ms } => self.restore(*broker, *for_ms),
            Act::KillBroker { broker } => {
                self.look()?;
                if self.killed.insert(*broker) {
                    self.world.stop_broker(*broker);
                    self.oracle.killed(&self.world, *broker, &self.killed);
                }
                Ok(())
            }
            Act::LeaveBroker { broker, for_ms } => {
                if self.world.runs(Place::Broker(*broker)) {
                    self.world.leave_broker(*broker)?;
                    self.later(10, Undo::StopBroker { broker: *broker, for_ms: *for_ms });
                    self.oracle.reach("brokers left");
                }
                Ok(())
            }
            Act::LeaveExecutor { executor, drain, for_ms } => {
                if self.world.runs(Place::Executor(*executor)) {
                    self.world.leave_executor(*executor, *drain)?;
                    self.later(*for_ms, Undo::RestartExecutor(*executor));
                    self.oracle.reach("executors left");
                }
                Ok(())
            }
            Act::KillExecutor { executor } => {
                if self.dead.insert(*executor) {
                    self.look()?;
                    self.world.stop_executor(*executor);
                    self.look()?;
                    self.oracle.died(*executor);
                }
                Ok(())
            }
            Act::Pause { place, for_ms } => {
                if self.world.runs(*place) {
                    self.world.pause(*place);
                    self.later(*for_ms, Undo::Resume(*place));
                    self.oracle.reach("processes paused");
                }
                Ok(())
            }
            Act::RestartExecutor { executor, for_ms, clock_lost } => {
                if self.world.runs(Place::Executor(*executor)) {
                    self.look()?;
                    self.world.stop_executor(*executor);
                    self.look()?;
                    self.later(*for_ms, Undo::StartExecutor { executor: *executor, clock_lost: *clock_lost });
                    self.oracle.reach("executors restarted");
                }
                Ok(())
            }
        }
    }

    fn restore(&mut self, broker: usize, for_ms: u64) -> Result<(), Violation> {
        let Some(copy) = self.world.backed_up(broker)?.filter(|_| self.world.runs(Place::Broker(broker))) else {
            return Ok(());
        };
        self.look()?;
        self.world.stop_broker(broker);
        self.oracle.restored(&self.world, broker, &copy, &self.killed);
        self.world.restore(broker)?;
        self.later(for_ms, Undo::StartBroker(broker));
        Ok(())
    }

    fn undo_one(&mut self, undo: Undo) -> Result<(), Violation> {
        match undo {
            Undo::Heal(pairs) => {
                for pair in pairs {
                    let Some(count) = self.cuts.get_mut(&pair) else { continue };
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.cuts.remove(&pair);
                        self.world.heal(pair.0, pair.1);
                    }
                }
            }
            Undo::StartBroker(broker) => {
                if !self.killed.contains(&broker) {
                    self.oracle.restarted(broker);
                    self.world.start_broker(broker)?;
                }
            }
            Undo::StartExecutor { executor, .. } | Undo::RestartExecutor(executor) if self.dead.contains(&executor) => {
            }
            Undo::StartExecutor { executor, clock_lost } => self.world.start_executor(executor, clock_lost)?,
            Undo::RestartExecutor(executor) => {
                self.look()?;
                self.world.stop_executor(executor);
                self.look()?;
                self.world.start_executor(executor, false)?;
            }
            Undo::StopBroker { broker, for_ms } => {
                if !self.killed.contains(&broker) {
                    self.look()?;
                    self.world.stop_broker(broker);
                    self.later(for_ms, Undo::StartBroker(broker));
                }
            }
            Undo::Resume(place) => self.world.resume(place)?,
        }
        self.oracle.disturbed(self.now());
        Ok(())
    }

    fn later(&mut self, in_ms: u64, undo: Undo) {
        self.undo.insert((self.now().saturating_add(in_ms.max(1)), self.undone), undo);
        self.undone = self.undone.saturating_add(1);
    }

    fn cut(&mut self, pairs: Vec<(Place, Place)>, for_ms: u64) {
        for (a, b) in &pairs {
            self.world.cut(*a, *b);
            let count = self.cuts.entry((*a, *b)).or_default();
            *count = count.saturating_add(1);
        }
        self.later(for_ms, Undo::Heal(pairs));
    }

    /// Asks a broker; `None` if it does not run.
    fn command(&mut self, broker: usize, command: Command) -> Result<Option<Result<Reply, CommandError>>, Violation> {
        if self.world.runs(Place::Broker(broker)) { Ok(Some(self.world.command(broker, command)?)) } else { Ok(None) }
    }

    fn submit(&mut self, broker: usize, key: u64, job: &JobPlan) -> Result<(), Violation> {
        let spec = self.spec(key, job)?;
        let digest = spec.digest();
        let brokers = self.world.counts().0;
        let mut others = (0..brokers).map(|step| broker.saturating_add(step).checked_rem(brokers).unwrap_or(broker));
        let running = others.find(|broker| self.world.runs(Place::Broker(*broker)));
        let broker = running.filter(|_| self.pace.clients_persist).unwrap_or(broker);
        match self.command(broker, Command::Submit { spec })? {
            None => {}
            Some(Ok(Reply::Submitted { job: id })) => {
                self.jobs.entry(key).or_insert(id);
                self.oracle.admitted(broker, id, digest, job);
            }
            Some(other) => return Err(broken("a valid job is admitted", self.now(), format!("{other:?}"))),
        }
        Ok(())
    }

    fn cancel(&mut self, broker: usize, key: u64) -> Result<(), Violation> {
        let Some(job) = self.jobs.get(&key).copied() else { return Ok(()) };
        match self.command(broker, Command::Cancel { job })? {
            Some(Ok(Reply::Cancelled { .. })) => self.oracle.cancelled(broker, job),
            // It has a result already, or this broker has not heard of it.
            Some(Ok(Reply::TooLate { .. }) | Err(CommandError::UnknownJob { .. } | CommandError::Compacted { .. }))
            | None => {}
            Some(other) => return Err(broken("a job can be cancelled", self.now(), format!("{other:?}"))),
        }
        Ok(())
    }

    fn repin(&mut self, broker: usize, key: u64, policy: &Policy) -> Result<(), Violation> {
        let Some(job) = self.jobs.get(&key).copied() else { return Ok(()) };
        match self.command(broker, Command::Repin { job, policy: policy.id(), issuer_rank: 0 })? {
            // This broker has not heard of the one or of the other.
            None | Some(Ok(Reply::Repinned { .. })) => Ok(()),
            Some(Err(
                CommandError::UnknownJob { .. } | CommandError::Compacted { .. } | CommandError::UnknownPolicy { .. },
            )) => Ok(()),
            Some(other) => Err(broken("a job can be repinned", self.now(), format!("{other:?}"))),
        }
    }

    fn spec(&self, key: u64, job: &JobPlan) -> Result<JobSpec, Violation> {
        let input = key.to_le_bytes().to_vec();
        let trace = TraceJob { run_ms: job.run_ms, input, varies: job.varies };
        let encoded = trace.encode().map_err(|error| broken("a job is encoded", self.now(), error.to_string()))?;
        let payload = if job.fails { b"fails".to_vec() } else { encoded };
        let mut spec = JobSpec::new(payload)
            .with_client("client", key)
            .with_priority(job.priority)
            .with_value(job.value)
            .with_estimate_ms(job.run_ms)
            .with_fenced(job.fenced)
            .with_region(if job.elsewhere { ELSEWHERE } else { WITHIN })
            .with_demand(Resources::new(job.cpu_milli, 0, 0));
        if let Some(executor) = job.only {
            spec = spec.with_tag(only(executor)?);
        }
        if let Some(emergency) = self.emergency.filter(|_| job.emergency) {
            spec = spec.with_emergency(emergency);
        }
        Ok(spec)
    }
}

fn is_fault(act: &Act) -> bool {
    match act {
        Act::Submit { .. }
        | Act::Cancel { .. }
        | Act::Declare { .. }
        | Act::Revoke { .. }
        | Act::SetPolicy { .. }
        | Act::Repin { .. } => false,
        Act::Cut { .. }
        | Act::Split { .. }
        | Act::BackUp { .. }
        | Act::RestartBroker { .. }
        | Act::RestoreBroker { .. }
        | Act::KillBroker { .. }
        | Act::LeaveBroker { .. }
        | Act::LeaveExecutor { .. }
        | Act::KillExecutor { .. }
        | Act::Pause { .. }
        | Act::RestartExecutor { .. } => true,
    }
}

fn only(executor: usize) -> Result<Tag, Violation> {
    Tag::new(format!("only-{executor}")).map_err(|error| broken("a tag is a tag", 0, error.to_string()))
}

fn broken(promise: &'static str, at_ms: u64, what: String) -> Violation {
    Violation { promise, at_ms, what }
}

/// Breaks a rule on the way between a broker and an executor.
fn sabotage(world: &mut World, sabotage: Sabotage) {
    match sabotage {
        Sabotage::None => {}
        Sabotage::AnswersLost => world.set_tamper(|_, _, frame| match codec::decode_to_executor(&frame) {
            Ok(ToExecutor::SubmitAnswer { .. }) => None,
            Ok(_) | Err(_) => Some(frame),
        }),
        Sabotage::OrdersLost => world.set_tamper(|_, to, frame| match codec::decode_to_executor(&frame) {
            Ok(ToExecutor::HeartbeatAnswer { session, registration, sequence, renewed, lost, orders: _, roster })
                if to == Place::Executor(0) =>
            {
                let orders = Vec::new();
                let answer =
                    ToExecutor::HeartbeatAnswer { session, registration, sequence, renewed, lost, orders, roster };
                codec::encode_to_executor(&answer).ok()
            }
            Ok(_) | Err(_) => Some(frame),
        }),
        Sabotage::ResultsChanged => world.set_tamper(|from, to, frame| {
            let (Place::Executor(0), Place::Broker(_)) = (from, to) else { return Some(frame) };
            match codec::decode_to_broker(&frame) {
                Ok(ToBroker::Submit(mut submit)) => {
                    submit.digest = ResultDigest([0; 32]);
                    codec::encode_to_broker(&ToBroker::Submit(submit)).ok()
                }
                Ok(_) | Err(_) => Some(frame),
            }
        }),
    }
}

/// How many intervals a result is kept for where results are forgotten.
const KEPT: u64 = 5;
/// How many intervals the last news may take to have gone round.
const SETTLING: u64 = 3;
/// How many intervals it may take after that until what is over is forgotten: those that it is kept for, and as many again
/// until it is looked at once more.
const FORGETTING: u64 = 16;
/// How many intervals the traces of what was forgotten stay.
const COLLECTING: u64 = 6;
/// How many intervals it must be quiet then.
const QUIET: u64 = 5;
/// What a pair of brokers may say to each other meanwhile, ticks included.
const PAIR_INPUTS: u64 = 500;
/// What an executor and its home may say to each other meanwhile, ticks included: a heartbeat every 83 ms, its answer.
const EXECUTOR_INPUTS: u64 = 350;
/// Where emergencies are.
const STRICKEN: &str = "north/harbour";
/// A place within, and one that is not though its name begins alike.
const WITHIN: &str = "north/harbour/pier-3";
const ELSEWHERE: &str = "north/harbourside";
