//! `reconvene verify`: its flags.

use std::{num::NonZero, path::PathBuf, thread};

use clap::Args;

use crate::{
    cli::Common,
    exit::Failure,
    verify::{self, Options},
};

/// Shows on real processes what Reconvene promises, requirement by requirement
///
/// Each row starts brokers and executors of its own on loopback sockets, with stores in a temporary directory, cuts them
/// off from each other or kills them, and looks from outside at what comes of it. The exit status is 0 only if every
/// row held.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// How many times faster than by default everything happens.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=40))]
    speed: u32,
    /// Show only this row; may be given several times.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// How many rows run side by side [default: twice as many as there are processors, at most 8; most rows wait].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    side_by_side: Option<u32>,
    /// Another program to run as brokers, such as one that is built to break a rule.
    #[arg(long, value_name = "FILE")]
    broker_program: Option<PathBuf>,
    /// Write the rows as a JSON array to a file, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page that says what each row proves.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl VerifyArgs {
    /// Shows the rows.
    ///
    /// # Errors
    /// [`Failure`] if there is no such row, a file cannot be written, or a row did not hold.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = match self.side_by_side {
            Some(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
            None => processors.saturating_mul(2).min(8),
        };
        verify::run(&Options {
            speed: self.speed,
            only: self.only.clone(),
            jobs,
            broker_program: self.broker_program.clone(),
            json: self.json.clone(),
            markdown: self.markdown.clone(),
            quiet: common.is_quiet(),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene verify
  reconvene verify --only BB2 --only SC1
  reconvene verify --json - --markdown conformance.md";
