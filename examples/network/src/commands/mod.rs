//! The commands, one file each: flags, and what they do with them.

use clap::Subcommand;

use crate::{cli::Common, exit::Failure};

mod demo;

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::DemoArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`] with the exit status that belongs to it.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Demo(args) => args.run(common),
        }
    }
}
