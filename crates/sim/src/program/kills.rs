//! `kills`: a process that writes is killed at random moments, again and again, and whatever it acknowledged is looked
//! up each time.

mod groups;
mod writer;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use reconvene_sim::suite::block_on;
use reconvene_store::{MetadataStore as _, StoreError};
use reconvene_store_redb::RedbStore;
use serde::Serialize;

use self::groups::{GROUPS, Group};
pub(super) use self::writer::{Writer, write};
use super::{Failure, write_json};

/// Kills a process that writes to a durable store, and looks up what it had acknowledged.
#[derive(Args, Debug)]
pub(super) struct Kills {
    /// How often to kill.
    #[arg(long, value_name = "N", default_value_t = 300)]
    count: u32,
    /// Draws the moments.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Write the figures as JSON to a file, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

/// What the kills came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Figures {
    kills: u32,
    /// Batches that the writer said were durable.
    acknowledged: u64,
    /// Keys that did not hold what was acknowledged, or something later.
    lost: u64,
    /// Groups of keys that were written together and did not hold the same, and stores that failed their check.
    torn: u64,
}

/// Runs the writer, kills it, looks; as often as asked for.
pub(super) fn run(args: &Kills) -> Result<ExitCode, Failure> {
    let dir = tempfile::tempdir().map_err(|source| Failure::Process { doing: "making a directory", source })?;
    let mut figures = Figures::default();
    let mut acknowledged = BTreeMap::new();
    let mut draw = Draw(args.seed);
    for kill in 0..args.count {
        round(dir.path(), kill, &mut draw, &mut acknowledged, &mut figures)?;
        if kill % 100 == 99 {
            eprintln!("{} kills, {} batches acknowledged", figures.kills, figures.acknowledged);
        }
    }
    let text = format!(
        "{} kills, {} batches acknowledged, {} keys lost, {} torn",
        figures.kills, figures.acknowledged, figures.lost, figures.torn
    );
    match args.json.as_deref() {
        Some(path) => {
            write_json(path, &figures)?;
            eprintln!("{text}");
        }
        None => println!("{text}"),
    }
    if figures.lost == 0 && figures.torn == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("cargo run --release -p reconvene-sim -- kills --count {} --seed {}", args.count, args.seed);
    Ok(ExitCode::from(1))
}

/// One life of the writer, and what it left.
fn round(
    dir: &Path,
    kill: u32,
    draw: &mut Draw,
    acknowledged: &mut BTreeMap<Group, u64>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let process = |doing| move |source| Failure::Process { doing, source };
    let program = std::env::current_exe().map_err(process("finding this program"))?;
    let mut child = Command::new(program)
        .args(["kills-writer", "--seed", &draw.below(u64::MAX).to_string(), "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map(Reaped)
        .map_err(process("starting the writer"))?;
    let stdout =
        child.0.stdout.take().ok_or_else(|| process("listening to the writer")(io::ErrorKind::BrokenPipe.into()))?;
    let (said, hears) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        // A line without its end was not written to its end.
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if said.send(core::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    // The first life must come far enough to leave a store. Of the others one in four is killed while it opens it.
    let mut heard = Vec::new();
    if kill == 0 || draw.below(4) > 0 {
        heard.extend(hears.recv_timeout(Duration::from_secs(60)).ok());
        thread::sleep(Duration::from_micros(draw.below(80_000)));
    } else {
        thread::sleep(Duration::from_micros(draw.below(30_000)));
    }
    child.0.kill().map_err(process("killing the writer"))?;
    child.0.wait().map_err(process("waiting for the writer"))?;
    // Everything that reached the pipe was said before the kill.
    heard.extend(hears.iter());
    drop(listener.join());
    figures.kills = figures.kills.saturating_add(1);
    for line in heard {
        for acknowledgement in line.split_whitespace() {
            if let Some((group, number)) = groups::parse(acknowledgement) {
                acknowledged.insert(group, number);
                figures.acknowledged = figures.acknowledged.saturating_add(1);
            }
        }
    }
    let store = |source: Box<dyn core::error::Error + Send + Sync>| Failure::Store { source };
    let found = writer::open(dir).map_err(|error| store(error.into()))?;
    look(&found, acknowledged, figures).map_err(|error| store(error.into()))?;
    // The next writer finds it closed in good order half of the time.
    if draw.below(2) == 0 { block_on(found.close()).map_err(|error| store(error.into())) } else { Ok(()) }
}

/// Looks up every group, acknowledged or not.
fn look(store: &RedbStore, acknowledged: &BTreeMap<Group, u64>, figures: &mut Figures) -> Result<(), StoreError> {
    let snapshot = block_on(store.snapshot())?;
    for group in (0..GROUPS).map(Group) {
        let numbers = block_on(groups::read(&snapshot, group))?;
        if numbers.iter().any(|number| Some(number) != numbers.first()) {
            figures.torn = figures.torn.saturating_add(1);
        }
        if let Some(expected) = acknowledged.get(&group) {
            let lost = numbers.iter().filter(|number| number.is_none_or(|number| number < *expected)).count();
            figures.lost = figures.lost.saturating_add(u64::try_from(lost).unwrap_or(u64::MAX));
        }
    }
    if !block_on(store.check())?.is_sound() {
        figures.torn = figures.torn.saturating_add(1);
    }
    Ok(())
}

/// A process that does not outlive its handle.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    /// A number below `end`, which is not zero.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).checked_rem(end).unwrap_or_default()
    }
}
