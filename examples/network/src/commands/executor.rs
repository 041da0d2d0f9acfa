//! `reconvene executor`: one executor, for as long as it is wanted.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reconvene_clock::Hlc;
use reconvene_executor::{AgentConfig, Executor, Resources, SessionEpoch, Status, Tag, TraceRunner};
use reconvene_transport_quic::{Advertise, Endpoint, EndpointConfig, Protocol};
use tokio::sync::watch;

use crate::{
    cli::Common,
    client,
    commands::broker,
    config::{Document, HostPort, Layers, NodeName, Plain, agent_knobs},
    exit::Failure,
    keys,
    run_log::{Logged, RunLog},
    service::{self, End},
    show,
    signals::Interrupts,
};

/// Runs one executor until Ctrl-C
///
/// It takes jobs of the first broker that answers, and moves to another when that one is gone: the brokers tell it of
/// each other. In this version a job only takes time and gives back its input.
///
/// Each flag can also be set in the environment (RECONVENE_SLOTS for --slots) and in a file.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecutorArgs {
    /// The address of a broker; may be given several times, tried in this order [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDR", value_parser = HostPort::read)]
    broker: Vec<HostPort>,
    /// How many jobs run at once [default: 1].
    #[arg(long, value_name = "N", value_parser = u32::read)]
    slots: Option<u32>,
    /// Thousandths of a core that jobs may use together [default: 1000 for each slot].
    #[arg(long, value_name = "N", value_parser = u64::read)]
    cpu: Option<u64>,
    /// MiB of memory that jobs may use together [default: 1024 for each slot].
    #[arg(long, value_name = "N", value_parser = u64::read)]
    memory: Option<u64>,
    /// Thousandths of an accelerator that jobs may use together [default: 0].
    #[arg(long, value_name = "N", value_parser = u64::read)]
    gpu: Option<u64>,
    /// Something it can do, which jobs can ask for; may be given several times.
    #[arg(long, value_name = "TAG", value_parser = Tag::read)]
    tag: Vec<Tag>,
    /// The name under which its key is kept, so that it is the same node after a restart [default: a new node].
    #[arg(long, value_name = "NAME", value_parser = NodeName::read)]
    name: Option<NodeName>,
    /// A durable store of results (not built into this version).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Start a broker with the settings in this file, as of `broker --config`, when none has been heard for long [default:
    /// start none].
    #[arg(long, value_name = "FILE", value_parser = PathBuf::read)]
    promote: Option<PathBuf>,
    /// Where the network's keys are; made if missing [default: reconvene/keys in the user's data directory].
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// A file to which a line of JSON is added when the run of an attempt begins, ends or is stopped.
    #[arg(long, value_name = "FILE")]
    run_log: Option<PathBuf>,
    /// End after this time [default: run until Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = Duration::read)]
    time: Option<Duration>,
    /// How long an orderly end may take; jobs that still run then are given up [default: 5s].
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    shutdown_timeout: Option<Duration>,
    /// A TOML file: every key is a flag, and its table `lifecycle` holds finer settings.
    #[arg(long, env = "RECONVENE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show every setting and where it comes from, and do nothing else.
    #[arg(long)]
    print_config: bool,
}

/// What the flags, the environment and the file come to.
#[derive(Debug)]
struct Settings {
    name: Option<NodeName>,
    keys: PathBuf,
    run_log: Option<PathBuf>,
    time: Option<Duration>,
    shutdown_timeout: Duration,
    heir: Option<broker::Settings>,
    agent: AgentConfig,
}

impl ExecutorArgs {
    /// Runs the executor, or shows its settings.
    ///
    /// # Errors
    /// If settings contradict each other, the executor cannot start, or it ends by itself.
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
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
        // The session and the seed are the builder's, at the start.
        let mut agent = AgentConfig::new(SessionEpoch::new(Hlc::default(), 0), 0);
        let brokers = layers.many_or("broker", &self.broker, vec![HostPort::local()])?;
        agent.brokers = brokers.iter().map(|address| address.as_str().to_owned()).collect();
        agent.slots = layers.one("slots", self.slots.as_ref(), 1)?;
        let per_slot = |amount: u64| amount.saturating_mul(agent.slots.into());
        agent.capacity = Resources {
            cpu_milli: layers.one("cpu", self.cpu.as_ref(), per_slot(1_000))?,
            memory_mib: layers.one("memory", self.memory.as_ref(), per_slot(1_024))?,
            gpu_milli: layers.one("gpu", self.gpu.as_ref(), 0)?,
        };
        agent.tags = layers.many("tag", &self.tag)?.into_iter().collect();
        let name = layers.optional("name", self.name.as_ref(), "a new node at each start")?;
        let data = layers.optional("data", self.data.as_ref(), "in memory")?;
        let keys = layers.keys(self.keys.as_ref())?;
        let run_log = layers.optional("run-log", self.run_log.as_ref(), "none")?;
        let time = layers.optional("for", self.time.as_ref(), "until Ctrl-C")?;
        let shutdown_timeout =
            layers.one("shutdown-timeout", self.shutdown_timeout.as_ref(), service::SHUTDOWN_TIMEOUT)?;
        let promote = layers.optional("promote", self.promote.as_ref(), "it starts no broker")?;
        let heir = promote.as_deref().map(broker::Settings::of_heir).transpose()?;
        agent.promote_at = heir.as_ref().map(broker::Settings::address);
        layers.table("lifecycle", &agent_knobs(), &mut agent)?;
        let shown = layers.finish()?;

        if data.is_some() {
            return Err(Failure::usage(
                "an executor with --data needs a durable store, which is not built into this version; without --data \
                 it keeps its results in memory",
            ));
        }
        agent.validate().map_err(|error| {
            Failure::usage(format!("the settings cannot be used: {error} ('--print-config' shows all of them)"))
        })?;
        Ok((Settings { name, keys, run_log, time, shutdown_timeout, heir, agent }, shown))
    }
}

async fn serve(settings: Settings, common: &Common) -> Result<(), Failure> {
    // Before anything else: a Ctrl-C during the start is no crash either.
    let interrupts = Interrupts::listen().context("cannot listen for Ctrl-C")?;
    let log = RunLog::open(settings.run_log.as_deref())?;
    let authority = keys::load_or_make(&settings.keys, common)?;
    let identity = keys::identity(&authority, &settings.keys, settings.name.as_ref())?;
    let here = local_address_for(&settings.agent.brokers).await;
    let config = EndpointConfig::default().with_network(service::network()).with_advertise(Advertise::Nothing);
    let endpoint = Endpoint::bind(here, &identity, config)?;
    let links = endpoint.links(Protocol::Executor).context("the endpoint serves a protocol twice")?;
    let mut executor = Executor::builder()
        .link(links)
        .runner(Logged { runner: TraceRunner::new(endpoint.node_id()), log })
        .configure(|config| {
            let (session, seed) = (config.session, config.seed);
            *config = settings.agent;
            (config.session, config.seed) = (session, seed);
        })
        .start()
        .await
        .context("the executor cannot start")?;
    let mut events = executor.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            tracing::info!(?event);
        }
    });
    let name = settings
        .name
        .as_ref()
        .map_or_else(|| service::name_for("executor", endpoint.node_id()), |name| name.as_str().to_owned());
    service::say_ready(&name, endpoint.node_id(), endpoint.local_addr())?;

    let status = executor.watch();
    let mut promoted = None;
    let ended = async {
        let promotion = promote(settings.heir, status, common, &mut promoted);
        tokio::select! {
            ended = executor.ended() => ended,
            never = promotion => match never {},
        }
    };
    let end = service::serve(interrupts, settings.time, ended).await;
    let deadline = tokio::time::Instant::now().checked_add(settings.shutdown_timeout);
    let result = match end {
        End::Asked => match executor.shutdown(settings.shutdown_timeout).await {
            Ok(ended) => {
                if !common.is_quiet() && (ended.stopped > 0 || ended.unanswered > 0) {
                    eprintln!(
                        "warning: {} attempts were given up and {} results not delivered; brokers place the jobs again",
                        ended.stopped, ended.unanswered
                    );
                }
                Ok(())
            }
            Err(error) => Err(anyhow::Error::from(error).context("the executor did not end in good order").into()),
        },
        End::ByItself(Ok(_)) => Err(anyhow!("the executor has ended by itself").into()),
        End::ByItself(Err(error)) => Err(anyhow::Error::from(error).context("the executor has ended by itself").into()),
    };
    service::before(deadline, endpoint.close()).await;
    if let Some(broker) = promoted {
        // After the executor, which had it as its home.
        broker.end(common).await.context("the broker that this executor started did not end in good order")?;
    }
    result
}

/// Waits until it is for this executor to start a broker, and starts it.
async fn promote(
    heir: Option<broker::Settings>,
    mut status: watch::Receiver<Status>,
    common: &Common,
    promoted: &mut Option<broker::Running>,
) -> Infallible {
    if let Some(heir) = heir
        && let Ok(Some(promotion)) =
            status.wait_for(|status| status.promote.is_some()).await.map(|status| status.promote.clone())
    {
        // Not on standard output: whoever waited for the executor's one line may have closed it.
        let address = heir.address();
        match heir.promote(promotion.rank, &promotion.known, common).await {
            Ok(running) => {
                if !common.is_quiet() {
                    let node = running.node();
                    eprintln!("no broker has been heard for long: this executor has started {node} at {address}");
                }
                *promoted = Some(running);
            }
            Err(failure) => eprintln!("warning: the broker could not be started, and jobs wait for another: {failure}"),
        }
    }
    std::future::pending().await
}

/// Where to bind in order to dial brokers: any port, and IPv6 if one of them needs it.
async fn local_address_for(brokers: &[String]) -> SocketAddr {
    for broker in brokers {
        let here = client::local_address_for(broker).await;
        if here.is_ipv6() {
            return here;
        }
    }
    SocketAddr::from(([0_u8; 4], 0))
}

const EXAMPLES: &str = "\
Examples:
  reconvene executor
  reconvene executor --broker 10.0.0.7:7400 --broker 10.0.0.8:7400 --slots 8 --tag medical-imaging
  reconvene executor --promote broker.toml
  reconvene executor --config executor.toml --print-config

A configuration file:
  broker = [\"10.0.0.7:7400\", \"10.0.0.8:7400\"]
  slots = 8
  tag = [\"medical-imaging\"]
  [lifecycle]
  orphan_after = \"60s\"
  discovery_interval = \"30s\"";
