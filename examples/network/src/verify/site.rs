//! Where a row happens: a temporary directory with keys and settings, a proxy between the brokers, and processes.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use reconvene_broker::{Config as Lifecycle, StrategyKind};
use reconvene_clock::Hlc;
use reconvene_executor::{AgentConfig, JobSpec, SessionEpoch, TraceJob};
use reconvene_sim::proxy::{Act, FaultProxy};
use reconvene_sync::Config as Sync;
use reconvene_transport_quic::Authority;
use tempfile::TempDir;

use super::{broker::Broker, executor::ExecutorProcess, puppet::Puppet};
use crate::{
    config::{Knob, Plain as _, agent_knobs, lifecycle_knobs, sync_knobs},
    service,
};

/// The place of one row. Its processes end with their own handles, its files and its proxy with this.
#[derive(Debug)]
pub(crate) struct Site {
    dir: TempDir,
    speed: u64,
    /// The program that is run for brokers.
    brokers: PathBuf,
    program: PathBuf,
    pub(super) authority: Authority,
    pub(super) proxy: FaultProxy,
    names: AtomicU64,
}

/// What a broker is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct BrokerSettings<'a> {
    pub(super) strategy: StrategyKind,
    /// Where it looks for others.
    pub(super) peers: &'a [&'a Broker],
    /// How often it exchanges with others, before it is divided by the speed; every other duration stays.
    pub(super) sync_interval: Duration,
    /// Whether durations are divided by the speed at all.
    pub(super) hurried: bool,
    /// Settings of the exchange with others that are not as usual, by name.
    pub(super) sync: &'a [(&'a str, &'a str)],
}

impl BrokerSettings<'_> {
    pub(super) const fn new(strategy: StrategyKind) -> Self {
        Self { strategy, peers: &[], sync_interval: Duration::from_secs(60), hurried: true, sync: &[] }
    }
}

impl Site {
    /// An empty place. Durations of the designs pass `speed` times as fast; `brokers` is the program run for brokers.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(super) fn new(speed: u32, program: &Path, brokers: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("reconvene-verify-").tempdir();
        let dir = dir.context("cannot make a temporary directory")?;
        let (authority, _) = Authority::load_or_create(&dir.path().join(KEYS))?;
        Ok(Self {
            dir,
            speed: speed.max(1).into(),
            brokers: brokers.to_owned(),
            program: program.to_owned(),
            authority,
            proxy: FaultProxy::new(1),
            names: AtomicU64::new(0),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.path(KEYS)
    }

    /// A duration of the designs at this place.
    pub(super) fn scaled(&self, seconds: u64) -> Duration {
        Duration::from_millis(self.scaled_ms(seconds.saturating_mul(1_000)))
    }

    pub(super) const fn scaled_ms(&self, ms: u64) -> u64 {
        match ms.checked_div(self.speed) {
            Some(0) | None => 1,
            Some(scaled) => scaled,
        }
    }

    /// A name that nobody here has.
    pub(super) fn new_name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// The program for brokers, or for executors, in an environment of its own.
    pub(super) fn command(&self, broker: bool) -> Command {
        let mut command = Command::new(if broker { &self.brokers } else { &self.program });
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("RECONVENE_") && variable != SABOTAGE) {
                command.env_remove(variable);
            }
        }
        command
            .env("XDG_DATA_HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.dir.path());
        command
    }

    /// A broker that is ready.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn broker(&self, name: &str, settings: BrokerSettings<'_>) -> Result<Broker> {
        Broker::start(self, name, settings).await
    }

    /// Brokers `a`, `b`, … that have all found each other.
    ///
    /// # Errors
    /// If one does not start, or they do not find each other.
    pub(super) async fn brokers<const N: usize>(&self, strategy: StrategyKind) -> Result<[Broker; N]> {
        let names = ["a", "b", "c", "d"].first_chunk().context("there are names for four brokers")?;
        self.named_brokers(*names, strategy).await
    }

    /// Brokers of these names that have all found each other.
    ///
    /// # Errors
    /// If one does not start, or they do not find each other.
    pub(super) async fn named_brokers<const N: usize>(
        &self,
        names: [&str; N],
        strategy: StrategyKind,
    ) -> Result<[Broker; N]> {
        let mut brokers: Vec<Broker> = Vec::new();
        for name in names {
            let peers: Vec<&Broker> = brokers.first().into_iter().collect();
            let settings = BrokerSettings { peers: &peers, ..BrokerSettings::new(strategy) };
            brokers.push(self.broker(name, settings).await?);
        }
        let brokers: [Broker; N] = brokers.try_into().ok().context("one broker for each name")?;
        for broker in &brokers {
            for other in &brokers {
                if other.node() != broker.node() {
                    broker.sees(other, "alive").await?;
                }
            }
        }
        Ok(brokers)
    }

    /// An executor that is ready, with these flags beside the usual ones.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn executor(&self, home: &Broker, flags: &[&str]) -> Result<ExecutorProcess> {
        ExecutorProcess::start(self, home, flags).await
    }

    /// An executor in the observer's own hands that has registered at `home`.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn puppet(&self, home: &Broker) -> Result<Puppet> {
        Puppet::join(self, home).await
    }

    pub(super) fn cut(&self, one: &Broker, other: &Broker) {
        self.proxy.apply(&Act::Cut(one.name().to_owned(), other.name().to_owned()));
    }

    pub(super) fn heal(&self) {
        self.proxy.apply(&Act::HealAll);
    }

    /// Writes the settings of a broker to a file.
    pub(super) fn broker_file(&self, name: &str, settings: &BrokerSettings<'_>) -> Result<PathBuf> {
        let speed = if settings.hurried { self.speed } else { 1 };
        let interval = settings.sync_interval.as_millis().checked_div(speed.into()).unwrap_or(1);
        let interval = u64::try_from(interval)?.max(1);
        let pace = 60_000_u64.checked_div(speed).unwrap_or(1).max(1);
        let mut text = format!("strategy = {}\n", settings.strategy.show());
        let mut sync = Sync::new(service::network(), 0).scaled(pace);
        let knobs = sync_knobs();
        for (name, value) in settings.sync {
            let knob = knobs.iter().find(|knob| knob.name == *name).with_context(|| format!("no setting {name}"))?;
            knob.set(&mut sync, value).map_err(|expected| anyhow!("{name}: {expected}"))?;
        }
        write!(text, "[sync]\ninterval = \"{interval}ms\"\n")?;
        table(&mut text, &knobs, &sync)?;
        text.push_str("[lifecycle]\n");
        table(&mut text, &lifecycle_knobs(), &Lifecycle::new(settings.strategy).scaled(pace))?;
        self.write(&format!("{name}.toml"), &text)
    }

    /// Writes the settings of executors to a file.
    pub(super) fn executor_file(&self) -> Result<PathBuf> {
        let mut config = AgentConfig::new(SessionEpoch::new(Hlc::from_u64(0), 0), 0).scaled(self.scaled_ms(60_000));
        // Machines answer as fast as they can at any pace.
        config.resend_first_ms = config.resend_first_ms.max(250);
        config.resend_max_ms = config.resend_max_ms.max(1_000);
        config.connect_retry_ms = config.connect_retry_ms.max(100);
        let mut text = "[lifecycle]\n".to_owned();
        table(&mut text, &agent_knobs(), &config)?;
        self.write("executor.toml", &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn table<C>(text: &mut String, knobs: &[Knob<C>], config: &C) -> Result<()> {
    for knob in knobs {
        writeln!(text, "{} = {}", knob.name, knob.show(config))?;
    }
    Ok(())
}

/// A job that takes so long and gives back its input.
///
/// # Errors
/// If the input is too long.
pub(super) fn job(run_ms: u64, input: &str) -> Result<JobSpec> {
    let job = TraceJob { run_ms, input: input.as_bytes().to_vec(), varies: false };
    Ok(JobSpec::new(job.encode()?).with_estimate_ms(run_ms))
}

const KEYS: &str = "keys";

/// Says which rule a broker that is built to break one breaks.
const SABOTAGE: &str = "RECONVENE_SABOTAGE";
