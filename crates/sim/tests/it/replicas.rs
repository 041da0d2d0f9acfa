//! Replicas under faults.

use reconvene_sim::replicas::{Sabotage, Scenario};

use crate::number;

/// Done when healed replicas are equal, and equal to the union of all acknowledged writes.
#[test]
fn sim_healed_replicas_equal_the_model() {
    let mut versions = 0;
    let mut crashes = 0;
    let (from, seeds) = (number("RECONVENE_SIM_FROM", 0), number("RECONVENE_SIM_SEEDS", SEEDS));
    let mut failed = Vec::new();
    for seed in from..from + seeds {
        let world = match Scenario::new(seed).run() {
            Ok(world) => world,
            Err(violation) => {
                failed.push(format!("seed {seed}: {violation}"));
                continue;
            }
        };
        versions += world.model().len();
        crashes += (0..world.count()).map(|node| world.crashes(node)).sum::<u64>();
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Silence must not mean that nothing happened.
    if seeds >= SEEDS {
        assert!(versions > 25 * usize::try_from(seeds).unwrap(), "only {versions} versions in {seeds} runs");
        assert!(crashes > seeds / 4, "only {crashes} crashes in {seeds} runs");
    }
}

#[test]
fn sim_finds_claims_before_their_chunks() {
    let found = (0..SEEDS).find_map(|seed| {
        let mut scenario = Scenario::new(seed);
        scenario.sabotage = Sabotage::ClaimBeforeChunks;
        Some((seed, scenario.run().err()?))
    });
    let (seed, violation) = found.expect("a claim joined before its chunks must be found");
    // Without the fault the same run is clean, so it is the fault that was found.
    assert!(Scenario::new(seed).run().is_ok(), "seed {seed} fails without the fault too");
    assert!(!violation.to_string().is_empty());
}

#[test]
fn sim_same_seed_same_frames() {
    for seed in 0..5 {
        let runs = [0, 1].map(|_| Scenario::new(seed).run().unwrap().trace());
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
    assert_ne!(Scenario::new(1).run().unwrap().trace(), Scenario::new(2).run().unwrap().trace());
}

/// Runs of the ordinary tests; see `RECONVENE_SIM_SEEDS`.
const SEEDS: u64 = 200;
