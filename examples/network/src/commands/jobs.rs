//! `reconvene jobs`: every job that a broker knows.

use clap::Args;
use serde_json::json;

use crate::{
    client::{Client, ConnectArgs},
    exit::Failure,
    service, show,
};

/// Lists the jobs that a broker knows, whichever broker they were submitted to
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl JobsArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let jobs = client.jobs().await?;
            client.close().await;
            if self.json {
                show::print_json(&json!({"jobs": jobs.iter().map(show::job_json).collect::<Vec<_>>()}))
            } else {
                show::print(&show::jobs_text(&jobs))
            }
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene jobs
  reconvene jobs --connect 10.0.0.7:7400 --json";
