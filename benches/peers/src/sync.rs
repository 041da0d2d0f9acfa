//! Two replicas that meet again: bytes, trips and time until both hold the same.

mod automerge;
mod chitchat;
mod cpu;
mod merkle;
mod negentropy;
mod ours;
mod rbsr;
mod records;
mod riblt;
pub mod workload;
mod zstd;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::workload::{Contents, Workload};

/// What one peer took for one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The workload.
    pub workload: &'static str,
    /// Who did it; ours is `reconvene`.
    pub peer: &'static str,
    /// Bytes in both directions until both sides are done, framing of the transport excluded.
    pub bytes: u64,
    /// Round trips until both hold the same: half the number of times that the direction changes.
    pub trips: f64,
    /// Microseconds of processor time of both sides together, the median of some runs; setting up excluded.
    pub cpu_us: f64,
    /// The information that had to travel.
    pub minimum_bytes: u64,
}

/// What a peer did with a workload.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes in both directions.
    pub bytes: u64,
    /// Messages or bundles of messages that went one way, one after the other, until both held the same.
    pub flights: u64,
    /// The time of `A` and of `B`, or of both together in the first place.
    pub cpu: [Duration; 2],
    /// What `A` and `B` hold in the end.
    pub contents: [Contents; 2],
}

/// A bound of one of our figures.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Which.
    pub name: &'static str,
    /// What it came to.
    pub figure: f64,
    /// What is good enough.
    pub at_most: f64,
}

/// All rows, and what ours wants to come to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the workloads.
    pub rows: Vec<Row>,
    /// Our goals.
    pub goals: Vec<Goal>,
}

/// Every workload with 100,000 records divided by `scale`, each run so many times.
pub fn report(scale: u64, runs: usize) -> Result<Report> {
    let (each, few) = (10_000 / scale, 1_000 / scale);
    let mut report = Report::default();

    let w1 = Workload::w1(each);
    report.run(&w1, "reconvene", runs, ours::run)?;
    report.run(&w1, OURS_ZSTD, runs, ours::run_zstd)?;
    report.run(&w1, "chitchat 0.13.0 V1", runs, chitchat::run_v1)?;
    report.run(&w1, "chitchat 0.13.0 V0", runs, chitchat::run_v0)?;
    report.run(&w1, "automerge 0.12.0", runs, automerge::run)?;

    let w100 = Workload::w100(few);
    report.run(&w100, "reconvene", runs, ours::run)?;
    report.run(&w100, OURS_ZSTD, runs, ours::run_zstd)?;
    report.run(&w100, "chitchat 0.13.0 V1", runs, chitchat::run_v1)?;
    report.run(&w100, "chitchat 0.13.0 V0", runs, chitchat::run_v0)?;

    let w1r = Workload::w1r(each);
    report.run(&w1r, "reconvene", runs, ours::run)?;
    report.run(&w1r, OURS_ZSTD, runs, ours::run_zstd)?;
    report.run(&w1r, "chitchat 0.13.0 V1", runs, chitchat::run_v1)?;

    let idle = Workload::idle("nothing to do", 10, each);
    report.run(&idle, "reconvene", runs, ours::run)?;
    report.run(&idle, "chitchat 0.13.0 V1", runs, chitchat::run_v1)?;
    report.run(&idle, "chitchat 0.13.0 V0", runs, chitchat::run_v0)?;
    report.run(&idle, "automerge 0.12.0", runs, automerge::run)?;
    report.run(&idle, "negentropy 0.5.3", runs, negentropy::run)?;
    report.run(&idle, "rbsr 0.2.3", runs, rbsr::run)?;
    report.run(&idle, "riblt 0.1.1", runs, riblt::run)?;
    report.run(&idle, "merkle-search-tree 0.8.0", runs, merkle::run)?;
    let idle = Workload::idle("nothing to do, 100 replicas", 100, few);
    report.run(&idle, "reconvene", runs, ours::run)?;
    report.run(&idle, "chitchat 0.13.0 V1", runs, chitchat::run_v1)?;
    report.run(&idle, "chitchat 0.13.0 V0", runs, chitchat::run_v0)?;

    let cut = Workload::delete_and_set(each);
    report.run(&cut, "reconvene", runs, ours::run)?;
    report.run(&cut, "chitchat 0.13.0 V1", runs.min(3), chitchat::run_v1)?;
    report.run(&cut, "automerge 0.12.0", runs, automerge::run)?;

    let cold = Workload::cold(each);
    report.run(&cold, "reconvene", runs, ours::run)?;
    report.run(&cold, "automerge 0.12.0", runs.min(3), automerge::run)?;
    report.run(&cold, "negentropy 0.5.3", runs, negentropy::run)?;
    report.run(&cold, "negentropy 0.5.3 by time", runs, negentropy::run_by_time)?;
    report.run(&cold, "rbsr 0.2.3", runs, rbsr::run)?;
    report.run(&cold, "riblt 0.1.1", runs.min(3), riblt::run)?;
    report.run(&cold, "merkle-search-tree 0.8.0", runs, merkle::run)?;

    let damaged = Workload::damaged(each);
    report.run(&damaged, "reconvene", runs, ours::run)?;

    let many = Workload::many(each);
    report.run(&many, "reconvene", runs, ours::run)?;
    report.run(&many, "chitchat 0.13.0 V1", runs.min(3), chitchat::run_v1)?;

    let bootstrap = Workload::bootstrap(each);
    let applied = report.run(&bootstrap, "reconvene", runs, ours::run)?;
    report.run(&bootstrap, OURS_ZSTD, runs.min(3), ours::run_zstd)?;
    report.run(&bootstrap, "chitchat 0.13.0 V1", runs.min(3), chitchat::run_v1)?;
    report.run(&bootstrap, "automerge 0.12.0", 1, automerge::run)?;

    let large = Workload::large(each * 10);
    report.run(&large, "reconvene", runs, ours::run)?;

    let applied_in_a_second = bootstrap.before().len() as f64 / applied.cpu[1].as_secs_f64();
    report.judge(applied_in_a_second);
    Ok(report)
}

impl Report {
    /// Runs one workload with one peer, and takes the median run if both sides held what the model says.
    fn run(
        &mut self,
        workload: &Workload,
        peer: &'static str,
        runs: usize,
        run: impl Fn(&Workload, usize) -> Result<Vec<Outcome>>,
    ) -> Result<Outcome> {
        let context = || format!("{} with {peer}", workload.name);
        let mut outcomes = run(workload, runs.max(1)).with_context(context)?;
        let model = workload.after();
        for outcome in &outcomes {
            let differ = outcome.contents.iter().any(|contents| *contents != model);
            ensure!(!differ, "{}: the replicas do not hold what the model says", context());
            let same = (outcome.bytes, outcome.flights) == (outcomes[0].bytes, outcomes[0].flights);
            // Some peers draw random numbers, so that only ours has to repeat itself.
            ensure!(same || !peer.starts_with(OURS), "{}: runs differ in bytes or trips", context());
        }
        outcomes.sort_by_key(|outcome| outcome.cpu.iter().sum::<Duration>());
        let median = outcomes.swap_remove(outcomes.len() / 2);
        // The whole takes minutes.
        eprintln!("{}: {} B", context(), median.bytes);
        self.rows.push(Row {
            workload: workload.name,
            peer,
            bytes: median.bytes,
            trips: median.flights as f64 / 2.0,
            cpu_us: median.cpu.iter().sum::<Duration>().as_nanos() as f64 / 1e3,
            minimum_bytes: workload.minimum_bytes(),
        });
        Ok(median)
    }

    fn judge(&mut self, applied_in_a_second: f64) {
        let Self { rows, goals } = self;
        let ours = |workload: &str| rows.iter().find(|row| row.peer == OURS && row.workload == workload);
        let mut bytes = |name, workload, at_most| {
            goals.extend(ours(workload).map(|row| Goal { name, figure: row.bytes as f64, at_most }));
        };
        bytes("G1 nothing to do, B", "nothing to do", 96.0);
        bytes("G1 nothing to do, 100 replicas, B", "nothing to do, 100 replicas", 96.0);
        bytes("G2 W1, plain, B", "W1", 5_700.0);
        bytes("G4 delete and set after a cut, B", "delete and set after a cut", 250.0);
        let compressed = |workload: &str| rows.iter().find(|row| row.peer == OURS_ZSTD && row.workload == workload);
        let mut zstd = |name, workload, at_most| {
            goals.extend(compressed(workload).map(|row| Goal { name, figure: row.bytes as f64, at_most }));
        };
        zstd("G2 W1, zstd, B", "W1", 4_120.0);
        zstd("G2 W100, zstd, B", "W100", 4_300.0);
        zstd("G2 W1r, zstd, B", "W1r", 4_550.0);
        let over_payload = |row: &Row| row.bytes as f64 - RAW_BYTES_OF_W1;
        let mut repair = |name, workload| {
            goals.extend(ours(workload).map(|row| Goal { name, figure: over_payload(row), at_most: 10_000.0 }));
        };
        repair("G5 cold repair, B over payload", "cold repair");
        repair("G5 repair of lost rows, B over payload", "repair of lost rows");
        let mut micros = |name, workload, at_most| {
            goals.extend(ours(workload).map(|row| Goal { name, figure: row.cpu_us, at_most }));
        };
        micros("G1 nothing to do, us of both sides", "nothing to do", 5.0);
        micros("G6 bootstrap, us of both sides", "bootstrap of 100,000", 250_000.0);
        micros("G7 W1, us of both sides", "W1", 250.0);
        micros("G7 W1 of 1,000,000, us of both sides", "W1 of 1,000,000", 500.0);
        goals.push(Goal { name: "G8 us to apply a record", figure: 1e6 / applied_in_a_second, at_most: 1.0 });
    }

    /// Rows and goals as tables in Markdown.
    pub fn table(&self) -> String {
        let mut text =
            String::from("| workload | minimum B | peer | bytes | trips | CPU us |\n|---|---|---|---|---|---|\n");
        for Row { workload, peer, bytes, trips, cpu_us, minimum_bytes } in &self.rows {
            text += &format!("| {workload} | {minimum_bytes} | {peer} | {bytes} | {trips} | {cpu_us:.0} |\n");
        }
        text += "\n| goal | figure | at most |\n|---|---|---|\n";
        for Goal { name, figure, at_most } in &self.goals {
            let verdict = if figure <= at_most { "" } else { " **missed**" };
            text += &format!("| {name} | {figure:.2} | {at_most}{verdict} |\n");
        }
        text
    }
}

/// The name of ours.
const OURS: &str = "reconvene";
/// The same with compressed frames.
const OURS_ZSTD: &str = "reconvene+zstd";
/// Keys and values of the hundred records of W1 that change.
const RAW_BYTES_OF_W1: f64 = 6_100.0;

#[cfg(test)]
mod tests {
    use super::report;

    /// Every workload with every peer, a fiftieth of the size. That all hold the right records is checked on the way.
    #[test]
    fn every_peer_reconciles_every_workload() {
        let report = report(50, 1).unwrap();
        let of = |workload: &str, peer: &str| {
            let row = report.rows.iter().find(|row| row.workload == workload && row.peer == peer);
            row.unwrap_or_else(|| panic!("{peer} did not run {workload}"))
        };
        assert_eq!(report.rows.iter().filter(|row| row.peer == "reconvene").count(), 11);
        for row in &report.rows {
            // Who remembers a connection may say nothing at all; nobody says less than there is to say.
            assert!(row.bytes >= row.minimum_bytes, "{row:?}");
        }
        assert!(of("nothing to do", "reconvene").bytes <= 96);
        assert!(of("W1", "reconvene").bytes < of("cold repair", "merkle-search-tree 0.8.0").bytes);
        assert!(report.table().lines().count() > report.rows.len());
    }
}
