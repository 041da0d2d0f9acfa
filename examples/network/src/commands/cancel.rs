//! `reconvene cancel ID` and `reconvene release ID`.

use anyhow::anyhow;
use clap::Args;
use reconvene_broker::{Command, Reply};
use reconvene_executor::JobId;
use serde_json::json;

use crate::{
    client::{self, ConnectArgs},
    exit::Failure,
    show,
};

/// Cancels a job; any broker of the network can be asked. One that has a result keeps it
#[derive(Args, Debug)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Releases a job from quarantine: it may be placed again
#[derive(Args, Debug)]
#[command(after_help = RELEASE_EXAMPLES)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    job: JobArgs,
}

#[derive(Args, Debug)]
struct JobArgs {
    /// The job, as `submit` and `jobs` print it.
    #[arg(value_name = "ID")]
    id: JobId,
    #[command(flatten)]
    connect: ConnectArgs,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl CancelArgs {
    /// Cancels.
    ///
    /// # Errors
    /// If there is no answer, the broker has not heard of the job, or the job has a result already.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let JobArgs { id, connect, json } = &self.job;
        client::ask(connect, Command::Cancel { job: *id }, |reply| {
            let canonical = if let Reply::TooLate { canonical, .. } = reply {
                Some(canonical.to_string())
            } else if let Reply::Cancelled { .. } = reply {
                None
            } else {
                return None;
            };
            let told = if *json {
                show::print_json(&json!({
                    "job": id.to_string(),
                    "cancelled": canonical.is_none(),
                    "result": canonical,
                }))
            } else if canonical.is_none() {
                show::print(&format!("cancelled {id}\n"))
            } else {
                Ok(())
            };
            Some(told.and_then(|()| match canonical {
                Some(result) => {
                    let advice = "nothing was changed ('reconvene job' shows the result)";
                    Err(anyhow!("cannot cancel {id}: it has the result {result} already; {advice}").into())
                }
                None => Ok(()),
            }))
        })
    }
}

impl ReleaseArgs {
    /// Releases.
    ///
    /// # Errors
    /// If there is no answer, or the broker has not heard of the job.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let JobArgs { id, connect, json } = &self.job;
        client::ask(connect, Command::Release { job: *id }, |reply| {
            let Reply::Released { job, was_held } = reply else { return None };
            Some(if *json {
                show::print_json(&json!({"job": job.to_string(), "was_held": was_held}))
            } else if was_held {
                show::print(&format!("released {job}\n"))
            } else {
                show::print(&format!("{job} was not in quarantine\n"))
            })
        })
    }
}

const CANCEL_EXAMPLES: &str = "\
Examples:
  reconvene cancel 3f9a0c11d2e4b587-12
  reconvene cancel 3f9a0c11d2e4b587-12 --connect 10.0.0.8:7400 --json";

const RELEASE_EXAMPLES: &str = "\
Examples:
  reconvene release 3f9a0c11d2e4b587-12
  reconvene release 3f9a0c11d2e4b587-12 --connect 10.0.0.8:7400 --json";
