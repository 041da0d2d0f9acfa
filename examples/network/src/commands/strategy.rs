//! `reconvene strategy`: the policy of the network.

use clap::{Args, Subcommand};
use reconvene_broker::{Command, Policy, Reply, StrategyKind};
use serde_json::json;

use crate::{
    client::{self, ConnectArgs},
    config::Plain as _,
    exit::Failure,
    show,
};

/// Shows or switches the strategy of the network
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StrategyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Get(GetArgs),
    Set(SetArgs),
}

/// Shows the strategy by which a broker ranks jobs and judges the results of those that it admits now
#[derive(Args, Debug)]
struct GetArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// Switches the strategy on all brokers; jobs that were admitted before are judged as they were
#[derive(Args, Debug)]
struct SetArgs {
    /// fcfs, priority, emergency, resource or causal.
    #[arg(value_name = "NAME", value_parser = StrategyKind::read)]
    strategy: StrategyKind,
    /// Whom the network follows if two switch while they do not see each other: the greater rank.
    #[arg(long, value_name = "RANK", default_value_t = 0)]
    rank: u32,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl StrategyArgs {
    /// Shows or switches.
    ///
    /// # Errors
    /// If there is no answer, or the broker refuses.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Get(args) => args.run(),
            What::Set(args) => args.run(),
        }
    }
}

impl GetArgs {
    fn run(&self) -> Result<(), Failure> {
        client::ask(&self.connect, Command::Policy, |reply| {
            let Reply::Policy(policy) = reply else { return None };
            let name = policy.kind.short_name();
            Some(if self.json {
                show::print_json(&json!({
                    "strategy": name,
                    "policy": policy.id.to_string(),
                    "epoch": policy.epoch.0,
                    "known": policy.known.iter().map(ToString::to_string).collect::<Vec<_>>(),
                }))
            } else {
                show::print(&format!("{name}\n"))
            })
        })
    }
}

impl SetArgs {
    fn run(&self) -> Result<(), Failure> {
        let policy = Policy::of(self.strategy);
        let command = Command::SetPolicy { canonical: policy.canonical_bytes(), issuer_rank: self.rank };
        client::ask(&self.connect, command, |reply| {
            let Reply::PolicySet { choice } = reply else { return None };
            let name = self.strategy.short_name();
            Some(if self.json {
                show::print_json(&json!({
                    "strategy": name,
                    "policy": choice.policy.to_string(),
                    "epoch": choice.epoch.0,
                    "rank": choice.issuer_rank,
                }))
            } else {
                show::print(&format!("{name}, switch {}\n", choice.epoch.0))
            })
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene strategy get
  reconvene strategy set priority
  reconvene strategy set emergency --rank 2 --connect 10.0.0.8:7400 --json";
