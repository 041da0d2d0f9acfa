//! A random run of some replicas: first faults and writes, then quiet.

use std::fmt::{self, Display};

use reconvene_store::{Body, Class, Key, Replaces};
use reconvene_sync::memory::LinkFaults;
use reconvene_sync::{Event, NewWrite, forge};

use super::{ReplicaWorld, Violation};

/// A rule that is broken on purpose, to see whether a run finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for tests alone")]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Every claim says that there are no chunks to wait for.
    ClaimBeforeChunks,
}

/// A run that one number determines. [`Display`] says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scenario {
    /// Where all chance comes from.
    pub seed: u64,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
}

impl Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} ({:?})", self.seed, self.sabotage)
    }
}

impl Scenario {
    /// The run of this seed, with nothing broken on purpose.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, sabotage: Sabotage::None }
    }

    /// Runs it to the end, and gives the world as it is then.
    ///
    /// # Errors
    ///
    /// The first violation: knowledge ahead of data at any time, or replicas that differ from the model at the end.
    pub fn run(&self) -> Result<ReplicaWorld, Violation> {
        let mut chance = Chance(self.seed);
        let count = usize::try_from(chance.of(&[3, 3, 3, 3, 2, 4, 5])).unwrap_or(3);
        let chunk_bytes = usize::try_from(chance.of(&[100, 300, 1_000, 32_768])).unwrap_or(100);
        let window_bytes = chance.of(&[500, 5_000, 262_144]);
        let mut world = ReplicaWorld::new(self.seed, count, |_, config| {
            *config = config.clone().scaled(SYNC_INTERVAL_MS);
            config.chunk_bytes = chunk_bytes;
            config.window_bytes = window_bytes;
        });
        if self.sabotage == Sabotage::ClaimBeforeChunks {
            world.set_tamper(|_, _, frame| Some(forge::claim_without_chunks(&frame).unwrap_or(frame)));
        }
        world.set_faults(LinkFaults {
            delay_ms: 1..=chance.of(&[1, 5, 50, 400]),
            loss_per_mille: u16::try_from(chance.of(&[0, 0, 20, 100, 300])).unwrap_or(0),
            duplicate_per_mille: u16::try_from(chance.of(&[0, 0, 50, 300])).unwrap_or(0),
        });
        let crashes = chance.below(3) == 0;
        for _ in 0..chance.between(20, 60) {
            let node = chance.node(count);
            match chance.below(10) {
                0 => {
                    let peer = chance.node(count);
                    if peer != node {
                        world.cut(node, peer, chance.below(2) == 0);
                    }
                }
                1 => {
                    let peer = chance.node(count);
                    world.heal(node, peer);
                }
                2 if crashes => {
                    let after = chance.below(2) == 0;
                    world.crash_at_commit(node, chance.below(4), after);
                }
                _ => {
                    let writes = chance.writes(&world, node);
                    world.write(node, writes);
                }
            }
            world.run_for(chance.between(0, 2_000));
            for index in 0..count {
                world.check_knowledge(index)?;
            }
        }
        world.heal_all();
        world.set_faults(LinkFaults { delay_ms: 1..=20, ..LinkFaults::NONE });
        world.run_for(QUIET_INTERVALS * SYNC_INTERVAL_MS);
        for index in 0..count {
            world.check_knowledge(index)?;
        }
        world.check_converged()?;
        for node in 0..count {
            if let Some(event) = world.events(node).iter().find(|event| is_alarm(event)) {
                return Err(Violation::Report { node, event: event.clone() });
            }
        }
        Ok(world)
    }
}

/// Whether an event says that something is broken. Faults of the network and crashes break nothing.
fn is_alarm(event: &Event) -> bool {
    matches!(
        event,
        Event::Divergence { .. }
            | Event::DotCollision { .. }
            | Event::Refused { .. }
            | Event::Amnesia { .. }
            | Event::AheadOfBound { .. }
            | Event::Rejected { .. }
            | Event::LimitReached { .. }
    )
}

/// The period of the simulated replicas.
const SYNC_INTERVAL_MS: u64 = 10_000;
/// How long links are good at the end: enough for the longest backoff (5 periods) and for news to go round.
const QUIET_INTERVALS: u64 = 12;

/// SplitMix64 and what is drawn from it.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    fn of(&mut self, choices: &[u64]) -> u64 {
        let index = self.below(u64::try_from(choices.len()).unwrap_or(0));
        usize::try_from(index).ok().and_then(|index| choices.get(index)).copied().unwrap_or(0)
    }

    fn node(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).unwrap_or(1))).unwrap_or(0)
    }

    /// One to three writes to few keys, so that conflicts are common.
    fn writes(&mut self, world: &ReplicaWorld, node: usize) -> Vec<NewWrite> {
        let writes = 0..self.between(1, 3);
        writes.map(|_| self.write(world, node)).collect()
    }

    fn write(&mut self, world: &ReplicaWorld, node: usize) -> NewWrite {
        let key = Key::new(format!("key/{}", self.below(6))).expect("short");
        let class = Class::new(u8::try_from(self.below(5)).unwrap_or(0));
        let body = match self.below(4) {
            0 => Body::Tombstone,
            _ => Body::of(self.next().to_string().repeat(usize::try_from(self.between(1, 10)).unwrap_or(1))),
        };
        // Sometimes only one of the siblings is replaced, as by a writer that had seen no other.
        let seen = world.record(node, &key).and_then(|record| record.siblings().first().map(|version| version.seen()));
        let replaces = match seen {
            Some(seen) if self.below(4) == 0 => Replaces::Context(seen),
            _ => Replaces::AllLive,
        };
        NewWrite { key, class, body, replaces }
    }
}
