//! Tells whoever waits how far the demo is: a bar on a terminal, a plain line now and then elsewhere. Always on standard
//! error.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far the demo is.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { total: usize, next_ms: u64 },
}

impl Progress {
    /// Progress towards `jobs` completed jobs.
    pub(crate) fn start(jobs: usize, quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(u64::try_from(jobs).ok(), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} jobs {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Bar(bar)
        } else {
            Shown::Lines { total: jobs, next_ms: 0 }
        };
        Self { shown }
    }

    /// Something that a person wants to know happened.
    pub(crate) fn say(&self, at_ms: u64, what: &str) {
        let line = format!("{:>3}.{} s  {what}", at_ms / 1_000, at_ms % 1_000 / 100);
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.println(line),
            Shown::Lines { .. } => print_line(&line),
        }
    }

    /// So many jobs have been submitted and so many are complete.
    pub(crate) fn update(&mut self, at_ms: u64, submitted: usize, completed: usize) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(u64::try_from(completed).unwrap_or(u64::MAX));
                bar.set_message(format!("{submitted} submitted"));
            }
            Shown::Lines { total, next_ms } => {
                if at_ms >= *next_ms {
                    *next_ms = at_ms.saturating_add(LINE_EVERY_MS);
                    let total = *total;
                    print_line(&format!(
                        "{:>3}.{} s  {submitted} of {total} jobs submitted, {completed} complete",
                        at_ms / 1_000,
                        at_ms % 1_000 / 100
                    ));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn print_line(line: &str) {
    // Progress that nobody can read is not worth failing for.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

const LINE_EVERY_MS: u64 = 1_000;
