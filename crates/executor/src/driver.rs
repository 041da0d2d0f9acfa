//! The async driver: an [`Agent`] with clocks, links and running attempts, in one tokio task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use reconvene_clock::{NodeId, Now, SystemTimeSource, TimeSource, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

pub use self::builder::{Executor, ExecutorBuilder};
pub use self::handle::{Ended, Events, ExecutorError, ExecutorHandle, Promotion, Status};
pub use self::link::{BrokerLink, LinkEvent};
pub use self::runner::{RunControl, Runner, TraceRunner};
use crate::agent::{Agent, Input, Output};
use crate::codec;
use crate::event::Event;
use crate::id::AttemptId;
use crate::report::Report;
use crate::spec::JobSpec;

mod builder;
mod handle;
mod link;
mod runner;

/// Everything that one executor's task owns. When it is dropped, every task that it started ends.
struct Driver<L: BrokerLink, R> {
    agent: Agent,
    link: Arc<L>,
    runner: Arc<R>,
    started: Instant,
    dial_timeout: Duration,
    /// Inputs that performing an output has led to.
    inputs: VecDeque<Input>,
    linked: BTreeSet<NodeId>,
    dials: JoinSet<(String, Option<NodeId>)>,
    queues: BTreeMap<NodeId, mpsc::Sender<ToPeer>>,
    senders: JoinSet<()>,
    runs: JoinSet<(AttemptId, Report)>,
    aborts: BTreeMap<AttemptId, AbortHandle>,
    progress: mpsc::Receiver<(AttemptId, u16)>,
    /// Lent to every run.
    progress_of_runs: mpsc::Sender<(AttemptId, u16)>,
    events: broadcast::Sender<Event>,
    status: watch::Sender<Status>,
    promote: Option<Promotion>,
    ended: Ended,
}

/// What a broker's sender task is to do.
enum ToPeer {
    Frame(Vec<u8>),
    Disconnect,
}

/// What woke the driver up.
enum Woken<E> {
    Link(Result<LinkEvent, E>),
    Dialled(String, Option<NodeId>),
    Ran(AttemptId, Report),
    Progress(AttemptId, u16),
    Deadline,
    Shutdown(Duration),
    ShutdownOver,
    /// Something ended that nobody waits for any more.
    Nothing,
}

impl<L: BrokerLink, R: Runner> Driver<L, R> {
    /// Drives until the agent has left or the link is finished.
    async fn run(mut self, mut shutdown: oneshot::Receiver<Duration>) -> Result<Ended, ExecutorError> {
        let mut leave_at = None;
        loop {
            self.perform_outputs();
            if self.agent.has_left() {
                self.flush().await;
                return Ok(self.ended);
            }
            let woken = self.wait(&mut shutdown, leave_at).await;
            match woken {
                Woken::Link(Ok(event)) => self.link_event(event),
                Woken::Link(Err(error)) => return Err(ExecutorError::new(error)),
                Woken::Dialled(address, broker) => self.dialled(address, broker),
                Woken::Ran(attempt, report) => {
                    self.aborts.remove(&attempt);
                    self.handle(Input::Finished { attempt, report });
                }
                Woken::Progress(attempt, bp) => self.handle(Input::Progress { attempt, bp }),
                Woken::Deadline => self.handle(Input::Tick),
                Woken::Shutdown(within) => {
                    leave_at = Some(far(Instant::now(), within));
                    self.handle(Input::Drain);
                }
                Woken::ShutdownOver => self.handle(Input::Leave),
                Woken::Nothing => {}
            }
        }
    }

    async fn wait(&mut self, shutdown: &mut oneshot::Receiver<Duration>, leave_at: Option<Instant>) -> Woken<L::Error> {
        let deadline = self.agent.next_deadline().map(|at| far(self.started, Duration::from_millis(at.as_millis())));
        tokio::select! {
            event = self.link.recv() => Woken::Link(event),
            Some(dialled) = self.dials.join_next() => match dialled {
                Ok((address, broker)) => Woken::Dialled(address, broker),
                Err(_) => Woken::Nothing,
            },
            Some(run) = self.runs.join_next() => match run {
                Ok((attempt, report)) => Woken::Ran(attempt, report),
                Err(_) => Woken::Nothing,
            },
            Some((attempt, bp)) = self.progress.recv() => Woken::Progress(attempt, bp),
            Some(_) = self.senders.join_next() => Woken::Nothing,
            () = until(deadline) => Woken::Deadline,
            // A handle that is dropped aborts this task, so that a closed channel need not be watched.
            Ok(within) = &mut *shutdown, if leave_at.is_none() => Woken::Shutdown(within),
            () = until(leave_at) => Woken::ShutdownOver,
        }
    }

    fn now(&self) -> Now {
        let passed = Instant::now().saturating_duration_since(self.started).as_millis();
        let mono = Timestamp::from_millis(u64::try_from(passed).unwrap_or(u64::MAX));
        Now::new(mono, SystemTimeSource::new().now())
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.agent.handle(now, input);
    }

    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Frame { from, frame } => match codec::decode_to_executor(&frame) {
                Ok(message) => self.handle(Input::Received { from, message }),
                Err(error) => self.dropped("a frame that is no message", from, &error),
            },
            LinkEvent::LinkUp { peer, address } => {
                self.linked.insert(peer);
                self.handle(Input::LinkUp { broker: peer, address });
            }
            LinkEvent::LinkDown { peer } => {
                self.linked.remove(&peer);
                self.queues.remove(&peer);
                self.handle(Input::LinkDown { broker: peer });
            }
        }
    }

    fn dialled(&mut self, address: String, broker: Option<NodeId>) {
        match broker {
            // It was up before; no LinkUp will come. Otherwise that has come, or will, or LinkDown has come since.
            Some(broker) if self.linked.contains(&broker) => {
                self.handle(Input::LinkUp { broker, address: Some(address) });
            }
            Some(_) => {}
            None => self.handle(Input::ConnectFailed { address }),
        }
    }

    fn perform_outputs(&mut self) {
        loop {
            while let Some(output) = self.agent.poll_output() {
                self.perform(output);
            }
            let Some(input) = self.inputs.pop_front() else { break };
            self.handle(input);
        }
        let status = Status {
            home: self.agent.home(),
            running: self.agent.held().count(),
            kept: self.agent.kept(),
            free: self.agent.free(),
            promote: self.promote.clone(),
        };
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect { address } => {
                let (link, limit) = (Arc::clone(&self.link), self.dial_timeout);
                self.dials.spawn(async move {
                    let broker = timeout(limit, link.connect(&address)).await;
                    (address, broker.ok().and_then(Result::ok))
                });
            }
            Output::Disconnect { broker } => {
                // A good-bye is sent first; to a broker that is merely silent there is nothing more to say.
                if !self.agent.has_left() || self.queue(broker, ToPeer::Disconnect).is_err() {
                    self.link.disconnect(broker);
                }
                self.queues.remove(&broker);
            }
            Output::Send { to, message } => match codec::encode_to_broker(&message) {
                // A full queue drops the frame: what matters is said again.
                Ok(frame) => drop(self.queue(to, ToPeer::Frame(frame))),
                Err(error) => self.dropped("a message that is no frame", to, &error),
            },
            Output::Run { attempt, spec } => self.start(attempt, spec),
            Output::Stop { attempt } => {
                if let Some(abort) = self.aborts.remove(&attempt) {
                    abort.abort();
                }
            }
            // Whoever holds the handle sees it in the status.
            Output::Promote { rank, known } => self.promote = Some(Promotion { rank, known }),
            Output::Notify(event) => {
                if let Event::Left { stopped, unanswered } = event {
                    self.ended = Ended { stopped, unanswered };
                }
                // Nobody needs to listen.
                let _ = self.events.send(event);
            }
        }
    }

    fn start(&mut self, attempt: AttemptId, spec: JobSpec) {
        let runner = Arc::clone(&self.runner);
        let control = RunControl::new(attempt, self.progress_of_runs.clone());
        let run = async move {
            let report = caught(async { runner.run(attempt, &spec, control).await }).await;
            (attempt, report)
        };
        self.aborts.insert(attempt, self.runs.spawn(run));
        self.inputs.push_back(Input::Started { attempt });
    }

    /// Hands something to a broker's sender task, which is started if there is none. Never waits.
    fn queue(&mut self, to: NodeId, what: ToPeer) -> Result<(), mpsc::error::TrySendError<ToPeer>> {
        let Self { queues, senders, link, .. } = self;
        // Closed means that its task has panicked in the link's code.
        queues.retain(|_, queue| !queue.is_closed());
        let queue = queues.entry(to).or_insert_with(|| {
            let (queue, items) = mpsc::channel(QUEUED_FRAMES);
            senders.spawn(send_all(Arc::clone(link), to, items));
            queue
        });
        queue.try_send(what)
    }

    /// Gives what is queued a moment to leave.
    async fn flush(&mut self) {
        self.queues.clear();
        let all = async { while self.senders.join_next().await.is_some() {} };
        let _ = timeout(FLUSH_TIMEOUT, all).await;
    }

    fn dropped(&self, what: &str, broker: NodeId, error: &codec::CodecError) {
        #[cfg(feature = "tracing")]
        tracing::warn!(session = %self.agent.session(), %broker, %error, "dropping {what}");
        #[cfg(not(feature = "tracing"))]
        let _ = (what, broker, error);
    }
}

/// Sends frames to one broker, one after the other, until the driver drops the queue.
async fn send_all<L: BrokerLink>(link: Arc<L>, to: NodeId, mut items: mpsc::Receiver<ToPeer>) {
    while let Some(item) = items.recv().await {
        match item {
            // Best effort; a broker that takes nothing in shows by its silence.
            ToPeer::Frame(frame) => drop(timeout(SEND_TIMEOUT, link.send(to, &frame)).await),
            ToPeer::Disconnect => link.disconnect(to),
        }
    }
}

/// The report of a run, or of its panic.
async fn caught(run: impl Future<Output = Report>) -> Report {
    let mut run = pin!(run);
    // The future is not polled again after a panic, and what it shares with others is the runner's to keep whole.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Poll::Ready(Report::failure(format!("the runner panicked: {}", text.unwrap_or("no message"))))
        }
    })
    .await
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// That long after, or in thirty years where no clock reaches so far.
fn far(from: Instant, duration: Duration) -> Instant {
    let years = Duration::from_secs(30 * 365 * 86_400);
    from.checked_add(duration.min(years)).unwrap_or(from)
}

/// Frames that wait for a slow broker before further ones are dropped.
const QUEUED_FRAMES: usize = 32;

/// How long one frame may take to be accepted.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long leaving waits for the last frames.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Progress reports that wait for a busy driver before further ones are dropped.
const QUEUED_PROGRESS: usize = 256;
