//! `reconvene submit FILE.toml`: hands jobs to a broker.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{anyhow, bail};
use clap::Args;
use reconvene_broker::{Command, JobStatus, JobView, Reply};
use reconvene_clock::{SystemTimeSource, TimeSource as _};
use reconvene_executor::{JobId, JobSpec};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cli::Common,
    client::{Client, ConnectArgs},
    config::Document,
    duration,
    exit::Failure,
    plan, service, show,
};

/// Submits the jobs of a plan, and prints their names
///
/// A job is admitted once the broker has stored it; from then on any broker of the network can be asked for it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubmitArgs {
    /// The plan: a TOML file with a `job` table for each job.
    #[arg(value_name = "FILE.toml")]
    plan: PathBuf,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Wait until every job has a result, and print the results.
    #[arg(long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, requires = "wait")]
    timeout: Duration,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

impl SubmitArgs {
    /// Submits, waits if that is asked for, and prints.
    ///
    /// # Errors
    /// If the plan is none, the broker refuses a job or does not answer, or a job waited for has no result in time.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let document = Document::read(&self.plan)?;
        let specs = plan::read(&document, SystemTimeSource::new().now())?;
        service::block_on(async {
            let mut client = Client::connect(&self.connect).await?;
            let jobs = self.submit(&mut client, specs).await?;
            if !self.wait {
                client.close().await;
                return if self.json {
                    let jobs = jobs.iter().map(|job| json!({"id": job.to_string()}));
                    show::print_json(&json!({"jobs": jobs.collect::<Vec<Value>>()}))
                } else {
                    Ok(())
                };
            }
            let views = self.results(&mut client, &jobs, common).await?;
            client.close().await;
            self.print_results(&jobs, &views)?;
            let without = jobs.iter().filter(|job| views.get(job).is_none_or(|view| view.result.is_none())).count();
            if without > 0 {
                return Err(anyhow!("{without} of {} jobs ended without a result", jobs.len()).into());
            }
            Ok(())
        })
    }

    /// The names of the jobs, in the order of the plan. Each is printed as soon as it is admitted: if a later one is
    /// not, nobody has to guess.
    async fn submit(&self, client: &mut Client, specs: Vec<JobSpec>) -> Result<Vec<JobId>, Failure> {
        let count = specs.len();
        let mut jobs = Vec::new();
        for (index, spec) in specs.into_iter().enumerate() {
            let place =
                format!("job {} of {count} in {} was not admitted", index.saturating_add(1), self.plan.display());
            match client.command(Command::Submit { spec }).await {
                Ok(Reply::Submitted { job }) => {
                    if !self.json {
                        show::print(&format!("{job}\n"))?;
                    }
                    jobs.push(job);
                }
                Ok(other) => return Err(anyhow!("{place}: the broker answered {other:?}").into()),
                Err(error) => {
                    let admitted: Vec<String> = jobs.iter().map(ToString::to_string).collect();
                    let before = match admitted.as_slice() {
                        [] => "no job before it was".to_owned(),
                        admitted => format!("admitted before it: {}", admitted.join(", ")),
                    };
                    return Err(anyhow::Error::from(error).context(format!("{place} ({before})")).into());
                }
            }
        }
        Ok(jobs)
    }

    /// Asks for the jobs until none can be expected to change any more.
    async fn results(
        &self,
        client: &mut Client,
        jobs: &[JobId],
        common: &Common,
    ) -> anyhow::Result<BTreeMap<JobId, JobView>> {
        let started = Instant::now();
        let mut said = Instant::now();
        let mut over = BTreeMap::new();
        loop {
            for job in jobs {
                if over.contains_key(job) {
                    continue;
                }
                let view = client.job(*job).await.map_err(|error| {
                    anyhow::Error::from(error).context("the jobs are admitted; ask another broker for them with 'job'")
                })?;
                if is_over(&view) {
                    over.insert(*job, view);
                }
            }
            if over.len() == jobs.len() {
                return Ok(over);
            }
            if started.elapsed() >= self.timeout {
                let waiting: Vec<String> =
                    jobs.iter().filter(|job| !over.contains_key(job)).map(ToString::to_string).collect();
                bail!(
                    "after {} there is no result yet of {}; the jobs go on, ask for them with 'reconvene job ID'",
                    duration::show(self.timeout),
                    waiting.join(", ")
                );
            }
            if !common.is_quiet() && said.elapsed() >= SAY_EVERY {
                eprintln!("{} of {} jobs have ended", over.len(), jobs.len());
                said = Instant::now();
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    fn print_results(&self, jobs: &[JobId], views: &BTreeMap<JobId, JobView>) -> Result<(), Failure> {
        let in_order: Vec<&JobView> = jobs.iter().filter_map(|job| views.get(job)).collect();
        if self.json {
            let jobs: Vec<Value> = in_order.into_iter().map(show::job_json).collect();
            return show::print_json(&json!({ "jobs": jobs }));
        }
        in_order.into_iter().try_for_each(|job| show::print(&format!("\n{}", show::job_text(job))))
    }
}

fn is_over(job: &JobView) -> bool {
    match job.status {
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => true,
        JobStatus::Unknown
        | JobStatus::Waiting
        | JobStatus::Dispatched
        | JobStatus::Running
        | JobStatus::Redeploying
        // It ends by itself or by an operator's word.
        | JobStatus::Quarantined => false,
        // A status of a later version says nothing of an end.
        _ => false,
    }
}

const POLL_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  reconvene submit plan.toml
  reconvene submit plan.toml --connect 10.0.0.7:7400 --wait --timeout 1m --json

A plan:
  [[job]]
  run = \"2s\"            # how long the job takes
  input = \"frame 12\"    # what it gives back; optional, as all that follows
  varies = false        # whether each executor gives back something else
  priority = 100        # 0 to 255
  deadline = \"10m\"      # from now
  tags = [\"medical\"]    # what an executor must be tagged with
  cpu = 1000            # thousandths of a core
  memory = 512          # MiB
  gpu = 0               # thousandths
  value = 1             # what the result is worth, 1 to 1000000
  region = \"north\"      # for emergencies with a region
  fenced = false        # whether attempts stop when their lease ends
  client = \"studio\"     # with a key: submitting twice makes one job
  key = 12";
