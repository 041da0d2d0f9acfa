//! `reconvene broker`: one broker, for as long as it is wanted.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use reconvene_broker::{Broker, BrokerError, Config as Lifecycle, EventsError, StartError, StrategyKind};
use reconvene_clock::{NodeId, ReplicaId, SystemTimeSource, TimeSource as _};
use reconvene_store::{Identity, Limits, MemoryStore, MetadataStore};
use reconvene_sync::Config as Sync;
use reconvene_transport_quic::{Advertise, Endpoint, EndpointConfig, Protocol};

use crate::{
    cli::Common,
    config::{Document, HostPort, Layers, NodeName, Plain, lifecycle_knobs, sync_knobs},
    data,
    exit::Failure,
    keys,
    service::{self, End},
    show,
    signals::Interrupts,
};

/// Runs one broker until Ctrl-C
///
/// Brokers that reach one another by --peer, directly or through others, form a network; executors and clients connect
/// to the same address. With --data a broker keeps its key and what it knows in files, and is the same broker after any end;
/// without it everything is in memory, and outlives it only at its peers.
///
/// Each flag can also be set in the environment (RECONVENE_SYNC_INTERVAL for --sync-interval) and in a file.
#[derive(Args, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BrokerArgs {
    /// Where to listen; port 0 picks a free port [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDR", value_parser = SocketAddr::read)]
    listen: Option<SocketAddr>,
    /// The address that others are told [default: the one it listens on].
    #[arg(long, value_name = "ADDR", value_parser = HostPort::read)]
    advertise: Option<HostPort>,
    /// The address of another broker; may be given several times. One is enough to find all.
    #[arg(long, value_name = "ADDR", value_parser = HostPort::read)]
    peer: Vec<HostPort>,
    /// The name under which its key is kept, so that it is the same node after a restart [default: a new node].
    #[arg(long, value_name = "NAME", value_parser = NodeName::read)]
    name: Option<NodeName>,
    /// The directory for its key and its store; made if missing [default: everything in memory].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the network's keys are; made if missing [default: reconvene/keys in the user's data directory].
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// How jobs submitted here are ordered and results judged: fcfs, priority, emergency, resource or causal
    /// [default: emergency].
    #[arg(long, value_name = "NAME", value_parser = StrategyKind::read)]
    strategy: Option<StrategyKind>,
    /// How often to exchange with other brokers what is new [default: 1m].
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    sync_interval: Option<Duration>,
    /// End after this time [default: run until Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = Duration::read)]
    time: Option<Duration>,
    /// How long an orderly end may take [default: 5s].
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    shutdown_timeout: Option<Duration>,
    /// A TOML file: every key is a flag, and its tables `lifecycle` and `sync` hold finer settings.
    #[arg(long, env = "RECONVENE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show every setting and where it comes from, and do nothing else.
    #[arg(long)]
    print_config: bool,
}

/// What the flags, the environment and the file come to.
#[derive(Debug)]
pub(crate) struct Settings {
    listen: SocketAddr,
    advertise: Option<HostPort>,
    peers: Vec<HostPort>,
    name: Option<NodeName>,
    data: Option<PathBuf>,
    keys: PathBuf,
    time: Option<Duration>,
    shutdown_timeout: Duration,
    lifecycle: Lifecycle,
    sync: Sync,
}

/// A broker that serves.
#[derive(Debug)]
pub(crate) struct Running {
    broker: Broker,
    endpoint: Endpoint,
    shutdown_timeout: Duration,
}

impl Settings {
    /// The settings of a broker that an executor starts when none is left, from a file like that of `broker --config`.
    ///
    /// # Errors
    /// If the file cannot be read, or its settings contradict each other.
    pub(crate) fn of_heir(file: &Path) -> Result<Self, Failure> {
        let document = Document::read(file)?;
        let (settings, _) = BrokerArgs::default().settle(Some(&document))?;
        let named = settings.advertise.is_some() || !settings.listen.ip().is_unspecified();
        if settings.listen.port() == 0 || !named {
            return Err(Failure::usage(format!(
                "{}: other executors dial this broker, so it needs 'listen' with a port, and an address of this machine there \
                 or in 'advertise'",
                file.display()
            )));
        }
        Ok(settings)
    }

    /// Where others dial the broker.
    pub(crate) fn address(&self) -> String {
        self.advertise.as_ref().map_or_else(|| self.listen.to_string(), |address| address.as_str().to_owned())
    }

    /// Starts the broker in place of those that are not heard, which it goes on looking for at these addresses.
    ///
    /// # Errors
    /// If it cannot start.
    pub(crate) async fn promote(mut self, rank: u32, known: &[String], common: &Common) -> Result<Running, Failure> {
        self.lifecycle.promoted = Some(rank);
        for address in known.iter().filter_map(|address| HostPort::read(address).ok()) {
            if !self.peers.contains(&address) && address.as_str() != self.address() {
                self.peers.push(address);
            }
        }
        open(&self, common).await
    }
}

impl Running {
    /// The broker's name for life.
    pub(crate) fn node(&self) -> NodeId {
        self.endpoint.node_id()
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// If it did not end so.
    pub(crate) async fn end(self, common: &Common) -> Result<(), BrokerError> {
        if !common.is_quiet() {
            warn_of_sole_holdings(&self.broker).await;
        }
        let deadline = tokio::time::Instant::now().checked_add(self.shutdown_timeout);
        let stopped = self.broker.shutdown(self.shutdown_timeout).await;
        service::before(deadline, self.endpoint.close()).await;
        stopped
    }
}

impl BrokerArgs {
    /// Runs the broker, or shows its settings.
    ///
    /// # Errors
    /// If settings contradict each other, the broker cannot start, or it ends by itself.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        #[cfg(reconvene_sabotage)]
        break_a_rule();
        let document = self.config.as_deref().map(Document::read).transpose()?;
        let (settings, shown) = self.settle(document.as_ref())?;
        if self.print_config {
            return show::print(&shown);
        }
        service::block_on(serve(settings, common))
    }

    fn settle(&self, document: Option<&Document>) -> Result<(Settings, String), Failure> {
        let file = document.map(|document| document.parse().map(|table| (document.name().to_owned(), table)));
        let mut layers = Layers::new(file.transpose()?);
        layers.alias("sync-interval", "sync", "interval")?;

        let listen = layers.one("listen", self.listen.as_ref(), SocketAddr::from(([127, 0, 0, 1], 7400)))?;
        let advertise = layers.optional("advertise", self.advertise.as_ref(), "the address it listens on")?;
        let peers = layers.many("peer", &self.peer)?;
        let name = layers.optional("name", self.name.as_ref(), "a new node at each start")?;
        let data = layers.optional("data", self.data.as_ref(), "in memory")?;
        let keys = layers.keys(self.keys.as_ref())?;
        let strategy = layers.one("strategy", self.strategy.as_ref(), StrategyKind::EmergencyFirst)?;
        let sync_interval = layers.one("sync-interval", self.sync_interval.as_ref(), Duration::from_secs(60))?;
        let time = layers.optional("for", self.time.as_ref(), "until Ctrl-C")?;
        let shutdown_timeout =
            layers.one("shutdown-timeout", self.shutdown_timeout.as_ref(), service::SHUTDOWN_TIMEOUT)?;

        let sync_interval_ms = u64::try_from(sync_interval.as_millis()).unwrap_or(u64::MAX);
        let mut lifecycle = Lifecycle::new(strategy);
        lifecycle.sync_interval_ms = sync_interval_ms;
        layers.table("lifecycle", &lifecycle_knobs(), &mut lifecycle)?;
        let mut sync = Sync::new(service::network(), random());
        sync.sync_interval_ms = sync_interval_ms;
        layers.table("sync", &sync_knobs(), &mut sync)?;
        let shown = layers.finish()?;

        let lifecycle = lifecycle.build().map_err(|error| contradiction(&error))?;
        let settings = Settings { listen, advertise, peers, name, data, keys, time, shutdown_timeout, lifecycle, sync };
        Ok((settings, shown))
    }
}

async fn serve(settings: Settings, common: &Common) -> Result<(), Failure> {
    // Before anything else: a Ctrl-C during the start is no crash either.
    let interrupts = Interrupts::listen().context("cannot listen for Ctrl-C")?;
    let running = open(&settings, common).await?;
    let mut events = running.broker.events();
    let node = running.endpoint.node_id();
    let name = settings.name.as_ref().map(|name| name.as_str().to_owned());
    let name = name.unwrap_or_else(|| service::name_for("broker", node));
    service::say_ready(&name, node, running.endpoint.local_addr())?;
    let ended = async {
        loop {
            match events.next().await {
                Ok(event) => tracing::info!(?event),
                Err(EventsError::Lagged { missed }) => tracing::warn!(missed, "events were not logged"),
                Err(_) => return,
            }
        }
    };
    let end = service::serve(interrupts, settings.time, ended).await;
    match (end, running.end(common).await) {
        (End::Asked, Ok(())) => Ok(()),
        (End::Asked, Err(error)) => {
            Err(anyhow::Error::from(error).context("the broker did not end in good order").into())
        }
        (End::ByItself(()), stopped) => {
            let cause = stopped.err().unwrap_or(BrokerError::Stopped);
            Err(anyhow::Error::from(cause).context("the broker has ended by itself").into())
        }
    }
}

/// Starts the broker.
async fn open(settings: &Settings, common: &Common) -> Result<Running, Failure> {
    let authority = keys::load_or_make(&settings.keys, common)?;
    let identity = match &settings.data {
        Some(dir) => {
            data::prepare(dir)?;
            keys::kept_identity(&authority, &dir.join(data::IDENTITY), settings.name.as_ref())?
        }
        None => keys::identity(&authority, &settings.keys, settings.name.as_ref())?,
    };
    let advertise = settings.advertise.as_ref().map(|address| address.as_str().to_owned());
    let config = EndpointConfig::default()
        .with_network(service::network())
        .with_advertise(advertise.clone().map_or(Advertise::Bound, Advertise::Address));
    let endpoint = Endpoint::bind(settings.listen, &identity, config)?;
    let address = endpoint.local_addr();
    let advertise = advertise.or_else(|| (!address.ip().is_unspecified()).then(|| address.to_string()));
    if !common.is_quiet() {
        if advertise.is_none() {
            eprintln!(
                "warning: {address} is no address that others can dial; say with '--advertise <ADDR>' where they reach \
                 this broker"
            );
        }
        if settings.data.is_none() {
            eprintln!("this broker keeps everything in memory: what it knows outlives it only at its peers");
        }
    }

    let broker = match &settings.data {
        Some(dir) => start(data::store(dir, endpoint.node_id(), common)?, &endpoint, settings, advertise).await?,
        None => {
            let replica = new_replica(endpoint.node_id())?;
            let store = MemoryStore::for_network(replica, service::network(), Limits::default());
            start(store, &endpoint, settings, advertise).await?
        }
    };
    Ok(Running { broker, endpoint, shutdown_timeout: settings.shutdown_timeout })
}

/// Tells the operator what the network cannot get at while this broker is away.
async fn warn_of_sole_holdings(broker: &Broker) {
    let soles = broker.inspect(|node| {
        let mut soles: Vec<_> = node.coordinator().sole_holdings().take(NAMES_SHOWN.saturating_add(1)).collect();
        let more = soles.len() > NAMES_SHOWN;
        soles.truncate(NAMES_SHOWN);
        (soles, more)
    });
    // A broker that has ended by itself has nothing more to say.
    let Ok((soles, more)) = soles.await else { return };
    for (name, hash, size) in soles {
        eprintln!("warning: no other broker that is heard holds the data {:?} ({hash}, {size} bytes)", name.as_str());
    }
    if more {
        eprintln!("warning: and further data that only this broker holds");
    }
}

/// How many names an operator is told at the end.
const NAMES_SHOWN: usize = 20;

async fn start<S: MetadataStore>(
    store: S,
    endpoint: &Endpoint,
    settings: &Settings,
    advertise: Option<String>,
) -> Result<Broker, Failure> {
    let links = |protocol| endpoint.links(protocol).context("the endpoint serves a protocol twice");
    let mut builder = Broker::builder(store, settings.sync.clone())
        .transport(links(Protocol::Sync)?)
        .executors(links(Protocol::Executor)?)
        .clients(links(Protocol::Client)?)
        .lifecycle(settings.lifecycle.clone());
    if let Some(address) = advertise {
        builder = builder.advertise(address);
    }
    for peer in &settings.peers {
        builder = builder.seed_peer(peer.as_str());
    }
    match builder.start().await {
        Ok(broker) => Ok(broker),
        Err(StartError::Open(error)) => Err(contradiction(&error)),
        Err(error) => Err(anyhow::Error::from(error).context("the broker cannot start").into()),
    }
}

/// In a build that can break rules, breaks the one that the environment names, such as `RECONVENE_SABOTAGE=26`.
#[cfg(reconvene_sabotage)]
fn break_a_rule() {
    let named = std::env::var("RECONVENE_SABOTAGE").ok();
    if let Some(rule) = named.and_then(|rule| rule.trim_start_matches(['X', 'x']).parse().ok()) {
        eprintln!("warning: this broker breaks rule X{rule} on purpose");
        reconvene_store::sabotage::choose(rule);
    }
}

/// An empty store is a new replica of the node each time. Without a store nothing counts its incarnations, so wall
/// time does: a later start has a greater one, unless the clock was set back meanwhile.
fn new_replica(node: NodeId) -> anyhow::Result<Identity> {
    let replica = ReplicaId::new(random().max(1)).context("a replica cannot be number zero")?;
    Ok(Identity { node, replica, incarnation: SystemTimeSource::new().now().as_millis().max(1) })
}

/// The hasher's keys are the one entropy that the standard library hands out.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn contradiction(error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("the settings cannot be used: {error} ('--print-config' shows all of them)"))
}

const EXAMPLES: &str = "\
Examples:
  reconvene broker
  reconvene broker --listen 127.0.0.1:0 --peer 127.0.0.1:7400 --sync-interval 5s
  reconvene broker --data /var/lib/reconvene
  reconvene broker --config broker.toml --print-config

A configuration file:
  listen = \"0.0.0.0:7400\"
  advertise = \"10.0.0.7:7400\"
  peer = [\"10.0.0.8:7400\"]
  strategy = \"emergency\"
  [sync]
  interval = \"60s\"
  [lifecycle]
  lease = \"30s\"";
