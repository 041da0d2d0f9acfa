//! The demo's network over QUIC: every broker and executor with an endpoint, a key and a certificate of its own, on
//! loopback sockets, in real time. Cuts are made below QUIC: datagrams vanish, and nobody is told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use reconvene_broker::{Broker, Command, EventsError, Node, Reply, read_all};
use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{
    AttemptId, EmergencyId, Executor, ExecutorHandle, JobId, JobSpec, Report, RunControl, Runner, SessionEpoch,
    TraceRunner,
};
use reconvene_store::{
    Batch, Capabilities, Changes, CheckReport, CommitError, Identity, MetadataStore, PageLimit, Record, Revision,
    StoreError,
};
use reconvene_transport_quic::{Advertise, Authority, Endpoint, EndpointConfig, Protocol};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Options,
    network::{Happened, Network, Reach, What},
    report::BrokerName,
    settings,
};

/// Brokers and executors on sockets of this machine.
#[derive(Debug)]
pub(crate) struct QuicNetwork<S> {
    brokers: Vec<BrokerSide<S>>,
    executors: Vec<ExecutorSide>,
    journal: Journal,
    happened: mpsc::UnboundedReceiver<Happened>,
    started_ms: u64,
}

#[derive(Debug)]
struct BrokerSide<S> {
    endpoint: Endpoint,
    broker: Broker,
    store: SharedStore<S>,
}

#[derive(Debug)]
struct ExecutorSide {
    endpoint: Endpoint,
    handle: ExecutorHandle,
}

/// A store that the demo reads while a broker owns it.
#[derive(Debug)]
struct SharedStore<S>(Arc<S>);

impl<S> Clone for SharedStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: MetadataStore> MetadataStore for SharedStore<S> {
    type Snapshot = S::Snapshot;

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn snapshot(&self) -> Result<S::Snapshot, StoreError> {
        self.0.snapshot().await
    }

    async fn commit(&self, batch: &Batch) -> Result<Revision, CommitError> {
        self.0.commit(batch).await
    }

    async fn changes(&self, after: Revision, limit: PageLimit) -> Result<Changes, StoreError> {
        self.0.changes(after, limit).await
    }

    async fn check(&self) -> Result<CheckReport, StoreError> {
        self.0.check().await
    }

    async fn close(self) -> Result<(), CommitError> {
        // The demo still reads; a store on a disk ends as in a crash, once nobody does.
        Ok(())
    }
}

/// Where everybody writes down what happens, with one clock.
#[derive(Clone, Debug)]
struct Journal {
    since: Instant,
    happened: mpsc::UnboundedSender<Happened>,
}

impl Journal {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&self, what: What) {
        // Once nobody reads any more, nobody wants to know.
        let _ = self.happened.send(Happened { at_ms: self.now_ms(), what });
    }
}

impl<S: MetadataStore> QuicNetwork<S> {
    /// Brokers and executors that run, and are about to find each other.
    ///
    /// # Errors
    /// If a socket cannot be bound or somebody does not start.
    pub(crate) async fn start(
        options: &Options,
        slots: u32,
        make: impl Fn(usize, Identity) -> Result<S>,
    ) -> Result<Self> {
        let (sender, happened) = mpsc::unbounded_channel();
        let journal = Journal { since: Instant::now(), happened: sender };
        let authority = Authority::generate().context("cannot make a network root")?;

        let mut brokers: Vec<BrokerSide<S>> = Vec::new();
        for broker in 0..options.brokers {
            let name = BrokerName(broker);
            let endpoint =
                bind(options, &authority, Advertise::Bound).with_context(|| format!("{name} cannot start"))?;
            let seed = brokers.first().map(|first| first.endpoint.local_addr());
            let (handle, store) = start_broker(options, &endpoint, seed, |identity| make(broker, identity))
                .await
                .with_context(|| format!("{name} cannot start"))?;
            follow(handle.events(), broker, journal.clone());
            brokers.push(BrokerSide { endpoint, broker: handle, store });
        }

        let mut executors = Vec::new();
        for executor in 0..options.executors {
            let name = executor.saturating_add(1);
            let endpoint = bind(options, &authority, Advertise::Nothing)
                .with_context(|| format!("executor {name} cannot start"))?;
            let home = brokers.get(settings::home(options, executor)).context("an executor needs a broker")?;
            let links = endpoint.links(Protocol::Executor).context("the endpoint has no links for executors")?;
            let runner =
                RecordingRunner { executor, runner: TraceRunner::new(endpoint.node_id()), journal: journal.clone() };
            let address = home.endpoint.local_addr().to_string();
            let random = first_half(endpoint.node_id());
            let seed = options.seed.wrapping_add(random);
            let settings = settings::agent(options, slots);
            let handle = Executor::builder()
                .link(links)
                .runner(runner)
                .configure(move |config| {
                    let start = config.session.start;
                    *config = settings;
                    config.session = SessionEpoch { start, random };
                    config.seed = seed;
                    config.brokers = vec![address];
                })
                .start()
                .await
                .with_context(|| format!("executor {name} cannot start"))?;
            executors.push(ExecutorSide { endpoint, handle });
        }
        Ok(Self { brokers, executors, journal, happened, started_ms: 0 })
    }

    fn broker(&self, broker: usize) -> Result<&Broker> {
        Ok(&self.brokers.get(broker).with_context(|| format!("there is no {}", BrokerName(broker)))?.broker)
    }
}

fn bind(options: &Options, authority: &Authority, advertise: Advertise) -> Result<Endpoint> {
    let mut config = EndpointConfig::default()
        .with_network(settings::network())
        .with_advertise(advertise)
        .with_idle(settings::idle(options), settings::keep_alive(options));
    config.handshake_timeout = settings::idle(options).max(Duration::from_secs(1));
    let identity = authority.issue().context("cannot make a key and a certificate")?;
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Endpoint::bind(any_port, &identity, config)?)
}

async fn start_broker<S: MetadataStore>(
    options: &Options,
    endpoint: &Endpoint,
    seed: Option<SocketAddr>,
    make: impl FnOnce(Identity) -> Result<S>,
) -> Result<(Broker, SharedStore<S>)> {
    let node = endpoint.node_id();
    // As random as the key it was hashed from, and never zero.
    let replica = ReplicaId::new(first_half(node).max(1)).context("a replica id is not zero")?;
    let identity = Identity { node, replica, incarnation: 1 };
    let store = SharedStore(Arc::new(make(identity)?));
    let peers = endpoint.links(Protocol::Sync).context("the endpoint has no links for brokers")?;
    let executors = endpoint.links(Protocol::Executor).context("the endpoint has no links for executors")?;
    let mut builder = Broker::builder(store.clone(), settings::sync(options, options.seed.wrapping_add(replica.get())))
        .transport(peers)
        .executors(executors)
        .lifecycle(settings::lifecycle(options)?)
        .advertise(endpoint.local_addr().to_string());
    if let Some(seed) = seed {
        builder = builder.seed_peer(seed.to_string());
    }
    Ok((builder.start().await?, store))
}

fn first_half(node: NodeId) -> u64 {
    node.as_bytes().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Writes down what a broker announces, until it stops.
fn follow(mut events: reconvene_broker::Events, broker: usize, journal: Journal) {
    tokio::spawn(async move {
        loop {
            match events.next().await {
                Ok(event) => journal.write(What::Event { broker, event }),
                Err(EventsError::Lagged { missed }) => journal.write(What::Missed { missed }),
                Err(_) => return,
            }
        }
    });
}

/// Runs what it is given, and writes down when it really ran.
#[derive(Debug)]
struct RecordingRunner {
    executor: usize,
    runner: TraceRunner,
    journal: Journal,
}

impl Runner for RecordingRunner {
    async fn run(&self, attempt: AttemptId, spec: &JobSpec, control: RunControl) -> Report {
        let mut run = Running { executor: self.executor, attempt, journal: self.journal.clone(), report: None };
        self.journal.write(What::RunStarted { executor: self.executor, attempt });
        let report = self.runner.run(attempt, spec, control).await;
        run.report = Some(report.clone());
        report
    }
}

/// A run that is written down as ended however it ends: a stopped run is dropped, and never comes back.
struct Running {
    executor: usize,
    attempt: AttemptId,
    journal: Journal,
    report: Option<Report>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let digest = self.report.as_ref().filter(|report| report.outcome.is_success()).map(|report| report.digest);
        self.journal.write(What::RunEnded { executor: self.executor, attempt: self.attempt, digest });
    }
}

impl<S: MetadataStore> Network for QuicNetwork<S> {
    fn start_clock(&mut self) {
        self.started_ms = self.journal.now_ms();
    }

    fn now_ms(&self) -> u64 {
        self.journal.now_ms().saturating_sub(self.started_ms)
    }

    async fn run_until(&mut self, at_ms: u64) -> Result<()> {
        let since_start = Duration::from_millis(self.started_ms.saturating_add(at_ms));
        let until = self.journal.since.checked_add(since_start).context("that is too far in the future")?;
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    async fn submit(&mut self, broker: usize, spec: JobSpec) -> Result<JobId> {
        Ok(self.broker(broker)?.submit(spec).await?)
    }

    async fn declare_emergency(&mut self, broker: usize, level: u8, region: &str) -> Result<EmergencyId> {
        let command = Command::DeclareEmergency { level, region: region.to_owned(), lifetime_ms: 0 };
        let Reply::EmergencyDeclared { id } = self.broker(broker)?.command(command).await? else {
            bail!("a declaration was not answered with its emergency");
        };
        Ok(id)
    }

    fn set_reach(&mut self, reach: &Reach) {
        for (number, side) in self.brokers.iter().enumerate() {
            for (other, other_side) in self.brokers.iter().enumerate().take(number) {
                set_passage(&side.endpoint, &other_side.endpoint, reach.brokers(number, other));
            }
            for (executor, executor_side) in self.executors.iter().enumerate() {
                set_passage(&side.endpoint, &executor_side.endpoint, reach.executor(executor, number));
            }
        }
    }

    async fn look<R: Send + 'static>(
        &mut self,
        broker: usize,
        look: impl FnOnce(&Node) -> R + Send + 'static,
    ) -> Result<R> {
        Ok(self.broker(broker)?.inspect(look).await?)
    }

    async fn records(&mut self, broker: usize) -> Result<Vec<Record>> {
        let side = self.brokers.get(broker).with_context(|| format!("there is no {}", BrokerName(broker)))?;
        Ok(read_all(&side.store.snapshot().await?).await?.1)
    }

    fn happened(&mut self) -> Vec<Happened> {
        let mut happened = Vec::new();
        while let Ok(mut next) = self.happened.try_recv() {
            next.at_ms = next.at_ms.saturating_sub(self.started_ms);
            happened.push(next);
        }
        happened
    }

    async fn finish(self) -> Result<()> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for side in self.executors {
            // An executor that does not leave in time is gone like any that vanishes.
            let _ = side.handle.shutdown(CLOSE_WITHIN).await;
            endpoints.push(side.endpoint);
        }
        for (broker, side) in self.brokers.into_iter().enumerate() {
            side.broker.shutdown(CLOSE_WITHIN).await.with_context(|| format!("{} did not stop", BrokerName(broker)))?;
            endpoints.push(side.endpoint);
        }
        for endpoint in endpoints {
            endpoint.close().await;
        }
        Ok(())
    }
}

/// Lets datagrams pass between two endpoints, or lets them vanish.
fn set_passage(a: &Endpoint, b: &Endpoint, passes: bool) {
    for (from, to) in [(a, b), (b, a)] {
        if passes {
            from.filter().unblock(to.local_addr());
        } else {
            from.filter().block(to.local_addr());
        }
    }
}

const CLOSE_WITHIN: Duration = Duration::from_secs(3);
