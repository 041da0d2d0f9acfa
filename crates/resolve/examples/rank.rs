//! Ranks the jobs of a real log under each of the five strategies and explains the first of them.
//!
//! ```sh
//! cargo run -p reconvene-resolve --example rank                       # the sample beside this file
//! cargo run -p reconvene-resolve --example rank -- log.swf            # any log of the Standard Workload Format
//! gunzip -c log.swf.gz | cargo run -p reconvene-resolve --example rank -- -
//! ```
//!
//! Logs know neither priorities nor emergencies, so the group of a user stands for the priority of its jobs, and every
//! fortieth job serves an emergency.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "an example computes small numbers and shows them"
)]

use std::error::Error;
use std::io::Read as _;
use std::{env, fs, io};

use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, JobFacts, JobValue, Level, Priority, Resources, RoundFacts, StrategyKind, explain_rank, top,
};

/// How many of the first are explained.
const SHOWN: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let log = match env::args().nth(1).as_deref() {
        None => include_str!("sample.swf").to_owned(),
        Some("-") => {
            let mut log = String::new();
            io::stdin().read_to_string(&mut log)?;
            log
        }
        Some(path) => fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?,
    };
    let lines = (1..).zip(log.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with(';'));
    let jobs: Vec<JobFacts> = lines
        .map(|(number, line)| job(line).ok_or_else(|| format!("line {number} is no job")))
        .collect::<Result<_, _>>()?;
    let round = RoundFacts::new(1, Resources::new(64_000, 0, 0));
    println!("{} jobs", jobs.len());
    for kind in StrategyKind::ALL {
        // The first few of all jobs, by their keys; then why they stand so.
        let first = top(kind.contention(), &jobs, &round, SHOWN);
        let first: Vec<JobFacts> = jobs.iter().filter(|job| first.contains(&job.id)).cloned().collect();
        let Some(decision) = explain_rank(kind.contention(), &first, &round) else { continue };
        println!("\n{}", decision.in_words());
    }
    Ok(())
}

/// One line: 18 numbers, −1 for unknown. Used are the job's number, when it was submitted, processors, the time asked for
/// and the group.
fn job(line: &str) -> Option<JobFacts> {
    let fields: Vec<f64> = line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let field = |place: usize| fields.get(place).map(|number| (*number >= 0.0).then_some(*number));
    let number = field(0)?? as u64;
    let submitted = Hlc::from_parts(WallTime::from_millis((field(1)?? * 1_000.0) as u64), 0)?;
    let cores = field(4)?.unwrap_or(1.0) as u64;
    let requested_ms = field(8)?.map(|seconds| (seconds * 1_000.0) as u64);
    let group = field(12)?.unwrap_or(0.0) as u64;
    let class = u8::try_from(group % 5).unwrap_or(0);
    field(17)?;
    Some(JobFacts {
        priority: Priority(class * 60),
        estimate_ms: requested_ms.unwrap_or(0),
        work_core_ms: requested_ms.map(|requested| requested.saturating_mul(cores)),
        demand: Resources::new(cores.saturating_mul(1_000), 0, 0),
        value: JobValue::new(u32::from(class) + 1)?,
        // As if one broker had admitted them all, in the order of their numbers.
        height: Height::new(number.max(1))?,
        level: if number % 40 == 39 { Level::LIFE_SAFETY } else { Level::ROUTINE },
        ..JobFacts::new(CandidateId::new(1, number), submitted)
    })
}
