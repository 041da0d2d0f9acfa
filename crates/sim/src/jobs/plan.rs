//! What a run of jobs is made of, drawn from one number.

use std::collections::BTreeMap;

use reconvene_broker::{Policy, StrategyKind};
use reconvene_resolve::HeadStartMinutes;
use reconvene_sync::memory::LinkFaults;

use super::stories::Story;
use crate::world::rng::Rng;
use crate::world::{ExecutorTraits, Place};

/// Brokers, executors, jobs and faults: all that decides a run. Two equal plans run alike.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "plain data, for a failed run to be made smaller")]
pub struct Plan {
    /// Where the chance of the world itself comes from.
    pub seed: u64,
    /// How far wall clocks are wrong at most, in milliseconds.
    pub skew_ms: u64,
    /// The strategy of each broker.
    pub brokers: Vec<StrategyKind>,
    /// The executors.
    pub executors: Vec<ExecutorPlan>,
    /// How fast everything goes.
    pub pace: Pace,
    /// What links do while there are faults.
    pub links: LinkFaults,
    /// Whether jobs that are over are forgotten before the run is.
    pub forgets: bool,
    /// What is done, by time.
    pub steps: Vec<Step>,
}

/// How fast a run goes, and how often it is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, as the plan it belongs to")]
pub struct Pace {
    /// The interval at which brokers exchange, in milliseconds. Every other duration of theirs follows it.
    pub sync_ms: u64,
    /// When the last fault is over, in milliseconds since the start.
    pub faults_until_ms: u64,
    /// How long everything may take to come to rest after that.
    pub calm_ms: u64,
    /// How often the oracle looks into every job at every broker.
    pub sample_ms: u64,
    /// How often it is asked, when faults are over, whether all is done.
    pub poll_ms: u64,
    /// Whether a client whose broker does not run turns to the next one, or gives up.
    pub clients_persist: bool,
    /// Whether brokers that believe themselves equal compare everything now and then. That reads whole stores.
    pub audits: bool,
}

impl Pace {
    /// Sixty times as fast as brokers usually are.
    pub const FAST: Self = Self {
        sync_ms: 1_000,
        faults_until_ms: FAULTS_UNTIL_MS,
        calm_ms: 90_000,
        sample_ms: 500,
        poll_ms: 500,
        clients_persist: false,
        audits: true,
    };

    /// When the first fault begins: brokers have met by then, and executors have found their homes.
    pub(super) const fn warm_up_ms(&self) -> u64 {
        self.sync_ms.saturating_mul(2)
    }
}

/// One executor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, for a failed run to be made smaller")]
pub struct ExecutorPlan {
    /// How many attempts it runs at once.
    pub slots: u32,
    /// How it runs jobs.
    pub traits: ExecutorTraits,
    /// The brokers that it is told of, in the order in which it tries them.
    pub brokers: Vec<usize>,
    /// The executor whose jobs it can run beside its own.
    pub also: Option<usize>,
}

/// Something that is done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, for a failed run to be made smaller")]
pub struct Step {
    /// When, in milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub act: Act,
}

/// What can be done. Whoever or whatever an act names may be gone by then; the act then does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever runs a plan must know every act")]
pub enum Act {
    /// A client asks a broker for a job. The same `key` again is the same job asked for twice.
    Submit {
        /// The broker.
        broker: usize,
        /// What the client calls the job.
        key: u64,
        /// The job.
        job: JobPlan,
    },
    /// A client cancels the job it knows by this key.
    Cancel {
        /// The broker that is asked.
        broker: usize,
        /// What the client calls the job.
        key: u64,
    },
    /// Declares an emergency, which jobs submitted later may name.
    Declare {
        /// The broker that is asked.
        broker: usize,
        /// How grave.
        level: u8,
        /// How long, in milliseconds.
        lifetime_ms: u64,
    },
    /// Revokes the emergency that was declared last.
    Revoke {
        /// The broker that is asked.
        broker: usize,
    },
    /// Switches the policy of the network.
    SetPolicy {
        /// The broker that is asked.
        broker: usize,
        /// Which.
        policy: Policy,
        /// The rank of who asks.
        rank: u32,
    },
    /// Has another policy judge a job.
    Repin {
        /// The broker that is asked.
        broker: usize,
        /// What the client calls the job.
        key: u64,
        /// Which policy.
        policy: Policy,
    },
    /// Cuts one link for a while.
    Cut {
        /// One end.
        a: Place,
        /// The other.
        b: Place,
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// Cuts all links between two sides for a while.
    Split {
        /// Those on the one side; everybody else is on the other.
        side: Vec<Place>,
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// Stops a broker and starts it again on its store.
    RestartBroker {
        /// Which.
        broker: usize,
        /// How long it is down, in milliseconds.
        for_ms: u64,
    },
    /// Stops a broker for good.
    KillBroker {
        /// Which.
        broker: usize,
    },
    /// Copies the store of a broker.
    BackUp {
        /// Which.
        broker: usize,
    },
    /// Stops a broker and starts it again on the last copy of its store, if there is one.
    RestoreBroker {
        /// Which.
        broker: usize,
        /// How long it is down, in milliseconds.
        for_ms: u64,
    },
    /// Has a broker say that it leaves, and stops it a moment later.
    LeaveBroker {
        /// Which.
        broker: usize,
        /// How long it is away, in milliseconds.
        for_ms: u64,
    },
    /// Has an executor leave, and starts it again.
    LeaveExecutor {
        /// Which.
        executor: usize,
        /// Whether it ends its work first.
        drain: bool,
        /// When it is started again, in milliseconds.
        for_ms: u64,
    },
    /// Stops an executor for good, with the results it keeps.
    KillExecutor {
        /// Which.
        executor: usize,
    },
    /// Lets a process stand still for a while.
    Pause {
        /// Which.
        place: Place,
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// Stops an executor and starts it again: what ran there and results it kept are lost.
    RestartExecutor {
        /// Which.
        executor: usize,
        /// How long it is down, in milliseconds.
        for_ms: u64,
        /// Whether it comes back without the date.
        clock_lost: bool,
    },
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, for a failed run to be made smaller")]
pub struct JobPlan {
    /// How long it runs, in milliseconds.
    pub run_ms: u64,
    /// Whether each executor computes another result.
    pub varies: bool,
    /// Whether every attempt fails.
    pub fails: bool,
    /// The only executor that can run it, if there is but one.
    pub only: Option<usize>,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// From 0.
    pub priority: u8,
    /// What it is worth.
    pub value: u32,
    /// Whether it is stopped when its lease ends.
    pub fenced: bool,
    /// Whether it names the emergency declared last.
    pub emergency: bool,
    /// Whether it is where no emergency is.
    pub elsewhere: bool,
}

impl Plan {
    /// The plan of this seed. Each class of faults is in it with probability 1/2, at a rate drawn log-uniformly; but one seed
    /// of eight tells a story of its own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::drawn(seed, false)
    }

    /// The same, and in one of four plans brokers go back to old copies of their stores.
    #[must_use]
    pub fn with_backups(seed: u64) -> Self {
        Self::drawn(seed, true)
    }

    fn drawn(seed: u64, backups: bool) -> Self {
        let mut chance = Chance(Rng::new(seed));
        if let Some(story) = Story::of(seed).filter(|_| !backups) {
            return story.plan(seed, &mut chance);
        }
        let brokers = chance.index(4).saturating_add(2);
        let executors = chance.index(5).saturating_add(2);
        let survivor = chance.index(brokers);
        let common = chance.strategy();
        let mixed = chance.one_in(4);
        let strategies = (0..brokers).map(|_| if mixed { chance.strategy() } else { common }).collect();
        let varied = chance.one_in(2);
        // All at one broker, most of which die at once: that broker cannot tell it from being cut off.
        let storm = chance.one_in(6);
        let executors = if storm { executors.max(4) } else { executors };
        let first_home = chance.index(brokers);
        let executor_plans = (0..executors).map(|executor| {
            let mut traits = ExecutorTraits::default();
            if varied {
                traits.pace_percent = chance.log(25, 400);
                traits.quality_bp = u16::try_from(chance.below(10_001)).ok();
            }
            let slots = [1, 1, 2, 4].get(chance.index(4)).copied().unwrap_or(1);
            let home = if storm { first_home } else { executor.checked_rem(brokers).unwrap_or(0) };
            let mut known = vec![home];
            // A restarted executor knows only what it is told: one of them stays for ever.
            known.extend((0..brokers).filter(|broker| *broker != home && (*broker == survivor || chance.one_in(2))));
            ExecutorPlan { slots, traits, brokers: known, also: None }
        });
        let executor_plans: Vec<_> = executor_plans.collect();
        let delay = if chance.one_in(2) { chance.log(5, 120) } else { 3 };
        let loss = if chance.one_in(2) { chance.log(5, 300) } else { 0 };
        let duplicates = if chance.one_in(2) { chance.log(5, 300) } else { 0 };
        let per_mille = |rate: u64| u16::try_from(rate).unwrap_or(0);
        let links = LinkFaults {
            delay_ms: 1..=delay,
            loss_per_mille: per_mille(loss),
            duplicate_per_mille: per_mille(duplicates),
        };
        let skew_ms = if chance.one_in(2) { chance.log(10, 200_000) } else { 20 };
        // The first two stay.
        let lasting = if storm { 2 } else { executors };
        let mut drawn = Drawn { chance, brokers, executors, lasting, survivor, steps: BTreeMap::new() };
        drawn.workload();
        if storm {
            drawn.storm();
        }
        drawn.faults();
        if backups {
            drawn.backups();
        }
        let steps = drawn.steps.into_iter().map(|((at_ms, _), act)| Step { at_ms, act }).collect();
        Self {
            seed,
            skew_ms,
            brokers: strategies,
            executors: executor_plans,
            pace: Pace::FAST,
            links,
            forgets: seed % 4 == 1,
            steps,
        }
    }
}

struct Drawn {
    chance: Chance,
    brokers: usize,
    executors: usize,
    /// How many executors are never gone for good, the first ones.
    lasting: usize,
    survivor: usize,
    steps: BTreeMap<(u64, usize), Act>,
}

impl Drawn {
    fn add(&mut self, at_ms: u64, act: Act) {
        let number = self.steps.len();
        self.steps.insert((at_ms, number), act);
    }

    fn moment(&mut self) -> u64 {
        self.chance.between(WARM_UP_MS, FAULTS_UNTIL_MS)
    }

    fn workload(&mut self) {
        let emergencies = self.chance.one_in(2);
        if emergencies {
            for _ in 0..self.chance.between(1, 3) {
                let (at, broker) = (self.chance.between(WARM_UP_MS, 12_000), self.chance.index(self.brokers));
                let level = u8::try_from(self.chance.between(1, 200)).unwrap_or(1);
                let lifetime_ms = if self.chance.one_in(2) { 0 } else { self.chance.log(500, 20_000) };
                self.add(at, Act::Declare { broker, level, lifetime_ms });
            }
            if self.chance.one_in(3) {
                let (at, broker) = (self.moment(), self.chance.index(self.brokers));
                self.add(at, Act::Revoke { broker });
            }
        }
        if self.chance.one_in(3) {
            for _ in 0..self.chance.between(1, 4) {
                let (at, broker) = (self.moment(), self.chance.index(self.brokers));
                let (policy, rank) = (self.chance.policy(), u32::try_from(self.chance.below(3)).unwrap_or(0));
                self.add(at, Act::SetPolicy { broker, policy, rank });
            }
        }
        let repins = self.chance.one_in(3);
        let jobs = self.chance.log(5, 40);
        let long = self.chance.one_in(2);
        for key in 0..jobs {
            let (at, broker) = (self.moment(), self.chance.index(self.brokers));
            let chance = &mut self.chance;
            let job = JobPlan {
                run_ms: chance.log(10, if long { 4_000 } else { 1_000 }),
                varies: chance.one_in(2),
                fails: chance.one_in(20),
                only: chance.one_in(6).then(|| chance.index(self.lasting)),
                cpu_milli: if chance.one_in(2) { 0 } else { chance.between(1, 1_000) },
                priority: u8::try_from(chance.below(10)).unwrap_or(0),
                value: u32::try_from(chance.between(1, 1_000)).unwrap_or(1),
                fenced: chance.one_in(8),
                emergency: emergencies && chance.one_in(3),
                elsewhere: key.is_multiple_of(4),
            };
            if self.chance.one_in(6) {
                let (again, other) = (at.saturating_add(self.chance.log(1, 4_000)), self.chance.index(self.brokers));
                self.add(again, Act::Submit { broker: other, key, job: job.clone() });
            }
            if self.chance.one_in(6) {
                let (cancel, other) = (at.saturating_add(self.chance.log(1, 6_000)), self.chance.index(self.brokers));
                self.add(cancel, Act::Cancel { broker: other, key });
            }
            // Once at most: there and back again would be the same change twice.
            if repins && self.chance.one_in(3) {
                let (when, other) = (at.saturating_add(self.chance.log(1, 8_000)), self.chance.index(self.brokers));
                let policy = self.chance.policy();
                self.add(when.min(FAULTS_UNTIL_MS), Act::Repin { broker: other, key, policy });
            }
            self.add(at, Act::Submit { broker, key, job });
        }
    }

    /// Most executors die within a moment.
    fn storm(&mut self) {
        let at = self.moment();
        for executor in self.lasting..self.executors {
            let within = self.chance.below(300);
            self.add(at.saturating_add(within).min(FAULTS_UNTIL_MS), Act::KillExecutor { executor });
        }
    }

    fn faults(&mut self) {
        for class in 0..9 {
            if self.chance.one_in(2) {
                continue;
            }
            let most = if class == 4 { 2 } else { 16 };
            for _ in 0..self.chance.log(1, most) {
                let at = self.moment();
                let act = self.fault(class);
                self.add(at, act);
            }
        }
    }

    /// A store is copied, and the copy put back later.
    fn backups(&mut self) {
        if !self.chance.one_in(4) {
            return;
        }
        for _ in 0..self.chance.between(1, 2) {
            let broker = self.chance.index(self.brokers);
            let (one, other) = (self.moment(), self.moment());
            self.add(one.min(other), Act::BackUp { broker });
            let for_ms = self.chance.log(1, 6_000);
            self.add(one.max(other), Act::RestoreBroker { broker, for_ms });
        }
    }

    fn fault(&mut self, class: u32) -> Act {
        let (broker, executor) = (self.chance.index(self.brokers), self.chance.index(self.executors));
        let chance = &mut self.chance;
        match class {
            0 => {
                let (a, b) = (chance.index(self.brokers), chance.index(self.brokers));
                let b = if a == b || chance.one_in(2) { Place::Executor(executor) } else { Place::Broker(b) };
                Act::Cut { a: Place::Broker(a), b, for_ms: chance.log(100, 10_000) }
            }
            1 => {
                let places = (0..self.brokers).map(Place::Broker).chain((0..self.executors).map(Place::Executor));
                let side = places.filter(|_| chance.one_in(2)).collect();
                Act::Split { side, for_ms: chance.log(500, 12_000) }
            }
            // Silent, and still at work.
            2 => Act::Split { side: vec![Place::Executor(executor)], for_ms: chance.log(300, 8_000) },
            3 => Act::RestartExecutor { executor, for_ms: chance.log(1, 4_000), clock_lost: chance.one_in(4) },
            4 if broker != self.survivor => Act::KillBroker { broker },
            5 => Act::LeaveBroker { broker, for_ms: chance.log(20, 6_000) },
            6 => Act::LeaveExecutor { executor, drain: chance.one_in(2), for_ms: chance.log(20, 4_000) },
            7 => {
                let place = if chance.one_in(2) { Place::Broker(broker) } else { Place::Executor(executor) };
                Act::Pause { place, for_ms: chance.log(50, 6_000) }
            }
            _ => Act::RestartBroker { broker, for_ms: chance.log(1, 6_000) },
        }
    }
}

/// Brokers meet and executors find their homes before anything goes wrong.
const WARM_UP_MS: u64 = 2_000;
/// When the last fault begins and the last job is submitted.
const FAULTS_UNTIL_MS: u64 = 18_000;

/// What is drawn.
pub(super) struct Chance(Rng);

impl Chance {
    pub(super) const fn new(rng: Rng) -> Self {
        Self(rng)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap_or(0))).unwrap_or(0)
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// From `low` to `high`, each doubling as likely as any other.
    fn log(&mut self, low: u64, high: u64) -> u64 {
        let doublings = high.checked_div(low.max(1)).unwrap_or(1).checked_ilog2().unwrap_or(0);
        let from = low.max(1) << self.below(u64::from(doublings).saturating_add(1)).min(40);
        self.between(from, from.saturating_mul(2).min(high).max(from)).clamp(low, high)
    }

    /// One of those that everybody knows, or one that has to arrive before anybody can judge by it.
    fn policy(&mut self) -> Policy {
        let kind = self.strategy();
        if kind != StrategyKind::PriorityBased {
            return Policy::of(kind);
        }
        let priority = u32::try_from(self.below(4)).unwrap_or(0);
        let head_start = HeadStartMinutes { priority, ..HeadStartMinutes::PRIORITY_BASED };
        Policy::priority_based(head_start).unwrap_or_else(|_| Policy::of(kind))
    }

    fn strategy(&mut self) -> StrategyKind {
        let index = self.index(StrategyKind::ALL.len());
        StrategyKind::ALL.get(index).copied().unwrap_or(StrategyKind::FirstComeFirstServed)
    }
}
