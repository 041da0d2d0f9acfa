//! The `reconvene-sim` program: runs whole networks in virtual time, under faults drawn from one number, and says which
//! promise broke and how to see it again.
//!
//! Figures go to standard output, progress to standard error. The exit status is 1 when a promise broke, with the
//! command that repeats the run as the last line, and 2 for wrong usage.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::process::ExitCode;

use clap::Parser as _;

mod program;

fn main() -> ExitCode {
    let args = program::Args::parse();
    match program::run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
