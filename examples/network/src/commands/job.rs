//! `reconvene job ID`: one job, its attempts and its result.

use clap::Args;
use reconvene_executor::JobId;

use crate::{
    client::{Client, ConnectArgs},
    exit::Failure,
    service, show,
};

/// Shows one job with its attempts and its result; any broker of the network can be asked
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JobArgs {
    /// The job, as `submit` and `jobs` print it.
    #[arg(value_name = "ID")]
    job: JobId,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl JobArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// If there is no answer, or the broker has not heard of the job.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let job = client.job(self.job).await?;
            client.close().await;
            if self.json { show::print_json(&show::job_json(&job)) } else { show::print(&show::job_text(&job)) }
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene job 3f9a0c11d2e4b587-12
  reconvene job 3f9a0c11d2e4b587-12 --connect 10.0.0.8:7400 --json";
