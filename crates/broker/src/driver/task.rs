//! The task that owns a broker: inputs in, outputs out, strictly in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reconvene_clock::NodeId;
use reconvene_store::{CommitError, MetadataStore};
use reconvene_sync::{BundleProgress, Incoming, Performed, StoreDriver, StoreDriverError, Ticket, Transport};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Clock;
use crate::client::{self, Call, ClientReply, Outcome};
use crate::{
    Bundle, BundleAnswer, BundleRequest, Command, CommandError, Node, NodeEvent, NodeInput, NodeOutput, Reply,
};

/// Inputs taken in a row before due timers are looked at: messages first, so that what has already arrived counts before
/// anybody's silence does, but never for ever.
const INPUTS_BETWEEN_TICKS: u32 = 64;
/// Answers to dial attempts that may wait for the task.
const DIAL_QUEUE: usize = 64;

/// Something to look at between two inputs.
pub(super) type Inspect = Box<dyn FnOnce(&Node) + Send>;

/// What a handle asks of the task.
pub(super) enum Request {
    Command { command: Command, answer: oneshot::Sender<Result<Reply, CommandError>> },
    Bundle { call: BundleCall, answer: oneshot::Sender<BundleAnswer> },
    Inspect(Inspect),
    Shutdown,
}

/// What can be asked about bundles.
pub(super) enum BundleCall {
    Make(BundleRequest),
    Take(Vec<u8>),
}

/// Why a broker's task ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The store refused or failed. What was acknowledged is in it; open it again and start a new broker.
    #[error("the store failed, so nothing more can be acknowledged")]
    Store(#[from] StoreDriverError),
    /// The store did not confirm that it was closed; it opens again as after a crash.
    #[error("the store did not close cleanly, and opens again as after a crash")]
    Close(#[source] CommitError),
    /// A transport is finished.
    #[error("the transport to {links} is finished")]
    Transport {
        /// Whose links: brokers, executors or clients.
        links: &'static str,
        /// The transport's own reason.
        #[source]
        source: Box<dyn core::error::Error + Send + Sync>,
    },
}

/// Everything a task owns.
pub(super) struct Parts<S: MetadataStore, T, E, C> {
    pub(super) node: Node,
    pub(super) store: StoreDriver<S>,
    pub(super) transport: Arc<T>,
    pub(super) executors: Arc<E>,
    pub(super) clients: Arc<C>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) inbox: mpsc::Receiver<Request>,
    pub(super) events: broadcast::Sender<NodeEvent>,
}

/// Who waits for an answer.
enum Waiting {
    Handle(oneshot::Sender<Result<Reply, CommandError>>),
    Bundle(oneshot::Sender<BundleAnswer>),
    Client { client: NodeId, request: u64 },
}

pub(super) struct Task<S: MetadataStore, T, E, C> {
    parts: Parts<S, T, E, C>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// The last bundle that each client had made, until it asks for another or leaves.
    bundles: BTreeMap<NodeId, Bundle>,
    next_ticket: u64,
    dial_failed: mpsc::Sender<String>,
    dial_failures: mpsc::Receiver<String>,
}

/// What woke the task.
enum Woken {
    Request(Option<Request>),
    Peer(Incoming),
    Executor(Incoming),
    Client(Incoming),
    DialFailed(String),
    Deadline,
}

impl<S, T, E, C> Task<S, T, E, C>
where
    S: MetadataStore,
    T: Transport,
    E: Transport,
    C: Transport,
{
    pub(super) fn new(parts: Parts<S, T, E, C>) -> Self {
        let (dial_failed, dial_failures) = mpsc::channel(DIAL_QUEUE);
        Self { parts, waiting: BTreeMap::new(), bundles: BTreeMap::new(), next_ticket: 0, dial_failed, dial_failures }
    }

    /// Runs until a shutdown, until every handle is gone, or until the store or a transport fails.
    pub(super) async fn run(mut self) -> Result<(), TaskError> {
        self.perform_outputs().await?;
        let mut inputs_since_tick = 0_u32;
        loop {
            let woken = if inputs_since_tick >= INPUTS_BETWEEN_TICKS && self.is_due() {
                Woken::Deadline
            } else {
                self.wait().await?
            };
            inputs_since_tick = if matches!(woken, Woken::Deadline) { 0 } else { inputs_since_tick.saturating_add(1) };
            match woken {
                Woken::Deadline => self.feed(NodeInput::Tick),
                Woken::Request(Some(Request::Command { command, answer })) => {
                    self.command(command, Waiting::Handle(answer));
                }
                Woken::Request(Some(Request::Bundle { call, answer })) => self.bundle(call, Waiting::Bundle(answer)),
                Woken::Request(Some(Request::Inspect(look))) => look(&self.parts.node),
                Woken::Request(Some(Request::Shutdown)) => {
                    self.feed(NodeInput::Leave);
                    self.perform_outputs().await?;
                    return self.parts.store.into_store().close().await.map_err(TaskError::Close);
                }
                Woken::Request(None) => return Ok(()),
                Woken::Peer(incoming) => self.feed(peer_input(incoming)),
                Woken::Executor(incoming) => self.feed(executor_input(incoming)),
                Woken::Client(Incoming::Frame { from, frame }) => self.client_frame(from, &frame).await,
                Woken::Client(Incoming::LinkUp { .. }) => {}
                Woken::Client(Incoming::LinkDown { peer }) => drop(self.bundles.remove(&peer)),
                Woken::DialFailed(address) => self.feed(NodeInput::ConnectFailed { address }),
            }
            self.perform_outputs().await?;
        }
    }

    fn feed(&mut self, input: NodeInput) {
        let now = self.parts.clock.now();
        self.parts.node.handle(now, input);
    }

    fn is_due(&self) -> bool {
        self.parts.node.next_deadline().is_some_and(|deadline| deadline <= self.parts.clock.now().mono)
    }

    /// Waits for the next thing to happen. Messages come before timers: what has arrived counts before silence does.
    async fn wait(&mut self) -> Result<Woken, TaskError> {
        let deadline = self.parts.node.next_deadline();
        let until_due = deadline.map(|at| at.saturating_since(self.parts.clock.now().mono));
        let Parts { transport, executors, clients, inbox, .. } = &mut self.parts;
        tokio::select! {
            biased;
            request = inbox.recv() => Ok(Woken::Request(request)),
            incoming = transport.recv() => incoming.map(Woken::Peer).map_err(|error| finished("brokers", error)),
            incoming = executors.recv() => incoming.map(Woken::Executor).map_err(|error| finished("executors", error)),
            incoming = clients.recv() => incoming.map(Woken::Client).map_err(|error| finished("clients", error)),
            Some(address) = self.dial_failures.recv() => Ok(Woken::DialFailed(address)),
            () = sleep(until_due) => Ok(Woken::Deadline),
        }
    }

    fn ticket_for(&mut self, waiting: Waiting) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn command(&mut self, command: Command, waiting: Waiting) {
        let ticket = self.ticket_for(waiting);
        self.feed(NodeInput::Command { ticket, command });
    }

    fn bundle(&mut self, call: BundleCall, waiting: Waiting) {
        let ticket = self.ticket_for(waiting);
        self.feed(match call {
            BundleCall::Make(request) => NodeInput::MakeBundle { ticket, request },
            BundleCall::Take(bytes) => NodeInput::BundleFragment { ticket, bytes },
        });
    }

    async fn client_frame(&mut self, from: NodeId, frame: &[u8]) {
        match client::decode_request(frame) {
            Ok(client::ClientRequest { request, call: Call::Command(command) }) => {
                self.command(*command, Waiting::Client { client: from, request });
            }
            Ok(client::ClientRequest { request, call: Call::Status }) => {
                let status = self.parts.node.status();
                self.answer_client(from, ClientReply { request, outcome: Outcome::Status(Box::new(status)) }).await;
            }
            Ok(client::ClientRequest { request, call: Call::MakeBundle(bundle) }) => {
                self.bundle(BundleCall::Make(bundle), Waiting::Client { client: from, request });
            }
            Ok(client::ClientRequest { request, call: Call::TakeFragment { bytes } }) => {
                self.bundle(BundleCall::Take(bytes), Waiting::Client { client: from, request });
            }
            Ok(client::ClientRequest { request, call: Call::Fragment { index } }) => {
                let bundle = self.bundles.get(&from).map(|bundle| &bundle.fragments);
                let fragment = bundle.zip(usize::try_from(index).ok()).and_then(|(all, index)| all.get(index));
                let outcome = fragment.map_or_else(
                    || Outcome::BundleRefused(format!("no bundle with a fragment {index} was made for this client")),
                    |fragment| Outcome::Fragment(fragment.clone()),
                );
                self.answer_client(from, ClientReply { request, outcome }).await;
            }
            // Nothing in it can be trusted, not even which request to answer.
            Err(_) => self.parts.clients.disconnect(from),
        }
    }

    async fn answer_client(&self, client: NodeId, reply: ClientReply) {
        let request = reply.request;
        let too_large = ClientReply { request, outcome: Outcome::TooLarge };
        let frame = client::encode_reply(&reply).or_else(|_| client::encode_reply(&too_large));
        if let Ok(frame) = frame {
            // Best effort: a client that left asks again when it is back.
            drop(self.parts.clients.send(client, &frame).await);
        }
    }

    async fn perform_outputs(&mut self) -> Result<(), TaskError> {
        while let Some(output) = self.parts.node.poll_output() {
            match output {
                NodeOutput::Store(output) => match self.parts.store.perform(output).await? {
                    Performed::Done => {}
                    Performed::Input(answer) => self.feed(NodeInput::Store(answer)),
                    Performed::Other(_) => debug_assert!(false, "the node hands out store outputs only"),
                },
                // Sends are best effort by contract: time-outs and the next session make good what is lost.
                NodeOutput::SendPeer { to, frame } => drop(self.parts.transport.send(to, &frame).await),
                NodeOutput::SendExecutor { to, frame } => drop(self.parts.executors.send(to, &frame).await),
                NodeOutput::Connect { address } => self.dial(address),
                NodeOutput::DisconnectPeer { peer } => self.parts.transport.disconnect(peer),
                NodeOutput::Reply { ticket, reply } => match self.waiting.remove(&ticket) {
                    // The caller may have gone; the command stands.
                    Some(Waiting::Handle(answer)) => drop(answer.send(reply)),
                    Some(Waiting::Client { client, request }) => {
                        let outcome = match reply {
                            Ok(reply) => Outcome::Done(Box::new(reply)),
                            Err(error) => Outcome::Refused(error),
                        };
                        self.answer_client(client, ClientReply { request, outcome }).await;
                    }
                    Some(Waiting::Bundle(_)) | None => {}
                },
                NodeOutput::Bundle { ticket, answer } => match self.waiting.remove(&ticket) {
                    Some(Waiting::Bundle(asked)) => drop(asked.send(answer)),
                    Some(Waiting::Client { client, request }) => {
                        let outcome = self.bundle_outcome(client, answer);
                        self.answer_client(client, ClientReply { request, outcome }).await;
                    }
                    Some(Waiting::Handle(_)) | None => {}
                },
                // Without a reader there is nobody to tell.
                NodeOutput::Notify(event) => drop(self.parts.events.send(event)),
            }
        }
        Ok(())
    }

    /// What to tell a client, for whom a bundle that was made is kept.
    fn bundle_outcome(&mut self, client: NodeId, answer: BundleAnswer) -> Outcome {
        match answer {
            BundleAnswer::Made(bundle) => {
                let fragments = u32::try_from(bundle.fragments.len()).unwrap_or(u32::MAX);
                let bytes = bundle.fragments.iter().map(|fragment| u64::try_from(fragment.len()).unwrap_or(u64::MAX));
                let (bytes, whole) = (bytes.fold(0, u64::saturating_add), bundle.whole);
                self.bundles.insert(client, bundle);
                Outcome::BundleMade { fragments, bytes, whole }
            }
            BundleAnswer::Taken(progress) => {
                let BundleProgress { bundle, applied, fragments, claimed, .. } = progress;
                Outcome::FragmentTaken { bundle: bundle.to_string(), applied, fragments, claimed }
            }
            BundleAnswer::Refused(error) => Outcome::BundleRefused(error.to_string()),
        }
    }

    /// Dials in a task of its own; success shows as a link that comes up.
    fn dial(&self, address: String) {
        let transport = Arc::clone(&self.parts.transport);
        let failed = self.dial_failed.clone();
        tokio::spawn(async move {
            if transport.connect(&address).await.is_err() {
                drop(failed.send(address).await);
            }
        });
    }
}

fn finished(links: &'static str, error: impl core::error::Error + Send + Sync + 'static) -> TaskError {
    TaskError::Transport { links, source: Box::new(error) }
}

async fn sleep(until_due_ms: Option<u64>) {
    match until_due_ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => core::future::pending().await,
    }
}

fn peer_input(incoming: Incoming) -> NodeInput {
    match incoming {
        Incoming::Frame { from, frame } => NodeInput::PeerFrame { from, frame },
        Incoming::LinkUp { peer, address } => NodeInput::PeerUp { peer, address },
        Incoming::LinkDown { peer } => NodeInput::PeerDown { peer },
    }
}

fn executor_input(incoming: Incoming) -> NodeInput {
    match incoming {
        Incoming::Frame { from, frame } => NodeInput::ExecutorFrame { from, frame },
        Incoming::LinkUp { peer, address: _ } => NodeInput::ExecutorUp { executor: peer },
        Incoming::LinkDown { peer } => NodeInput::ExecutorDown { executor: peer },
    }
}
