//! The handle of a running broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reconvene_clock::NodeId;
use reconvene_executor::{JobId, JobSpec};
use reconvene_store::{Identity, MetadataStore};
use reconvene_sync::{BundleError, BundleProgress, Config as SyncConfig};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::BrokerBuilder;
use super::task::{BundleCall, Inspect, Request, TaskError};
use crate::{
    Bundle, BundleAnswer, BundleRequest, Command, CommandError, Explanation, JobView, Node, NodeEvent, NodeStatus,
    Reply, Subject,
};

/// Why a request to a running broker came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker answered, and refused.
    #[error("the broker refused the command")]
    Refused(#[from] CommandError),
    /// A bundle was not made, or a fragment not taken in; nothing changed.
    #[error("the broker did not accept what was asked about a bundle")]
    Bundle(#[from] BundleError),
    /// The broker's task has ended, by [`Broker::shutdown`] or by a failed write; nothing is known of the command.
    #[error("the broker has stopped, so it is not known whether the command took effect")]
    Stopped,
    /// The shutdown did not finish before its deadline; the task was ended as a crash would.
    #[error("the broker did not finish its shutdown within {0:?}")]
    ShutdownTimeout(Duration),
    /// The task ended because the store or a transport failed for good.
    #[error("the broker's task failed")]
    Failed(#[from] TaskError),
}

type RunningTask = JoinHandle<Result<(), TaskError>>;

/// A running broker: a handle that can be cloned and shared.
///
/// The task goes on until [`Broker::shutdown`]; dropping every handle ends it as a crash would.
///
/// There is no global state: two brokers in one process do not know of each other.
#[derive(Clone)]
pub struct Broker {
    identity: Identity,
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<NodeEvent>,
    /// Taken by the handle that shuts the broker down.
    task: Arc<Mutex<Option<RunningTask>>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts to put a broker together on `store`. `sync` names the network, and draws from its seed.
    pub fn builder<S: MetadataStore>(store: S, sync: SyncConfig) -> BrokerBuilder<S> {
        BrokerBuilder::new(store, sync)
    }

    pub(super) fn new(
        identity: Identity,
        requests: mpsc::Sender<Request>,
        events: broadcast::Sender<NodeEvent>,
        task: RunningTask,
    ) -> Self {
        Self { identity, requests, events, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Who this broker is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The name of this broker for life.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.identity.node
    }

    /// Gives a command and waits for its answer. Cancelling the future does not cancel the command.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Refused`] with the broker's reason and nothing changed; [`BrokerError::Stopped`].
    pub async fn command(&self, command: Command) -> Result<Reply, BrokerError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Command { command, answer }).await.map_err(|_| BrokerError::Stopped)?;
        Ok(answered.await.map_err(|_| BrokerError::Stopped)??)
    }

    /// Runs `look` on the broker between two of its inputs, and waits for what it returns.
    ///
    /// The broker stands still meanwhile: look at what is needed and return it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`].
    pub async fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Node) -> R + Send + 'static,
    ) -> Result<R, BrokerError> {
        let (answer, answered) = oneshot::channel();
        let inspect: Inspect = Box::new(move |node| {
            // The caller may have gone; then nobody needs the answer.
            drop(answer.send(look(node)));
        });
        self.requests.send(Request::Inspect(inspect)).await.map_err(|_| BrokerError::Stopped)?;
        answered.await.map_err(|_| BrokerError::Stopped)
    }

    /// Submits a job. `Ok` means durable here: the job is not lost while one broker that holds it survives.
    ///
    /// # Errors
    ///
    /// As [`Broker::command`]: an invalid spec, a full queue.
    pub async fn submit(&self, spec: JobSpec) -> Result<JobId, BrokerError> {
        let Reply::Submitted { job } = self.command(Command::Submit { spec }).await? else {
            unreachable!("a submission that is not refused is answered by its job");
        };
        Ok(job)
    }

    /// What this broker knows of a job now, or `None` if it has never heard of it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`].
    pub async fn job(&self, job: JobId) -> Result<Option<JobView>, BrokerError> {
        self.inspect(move |node| node.coordinator().job(job)).await
    }

    /// Why a job or a result is where it is, as far as this broker knows.
    ///
    /// # Errors
    ///
    /// As [`Broker::command`]: a job or a result that is not known here.
    pub async fn explain(&self, of: Subject) -> Result<Explanation, BrokerError> {
        Ok(self.inspect(move |node| node.coordinator().explain(of)).await??)
    }

    /// Makes a bundle: files that carry what this broker holds to one that no link leads to.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Bundle`]; [`BrokerError::Stopped`].
    pub async fn make_bundle(&self, request: BundleRequest) -> Result<Bundle, BrokerError> {
        match self.bundle(BundleCall::Make(request)).await? {
            BundleAnswer::Made(bundle) => Ok(bundle),
            BundleAnswer::Refused(error) => Err(error.into()),
            BundleAnswer::Taken(_) => Err(BrokerError::Stopped),
        }
    }

    /// Takes in a fragment of a bundle; `Ok` means durable here. Fragments come in any order, any number of times. Who
    /// calls this vouches for where the bytes came from.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Bundle`]; [`BrokerError::Stopped`].
    pub async fn take_fragment(&self, bytes: Vec<u8>) -> Result<BundleProgress, BrokerError> {
        match self.bundle(BundleCall::Take(bytes)).await? {
            BundleAnswer::Taken(progress) => Ok(progress),
            BundleAnswer::Refused(error) => Err(error.into()),
            BundleAnswer::Made(_) => Err(BrokerError::Stopped),
        }
    }

    async fn bundle(&self, call: BundleCall) -> Result<BundleAnswer, BrokerError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Bundle { call, answer }).await.map_err(|_| BrokerError::Stopped)?;
        answered.await.map_err(|_| BrokerError::Stopped)
    }

    /// How this broker and its peers are.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`].
    pub async fn status(&self) -> Result<NodeStatus, BrokerError> {
        self.inspect(Node::status).await
    }

    /// What happens from now on. Bounded: a reader that is too slow is told how much it missed.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { events: self.events.subscribe() }
    }

    /// Takes no new work, tells peers, finishes what is in hand, closes the store; then the task ends.
    ///
    /// # Errors
    ///
    /// [`BrokerError::ShutdownTimeout`] after `deadline`, [`BrokerError::Failed`] if the task had failed before,
    /// [`BrokerError::Stopped`] if another handle has shut it down already.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), BrokerError> {
        let task = self.task.lock().take().ok_or(BrokerError::Stopped)?;
        let abort = task.abort_handle();
        // A task that has ended takes no request; joining it tells why.
        drop(self.requests.send(Request::Shutdown).await);
        match tokio::time::timeout(deadline, task).await {
            Ok(Ok(ended)) => Ok(ended?),
            Ok(Err(_)) => Err(BrokerError::Stopped),
            Err(_) => {
                abort.abort();
                Err(BrokerError::ShutdownTimeout(deadline))
            }
        }
    }
}

/// A bounded stream of what happens at a broker.
#[derive(Debug)]
pub struct Events {
    events: broadcast::Receiver<NodeEvent>,
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The reader was too slow; the stream goes on after the events it missed.
    #[error("{missed} events were missed because they were not read in time")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The broker has stopped.
    #[error("the broker has stopped")]
    Closed,
}

impl Events {
    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`EventsError::Lagged`], after which the stream goes on; [`EventsError::Closed`].
    pub async fn next(&mut self) -> Result<NodeEvent, EventsError> {
        self.events.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => EventsError::Lagged { missed },
            broadcast::error::RecvError::Closed => EventsError::Closed,
        })
    }
}
