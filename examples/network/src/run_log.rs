//! A file in which an executor's runner writes down what it ran, for whoever does not want to believe a broker.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use reconvene_clock::{SystemTimeSource, TimeSource as _};
use reconvene_executor::{AttemptId, JobSpec, Outcome, Report, RunControl, Runner};
use serde::{Deserialize, Serialize};

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Wall time.
    pub(crate) at_ms: u64,
    pub(crate) what: What,
    /// The attempt, as `job` shows it.
    pub(crate) attempt: String,
    /// The job it is of.
    pub(crate) job: String,
    /// What came out, as text, at the end of a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<String>,
}

/// What has become of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// Its run began.
    Began,
    /// It came to its own end, good or bad.
    Ended,
    /// It was stopped.
    Stopped,
}

/// The file; each line is in it before the run goes on.
#[derive(Clone, Debug)]
pub(crate) struct RunLog(Option<Arc<Mutex<File>>>);

impl RunLog {
    /// Appends to the file, or writes nowhere.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write the log of runs {}", path.display()))?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    fn write(&self, what: What, attempt: AttemptId, output: Option<String>) {
        let Some(file) = &self.0 else { return };
        let at_ms = SystemTimeSource::new().now().as_millis();
        let line = Line { at_ms, what, attempt: attempt.to_string(), job: attempt.job.to_string(), output };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&text) {
            // The attempt is worth more than the note about it.
            tracing::error!(%error, %attempt, "the log of runs takes nothing");
        }
    }
}

/// A runner that says in a file what it does.
#[derive(Debug)]
pub(crate) struct Logged<R> {
    pub(crate) runner: R,
    pub(crate) log: RunLog,
}

impl<R: Runner> Runner for Logged<R> {
    async fn run(&self, attempt: AttemptId, spec: &JobSpec, control: RunControl) -> Report {
        self.log.write(What::Began, attempt, None);
        let mut stopped = Stopped { log: &self.log, attempt, over: false };
        let report = self.runner.run(attempt, spec, control).await;
        stopped.over = true;
        let output = match &report.outcome {
            Outcome::Success { output } => Some(String::from_utf8_lossy(output).into_owned()),
            Outcome::Failure { .. } => None,
        };
        self.log.write(What::Ended, attempt, output);
        report
    }
}

/// Notes that an attempt was dropped before its end.
struct Stopped<'a> {
    log: &'a RunLog,
    attempt: AttemptId,
    over: bool,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.log.write(What::Stopped, self.attempt, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use reconvene_clock::{NodeId, ReplicaId};
    use reconvene_executor::{JobId, OwnershipEpoch, TraceJob, TraceRunner};

    use super::*;

    #[tokio::test]
    async fn each_run_is_written_down_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        let log = RunLog::open(Some(&path)).unwrap();
        let runner = Logged { runner: TraceRunner::new(NodeId::new([1; 16])), log };
        let owner = ReplicaId::new(7).unwrap();
        let attempt = AttemptId { job: JobId::new(owner, 1), epoch: OwnershipEpoch::FIRST, owner, number: 1 };
        let spec = |run_ms| {
            let job = TraceJob { run_ms, input: b"out".to_vec(), varies: false };
            JobSpec::new(job.encode().unwrap())
        };
        let whole = runner.run(attempt, &spec(1), RunControl::detached(attempt)).await;
        assert!(whole.outcome.is_success());
        drop(
            tokio::time::timeout(
                std::time::Duration::from_millis(20),
                runner.run(attempt, &spec(3_600_000), RunControl::detached(attempt)),
            )
            .await,
        );
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines.iter().map(|line| (line.what, line.output.as_deref())).collect();
        let expected = [(What::Began, None), (What::Ended, Some("out")), (What::Began, None), (What::Stopped, None)];
        assert_eq!(told, expected);
        assert!(lines.iter().all(|line| line.attempt == attempt.to_string() && line.job == attempt.job.to_string()));
    }
}
