//! `resolve`: the strategies on real workloads.

mod decisions;
mod emergencies;
mod packing;
mod placement;
mod pool;
mod preemption;
mod rank;
mod replay;
mod report;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use self::report::{Preemptions, Report};

/// What to measure on.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// A folder of workloads in the Standard Workload Format (`*.swf`, `*.swf.gz`), or one of them; a small sample
    /// without
    #[arg(long)]
    traces: Option<PathBuf>,
    /// A folder of packing instances (`*.json`), or one file of them; a small sample without
    #[arg(long)]
    packing: Option<PathBuf>,
    /// Where to write the figures as JSON; `-` for standard output, with the table on standard error
    #[arg(long)]
    json: Option<PathBuf>,
    /// Jobs to rank
    #[arg(long, default_value_t = 1_000_000)]
    rank_jobs: usize,
    /// Seed from which three emergencies in a hundred jobs are drawn
    #[arg(long, default_value_t = 2005)]
    seed: u64,
    /// How many draws of emergencies are replayed, from `--seed` on; waits depend on the draw
    #[arg(long, default_value_t = 1)]
    draws: u64,
    /// Cores that `EMERGENCY_FIRST` keeps free for emergencies, beside a replay that keeps none
    #[arg(long, default_value_t = 3)]
    head_room: u64,
}

/// Measures everything and prints it.
///
/// # Errors
/// An input that cannot be read, or a check that failed: a plan over capacity, an order that differs from another's.
pub(crate) fn run(options: &Options) -> Result<()> {
    let packing = packing::run(&files(options.packing.as_deref(), &[".json"])?)?;
    let traces = files(options.traces.as_deref(), &[".swf", ".swf.gz"])?;
    let rank = rank::run(options.rank_jobs)?;
    let reconcile_picks_per_s = rank::picks();
    let placement = placement::run(options.traces.as_deref())?;

    let head_room_cores = options.head_room;
    let mut report = Report { packing, rank, placement, reconcile_picks_per_s, head_room_cores, ..Report::default() };
    let mut preemptions = Preemptions::default();
    for workload in workload::read(&traces)? {
        let whole = workload.whole();
        report.replay.extend(replay::run(&workload.name, &whole, options.seed)?);
        report.replay.extend(replay::sites(&workload, options.seed)?);
        report.overtake.widen(replay::overtake(&whole)?);
        let (rows, emergencies) = emergencies::run(&workload.name, &whole, options.seed, options.head_room)?;
        report.replay.extend(rows);
        report.emergencies.extend(emergencies);
        for draw in 1..options.draws {
            let seed = options.seed.saturating_add(draw);
            report.emergencies.extend(emergencies::run(&workload.name, &whole, seed, options.head_room)?.1);
        }
        preemptions.add(preemption::run(&whole, options.seed)?);
        report.decisions.push(decisions::run(&workload.name, &whole)?);
    }
    report.preemptions = preemptions;

    let json = serde_json::to_string_pretty(&report).context("the figures do not fit JSON")?;
    match options.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            eprintln!("{report}");
            println!("{json}");
        }
        Some(path) => {
            println!("{report}");
            fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => println!("{report}"),
    }
    Ok(())
}

/// The files of a folder that end in one of `endings`, by name, or the one file; none for no path.
fn files(path: Option<&Path>, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        let file = entry.with_context(|| format!("cannot list {}", path.display()))?.path();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "{} holds no file that ends in {}", path.display(), endings.join(" or "));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_inputs_and_a_missing_one_are_named() {
        let empty = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let error = files(Some(&empty), &[".swf"]).unwrap_err().to_string();
        assert!(error.ends_with("holds no file that ends in .swf"), "{error}");
        assert_eq!(files(Some(Path::new("nowhere.swf")), &[".swf"]).unwrap(), [PathBuf::from("nowhere.swf")]);
        assert!(workload::read(&[PathBuf::from("nowhere.swf")]).is_err());
    }
}
