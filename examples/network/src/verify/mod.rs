//! `reconvene verify`: every requirement that this version meets, shown on real processes to an observer outside them.

use std::{
    collections::VecDeque,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{sync::watch, task::LocalSet, time::timeout};

use crate::{exit::Failure, show, signals};

mod broker;
mod executor;
mod process;
mod puppet;
mod report;
mod row;
mod rows;
mod site;
mod wait;

use self::{report::Shown, row::Row, site::Site};

/// What the user asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) speed: u32,
    pub(crate) only: Vec<String>,
    /// How many rows run at once.
    pub(crate) jobs: usize,
    /// Another program for brokers.
    pub(crate) broker_program: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) quiet: bool,
}

/// Shows the rows and reports.
///
/// # Errors
/// Wrong usage if a row asked for does not exist; failure if one did not hold, or a report cannot be written.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let all = rows::all();
    for id in &options.only {
        if !all.iter().any(|row| row.id.eq_ignore_ascii_case(id)) {
            let known: Vec<&str> = all.iter().map(|row| row.id).collect();
            return Err(Failure::usage(format!(
                "there is no row '{id}' for '--only <ID>'; there are {}",
                known.join(", ")
            )));
        }
    }
    let asked = |row: &&Row| options.only.is_empty() || options.only.iter().any(|id| row.id.eq_ignore_ascii_case(id));
    let chosen: Vec<&Row> = all.iter().filter(asked).collect();
    let shown = show_all(options, &chosen)?;

    let pairs: Vec<(&Row, &Shown)> = chosen.iter().copied().zip(&shown).collect();
    if let Some(path) = &options.markdown {
        write_file(path, report::markdown(&pairs, options.speed).as_bytes())?;
    }
    let to_stdout = options.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &options.json {
        let mut json = serde_json::to_vec_pretty(&shown).context("cannot write the report as JSON")?;
        json.push(b'\n');
        if to_stdout {
            show::print(&String::from_utf8_lossy(&json))?;
        } else {
            write_file(path, &json)?;
        }
    }
    if !to_stdout {
        show::print(&report::table(&shown))?;
    }
    let broken: Vec<&str> = shown.iter().filter(|row| !row.held).map(|row| row.id).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(anyhow!("{} of {} rows did not hold: {}", broken.len(), shown.len(), broken.join(", ")).into())
    }
}

/// Runs the rows, a few at a time, each with a thread and a runtime of its own.
fn show_all(options: &Options, chosen: &[&Row]) -> Result<Vec<Shown>, Failure> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let brokers = options.broker_program.clone().unwrap_or_else(|| program.clone());
    let brokers = std::fs::canonicalize(&brokers).with_context(|| format!("there is no {}", brokers.display()))?;
    let (end, ended) = watch::channel(false);
    let queue: Mutex<VecDeque<(usize, &Row)>> = Mutex::new(chosen.iter().copied().enumerate().collect());
    let done: Mutex<Vec<(usize, Shown)>> = Mutex::new(Vec::new());
    let all_done = tokio::sync::Notify::new();

    let worker = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((index, row)) = next.filter(|_| !*ended.borrow()) else { return };
            let shown = show_one(row, options.speed, &program, &brokers, ended.clone());
            if !options.quiet && !*ended.borrow() {
                let held = if shown.held { "held" } else { "DID NOT HOLD" };
                // Nobody reads it: the report says it again.
                let _ =
                    writeln!(std::io::stderr(), "{} {held} after {} ms: {}", row.id, shown.elapsed_ms, shown.detail);
            }
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((index, shown));
            if done.len() == chosen.len() {
                all_done.notify_one();
            }
        }
    };
    let interrupted = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        let watched = watch_for_end(&all_done);
        // Rows that still run end at once, and take their processes with them.
        end.send_replace(true);
        for worker in workers {
            if worker.join().is_err() {
                return Err(anyhow!("a thread that runs rows has panicked"));
            }
        }
        watched
    })?;
    if interrupted {
        return Err(anyhow!("interrupted before the end; nothing is shown").into());
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, shown)| shown).collect())
}

/// Waits until all rows are done, or for Ctrl-C: which of the two.
fn watch_for_end(all_done: &tokio::sync::Notify) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let interrupted = runtime.block_on(async {
        tokio::select! {
            () = all_done.notified() => Ok(false),
            interrupted = signals::interrupted() => interrupted.map(|()| true),
        }
    });
    runtime.shutdown_background();
    interrupted.context("cannot listen for Ctrl-C")
}

/// Makes one row happen. A row that panics does not hold.
fn show_one(row: &Row, speed: u32, program: &Path, brokers: &Path, mut ended: watch::Receiver<bool>) -> Shown {
    let started = stopwatch();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = LocalSet::new().block_on(&runtime, async {
            let site = Site::new(speed, program, brokers)?;
            tokio::select! {
                result = timeout(ROW_WITHIN, (row.run)(&site)) => {
                    result.unwrap_or_else(|_| Err(anyhow!("not over after {} s", ROW_WITHIN.as_secs())))
                }
                _ = ended.wait_for(|ended| *ended) => Err(anyhow!("interrupted")),
            }
        });
        runtime.shutdown_background();
        result
    }));
    let (held, detail) = match outcome {
        Ok(Ok(seen)) => (true, seen),
        Ok(Err(error)) => (false, format!("{error:#}")),
        Err(_) => (false, "the row itself failed; standard error says how".to_owned()),
    };
    Shown {
        id: row.id,
        requirement: row.requirement,
        held,
        detail,
        elapsed_ms: u64::try_from(started().as_millis()).unwrap_or(u64::MAX),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Measures real time from now on.
#[expect(clippy::disallowed_methods, reason = "what a row took is real time")]
fn stopwatch() -> impl Fn() -> Duration {
    let started = std::time::Instant::now();
    move || started.elapsed()
}

/// A row that takes longer is stuck.
const ROW_WITHIN: Duration = Duration::from_secs(120);
