//! What the owner of a running executor holds.

use std::time::Duration;

use reconvene_clock::NodeId;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

use crate::event::Event;
use crate::id::SessionEpoch;
use crate::spec::Resources;

/// A running executor.
///
/// Dropping it ends the executor at once, like a crash: attempts are aborted, and nobody is told. To leave properly,
/// call [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct ExecutorHandle {
    session: SessionEpoch,
    /// `None` once its end was told.
    task: Option<JoinHandle<Result<Ended, ExecutorError>>>,
    shutdown: Option<oneshot::Sender<Duration>>,
    events: broadcast::Receiver<Event>,
    status: watch::Receiver<Status>,
}

impl ExecutorHandle {
    pub(super) const fn new(
        session: SessionEpoch,
        task: JoinHandle<Result<Ended, ExecutorError>>,
        shutdown: oneshot::Sender<Duration>,
        events: broadcast::Receiver<Event>,
        status: watch::Receiver<Status>,
    ) -> Self {
        Self { session, task: Some(task), shutdown: Some(shutdown), events, status }
    }

    /// The session that the executor started with. A broker may have made it raise its session since.
    #[must_use]
    pub const fn session(&self) -> SessionEpoch {
        self.session
    }

    /// How the executor stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the status meets a condition, now or later, and gives it back; `None` if the executor ends before.
    pub async fn wait_for(&self, condition: impl FnMut(&Status) -> bool) -> Option<Status> {
        let mut status = self.status.clone();
        status.wait_for(condition).await.ok().map(|status| status.clone())
    }

    /// How the executor stands, now and whenever it changes. Goes on without this handle, until the executor ends.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What happens from now on; from the start, if this is the first call and nothing was missed before.
    #[must_use]
    pub fn events(&mut self) -> Events {
        // A receiver that stays behind misses events, but holds nobody up.
        let fresh = self.events.resubscribe();
        Events { events: std::mem::replace(&mut self.events, fresh) }
    }

    /// Takes no new orders, finishes what runs, delivers the results, tells the home, and ends; at the latest after
    /// `within`, when what still runs is stopped.
    ///
    /// # Errors
    /// If the executor had ended before, because its link did.
    pub async fn shutdown(mut self, within: Duration) -> Result<Ended, ExecutorError> {
        if let Some(shutdown) = self.shutdown.take() {
            // Nobody listens if the executor has ended already.
            let _ = shutdown.send(within);
        }
        self.ended().await
    }

    /// Waits until the executor ends by itself, which it does only when its link is finished.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Why it ended; or that this was told before.
    pub async fn ended(&mut self) -> Result<Ended, ExecutorError> {
        let Some(task) = &mut self.task else { return Err(ExecutorError::new(ToldBefore)) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or_else(|error| Err(ExecutorError::new(error)))
    }
}

impl Drop for ExecutorHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// How an executor stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The broker that is its home, if there is one.
    pub home: Option<NodeId>,
    /// Attempts that run.
    pub running: usize,
    /// Results that wait for a final answer.
    pub kept: usize,
    /// What is free.
    pub free: Resources,
    /// Once this executor is to start a broker, since none has been heard for long. Start one at [`AgentConfig::promote_at`](crate::AgentConfig::promote_at); this executor finds it there.
    pub promote: Option<Promotion>,
}

/// No broker has been heard for long, and this executor is to start one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promotion {
    /// How many other executors had to be waited for.
    pub rank: u32,
    /// Where brokers were, or others of these executors would start one: where the new one looks for them.
    pub known: Vec<String>,
}

/// How an executor ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Attempts that had to be stopped.
    pub stopped: usize,
    /// Results that nobody has answered, and that are lost.
    pub unanswered: usize,
}

/// The executor has ended, and cannot go on: its link to brokers is finished.
#[derive(Debug, thiserror::Error)]
#[error("the executor has ended")]
pub struct ExecutorError {
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl ExecutorError {
    pub(super) fn new(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Box::new(source) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("how it ended was told before")]
struct ToldBefore;

/// What happens at an executor, as it happens. Bounded: whoever reads too slowly is told how much was missed.
#[derive(Debug)]
pub struct Events {
    events: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event, [`Event::Lagged`] where some were missed, `None` when the executor has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Event::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
