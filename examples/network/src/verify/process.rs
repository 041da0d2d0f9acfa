//! A child process that serves: started, asked to end, stopped by its number, never left behind.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use reconvene_clock::NodeId;
use tokio::sync::oneshot;

use super::wait::until;

/// A process that said that it is ready. It is killed when this goes.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) node: NodeId,
    /// The port it sends from, and listens at if it does.
    pub(super) port: u16,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits for its one line. What it says on standard error is added to the file `log`.
    ///
    /// # Errors
    /// If it does not start or is not ready in time; then it is gone again.
    pub(super) async fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let errors = File::options().create(true).append(true).open(&log)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut process = Self { child, node: NodeId::new([0; 16]), port: 0, log };
        let stdout = process.child.stdout.take().context("a child without standard output")?;
        let (said, hears) = oneshot::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // An end without a line shows as an empty one.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = said.send(line);
        });
        let line = tokio::time::timeout(READY_WITHIN, hears).await;
        let line = line.with_context(|| format!("a process was not ready within {READY_WITHIN:?}"))??;
        let words: Vec<&str> = line.split_whitespace().collect();
        let &["ready", _, node, address] = words.as_slice() else {
            bail!("a process is not ready; it said {line:?} and {:?}", process.log());
        };
        process.node = node.parse()?;
        process.port = address.rsplit_once(':').context("an address without a port")?.1.parse()?;
        Ok(process)
    }

    /// Everything it said on standard error, and those before it that wrote to the same file.
    pub(super) fn log(&self) -> String {
        read(&self.log)
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// If the system does not let it be killed.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal by name, such as `STOP`, which leaves it frozen until `CONT`.
    ///
    /// # Errors
    /// If there is no program `kill`, or it fails.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        let status = status.context("there is no program 'kill' to send signals with")?;
        if !status.success() {
            bail!("the signal {name} could not be sent: {status}");
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it goes on.
    pub(super) async fn ends(&mut self, within: Duration) -> Result<ExitStatus> {
        until("the process ends", within, async || Ok(self.child.try_wait()?)).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Machines may be slow, and starting many processes at once is slower.
const READY_WITHIN: Duration = Duration::from_secs(40);
