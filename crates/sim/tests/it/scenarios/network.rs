//! Brokers A, B, C and executors on real links, with a clock that begins when a scenario does.

use reconvene_broker::{Command, Config, EventKind, JobView, NodeConfig, NodeEvent, Reply, Statistics, StrategyKind};
use reconvene_clock::{Hlc, ReplicaId};
use reconvene_executor::{
    self as executor, AgentConfig, Answer, AttemptId, Finality, JobId, JobSpec, OwnershipEpoch, Resources,
    SessionEpoch, SubmissionId, TraceJob,
};
use reconvene_sim::world::{ExecutorTraits, Place, What, World, WorldConfig};
use reconvene_sync::NetworkId;

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;

/// What an executor is told of a result that counts.
pub(super) const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

/// Brokers and executors, and everything that happened to them.
pub(super) struct Network {
    pub(super) world: World,
    happened: Vec<(u64, What)>,
    /// When the scenario begins, in the time of the world.
    begin_ms: u64,
}

impl Network {
    /// Brokers that have met.
    pub(super) fn new(brokers: usize, strategy: StrategyKind) -> Self {
        Self::with(brokers, Config::new(strategy))
    }

    /// The same with other settings.
    pub(super) fn with(brokers: usize, lifecycle: Config) -> Self {
        #[cfg(reconvene_sabotage)]
        reconvene_store::sabotage::choose(u8::try_from(crate::number("RECONVENE_SABOTAGE", 0)).unwrap());
        let mut config = WorldConfig::new(11);
        config.delay_ms = 1..=1;
        let mut world = World::new(config);
        for _ in 0..brokers {
            let sync = reconvene_sync::Config::new(NetworkId::of_name("scenarios"), 0);
            world.add_broker(NodeConfig::new(sync, lifecycle.clone().build().unwrap())).unwrap();
        }
        let mut network = Self { world, happened: Vec::new(), begin_ms: 0 };
        network.run_ms(200_000);
        network
    }

    /// An executor with so many slots at the first of these brokers.
    pub(super) fn executor(&mut self, brokers: &[usize], slots: u32) -> usize {
        let mut config = AgentConfig::new(SessionEpoch { start: Hlc::from_u64(0), random: 0 }, 0);
        config.slots = slots;
        config.capacity = Resources::new(u64::from(slots) * 1_000, 0, 0);
        let executor = self.world.add_executor(config, brokers).unwrap();
        self.run_ms(10);
        assert_eq!(self.home(executor), Some(brokers[0]));
        executor
    }

    /// From now on, runs on an executor take so many of 100 of what jobs say, and declare this quality.
    pub(super) fn set_traits(&mut self, executor: usize, pace_percent: u64, quality_bp: Option<u16>) {
        self.world.set_traits(executor, ExecutorTraits { pace_percent, quality_bp });
    }

    // Time.

    pub(super) fn run_ms(&mut self, ms: u64) {
        let until = self.world.now().saturating_add(ms);
        self.world.run_until(until).unwrap();
        let happened = self.world.take_happened();
        self.happened.extend(happened.into_iter().map(|happened| (happened.at.as_millis(), happened.what)));
    }

    /// Runs until this second of the scenario.
    pub(super) fn run_to(&mut self, second: u64) {
        let ms = self.begin_ms + second * 1_000 - self.world.now().as_millis();
        self.run_ms(ms);
    }

    /// The scenario began so many seconds ago.
    pub(super) fn begin(&mut self, seconds_ago: u64) {
        self.begin_ms = self.world.now().as_millis() - seconds_ago * 1_000;
    }

    /// The scenario begins now: as soon as everybody knows that this job runs.
    pub(super) fn begin_when_running(&mut self, job: JobId) {
        let (brokers, _) = self.world.counts();
        let runs = |network: &Self, broker| {
            network.known(broker, job).is_some_and(|view| view.status == reconvene_broker::JobStatus::Running)
        };
        for _ in 0..5_000 {
            if (0..brokers).all(|broker| runs(self, broker)) {
                // They have told each other that they know.
                self.run_ms(20);
                return self.begin(0);
            }
            self.run_ms(1);
        }
        panic!("{job} does not run");
    }

    /// Runs until an executor has just been answered its first heartbeat after this second of the scenario, and calls the
    /// moment so.
    pub(super) fn run_to_heartbeat(&mut self, executor: usize, after: u64, second: u64) {
        self.run_to(after);
        let due = self.world.executor(executor).unwrap().next_deadline().unwrap();
        self.run_ms(due.saturating_since(self.world.now()) + 3);
        self.begin(second);
    }

    /// The second of the scenario that is nearest.
    fn second(&self, ms: u64) -> i64 {
        (ms as i64 - self.begin_ms as i64 + 500).div_euclid(1_000)
    }

    // Links.

    /// Cuts every link between these and everybody else.
    pub(super) fn cut(&mut self, side: &[Place]) {
        self.sides(side, World::cut);
    }

    pub(super) fn heal(&mut self, side: &[Place]) {
        self.sides(side, World::heal);
    }

    fn sides(&mut self, side: &[Place], each: fn(&mut World, Place, Place)) {
        let (brokers, executors) = self.world.counts();
        let all = (0..brokers).map(Place::Broker).chain((0..executors).map(Place::Executor));
        for other in all.filter(|place| !side.contains(place)) {
            for one in side {
                each(&mut self.world, *one, other);
            }
        }
    }

    // Clients.

    pub(super) fn command(&mut self, broker: usize, command: Command) -> Reply {
        let reply = self.world.command(broker, command).unwrap().unwrap();
        self.run_ms(0);
        reply
    }

    pub(super) fn submit(&mut self, broker: usize, spec: JobSpec) -> JobId {
        match self.command(broker, Command::Submit { spec }) {
            Reply::Submitted { job } => job,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn known(&self, broker: usize, job: JobId) -> Option<JobView> {
        self.world.broker(broker).unwrap().coordinator().job(job)
    }

    pub(super) fn job(&self, broker: usize, job: JobId) -> JobView {
        self.known(broker, job).unwrap()
    }

    pub(super) fn statistics(&self, broker: usize) -> Statistics {
        self.world.broker(broker).unwrap().coordinator().statistics()
    }

    // Names.

    pub(super) fn replica(&self, broker: usize) -> ReplicaId {
        self.world.broker(broker).unwrap().coordinator().identity().replica
    }

    pub(super) fn attempt(&self, job: JobId, epoch: u32, owner: usize, number: u32) -> AttemptId {
        AttemptId { job, epoch: OwnershipEpoch(epoch), owner: self.replica(owner), number }
    }

    pub(super) fn submission(&self, broker: usize, number: u64) -> SubmissionId {
        SubmissionId { accepted_by: self.replica(broker), number }
    }

    /// The broker that an executor takes for its home.
    pub(super) fn home(&self, executor: usize) -> Option<usize> {
        let home = self.world.executor(executor).unwrap().home()?;
        let (brokers, _) = self.world.counts();
        (0..brokers).find(|broker| self.world.broker(*broker).unwrap().coordinator().identity().node == home)
    }

    // What happened.

    /// When a broker announced this.
    pub(super) fn times(&self, broker: usize, of: impl Fn(&EventKind) -> bool) -> Vec<i64> {
        self.announced(broker).filter(|(_, kind)| of(kind)).map(|(second, _)| second).collect()
    }

    pub(super) fn announced(&self, broker: usize) -> impl Iterator<Item = (i64, &EventKind)> {
        self.happened.iter().filter_map(move |(at, what)| match what {
            What::Broker { broker: by, event: NodeEvent::Job(event) } if *by == broker => {
                Some((self.second(*at), &event.kind))
            }
            _ => None,
        })
    }

    /// How often any broker announced this.
    pub(super) fn count(&self, of: impl Fn(&EventKind) -> bool) -> usize {
        let (brokers, _) = self.world.counts();
        (0..brokers).map(|broker| self.times(broker, &of).len()).sum()
    }

    /// Who said that the result of a job was superseded, which one, and by which.
    pub(super) fn superseded(&self, id: JobId) -> impl Iterator<Item = (usize, SubmissionId, SubmissionId)> {
        self.happened.iter().filter_map(move |(_, what)| match what {
            What::Broker { broker, event: NodeEvent::Job(event) } => match &event.kind {
                EventKind::ResultSuperseded { job, old, new, .. } if *job == id => Some((*broker, *old, *new)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Each run of a job: when, where and what.
    pub(super) fn starts(&self, job: JobId) -> Vec<(i64, usize, AttemptId)> {
        let started = self.happened.iter().filter_map(|(at, what)| match what {
            What::RunStarted { executor, attempt } if attempt.job == job => {
                Some((self.second(*at), *executor, *attempt))
            }
            _ => None,
        });
        started.collect()
    }

    /// When and where runs of a job ended, and whether with a result.
    pub(super) fn ends(&self, job: JobId) -> Vec<(i64, usize, bool)> {
        let ended = self.happened.iter().filter_map(|(at, what)| match what {
            What::RunEnded { executor, attempt, digest } if attempt.job == job => {
                Some((self.second(*at), *executor, digest.is_some()))
            }
            _ => None,
        });
        ended.collect()
    }

    /// What executors were answered about results of a job.
    pub(super) fn answers(&self, job: JobId) -> Vec<(i64, usize, Answer)> {
        let answered = self.happened.iter().filter_map(|(at, what)| match what {
            What::Executor { executor, event: executor::Event::ResultAnswered { attempt, answer, .. } }
                if attempt.job == job =>
            {
                Some((self.second(*at), *executor, *answer))
            }
            _ => None,
        });
        answered.collect()
    }

    /// When an executor reported this.
    pub(super) fn reported(&self, executor: usize, of: impl Fn(&executor::Event) -> bool) -> Vec<i64> {
        let reported = self.happened.iter().filter_map(|(at, what)| match what {
            What::Executor { executor: by, event } if *by == executor && of(event) => Some(self.second(*at)),
            _ => None,
        });
        reported.collect()
    }

    // What must hold.

    /// Runs until every broker that runs has the same records, for no longer than it takes to meet everybody, and says so.
    pub(super) fn equal(&mut self) {
        let (brokers, _) = self.world.counts();
        for _ in 0..200 {
            let running = (0..brokers).filter(|broker| self.world.runs(Place::Broker(*broker)));
            let roots = running.map(|broker| self.world.broker(broker).unwrap().replica().head().digest().root);
            let roots: std::collections::BTreeSet<_> = roots.map(|root| root.to_string()).collect();
            if roots.len() == 1 {
                return;
            }
            self.run_ms(1_000);
        }
        panic!("brokers have other records than each other after {} s", self.second(self.world.now().as_millis()));
    }

    /// Runs until all brokers call a result stable, for no longer than some exchanges.
    pub(super) fn stable(&mut self, job: JobId) {
        let (brokers, _) = self.world.counts();
        let stable = |network: &Self, broker| {
            network.job(broker, job).result.is_some_and(|result| result.finality == Finality::Stable)
        };
        for _ in 0..300 {
            if (0..brokers).all(|broker| stable(self, broker)) {
                return;
            }
            self.run_ms(1_000);
        }
        panic!("not stable after {} s", self.second(self.world.now().as_millis()));
    }

    /// What must hold in each scenario: no two facts contradict each other.
    pub(super) fn no_fault(&self) {
        assert_eq!(self.count(|kind| matches!(kind, EventKind::FactFault { .. } | EventKind::ClockSuspect { .. })), 0);
    }

    pub(super) fn now_s(&self) -> i64 {
        self.second(self.world.now().as_millis())
    }
}

/// A job that takes so long where the pace is 100, with a result that differs by executor if `varies`.
pub(super) fn job(run_ms: u64, varies: bool) -> JobSpec {
    let job = TraceJob { run_ms, input: b"input".to_vec(), varies };
    JobSpec::new(job.encode().unwrap())
}

pub(super) fn superseded(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResultSuperseded { .. })
}

pub(super) fn confirmed(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResultConfirmed { .. })
}

pub(super) fn redeployed(kind: &EventKind) -> bool {
    matches!(kind, EventKind::JobRedeployed { .. })
}

pub(super) fn lost(kind: &EventKind) -> bool {
    matches!(kind, EventKind::AttemptLost { .. })
}
