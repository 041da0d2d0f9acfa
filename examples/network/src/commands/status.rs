//! `reconvene status`: how a broker is.

use clap::Args;

use crate::{
    client::{Client, ConnectArgs},
    exit::Failure,
    service, show,
};

/// Shows how a broker is: its peers, executors, jobs and counters
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object, with every counter.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// If there is no answer.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let address = client.address().to_owned();
            let status = client.status().await?;
            let statistics = client.statistics().await?;
            client.close().await;
            if self.json {
                show::print_json(&show::status_json(&address, &status, &statistics)?)
            } else {
                show::print(&show::status_text(&address, &status, &statistics))
            }
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene status
  reconvene status --connect 10.0.0.7:7400 --json";
