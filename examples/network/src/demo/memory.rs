//! The demo's network in memory and virtual time: the same brokers and executors on one thread.

use anyhow::{Context as _, Result, bail};
use reconvene_broker::{Command, Node, NodeConfig, Reply, read_all};
use reconvene_clock::Timestamp;
use reconvene_executor::{EmergencyId, JobId, JobSpec};
use reconvene_sim::world::{self, Place, World, WorldConfig};
use reconvene_store::{MetadataStore as _, Record};

use super::{
    Options,
    network::{Happened, Network, Reach, What},
    settings,
};

/// Several brokers and executors in a [`World`].
#[derive(Debug)]
pub(crate) struct MemoryNetwork {
    world: World,
    brokers: usize,
    executors: usize,
    started_ms: u64,
}

impl MemoryNetwork {
    /// Brokers and executors that know each other's addresses and have not spoken yet.
    ///
    /// # Errors
    /// If the settings are refused.
    pub(crate) fn start(options: &Options, slots: u32) -> Result<Self> {
        let mut config = WorldConfig::new(options.seed);
        config.idle_ms = settings::idle(options).as_millis().try_into().unwrap_or(u64::MAX);
        let mut world = World::new(config);
        for _ in 0..options.brokers {
            let sync = settings::sync(options, options.seed);
            world.add_broker(NodeConfig::new(sync, settings::lifecycle(options)?))?;
        }
        for executor in 0..options.executors {
            let home = settings::home(options, executor);
            world.add_executor(settings::agent(options, slots), &[home])?;
        }
        Ok(Self { world, brokers: options.brokers, executors: options.executors, started_ms: 0 })
    }

    fn command(&mut self, broker: usize, command: Command) -> Result<Reply> {
        Ok(self.world.command(broker, command)??)
    }
}

impl Network for MemoryNetwork {
    fn start_clock(&mut self) {
        self.started_ms = self.world.now().as_millis();
    }

    fn now_ms(&self) -> u64 {
        self.world.now().as_millis().saturating_sub(self.started_ms)
    }

    async fn run_until(&mut self, at_ms: u64) -> Result<()> {
        self.world.run_until(Timestamp::from_millis(self.started_ms.saturating_add(at_ms)))?;
        // Nothing here waits for anything, and Ctrl-C must be heard.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn submit(&mut self, broker: usize, spec: JobSpec) -> Result<JobId> {
        let Reply::Submitted { job } = self.command(broker, Command::Submit { spec })? else {
            bail!("a submission was not answered with its job");
        };
        Ok(job)
    }

    async fn declare_emergency(&mut self, broker: usize, level: u8, region: &str) -> Result<EmergencyId> {
        let command = Command::DeclareEmergency { level, region: region.to_owned(), lifetime_ms: 0 };
        let Reply::EmergencyDeclared { id } = self.command(broker, command)? else {
            bail!("a declaration was not answered with its emergency");
        };
        Ok(id)
    }

    fn set_reach(&mut self, reach: &Reach) {
        for broker in 0..self.brokers {
            for other in 0..broker {
                let (a, b) = (Place::Broker(broker), Place::Broker(other));
                if reach.brokers(broker, other) { self.world.heal(a, b) } else { self.world.cut(a, b) }
            }
            for executor in 0..self.executors {
                let (a, b) = (Place::Executor(executor), Place::Broker(broker));
                if reach.executor(executor, broker) { self.world.heal(a, b) } else { self.world.cut(a, b) }
            }
        }
    }

    async fn look<R: Send + 'static>(
        &mut self,
        broker: usize,
        look: impl FnOnce(&Node) -> R + Send + 'static,
    ) -> Result<R> {
        self.world.broker(broker).map(look).with_context(|| format!("there is no broker {broker}"))
    }

    async fn records(&mut self, broker: usize) -> Result<Vec<Record>> {
        let store = self.world.store(broker).with_context(|| format!("there is no broker {broker}"))?;
        Ok(read_all(&store.snapshot().await?).await?.1)
    }

    fn happened(&mut self) -> Vec<Happened> {
        let started_ms = self.started_ms;
        self.world
            .take_happened()
            .into_iter()
            .filter_map(|happened| {
                let what = match happened.what {
                    world::What::Broker { broker, event } => What::Event { broker, event },
                    world::What::RunStarted { executor, attempt } => What::RunStarted { executor, attempt },
                    world::What::RunEnded { executor, attempt, digest } => What::RunEnded { executor, attempt, digest },
                    world::What::Executor { .. } => return None,
                };
                Some(Happened { at_ms: happened.at.as_millis().saturating_sub(started_ms), what })
            })
            .collect()
    }

    async fn finish(self) -> Result<()> {
        Ok(())
    }
}
