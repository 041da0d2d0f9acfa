//! Puts a broker together.

use std::sync::Arc;
use std::time::Duration;

use reconvene_resolve::{Policy, StrategyKind};
use reconvene_store::{MetadataStore, StoreError};
use reconvene_sync::{self as sync, Transport};
use tokio::sync::{broadcast, mpsc};

use super::task::{Parts, Task};
use super::{Broker, Clock, NoLinks, SystemClock};
use crate::{Config, ConfigError, Node, NodeConfig, NodeInput, read_all};

/// How many commands may wait for the broker's task before callers wait too.
const COMMAND_QUEUE: usize = 1_024;

/// Events that a slow reader may be behind, unless the builder says otherwise.
const EVENT_BUFFER: usize = 1_024;

/// Why a broker could not be started. Nothing runs, nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store could not be read.
    #[error("reading the store to start the broker failed")]
    Store(#[from] StoreError),
    /// The settings contradict each other.
    #[error("the broker's settings are refused")]
    Config(#[from] ConfigError),
    /// What the store holds does not fit together, or the sync settings are refused.
    #[error("the broker cannot open on what the store holds")]
    Open(#[from] sync::OpenError),
}

/// The settings of a broker about to start; made by [`Broker::builder`].
///
/// `S` is its store, `T` its links to other brokers, `E` those to executors, `C` those to clients.
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct BrokerBuilder<S, T = NoLinks, E = NoLinks, C = NoLinks> {
    store: S,
    transport: T,
    executors: E,
    clients: C,
    sync: sync::Config,
    lifecycle: Config,
    seed_peers: Vec<String>,
    event_buffer: usize,
    clock: Arc<dyn Clock>,
}

impl<S: MetadataStore> BrokerBuilder<S> {
    pub(super) fn new(store: S, sync: sync::Config) -> Self {
        Self {
            store,
            transport: NoLinks,
            executors: NoLinks,
            clients: NoLinks,
            sync,
            lifecycle: Config::new(StrategyKind::EmergencyFirst),
            seed_peers: Vec::new(),
            event_buffer: EVENT_BUFFER,
            clock: Arc::new(SystemClock::start()),
        }
    }
}

impl<S, T, E, C> BrokerBuilder<S, T, E, C> {
    /// The links to other brokers. Without them the broker is alone in its network.
    pub fn transport<T2: Transport>(self, transport: T2) -> BrokerBuilder<S, T2, E, C> {
        BrokerBuilder {
            store: self.store,
            transport,
            executors: self.executors,
            clients: self.clients,
            sync: self.sync,
            lifecycle: self.lifecycle,
            seed_peers: self.seed_peers,
            event_buffer: self.event_buffer,
            clock: self.clock,
        }
    }

    /// The links to executors. Without them no job can run here; they are handed to brokers that have executors.
    pub fn executors<E2: Transport>(self, executors: E2) -> BrokerBuilder<S, T, E2, C> {
        BrokerBuilder {
            store: self.store,
            transport: self.transport,
            executors,
            clients: self.clients,
            sync: self.sync,
            lifecycle: self.lifecycle,
            seed_peers: self.seed_peers,
            event_buffer: self.event_buffer,
            clock: self.clock,
        }
    }

    /// The links to clients that speak [`client`](crate::client). Without them only this process can give commands.
    pub fn clients<C2: Transport>(self, clients: C2) -> BrokerBuilder<S, T, E, C2> {
        BrokerBuilder {
            store: self.store,
            transport: self.transport,
            executors: self.executors,
            clients,
            sync: self.sync,
            lifecycle: self.lifecycle,
            seed_peers: self.seed_peers,
            event_buffer: self.event_buffer,
            clock: self.clock,
        }
    }

    /// An address at which another broker may be found. May be given several times; they are tried for ever.
    pub fn seed_peer(mut self, address: impl Into<String>) -> Self {
        self.seed_peers.push(address.into());
        self
    }

    /// The rule by which jobs are ordered and results judged, with its default parameters. Default: emergency first.
    pub fn strategy(self, strategy: StrategyKind) -> Self {
        self.policy(Policy::of(strategy))
    }

    /// The policy by which jobs are ordered and results judged, until an operator switches that of the network.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.lifecycle.policy = policy;
        self
    }

    /// The period of the exchange with other brokers. Default: 60 s.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync.sync_interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The address under which other brokers, and executors that lost theirs, can dial this one.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.sync.advertise = Some(address.into());
        self
    }

    /// All settings of jobs and executors at once.
    pub fn lifecycle(mut self, lifecycle: Config) -> Self {
        self.lifecycle = lifecycle;
        self
    }

    /// All settings of the exchange at once.
    pub fn sync(mut self, sync: sync::Config) -> Self {
        self.sync = sync;
        self
    }

    /// How many events a slow reader may be behind before it is told that it missed some. Default: 1,024; at least 1.
    pub const fn event_buffer(mut self, events: usize) -> Self {
        self.event_buffer = if events == 0 { 1 } else { events };
        self
    }

    /// Where time comes from. Default: the machine's clocks.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl<S, T, E, C> BrokerBuilder<S, T, E, C>
where
    S: MetadataStore,
    T: Transport,
    E: Transport,
    C: Transport,
{
    /// Reads the store and starts the broker's task on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`], and nothing runs.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled.
    pub async fn start(self) -> Result<Broker, StartError> {
        let lifecycle = self.lifecycle.build()?;
        let (head, records) = read_all(&self.store.snapshot().await?).await?;
        let now = self.clock.now();
        let identity = head.identity();
        let mut node = Node::open(NodeConfig::new(self.sync, lifecycle), head, records, now)?;
        for address in self.seed_peers {
            node.handle(now, NodeInput::Candidate { address });
        }
        let (requests, inbox) = mpsc::channel(COMMAND_QUEUE);
        let (events, _) = broadcast::channel(self.event_buffer);
        let parts = Parts {
            node,
            store: sync::StoreDriver::new(self.store),
            transport: Arc::new(self.transport),
            executors: Arc::new(self.executors),
            clients: Arc::new(self.clients),
            clock: self.clock,
            inbox,
            events: events.clone(),
        };
        let task = tokio::spawn(Task::new(parts).run());
        Ok(Broker::new(identity, requests, events, task))
    }
}
