//! `reconvene explain ID`: why a job or a result is where it is.

use std::str::FromStr;

use clap::Args;
use reconvene_broker::Subject;
use reconvene_executor::{JobId, SubmissionId};

use crate::{
    client::{Client, ConnectArgs},
    exit::Failure,
    service, show, show_explanation,
};

/// Says why a job or a result is where it is, and what would have to be otherwise
///
/// The broker that owns a job knows what it waits for; any other knows its attempts and results.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The job, as `submit` and `jobs` print it, or the result, as `job --json` does: with a slash.
    #[arg(value_name = "ID", value_parser = subject)]
    of: Subject,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl ExplainArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// If there is no answer, or the broker has not heard of the job or result.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let explanation = client.explain(self.of).await?;
            client.close().await;
            if self.json {
                show::print_json(&show_explanation::json_of(&explanation))
            } else {
                show::print(&format!("{explanation}\n"))
            }
        })
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    if text.contains('/') {
        SubmissionId::from_str(text).map(Subject::Result).map_err(|error| error.to_string())
    } else {
        JobId::from_str(text).map(Subject::Job).map_err(|error| error.to_string())
    }
}

const EXAMPLES: &str = "\
Examples:
  reconvene explain 3f9a0c11d2e4b587-12
  reconvene explain 3f9a0c11d2e4b587/4 --connect 10.0.0.8:7400 --json";
