//! An executor in a process of its own, and the file in which its runner says what it ran.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use reconvene_clock::NodeId;
use reconvene_executor::JobId;

use super::{
    broker::{Broker, LIFETIME},
    process::{self, Process},
    site::Site,
    wait::{SOON, until},
};
use crate::run_log::{Line, What};

/// An executor; it ends with this.
#[derive(Debug)]
pub(super) struct ExecutorProcess {
    process: Process,
    runs: PathBuf,
}

impl ExecutorProcess {
    pub(super) async fn start(site: &Site, home: &Broker, flags: &[&str]) -> Result<Self> {
        let name = site.new_name("executor");
        let runs = site.path(&format!("{name}.runs"));
        let mut command = site.command(false);
        command
            .args(["executor", "--broker", &home.address(), "--for", LIFETIME])
            .args(flags)
            .arg("--keys")
            .arg(site.keys())
            .arg("--run-log")
            .arg(&runs)
            .arg("--config")
            .arg(site.executor_file()?);
        let process = Process::start(&mut command, site.path(&format!("{name}.log"))).await;
        let process = process.context("an executor did not start")?;
        Ok(Self { process, runs })
    }

    pub(super) const fn node(&self) -> NodeId {
        self.process.node
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything its runner wrote, in order.
    pub(super) fn runs(&self) -> Vec<Line> {
        // The last line may be half written.
        process::read(&self.runs).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How often the runner wrote this about the job.
    pub(super) fn count(&self, job: JobId, what: What) -> usize {
        let job = job.to_string();
        self.runs().iter().filter(|line| line.job == job && line.what == what).count()
    }

    /// The jobs in the order in which their runs began.
    pub(super) fn began(&self) -> Vec<String> {
        self.runs().into_iter().filter(|line| line.what == What::Began).map(|line| line.job).collect()
    }

    /// Waits until its runner has written this about the job.
    ///
    /// # Errors
    /// If it does not in time.
    pub(super) async fn has(&self, job: JobId, what: What) -> Result<Line> {
        self.has_within(job, what, SOON).await
    }

    pub(super) async fn has_within(&self, job: JobId, what: What, within: Duration) -> Result<Line> {
        let job = job.to_string();
        until(&format!("an executor's own log has {what:?} for {job}"), within, async || {
            Ok(self.runs().into_iter().find(|line| line.job == job && line.what == what))
        })
        .await
    }
}
