//! Jobs under faults.

use reconvene_sim::jobs::{Reached, Sabotage, Scenario, Violation};
use reconvene_sim::world::Happened;

use crate::number;

/// Done when, after any faults, every job has ended, everywhere alike, and nothing that was promised is missing.
#[test]
fn sim_jobs_survive_every_fault() {
    let (from, seeds) = (number("RECONVENE_SIM_FROM", 0), number("RECONVENE_SIM_SEEDS", SEEDS));
    let mut reached = Reached::default();
    let mut failed = Vec::new();
    let run = |seed: u64| (seed, Scenario::new(seed).run());
    let runs = std::thread::scope(|scope| {
        let half =
            |first: u64| scope.spawn(move || (from + first..from + seeds).step_by(2).map(run).collect::<Vec<_>>());
        [half(0), half(1)].map(|half| half.join().unwrap())
    });
    for (seed, run) in runs.into_iter().flatten() {
        match run {
            Ok(more) => reached.add(&more),
            Err(violation) => failed.push((seed, violation)),
        }
    }
    failed.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, violation)) = failed.first() {
        let list: String =
            failed.iter().map(|(seed, violation)| format!("\n  {seed}: {}", violation.promise)).collect();
        panic!("seed {seed}: {violation}{}\n{} of {seeds} seeds fail:{list}", steps(*seed), failed.len());
    }
    eprintln!("{seeds} runs: {:?}", reached.iter().collect::<Vec<_>>());
    // Silence must not mean that nothing happened.
    if seeds >= SEEDS {
        for what in MUST_HAPPEN {
            assert!(reached.count(what) > 0, "no {what} in {seeds} runs: {reached:?}");
        }
    }
    if seeds >= MANY {
        for what in MUST_HAPPEN_IN_MANY {
            assert!(reached.count(what) > 0, "no {what} in {seeds} runs: {reached:?}");
        }
    }
}

#[test]
fn sim_jobs_find_what_is_broken_on_purpose() {
    for sabotage in [Sabotage::AnswersLost, Sabotage::OrdersLost, Sabotage::ResultsChanged] {
        let run = |seed, sabotage| {
            let mut scenario = Scenario::new(seed);
            scenario.sabotage = sabotage;
            scenario.run()
        };
        let found = (0..5).find_map(|seed| Some((seed, run(seed, sabotage).err()?)));
        let (seed, Violation { promise, .. }) = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
        // Without the fault the same run is clean, so it is the fault that was found.
        assert_eq!(run(seed, Sabotage::None).err(), None, "seed {seed}, {promise}");
    }
}

#[test]
fn sim_same_seed_same_jobs() {
    for seed in 0..3 {
        assert_eq!(Scenario::new(seed).run(), Scenario::new(seed).run(), "seed {seed}");
    }
}

/// The fewest steps that still fail, and with `RECONVENE_SIM_TRACE` all that happens in them: looked for in
/// `RECONVENE_SIM_SHRINK` runs at most.
fn steps(seed: u64) -> String {
    let runs = number("RECONVENE_SIM_SHRINK", 0);
    if runs == 0 {
        return String::new();
    }
    let smaller = Scenario::new(seed).smaller(usize::try_from(runs).unwrap());
    let show = |happened: &Happened| {
        if number("RECONVENE_SIM_TRACE", 0) > 0 {
            eprintln!("{happened:?}");
        }
    };
    let violation = smaller.watch(show).unwrap_err();
    let steps: String = smaller.plan.steps.iter().map(|step| format!("\n  {step:?}")).collect();
    let plan = &smaller.plan;
    format!("\nwith {:?}, {:?}, {:?}{steps}\n{violation}", plan.brokers, plan.executors, plan.links)
}

/// Runs of the ordinary tests; see `RECONVENE_SIM_SEEDS`.
const SEEDS: u64 = 60;

/// So many runs must have met everything.
const MANY: u64 = 1_000;

const MUST_HAPPEN: [&str; 26] = [
    "attempts lost",
    "attempts reappeared",
    "brokers killed",
    "brokers restarted",
    "emergencies heard of",
    "executors adopted",
    "executors killed",
    "executors restarted",
    "jobs asked for twice",
    "jobs cancelled",
    "jobs failed",
    "jobs forgotten",
    "jobs handed over",
    "jobs redeployed",
    "jobs repinned",
    "jobs retried",
    "jobs taken over",
    "policies switched",
    "results confirmed",
    "results parked",
    "results rejected",
    "results stable",
    "results superseded",
    "sessions raised",
    "storm guards",
    "storm guards that held to the end",
];

/// What a few runs may miss: some ten of a thousand have it.
const MUST_HAPPEN_IN_MANY: [&str; 2] = ["cancels too late", "suspects quarantined"];
