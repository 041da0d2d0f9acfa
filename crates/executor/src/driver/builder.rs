//! How an executor is put together and started.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use reconvene_clock::{Hlc, Now, SystemTimeSource, TimeSource, Timestamp};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::handle::{Ended, ExecutorHandle, Status};
use super::{BrokerLink, Driver, QUEUED_PROGRESS, Runner};
use crate::agent::Agent;
use crate::config::{AgentConfig, ConfigError};
use crate::id::SessionEpoch;
use crate::spec::{Resources, Tag};

/// An executor that runs by itself: an [`Agent`] in a tokio task, with a link to brokers and a runner.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name to begin with; it holds nothing")]
pub struct Executor;

impl Executor {
    /// Begins to put an executor together. A link and a runner must be given; the rest has defaults.
    pub fn builder() -> ExecutorBuilder<(), ()> {
        // The hasher's keys are the one entropy that the standard library hands out.
        let random = || RandomState::new().build_hasher().finish();
        let start = Hlc::from_parts(SystemTimeSource::new().now(), 0).unwrap_or_default();
        let config = AgentConfig::new(SessionEpoch::new(start, random()), random());
        ExecutorBuilder { config, link: (), runner: (), event_buffer: 1_024 }
    }
}

/// An executor that is being put together.
#[must_use = "nothing runs before `start`"]
pub struct ExecutorBuilder<L, R> {
    config: AgentConfig,
    link: L,
    runner: R,
    event_buffer: usize,
}

impl<L, R> ExecutorBuilder<L, R> {
    /// Sets how brokers are reached.
    pub fn link<M: BrokerLink>(self, link: M) -> ExecutorBuilder<M, R> {
        let Self { config, link: _, runner, event_buffer } = self;
        ExecutorBuilder { config, link, runner, event_buffer }
    }

    /// Sets what runs attempts.
    pub fn runner<S: Runner>(self, runner: S) -> ExecutorBuilder<L, S> {
        let Self { config, link, runner: _, event_buffer } = self;
        ExecutorBuilder { config, link, runner, event_buffer }
    }

    /// Sets what there is when nothing runs. One core by default.
    pub const fn capacity(mut self, capacity: Resources) -> Self {
        self.config.capacity = capacity;
        self
    }

    /// Sets how many attempts run at once. 1 by default.
    pub const fn slots(mut self, slots: u32) -> Self {
        self.config.slots = slots;
        self
    }

    /// Adds something that this executor can do.
    pub fn tag(mut self, tag: Tag) -> Self {
        self.config.tags.insert(tag);
        self
    }

    /// Adds the address of a broker. They are tried in this order.
    pub fn broker(mut self, address: impl Into<String>) -> Self {
        self.config.brokers.push(address.into());
        self
    }

    /// Scales every duration with the interval at which brokers sync, from the 60 s that they are written for.
    ///
    /// Applies to the durations as they are set now.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.config = self.config.scaled(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Changes any other setting.
    pub fn configure(mut self, change: impl FnOnce(&mut AgentConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets how many events a slow reader may be behind before it misses some. 1,024 by default, at least 1.
    pub fn event_buffer(mut self, events: usize) -> Self {
        self.event_buffer = events.clamp(1, 1 << 20);
        self
    }
}

impl<L: BrokerLink, R: Runner> ExecutorBuilder<L, R> {
    /// Starts the executor in a task of its own.
    ///
    /// # Errors
    /// If the settings contradict each other. Nothing was started.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    #[expect(clippy::unused_async, reason = "starts inside a runtime, and may have to wait for one day")]
    pub async fn start(self) -> Result<ExecutorHandle, ConfigError> {
        let now = Now::new(Timestamp::from_millis(0), SystemTimeSource::new().now());
        let dial_timeout = Duration::from_millis(self.config.discovery_interval_ms);
        let agent = Agent::new(self.config, now)?;
        let session = agent.session();
        let (shutdown, shutting_down) = oneshot::channel();
        let (events, first_reader) = broadcast::channel(self.event_buffer);
        let (status, status_reader) = watch::channel(Status::default());
        let (progress_of_runs, progress) = mpsc::channel(QUEUED_PROGRESS);
        let driver = Driver {
            agent,
            link: Arc::new(self.link),
            runner: Arc::new(self.runner),
            started: Instant::now(),
            dial_timeout,
            inputs: VecDeque::new(),
            linked: BTreeSet::new(),
            dials: JoinSet::new(),
            queues: BTreeMap::new(),
            senders: JoinSet::new(),
            runs: JoinSet::new(),
            aborts: BTreeMap::new(),
            progress,
            progress_of_runs,
            events,
            status,
            promote: None,
            ended: Ended::default(),
        };
        let task = tokio::spawn(driver.run(shutting_down));
        Ok(ExecutorHandle::new(session, task, shutdown, first_reader, status_reader))
    }
}

impl<L, R> fmt::Debug for ExecutorBuilder<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
