//! Ranks a handful of jobs under each of the five strategies and explains the first of them.
//!
//! `cargo run -p reconvene-resolve --example rank`
#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "an example computes small numbers and shows them"
)]

use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{CandidateId, JobFacts, Level, Priority, Resources, RoundFacts, StrategyKind, explain_rank};

fn job(number: u64, submit_min: u64, priority: u8, level: Level, cpu_milli: u64) -> JobFacts {
    let submitted = Hlc::from_parts(WallTime::from_millis(submit_min * 60_000), 0).expect("a time of this age");
    JobFacts {
        priority: Priority(priority),
        level,
        demand: Resources::new(cpu_milli, 1_024, 0),
        work_core_ms: Some(cpu_milli * 600),
        ..JobFacts::new(CandidateId::new(1, number), submitted)
    }
}

fn main() {
    let jobs = [
        job(1, 0, 10, Level::ROUTINE, 16_000),
        job(2, 10, 200, Level::ROUTINE, 2_000),
        job(3, 20, 0, Level::LIFE_SAFETY, 8_000),
        job(4, 30, 255, Level::ELEVATED, 500),
    ];
    let round = RoundFacts::new(1, Resources::new(32_000, 131_072, 0));
    for kind in StrategyKind::ALL {
        let decision = explain_rank(kind.contention(), &jobs, &round).expect("there are jobs");
        println!("{decision}");
        for standing in &decision.standings {
            println!("  {}  {}  ({})", standing.id, standing.reason, standing.key);
        }
        let winner = decision.standings.first().expect("a decision has a winner");
        for factor in winner.key.links().iter().flat_map(|link| &link.factors) {
            println!(
                "    {}: {} of {} min are {} ms of head start",
                factor.name, factor.share, factor.weight, factor.contribution
            );
        }
    }
}
