//! Ctrl-C: the first asks politely, the second leaves at once.

use std::io;

use crate::exit::INTERRUPTED;

/// Waits for the first Ctrl-C or, where there is such a thing, SIGTERM. From then on a second one ends the process at
/// once, as a crash would, with status 130.
///
/// # Errors
/// If the system does not let the program listen.
pub(crate) async fn interrupted() -> io::Result<()> {
    next_interrupt().await?;
    tokio::spawn(async {
        if next_interrupt().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}

#[cfg(unix)]
async fn next_interrupt() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn next_interrupt() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
