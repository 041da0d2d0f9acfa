//! The command line: flags that every command shares, and the list of commands.

use std::io::IsTerminal as _;

use clap::{Args, Parser, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{commands::Command, exit::Failure};

/// Brokers and executors that go on working while the network is cut, and afterwards agree.
#[derive(Debug, Parser)]
#[command(
    name = "reconvene",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Say more: -v shows what happens, -vv also why.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say nothing but errors and the data asked for.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// What to log, in the filter syntax of `tracing`, such as `reconvene_sync=debug,warn`.
    #[arg(long, global = true, env = "RECONVENE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, env = "RECONVENE_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Common {
    /// Whether anything but errors and data is unwanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Sends what the crates log to standard error.
    ///
    /// # Errors
    /// Wrong usage if the filter does not parse.
    pub(crate) fn start_logging(&self) -> Result<(), Failure> {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        };
        let filter = match &self.log {
            Some(filter) => EnvFilter::try_new(filter)
                .map_err(|error| Failure::usage(format!("invalid value '{filter}' for '--log <FILTER>': {error}")))?,
            None => EnvFilter::default().add_directive(level.into()),
        };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colours_wanted(std::io::stderr().is_terminal()));
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
        Ok(())
    }
}

/// Whether to colour what goes to a stream that is or is not a terminal. `NO_COLOR` is honoured (<https://no-color.org>).
pub(crate) fn colours_wanted(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
