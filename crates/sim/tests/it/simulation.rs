//! Replicas and stores under every fault.

use std::path::Path;
use std::process::Command;

use reconvene_sim::simulation::{fails, run_plan};
use reconvene_sim::{Options, Plan, Sim};

use crate::number;

/// Every plan that once broke a promise, before any new seed.
#[test]
fn sim_corpus_keeps_every_promise() {
    let mut files = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let path = entry.unwrap().path();
        let plan: Plan = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(fails(&plan), None, "cargo run --release -p reconvene-sim -- replay {}", path.display());
        files += 1;
    }
    assert!(files > 0, "there is a corpus");
}

/// Done when no seed breaks a promise of sync or store. The program runs more of them, for longer.
#[test]
fn sim_seeds_keep_every_promise() {
    let (from, seeds) = (number("RECONVENE_SIM_FROM", 0), number("RECONVENE_SIM_SEEDS", SEEDS));
    let half = |first: u64| {
        let failed = |seed| Some((seed, fails(&sim(seed).plan())?));
        (from + first..from + seeds).step_by(2).find_map(failed)
    };
    let halves = std::thread::scope(|scope| {
        [0, 1].map(|first| scope.spawn(move || half(first))).map(|half| half.join().unwrap())
    });
    if let Some((seed, violation)) = halves.into_iter().flatten().next() {
        panic!("{violation}\ncargo run --release -p reconvene-sim -- replay {seed} --minutes {}", FAULTY + CALM);
    }
}

#[test]
fn sim_same_seed_same_trace() {
    let hashes = |_| (0..20).map(|seed| sim(seed).minutes(FAULTY, 0).run().trace_hash).collect::<Vec<_>>();
    let [first, second] = [0, 1].map(hashes);
    assert_eq!(first, second);
    let mut different = first;
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 20, "two seeds, two traces");
    // A process has chance of its own, of which none may reach a run.
    let run = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_reconvene-sim"));
        let output = program.args(["--seeds", "20", "--minutes", "12"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, trace) = text.split_once("trace ").unwrap_or_else(|| panic!("{text}"));
        trace[..16].to_owned()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_plan_survives_its_file() {
    let plan = sim(7).plan();
    let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(read, plan);
    assert_eq!(run_plan(&read, None), run_plan(&plan, None));
}

fn sim(seed: u64) -> Sim {
    Sim::new(Options::from_seed(seed)).minutes(FAULTY, CALM)
}

/// Seeds of the ordinary tests; see `RECONVENE_SIM_SEEDS`.
const SEEDS: u64 = 16;
/// Virtual minutes of each run here.
const FAULTY: u64 = 18;
const CALM: u64 = 18;
