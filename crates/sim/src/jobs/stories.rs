//! Plans that are told rather than drawn: what chance alone would take too many seeds to bring about.
//!
//! Each has one job that two executors can run, and times that are drawn a little, so that it comes out one way in some
//! seeds and another way in others.

use reconvene_broker::StrategyKind;
use reconvene_sync::memory::LinkFaults;

use super::Act;
use super::plan::{Chance, ExecutorPlan, JobPlan, Pace, Plan, Step};
use crate::world::{ExecutorTraits, Place};

/// Which story the plan of a seed tells, if it tells one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Story {
    /// A broker that nobody has met hears of a job from its executor alone. The job is finished elsewhere and forgotten
    /// before the two sides meet.
    Copy,
    /// Both sides of a cut accept a result of one job. One of the first side meets the second one, then another does, who
    /// hears how much the second one knows by now before it hears of the other result.
    Halves,
}

impl Story {
    pub(super) const fn of(seed: u64) -> Option<Self> {
        match seed % 16 {
            7 => Some(Self::Copy),
            15 => Some(Self::Halves),
            _ => None,
        }
    }

    pub(super) fn plan(self, seed: u64, chance: &mut Chance) -> Plan {
        match self {
            Self::Copy => copy(seed, chance),
            Self::Halves => halves(seed, chance),
        }
    }
}

/// The only job that matters.
const KEY: u64 = 1;

/// Two executors, of which the first is slow, and a job that only those can run.
fn executors(homes: [&[usize]; 2]) -> Vec<ExecutorPlan> {
    let paces = [400, 100];
    let executor = |(brokers, pace_percent): (&[usize], u64)| ExecutorPlan {
        slots: 2,
        traits: ExecutorTraits { pace_percent, quality_bp: None },
        brokers: brokers.to_vec(),
        also: Some(0),
    };
    homes.into_iter().zip(paces).map(executor).collect()
}

fn job(run_ms: u64) -> JobPlan {
    JobPlan {
        run_ms,
        varies: true,
        fails: false,
        only: Some(0),
        cpu_milli: 0,
        priority: 0,
        value: 1,
        fenced: false,
        emergency: false,
        elsewhere: false,
    }
}

fn copy(seed: u64, chance: &mut Chance) -> Plan {
    let known = chance.between(1, 3);
    let (home, late) = (0, usize::try_from(known).unwrap_or(1));
    let heal = chance.between(13_000, 16_000);
    let mut steps = Vec::new();
    let mut add = |at_ms, act| steps.push(Step { at_ms, act });
    for other in 0..late {
        add(0, Act::Cut { a: Place::Broker(late), b: Place::Broker(other), for_ms: heal });
    }
    // The second executor is away when the job is placed.
    let (placed, moved) = (chance.between(2_200, 2_600), chance.between(2_900, 3_200));
    let away: Vec<Place> = vec![Place::Executor(1)];
    add(0, Act::Split { side: away, for_ms: moved.saturating_add(300) });
    add(placed, Act::Submit { broker: home, key: KEY, job: job(chance.between(1_000, 3_000)) });
    // The first one finds nobody but the broker that nobody has met.
    for broker in 0..late {
        let for_ms = heal.saturating_sub(moved);
        add(moved, Act::Cut { a: Place::Executor(0), b: Place::Broker(broker), for_ms });
    }
    Plan {
        seed,
        skew_ms: 20,
        brokers: vec![StrategyKind::FirstComeFirstServed; late.saturating_add(1)],
        executors: executors([&[home, late], &[home]]),
        pace: Pace::FAST,
        links: LinkFaults { delay_ms: 1..=3, ..LinkFaults::NONE },
        forgets: true,
        steps,
    }
}

fn halves(seed: u64, chance: &mut Chance) -> Plan {
    let (a, b, c) = (Place::Broker(0), Place::Broker(1), Place::Broker(2));
    let mut steps = Vec::new();
    let mut add = |at_ms, act| steps.push(Step { at_ms, act });
    let (placed, cut) = (chance.between(2_200, 2_600), chance.between(2_900, 3_200));
    // Long enough for the other side to take it over and to be done first.
    add(placed, Act::Submit { broker: 0, key: KEY, job: job(chance.between(1_400, 1_700)) });
    let (apart, first, second) =
        (chance.between(10_500, 11_000), chance.between(11_500, 12_000), chance.between(13_500, 14_500));
    let end = chance.between(15_500, 17_000);
    add(cut, Act::Split { side: vec![b, Place::Executor(1)], for_ms: first.saturating_sub(cut) });
    add(cut, Act::Cut { a: b, b: c, for_ms: second.saturating_sub(cut) });
    add(apart, Act::Cut { a, b: c, for_ms: end.saturating_sub(apart) });
    Plan {
        seed,
        skew_ms: 20,
        brokers: vec![StrategyKind::FirstComeFirstServed; 3],
        executors: executors([&[0], &[1]]),
        pace: Pace::FAST,
        links: LinkFaults { delay_ms: 1..=chance.between(60, 120), ..LinkFaults::NONE },
        forgets: false,
        steps,
    }
}
