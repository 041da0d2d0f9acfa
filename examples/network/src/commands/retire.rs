//! `reconvene retire PEER` and `reconvene storm end`: an operator's word.

use clap::{Args, Subcommand};
use reconvene_broker::{Command, Reply};
use reconvene_clock::NodeId;
use serde_json::json;

use crate::{
    client::{self, ConnectArgs},
    exit::Failure,
    show,
};

/// Says that a broker will not return: nothing waits for it, and its jobs are taken over at once
#[derive(Args, Debug)]
#[command(after_help = RETIRE_EXAMPLES)]
pub(crate) struct RetireArgs {
    /// The broker, as `status` prints it among the peers.
    #[arg(value_name = "PEER")]
    peer: NodeId,
    /// Even if it is heard. It then goes on under another name, and without what only it knew.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl RetireArgs {
    /// Retires.
    ///
    /// # Errors
    /// If there is no answer, or the broker refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let command = Command::RetireMember { node: self.peer, even_if_heard: self.force };
        client::ask(&self.connect, command, |reply| {
            let Reply::MemberRetired { node, replicas } = reply else { return None };
            Some(if self.json {
                let replicas: Vec<_> = replicas.iter().map(ToString::to_string).collect();
                show::print_json(&json!({"peer": node.to_string(), "replicas": replicas}))
            } else if replicas.is_empty() {
                show::print(&format!("{node} had been retired before\n"))
            } else {
                show::print(&format!("retired {node}\n"))
            })
        })
    }
}

/// The storm guard: a broker most of whose executors fall silent together takes itself for cut off
#[derive(Args, Debug)]
#[command(after_help = STORM_EXAMPLES)]
pub(crate) struct StormArgs {
    #[command(subcommand)]
    what: Storm,
}

#[derive(Debug, Subcommand)]
enum Storm {
    End(EndArgs),
}

/// Says that the silent executors are really gone: their jobs are placed again
#[derive(Args, Debug)]
struct EndArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl StormArgs {
    /// Ends the guard.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Storm::End(EndArgs { connect, json }) = &self.what;
        client::ask(connect, Command::EndStormGuard, |reply| {
            let Reply::StormGuardEnded { was_on } = reply else { return None };
            Some(if *json {
                show::print_json(&json!({"was_on": was_on}))
            } else {
                show::print(if was_on { "the storm guard is off\n" } else { "the storm guard was not on\n" })
            })
        })
    }
}

const RETIRE_EXAMPLES: &str = "\
Examples:
  reconvene retire 7f3c09e1b2a4d5867f3c09e1b2a4d586
  reconvene retire 7f3c09e1b2a4d5867f3c09e1b2a4d586 --force --json";

const STORM_EXAMPLES: &str = "\
Examples:
  reconvene storm end
  reconvene storm end --connect 10.0.0.7:7400 --json";
