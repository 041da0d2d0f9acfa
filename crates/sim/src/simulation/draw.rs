//! Plans from seeds: each class of faults is in a run or not, and is rare or frequent there.

use super::chance::Chance;
use super::node::IMAGES;
use super::plan::{Act, Options, Plan, PlannedWrite, Restart, Side, Step, roomy};

/// Which faults a run may meet, and how brokers are to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultPlan {
    /// The chance that a class of faults is in a run, of 1,000.
    pub class_per_mille: u64,
    /// Whether stores may be damaged as well: rows that cannot be read any more, values that vanish without a sign.
    pub damage: bool,
}

impl FaultPlan {
    /// Each class with probability one half, its rate drawn so that every order of magnitude is as likely: rare faults
    /// also meet alone.
    #[must_use]
    pub const fn swarm() -> Self {
        Self { class_per_mille: 500, damage: false }
    }

    /// The same, and stores may be damaged.
    #[must_use]
    pub const fn with_damage(self) -> Self {
        Self { damage: true, ..self }
    }

    /// No faults at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { class_per_mille: 0, damage: false }
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
        let mut views = Chance::new(seed, 4);
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
            view_max_ms: if views.one_in(2) { 600_000 } else { views.log_between(300, 10_000) },
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
            if faults.damage || !matches!(class, Class::Rot | Class::Vanish) {
                draw.class(u64::try_from(stream).unwrap_or(0), *class);
            }
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
    Rot,
    Vanish,
    Spoof,
    Tamper,
    Hole,
    Relic,
}

/// In this order for ever: the place of a class is the name of its stream of chance.
const CLASSES: [Class; 36] = [
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
    Class::Rot,
    Class::Vanish,
    Class::Spoof,
    Class::Tamper,
    Class::Hole,
    Class::Relic,
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
                blind: false,
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
            Class::Relic
                | Class::LostTail
                | Class::Empty
                | Class::Backup
                | Class::Moved
                | Class::Retire
                | Class::Courier
                | Class::Vanish
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
            Class::Hole => return self.hole(chance, (node, other), at_ms),
            Class::Relic => return self.relic(chance, (node, other)),
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
                let restart = backup(chance);
                lose(chance, restart)
            }
            Class::Spoof => Act::Spoof { by: node, victim: other, for_ms },
            Class::Tamper => return self.forge(chance, node, at_ms, for_ms),
            Class::Rot => Act::Rot { node, count: some(chance, 12), pick: chance.below(1 << 20) },
            Class::Vanish => {
                let (count, pick) = (some(chance, 6), chance.below(1 << 20));
                lose(chance, Restart::Vanished { count, pick })
            }
            Class::Moved => lose(chance, Restart::Moved),
            Class::Retire => Act::Retire { node, by: other },
            Class::Carry => {
                let (addressed, again) = (!chance.one_in(3), chance.one_in(3));
                let lost = if chance.one_in(2) { 0 } else { 1 << chance.below(32) | 1 << chance.below(4) };
                Act::Carry { from: node, to: other, addressed, again, lost, takes_ms: for_ms, budget_bytes: roomy() }
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
                1 => backup(chance),
                _ => Restart::LostTail { commits: some(chance, 12) },
            };
            let act = Act::Crash { node: to, noticed: true, restart, down_ms: 1_000 };
            self.steps.push(Step { at_ms: at_ms + 1_000, act });
        }
        if chance.one_in(2) {
            let at_ms = at_ms + 2_000 + chance.below(for_ms);
            self.cut_short(chance, (from, to), at_ms);
        }
        for _ in 0..chance.between(2, 4) {
            let late = chance.below(for_ms);
            let key = u32::try_from(chance.below(self.options.keys.into())).unwrap_or(0);
            // Some are replaced before they travel.
            for number in 0..chance.between(1, 3) {
                let bytes = (!chance.one_in(3)).then(|| size(chance, 600));
                self.write(at_ms + late + 20 * number, from, PlannedWrite { bytes, ..plain(key) });
            }
            let (addressed, again) = (!chance.one_in(3), chance.one_in(4));
            let lost = if chance.one_in(2) { 0 } else { u32::MAX >> chance.below(4) };
            let takes_ms = chance.log_between(1_000, MINUTE_MS);
            let budget_bytes = if chance.one_in(3) { chance.log_between(200, 2_000) } else { roomy() };
            let act = Act::Carry { from, to, addressed, again, lost, takes_ms, budget_bytes };
            self.steps.push(Step { at_ms: (at_ms + late + 100).min(self.options.faulty_ms - 1), act });
        }
    }

    /// A bundle that has no room for all is lost on its way, and the next one, which leaves out what was in it, is not.
    fn cut_short(&mut self, chance: &mut Chance, (from, to): (usize, usize), at_ms: u64) {
        let key = 800 + 2 * u32::try_from(chance.below(50)).unwrap_or(0);
        self.write(at_ms, from, plain(key));
        self.write(at_ms + 20, from, plain(key));
        self.write(at_ms + 40, from, PlannedWrite { bytes: Some(700 + size(chance, 2_000)), ..plain(key + 1) });
        let mut carry = |at_ms, lost, budget_bytes| {
            self.step(
                at_ms,
                Act::Carry { from, to, addressed: true, again: false, lost, takes_ms: 1_000, budget_bytes },
            );
        };
        carry(at_ms + 100, u32::MAX, chance.between(200, 700));
        carry(at_ms + chance.log_between(1_000, MINUTE_MS), 0, roomy());
    }

    /// A broker forges some of what it sends, while it has replaced what nobody else has seen.
    fn forge(&mut self, chance: &mut Chance, node: usize, at_ms: u64, for_ms: u64) {
        self.step(at_ms, Act::Tamper { node, per_mille: chance.log_between(100, 1_000), for_ms });
        for number in 0..3 {
            let key = 900 + u32::try_from(chance.below(50)).unwrap_or(0);
            let at_ms = at_ms + chance.below(for_ms);
            (0..2).for_each(|again| self.write(at_ms + 20 * (number + again), node, plain(key)));
        }
    }

    /// Two writes of one broker beside each other, of which the later is pushed and the earlier waits for a session, while
    /// somebody goes on from what it sees. There are enough writes before that contexts collapse.
    fn hole(&mut self, chance: &mut Chance, (from, to): (usize, usize), at_ms: u64) {
        let key = 500 + u32::try_from(chance.below(100)).unwrap_or(0);
        for number in 0..chance.between(7, 10) {
            self.write(at_ms + 50 * number, from, plain(key));
        }
        let at_ms = at_ms + chance.log_between(2_000, 4 * MINUTE_MS);
        self.write(at_ms, from, PlannedWrite { blind: true, ..plain(key) });
        self.write(at_ms + 1, from, PlannedWrite { blind: true, class: 1, ..plain(key) });
        self.write(at_ms + chance.log_between(4, 2_000), to, plain(key));
    }

    /// A delete that all have forgotten, a broker that begins anew and hears of it from the others, and one with an old copy
    /// that hears of it from nobody else; and so much to say, and so much that changes meanwhile, that a session does not
    /// end with the view that it began with.
    fn relic(&mut self, chance: &mut Chance, (from, anew): (usize, usize)) {
        let brokers = self.options.brokers;
        let Some(old) = (0..brokers).map(|more| (anew + more) % brokers).find(|node| *node != anew && *node != from)
        else {
            return;
        };
        let at_ms = chance.below(self.options.faulty_ms / 2);
        let key = 700 + 20 * u32::try_from(chance.below(5)).unwrap_or(0);
        for more in 0..8 {
            let write = PlannedWrite { bytes: Some(size(chance, 3_000)), ..plain(key + more) };
            self.write(at_ms + 10 * u64::from(more), from, write);
        }
        let deleted = at_ms + chance.between(1, 3) * MINUTE_MS;
        self.write(deleted, from, PlannedWrite { bytes: None, ..plain(key) });
        let again = deleted + chance.between(4, 12) * MINUTE_MS;
        self.crash(again, anew, Restart::Empty { witness_gone: false });
        let every = chance.log_between(50, 1_000);
        for number in 0..20 {
            let key = key + 1 + u32::try_from(chance.below(7)).unwrap_or(0);
            let bytes = Some(size(chance, 1_000));
            self.write(again + 1_000 + every * number, from, PlannedWrite { bytes, ..plain(key) });
        }
        let parted = again + chance.log_between(5_000, 3 * MINUTE_MS);
        let act = Act::Part { side: 1 << anew | 1 << old, noticed: true, for_ms: chance.between(2, 6) * MINUTE_MS };
        self.step(parted, act);
        let restart = backup(chance);
        self.crash(parted, old, restart);
    }

    fn write(&mut self, at_ms: u64, node: usize, write: PlannedWrite) {
        self.step(at_ms, Act::Write { node, writes: vec![write] });
    }

    fn crash(&mut self, at_ms: u64, node: usize, restart: Restart) {
        self.step(at_ms, Act::Crash { node, noticed: true, restart, down_ms: 1_000 });
    }

    /// What would come too late does not come at all.
    fn step(&mut self, at_ms: u64, act: Act) {
        if at_ms < self.options.faulty_ms {
            self.steps.push(Step { at_ms, act });
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

/// A small value in place of all that is there.
const fn plain(key: u32) -> PlannedWrite {
    PlannedWrite { key, class: 2, bytes: Some(20), partly: false, blind: false }
}

/// From 1 to `most` bytes.
fn size(chance: &mut Chance, most: u64) -> u32 {
    u32::try_from(chance.log_between(1, most)).unwrap_or(1)
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

/// An earlier state of a store, seldom without the note that would tell.
fn backup(chance: &mut Chance) -> Restart {
    Restart::Backup { commits: some(chance, IMAGES), note_gone: chance.one_in(4) }
}

/// From 1 to `most`.
fn some(chance: &mut Chance, most: usize) -> usize {
    usize::try_from(chance.log_between(1, u64::try_from(most).unwrap_or(1))).unwrap_or(1)
}

pub(super) const MINUTE_MS: u64 = 60_000;
const YEAR_MS: u64 = 365 * 24 * 60 * MINUTE_MS;
const MAX_SKEW_MS: u64 = 10 * MINUTE_MS;
