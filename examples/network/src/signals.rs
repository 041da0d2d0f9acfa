//! Ctrl-C: the first asks politely, the second leaves at once.

use std::io;

use crate::exit::INTERRUPTED;

/// Ctrl-C and, where there is such a thing, SIGTERM. From the moment it exists they do not end the process by
/// themselves.
#[derive(Debug)]
pub(crate) struct Interrupts {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system does not let the program listen.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one, also if it came before this call. Cancel safe.
    pub(crate) async fn next(&mut self) {
        let came = tokio::select! {
            came = self.interrupt.recv() => came,
            came = self.terminate.recv() => came,
        };
        if came.is_none() {
            // The runtime tells no more, so nothing will come.
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// None here.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Interrupts {
    /// From now on the next one ends the process at once, as a crash would, with status 130.
    pub(crate) fn leave_at_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(INTERRUPTED);
        });
    }
}

/// Waits for the first Ctrl-C or SIGTERM. From then on a second one ends the process at once.
///
/// # Errors
/// If the system does not let the program listen.
pub(crate) async fn interrupted() -> io::Result<()> {
    let mut interrupts = Interrupts::listen()?;
    interrupts.next().await;
    interrupts.leave_at_next();
    Ok(())
}
