//! The commands, one file each: flags, and what they do with them.

use clap::Subcommand;

use crate::{cli::Common, exit::Failure};

mod broker;
mod bundle;
mod cancel;
mod data;
mod demo;
mod emergency;
mod executor;
mod explain;
mod job;
mod jobs;
mod retire;
mod status;
mod strategy;
mod submit;
mod verify;

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::DemoArgs),
    Broker(broker::BrokerArgs),
    Executor(executor::ExecutorArgs),
    Submit(submit::SubmitArgs),
    Jobs(jobs::JobsArgs),
    Job(job::JobArgs),
    Explain(explain::ExplainArgs),
    Status(status::StatusArgs),
    Emergency(emergency::EmergencyArgs),
    Strategy(strategy::StrategyArgs),
    Cancel(cancel::CancelArgs),
    Release(cancel::ReleaseArgs),
    Data(data::DataArgs),
    Retire(retire::RetireArgs),
    Storm(retire::StormArgs),
    Bundle(bundle::BundleArgs),
    Verify(verify::VerifyArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// [`Failure`] with the exit status that belongs to it.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Demo(args) => args.run(common),
            Self::Broker(args) => args.run(common),
            Self::Executor(args) => args.run(common),
            Self::Submit(args) => args.run(common),
            Self::Jobs(args) => args.run(),
            Self::Job(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Emergency(args) => args.run(),
            Self::Strategy(args) => args.run(),
            Self::Cancel(args) => args.run(),
            Self::Release(args) => args.run(),
            Self::Data(args) => args.run(),
            Self::Retire(args) => args.run(),
            Self::Storm(args) => args.run(),
            Self::Bundle(args) => args.run(),
            Self::Verify(args) => args.run(common),
        }
    }
}
