//! Rules broken on purpose, one after the other: each must be found out.

use std::process::ExitCode;

use super::Failure;
use super::seeds::Seeds;

/// A rule, and the promise that breaks without it.
#[cfg_attr(not(reconvene_sabotage), expect(dead_code, reason = "this build cannot break rules, and only lists them"))]
struct Entry {
    id: u8,
    what: &'static str,
    breaks: &'static str,
    /// Whether it takes brokers with executors and jobs to see it broken.
    of_jobs: bool,
}

impl Entry {
    fn name(&self) -> String {
        format!("X{:02}", self.id)
    }
}

const fn entry(id: u8, what: &'static str, breaks: &'static str) -> Entry {
    Entry { id, what, breaks, of_jobs: false }
}

const fn of_jobs(id: u8, what: &'static str, breaks: &'static str) -> Entry {
    Entry { id, what, breaks, of_jobs: true }
}

const ENTRIES: [Entry; 49] = [
    entry(1, "an answer leaves before the batch it speaks of is durable", "S6"),
    entry(2, "Knowledge is stored a batch before the data", "S7"),
    entry(3, "the first arrival wins among siblings", "S3"),
    entry(4, "the last arrival overwrites siblings", "S4"),
    entry(5, "resolving writes a merged version", "L1"),
    entry(6, "stability ignores unreachable members", "S5"),
    entry(7, "tombstones are collected by age", "S5"),
    entry(8, "a claim is read from a moving store", "S3"),
    entry(9, "the base of a summary is not compared", "S3"),
    entry(10, "a fingerprint is kept when its version is dropped", "L1"),
    entry(11, "equal vectors alone count as in sync", "S3"),
    entry(12, "two writes of one batch share a dot", "S8"),
    entry(13, "a bundle's claim is joined without its base", "S1"),
    entry(14, "a bundle's claim is joined, a fragment missing", "S1"),
    entry(15, "a retired replica's dots are refused from a relay", "S1"),
    entry(16, "a new member is left out of stability", "S5"),
    entry(17, "a claim's floor is not joined with it", "S5"),
    entry(18, "a retired replica goes on under its old name", "S8"),
    entry(19, "stamps are not resumed from the stored bound", "S9"),
    entry(20, "a stamp far in the future is followed", "S9"),
    entry(21, "unreachable peers are never tried", "L4"),
    entry(22, "always the same partner", "L1"),
    entry(23, "a push relays what is already known", "S12"),
    entry(24, "urgent frames wait behind bulk", "L2"),
    of_jobs(25, "a late result revives a cancelled job", "S5"),
    of_jobs(26, "the first result to arrive is canonical", "S2"),
    of_jobs(27, "only the home broker redeploys", "L3"),
    of_jobs(28, "a report to a broker that is down is not sent again", "L3"),
    of_jobs(29, "a change of the canonical result is reported at every exchange", "S4"),
    of_jobs(30, "both sides of a healed cut go on redeploying", "S15"),
    entry(31, "a corrupt record's dot stays in Knowledge", "S6"),
    entry(32, "repair of a divergence drops without a superseder", "S6"),
    entry(33, "the sender is read from the payload", "S10"),
    entry(34, "credit is ignored", "S12"),
    entry(35, "backoff gives up after ten attempts", "L4"),
    of_jobs(36, "an emergency counts outside its scope", "S10"),
    entry(37, "an unknown class is dropped by a relay", "S1"),
    entry(38, "one bad frame stops all sessions", "L5"),
    entry(39, "the order of a hash map reaches outputs", "S14"),
    entry(40, "a collapsed context is taken with a hole below", "S4"),
    entry(41, "the context of a settled version is not inherited", "S5"),
    entry(42, "a bundle's claim is joined behind a floor", "S5"),
    entry(43, "an acknowledgement is written at each change of the prefix", "L1"),
    entry(44, "a refused version's context stays in the claim", "S1"),
    entry(45, "floor repair drops, and the superseder is not sent", "S1"),
    of_jobs(46, "a result is called stable for acknowledgements that Knowledge does not cover", "S2"),
    of_jobs(47, "the storm guard is ended by executors that return, and by nothing else", "L3"),
    of_jobs(48, "an attempt's phases are ordered without the number of the registration", "L3"),
    of_jobs(49, "a copy of a job that was forgotten is folded", "S5"),
];

/// Breaks one rule, or each. Fails if one is not found out.
pub(crate) fn run(id: &str, seeds: &Seeds) -> Result<ExitCode, Failure> {
    let chosen: Vec<&Entry> =
        ENTRIES.iter().filter(|entry| id == "all" || id.eq_ignore_ascii_case(&entry.name())).collect();
    if chosen.is_empty() {
        return Err(Failure::NoSuchSabotage { id: id.to_owned() });
    }
    imp::run(&chosen, seeds)
}

/// In the ordinary build: makes the other one, and runs that.
#[cfg(not(reconvene_sabotage))]
mod imp {
    use std::path::Path;
    use std::process::{Command, ExitCode};

    use super::{Entry, Failure, Seeds};

    pub(super) fn run(chosen: &[&Entry], _: &Seeds) -> Result<ExitCode, Failure> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sabotage");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, |target| Path::new(&target).join("sabotage"));
        eprintln!("building the program that can break rules ({} of them) in {}", chosen.len(), target.display());
        // The same arguments: that build knows what to do with them.
        let status = Command::new(&cargo)
            .args(["run", "--quiet", "--release", "-p", "reconvene-sim", "--"])
            .args(std::env::args_os().skip(1))
            .env("RUSTFLAGS", format!("{flags} --cfg reconvene_sabotage").trim())
            .env("CARGO_TARGET_DIR", target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .map_err(|source| Failure::Build { cargo, source })?;
        Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
    }
}

/// In the build that can break rules.
#[cfg(reconvene_sabotage)]
mod imp {
    use std::process::ExitCode;

    use std::panic::{AssertUnwindSafe, catch_unwind};

    use reconvene_sim::jobs::Scenario;
    use reconvene_sim::simulation::run_plan;
    use reconvene_store::sabotage::choose;
    use serde::Serialize;

    use super::super::seeds::{self, Seeds, in_parallel};
    use super::super::write_json;
    use super::{Entry, Failure};

    /// The one rule that takes two runs to be seen broken.
    const DETERMINISM: u8 = 39;

    #[derive(Debug, Serialize)]
    struct Figure {
        id: String,
        caught: bool,
        seeds_needed: u64,
        promise: String,
    }

    pub(super) fn run(chosen: &[&Entry], args: &Seeds) -> Result<ExitCode, Failure> {
        std::panic::set_hook(Box::new(|_| {}));
        let mut figures = Vec::new();
        for entry in chosen {
            choose(entry.id);
            let found = first_broken(args, entry);
            choose(0);
            let (seeds_needed, promise) = match &found {
                Some((seed, promise, what)) => {
                    let needed = seed.saturating_sub(args.from).saturating_add(1);
                    println!(
                        "{} caught by seed {needed:>4}: {} (expected {}): {}",
                        entry.name(),
                        promise,
                        entry.breaks,
                        entry.what
                    );
                    if chosen.len() == 1 {
                        println!("{what}");
                    }
                    (needed, promise.clone())
                }
                None => {
                    println!(
                        "{} NOT CAUGHT in {} seeds (expected {}): {}",
                        entry.name(),
                        args.seeds(),
                        entry.breaks,
                        entry.what
                    );
                    (args.seeds(), String::new())
                }
            };
            figures.push(Figure { id: entry.name(), caught: found.is_some(), seeds_needed, promise });
        }
        if let Some(path) = args.json() {
            write_json(path, &figures)?;
        }
        let missed: Vec<&str> =
            figures.iter().filter(|figure| !figure.caught).map(|figure| figure.id.as_str()).collect();
        println!("{} of {} caught; not caught: {missed:?}", figures.len().saturating_sub(missed.len()), figures.len(),);
        Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The first seed that breaks a promise, and what it found.
    fn first_broken(args: &Seeds, entry: &Entry) -> Option<(u64, String, String)> {
        let broken = |seed, id| if entry.of_jobs { jobs_broken(seed) } else { broken(seed, args.minutes, id) };
        let id = entry.id;
        let end = args.from.saturating_add(args.seeds());
        let mut from = args.from;
        let mut size = 4;
        while from < end {
            let until = from.saturating_add(size).min(end);
            let found = in_parallel(from..until, |seed| Some((seed, broken(seed, id)?)));
            for (seed, (promise, what)) in found.into_iter().flatten() {
                // Without the fault the same run must be clean, or it is not the fault that was found.
                choose(0);
                let clean = broken(seed, 0).is_none();
                choose(id);
                if clean {
                    return Some((seed, promise, what));
                }
            }
            from = until;
            size = (size * 2).min(64);
        }
        None
    }

    /// The same of a run with executors and jobs.
    fn jobs_broken(seed: u64) -> Option<(String, String)> {
        match catch_unwind(AssertUnwindSafe(|| Scenario::new(seed).run())) {
            Ok(Ok(_)) => None,
            Ok(Err(violation)) => Some((violation.promise.to_owned(), violation.to_string())),
            Err(_) => Some(("S13".to_owned(), "it panics".to_owned())),
        }
    }

    fn broken(seed: u64, minutes: u64, id: u8) -> Option<(String, String)> {
        let plan = seeds::sim(seed, minutes, true).plan();
        let report = run_plan(&plan, None);
        if let Some(violation) = report.violations.first() {
            return Some((violation.promise.to_owned(), violation.to_string()));
        }
        if id != DETERMINISM {
            return None;
        }
        let again = run_plan(&plan, None);
        (again.trace_hash != report.trace_hash).then(|| ("S14".to_owned(), "two runs of one plan differ".to_owned()))
    }
}
