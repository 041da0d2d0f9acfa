//! Plans from seeds: each class of faults is in a run or not, and is rare or frequent there.

use super::chance::Chance;
use super::node::IMAGES;
use super::plan::{Act, Options, Plan, PlannedWrite, Restart, Side, Step};

/// Which faults a run may meet, and how brokers are to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultPlan {
    /// The chance that a class of faults is in a run, of 1,000.
    pub class_per_mille: u64,
}

impl FaultPlan {
    /// Each class with probability one half, its rate drawn so that every order of magnitude is as likely: rare faults
    /// also meet alone.
    #[must_use]
    pub const fn swarm() -> Self {
        Self { class_per_mille: 500 }
    }

    /// No faults at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { class_per_mille: 0 }
    }
}

impl Options {
    /// The settings that a seed gives.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let brokers = chance.of(&[2, 3, 3, 3, 4, 4, 5, 6, 7]);
        let skewed = chance.one_in(2);
        let skew = |chance: &mut Chance| if skewed { span(chance, MAX_SKEW_MS) } else { span(chance, 20) };
        Self {
            seed,
            brokers,
            faulty_ms: 60 * MINUTE_MS,
            calm_ms: 30 * MINUTE_MS,
            chained: chance.one_in(4),
            keys: chance.of(&[1, 3, 4, 6, 6, 12]),
            sync_interval_ms: MINUTE_MS,
            chunk_bytes: chance.of(&[200, 600, 4_096, 32_768]),
            window_bytes: chance.of(&[600, 5_000, 262_144]),
            cascade_on_local_writes: !chance.one_in(4),
            delay_ms: chance.of(&[1, 5, 50, 400]),
            link_bits: chance.of(&[0, 0, 0, 64_000]),
            store_ms: chance.of(&[0, 0, 2, 20]),
            skew_ms: (0..brokers).map(|_| skew(&mut chance)).collect(),
        }
    }
}

impl Plan {
    /// The plan of these settings, with the faults that their seed draws.
    #[must_use]
    pub fn draw(options: Options, faults: &FaultPlan) -> Self {
        let mut steps = Vec::new();
        let mut draw = Draw { options: &options, faults, steps: &mut steps };
        draw.writes();
        for (stream, class) in CLASSES.iter().enumerate() {
            draw.class(u64::try_from(stream).unwrap_or(0), *class);
        }
        steps.sort_by_key(|step| step.at_ms);
        Self { options, steps }
    }
}

struct Draw<'a> {
    options: &'a Options,
    faults: &'a FaultPlan,
    steps: &'a mut Vec<Step>,
}

#[derive(Clone, Copy)]
enum Class {
    Part,
    OneWay,
    Bridge,
    Ring,
    Flap,
    Swizzle,
    Lose,
    Duplicate,
    Reorder,
    Delay,
    Truncate,
    Flip,
    HalfOpen,
    Slow,
    Crash,
    CrashAtCommit,
    Pause,
    Jump,
    Freeze,
    Drift,
    StoreFull,
    StoreFails,
    StoreSlow,
    LostTail,
    Empty,
    Backup,
    Moved,
    Retire,
    Carry,
    Courier,
}

/// In this order for ever: the place of a class is the name of its stream of chance.
const CLASSES: [Class; 30] = [
    Class::Part,
    Class::OneWay,
    Class::Bridge,
    Class::Ring,
    Class::Flap,
    Class::Swizzle,
    Class::Lose,
    Class::Duplicate,
    Class::Reorder,
    Class::Delay,
    Class::Truncate,
    Class::Flip,
    Class::HalfOpen,
    Class::Slow,
    Class::Crash,
    Class::CrashAtCommit,
    Class::Pause,
    Class::Jump,
    Class::Freeze,
    Class::Drift,
    Class::StoreFull,
    Class::StoreFails,
    Class::StoreSlow,
    Class::LostTail,
    Class::Empty,
    Class::Backup,
    Class::Moved,
    Class::Retire,
    Class::Carry,
    Class::Courier,
];

impl Draw<'_> {
    fn writes(&mut self) {
        let mut chance = Chance::new(self.options.seed, 2);
        let batches = chance.log_between(8, 120);
        let hot = chance.one_in(4);
        let large = chance.one_in(4);
        let urgent = chance.of(&[0, 100, 300]);
        let deletes = chance.of(&[0, 150, 300, 600]);
        // Writers are bursts: everything at once after a while of nothing meets other states than a steady trickle.
        let bursts = chance.one_in(2);
        let mut at_ms = 0;
        for _ in 0..batches {
            at_ms = match bursts && !chance.one_in(6) {
                true => at_ms + chance.below(400),
                false => chance.below(self.options.faulty_ms),
            };
            let node = chance.index(self.options.brokers);
            let count = chance.of(&[1, 1, 1, 2, 3]);
            let writes = (0..count).map(|_| PlannedWrite {
                key: if hot && !chance.one_in(3) {
                    0
                } else {
                    u32::try_from(chance.below(self.options.keys.into())).unwrap_or(0)
                },
                class: if chance.per_mille(urgent) { 1 } else { chance.of(&[0, 2, 2, 2, 3, 40]) },
                bytes: (!chance.per_mille(deletes)).then(|| {
                    u32::try_from(if large { chance.log_between(1, 6_000) } else { chance.log_between(1, 60) })
                        .unwrap_or(1)
                }),
                partly: chance.one_in(4),
            });
            let writes = writes.collect();
            let at_ms = at_ms.min(self.options.faulty_ms.saturating_sub(1));
            self.steps.push(Step { at_ms, act: Act::Write { node, writes } });
        }
    }

    fn class(&mut self, stream: u64, class: Class) {
        let mut chance = Chance::new(self.options.seed, 100 + stream);
        if !chance.per_mille(self.faults.class_per_mille) {
            return;
        }
        // Each of those is a new incarnation, of which a network sees few.
        let rare = matches!(
            class,
            Class::LostTail | Class::Empty | Class::Backup | Class::Moved | Class::Retire | Class::Courier
        );
        let times = chance.log_between(1, if rare { 3 } else { 12 });
        // What a rate is, is drawn once, so that a run may be rough or gentle.
        let rate = chance.log_between(1, 500);
        let longest = chance.log_between(2, 1_200) * 1_000;
        for _ in 0..times {
            let at_ms = chance.below(self.options.faulty_ms);
            let for_ms = chance.between(1_000, longest).min(self.options.faulty_ms - at_ms);
            self.fault(&mut chance, class, rate, at_ms, for_ms);
        }
    }

    fn fault(&mut self, chance: &mut Chance, class: Class, rate: u64, at_ms: u64, for_ms: u64) {
        let brokers = self.options.brokers;
        let node = chance.index(brokers);
        let other = (node + 1 + chance.index(brokers - 1)) % brokers;
        let restart = Restart::Full;
        let lose = |chance: &mut Chance, restart| {
            let noticed = chance.one_in(2);
            Act::Crash { node, noticed, restart, down_ms: for_ms }
        };
        let act = match class {
            Class::Part => Act::Part { side: side(chance, brokers), noticed: chance.one_in(2), for_ms },
            Class::OneWay => {
                let from = side(chance, brokers);
                Act::PartOneWay { from, to: !from, for_ms }
            }
            Class::Bridge => Act::Bridge { bridge: node, side: side(chance, brokers), for_ms },
            Class::Ring => Act::Ring { for_ms },
            Class::Flap => Act::Flap { a: node, b: other, period_ms: chance.log_between(50, 60_000), for_ms },
            Class::Swizzle => return self.swizzle(chance, at_ms, for_ms),
            Class::Courier => return self.courier(chance, (node, other), at_ms, for_ms),
            Class::Lose => Act::Lose { per_mille: rate, for_ms },
            Class::Duplicate => Act::Duplicate { per_mille: rate, for_ms },
            Class::Reorder => Act::Delay { upto_ms: chance.log_between(10, 2_000), for_ms },
            Class::Delay => Act::Delay { upto_ms: chance.log_between(2_000, 4 * MINUTE_MS), for_ms },
            Class::Truncate => Act::Truncate { per_mille: rate, for_ms },
            Class::Flip => Act::Flip { per_mille: rate, for_ms },
            Class::HalfOpen => Act::HalfOpen { a: node, b: other, for_ms },
            Class::Slow => Act::Slow { bits: chance.log_between(2_000, 64_000), for_ms },
            Class::Crash => Act::Crash { node, noticed: chance.one_in(2), restart, down_ms: for_ms },
            Class::CrashAtCommit => {
                let (commit, after) = (chance.below(6), chance.one_in(2));
                let down_ms = chance.log_between(1, 60_000);
                Act::CrashAtCommit { node, commit, after, restart, down_ms }
            }
            Class::Pause => Act::Pause { node, for_ms: for_ms.min(5 * MINUTE_MS) },
            Class::Jump => Act::Jump { node, by_ms: span(chance, YEAR_MS) },
            Class::Freeze => Act::Freeze { node, for_ms: for_ms.min(5 * MINUTE_MS) },
            Class::Drift => Act::Drift { node, ppm: span(chance, 10_000), for_ms },
            Class::StoreFull => Act::StoreFull { node, for_ms: for_ms.min(5 * MINUTE_MS) },
            Class::StoreFails => Act::StoreFails { node, commit: chance.below(6), made: chance.one_in(2) },
            Class::StoreSlow => Act::StoreSlow { node, ms: chance.log_between(1, 5_000), for_ms },
            Class::LostTail => {
                let commits = some(chance, 12);
                lose(chance, Restart::LostTail { commits })
            }
            Class::Empty => {
                let witness_gone = chance.one_in(2);
                lose(chance, Restart::Empty { witness_gone })
            }
            Class::Backup => {
                let commits = some(chance, IMAGES);
                lose(chance, Restart::Backup { commits })
            }
            Class::Moved => lose(chance, Restart::Moved),
            Class::Retire => Act::Retire { node, by: other },
            Class::Carry => {
                let (addressed, again) = (!chance.one_in(3), chance.one_in(3));
                let lost = if chance.one_in(2) { 0 } else { 1 << chance.below(32) | 1 << chance.below(4) };
                Act::Carry { from: node, to: other, addressed, again, lost, takes_ms: for_ms }
            }
        };
        self.steps.push(Step { at_ms, act });
    }

    /// A broker is cut off, and bundles are all that reaches it: some of them late or in part, and perhaps into a store that
    /// has lost what it had.
    fn courier(&mut self, chance: &mut Chance, (from, to): (usize, usize), at_ms: u64, for_ms: u64) {
        let left = self.options.faulty_ms - at_ms;
        let for_ms = for_ms.max(5 * MINUTE_MS).min(left);
        self.steps.push(Step { at_ms, act: Act::Part { side: 1 << to, noticed: true, for_ms } });
        if chance.one_in(2) {
            let restart = match chance.below(3) {
                0 => Restart::Empty { witness_gone: false },
                1 => Restart::Backup { commits: some(chance, IMAGES) },
                _ => Restart::LostTail { commits: some(chance, 12) },
            };
            let act = Act::Crash { node: to, noticed: true, restart, down_ms: 1_000 };
            self.steps.push(Step { at_ms: at_ms + 1_000, act });
        }
        for _ in 0..chance.between(2, 4) {
            let late = chance.below(for_ms);
            let key = u32::try_from(chance.below(self.options.keys.into())).unwrap_or(0);
            let bytes = (!chance.one_in(3)).then(|| u32::try_from(chance.log_between(1, 600)).unwrap_or(1));
            let write = PlannedWrite { key, class: 2, bytes, partly: false };
            self.steps.push(Step { at_ms: at_ms + late, act: Act::Write { node: from, writes: vec![write] } });
            let (addressed, again) = (!chance.one_in(3), chance.one_in(4));
            let lost = if chance.one_in(2) { 0 } else { u32::MAX >> chance.below(4) };
            let takes_ms = chance.log_between(1_000, MINUTE_MS);
            let act = Act::Carry { from, to, addressed, again, lost, takes_ms };
            self.steps.push(Step { at_ms: (at_ms + late + 100).min(self.options.faulty_ms - 1), act });
        }
    }

    /// Links of a random subset of brokers fail one by one and return in another order.
    fn swizzle(&mut self, chance: &mut Chance, at_ms: u64, for_ms: u64) {
        let subset = side(chance, self.options.brokers);
        for a in 0..self.options.brokers {
            for b in 0..a {
                if subset & (1 << a) != 0 || subset & (1 << b) != 0 {
                    let late = chance.below(for_ms);
                    let left = chance.between(1, for_ms - late);
                    self.steps.push(Step { at_ms: at_ms + late, act: Act::Clog { a, b, for_ms: left } });
                }
            }
        }
    }
}

/// Some of the brokers, at least one and not all.
fn side(chance: &mut Chance, brokers: usize) -> Side {
    let all = (1_u64 << brokers) - 1;
    u32::try_from(chance.between(1, all - 1)).unwrap_or(1)
}

/// From `-most` to `most`.
fn span(chance: &mut Chance, most: u64) -> i64 {
    let size = i64::try_from(chance.log_between(1, most)).unwrap_or(0);
    if chance.one_in(2) { size } else { -size }
}

/// From 1 to `most`.
fn some(chance: &mut Chance, most: usize) -> usize {
    usize::try_from(chance.log_between(1, u64::try_from(most).unwrap_or(1))).unwrap_or(1)
}

pub(super) const MINUTE_MS: u64 = 60_000;
const YEAR_MS: u64 = 365 * 24 * 60 * MINUTE_MS;
const MAX_SKEW_MS: u64 = 10 * MINUTE_MS;
