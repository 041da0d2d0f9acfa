//! What programs that serve have in common: an async runtime, a line that says they are ready, and an orderly end.

use std::{future::Future, io::Write as _, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use reconvene_clock::NodeId;
use reconvene_sync::NetworkId;
use tokio::time::Instant;

use crate::{exit::Failure, signals::Interrupts};

/// The network that processes with the same keys form.
pub(crate) fn network() -> NetworkId {
    NetworkId::of_name("reconvene")
}

/// Runs a future on a runtime of its own.
///
/// # Errors
/// The future's; or that there can be no runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let result = runtime.block_on(future);
    // Whatever still runs then has been told to end, or nobody waits for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Tells scripts and service managers that the process serves, in one line on standard output.
///
/// # Errors
/// If standard output takes nothing: nobody would ever know.
pub(crate) fn say_ready(name: &str, node: NodeId, address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {name} {node} {address}")
        .and_then(|()| stdout.flush())
        .context("cannot say on standard output that the process is ready")
}

/// The name of a node that was given none.
pub(crate) fn name_for(kind: &str, node: NodeId) -> String {
    let digits: String = node.to_string().chars().take(8).collect();
    format!("{kind}-{digits}")
}

/// Waits for a last courtesy, but not past the deadline.
pub(crate) async fn before(deadline: Option<Instant>, courtesy: impl Future<Output = ()>) {
    match deadline {
        // What is not done then is done by the system, as after a crash.
        Some(deadline) => drop(tokio::time::timeout_at(deadline, courtesy).await),
        None => courtesy.await,
    }
}

/// How long an orderly end may take if nobody says otherwise.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a process that serves is to end.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// It was asked to, or its time is over.
    Asked,
    /// What it serves has ended by itself.
    ByItself(T),
}

/// Serves until the first Ctrl-C or SIGTERM, the end of `time`, or until `ended`. From a first Ctrl-C on a second one
/// ends the process at once.
pub(crate) async fn serve<T>(
    mut interrupts: Interrupts,
    time: Option<Duration>,
    ended: impl Future<Output = T>,
) -> End<T> {
    let time_is_over = async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        () = interrupts.next() => End::Asked,
        () = time_is_over => End::Asked,
        result = ended => End::ByItself(result),
    };
    // However the end began: whoever asks once more does not want to wait for it.
    interrupts.leave_at_next();
    end
}
