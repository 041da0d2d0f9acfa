//! A broker in a process of its own, and a client of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use reconvene_broker::{
    Command, CommandError, ContentHash, DataView, EmergencyView, ExecutorView, Explanation, JobView, NodeStatus, Reply,
    Statistics, Subject,
};
use reconvene_clock::NodeId;
use reconvene_executor::{EmergencyId, JobId, JobSpec};
use reconvene_resolve::{Policy, StrategyKind};
use tokio::sync::Mutex;

use super::{
    process::Process,
    site::{BrokerSettings, Site},
    wait::{SOON, until},
};
use crate::{
    client::{CallError, Client, ConnectArgs},
    config::{HostPort, Plain as _},
};

/// A broker behind its door of the proxy, with a store in a file.
#[derive(Debug)]
pub(super) struct Broker {
    name: String,
    process: Process,
    door: String,
    data: PathBuf,
    keys: PathBuf,
    client: Mutex<Option<Client>>,
}

impl Broker {
    pub(super) async fn start(site: &Site, name: &str, settings: BrokerSettings<'_>) -> Result<Self> {
        let door = site.proxy.open(name)?.to_string();
        let data = site.path(&format!("data-{name}"));
        let process = launch(site, name, &door, &data, settings).await?;
        Ok(Self { name: name.to_owned(), process, door, data, keys: site.keys(), client: Mutex::new(None) })
    }

    /// Starts it again on its files, after it has ended.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) async fn restart(&mut self, site: &Site, settings: BrokerSettings<'_>) -> Result<()> {
        *self.client.lock().await = None;
        self.process = launch(site, &self.name, &self.door, &self.data, settings).await?;
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn node(&self) -> NodeId {
        self.process.node
    }

    /// Where others are told that it is.
    pub(super) fn door(&self) -> &str {
        &self.door
    }

    /// Where it is.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.process.port)
    }

    /// Its files.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// How often it has reported an event of this kind to whoever reads its log.
    pub(super) fn reported(&self, kind: &str) -> usize {
        let needle = format!("kind: {kind} {{");
        self.process.log().lines().filter(|line| line.contains(&needle)).count()
    }

    /// The keys of the notices of a superseded result. One that a crash made it repeat has the key that it had before.
    pub(super) fn notices(&self) -> BTreeSet<String> {
        let log = self.process.log();
        let notices = log.lines().filter_map(|line| line.split_once("kind: ResultSuperseded {"));
        let keys = notices.filter_map(|(_, rest)| rest.rsplit_once("key: "));
        keys.map(|(_, key)| key.chars().take_while(char::is_ascii_digit).collect()).collect()
    }

    /// Kills it.
    ///
    /// # Errors
    /// If that is not possible.
    pub(super) async fn kill(&mut self) -> Result<()> {
        *self.client.lock().await = None;
        self.process.kill()
    }

    /// Has a command carried out. A client that lost its connection makes a new one and asks once more.
    ///
    /// # Errors
    /// [`CallError`], also from connecting.
    pub(super) async fn ask(&self, command: Command) -> Result<Reply> {
        let mut client = self.client.lock().await;
        if let Some(connected) = client.as_mut() {
            match connected.command(command.clone()).await {
                Err(CallError::Unanswered { .. }) => *client = None,
                answered => return Ok(answered?),
            }
        }
        let connected = client.insert(self.connect().await?);
        Ok(connected.command(command).await?)
    }

    async fn connect(&self) -> Result<Client> {
        let address = HostPort::read(&self.address()).map_err(|expected| anyhow!(expected))?;
        let connected = Client::connect(&ConnectArgs::new(address, self.keys.clone())).await;
        connected.map_err(|failure| anyhow!("{failure}")).with_context(|| format!("asking {}", self.name))
    }

    /// How it is.
    ///
    /// # Errors
    /// If it does not say.
    pub(super) async fn status(&self) -> Result<NodeStatus> {
        let mut client = self.client.lock().await;
        if client.is_none() {
            *client = Some(self.connect().await?);
        }
        let status = match client.as_mut() {
            Some(connected) => connected.status().await,
            None => bail!("not connected"),
        };
        if status.is_err() {
            *client = None;
        }
        Ok(status?)
    }

    /// Submits a job.
    ///
    /// # Errors
    /// If it is not admitted.
    pub(super) async fn submit(&self, spec: JobSpec) -> Result<JobId> {
        let reply = self.ask(Command::Submit { spec }).await?;
        let Reply::Submitted { job } = reply else { bail!("{} answered {reply:?} to a job", self.name) };
        Ok(job)
    }

    /// What it says of a job; nothing if it has not heard of it.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn job(&self, job: JobId) -> Result<Option<JobView>> {
        match self.ask(Command::Job { job }).await {
            Ok(Reply::Job(view)) => Ok(Some(*view)),
            Ok(other) => bail!("{} answered {other:?} for a job", self.name),
            Err(error) => match error.downcast_ref::<CallError>() {
                Some(CallError::Refused { source: CommandError::UnknownJob { .. }, .. }) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Why it says that a job or a result is where it is.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn explain(&self, of: Subject) -> Result<Explanation> {
        let reply = self.ask(Command::Explain { of }).await?;
        let Reply::Explanation(explanation) = reply else {
            bail!("{} answered {reply:?} for an explanation", self.name)
        };
        Ok(*explanation)
    }

    /// Waits until it says of the job what is wanted.
    ///
    /// # Errors
    /// If it does not say so in time: then what it says instead.
    pub(super) async fn job_when(&self, job: JobId, what: &str, good: impl Fn(&JobView) -> bool) -> Result<JobView> {
        let mut last = None;
        let found = until(what, SOON, async || {
            last = self.job(job).await?;
            Ok(last.clone().filter(|view| good(view)))
        })
        .await;
        found.with_context(|| format!("at {} the job is {}", self.name, shown(last.as_ref())))
    }

    /// Waits for the result of the job.
    ///
    /// # Errors
    /// If there is none in time.
    pub(super) async fn result(&self, job: JobId) -> Result<JobView> {
        self.job_when(job, "the job has a result", |view| view.result.is_some()).await
    }

    /// Waits until it has heard of the job.
    ///
    /// # Errors
    /// If it does not in time.
    pub(super) async fn knows(&self, job: JobId) -> Result<JobView> {
        self.job_when(job, "the job is known", |view| view.spec.is_some()).await
    }

    /// The executors that it knows.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn executors(&self) -> Result<Vec<ExecutorView>> {
        let reply = self.ask(Command::Executors).await?;
        let Reply::Executors(executors) = reply else { bail!("{} answered {reply:?} for executors", self.name) };
        Ok(executors)
    }

    /// The emergencies that it knows.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn emergencies(&self) -> Result<Vec<EmergencyView>> {
        let reply = self.ask(Command::Emergencies).await?;
        let Reply::Emergencies(emergencies) = reply else { bail!("{} answered {reply:?} for emergencies", self.name) };
        Ok(emergencies)
    }

    /// Says that it holds data, of which nothing but its hash is known.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn publish(&self, name: &str, hash: ContentHash) -> Result<()> {
        let reply = self.ask(Command::PublishData { name: name.to_owned(), hash, size: 1 }).await?;
        let Reply::DataPublished { .. } = reply else { bail!("{} answered {reply:?} to data", self.name) };
        Ok(())
    }

    /// Who holds data.
    ///
    /// # Errors
    /// If it does not answer, or has not heard of such data.
    pub(super) async fn locate(&self, name: &str) -> Result<DataView> {
        let reply = self.ask(Command::Locate { name: name.to_owned() }).await?;
        let Reply::Located(view) = reply else { bail!("{} answered {reply:?} for data", self.name) };
        Ok(*view)
    }

    /// Declares an emergency.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn declare(&self, level: u8, region: &str) -> Result<EmergencyId> {
        let region = region.to_owned();
        let reply = self.ask(Command::DeclareEmergency { level, region, lifetime_ms: 600_000 }).await?;
        let Reply::EmergencyDeclared { id } = reply else { bail!("{} answered {reply:?} to an emergency", self.name) };
        Ok(id)
    }

    /// Revokes an emergency.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn revoke(&self, id: EmergencyId) -> Result<()> {
        let reply = self.ask(Command::RevokeEmergency { id }).await?;
        let Reply::EmergencyRevoked { .. } = reply else { bail!("{} answered {reply:?} to a revoke", self.name) };
        Ok(())
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn cancel(&self, job: JobId) -> Result<()> {
        let reply = self.ask(Command::Cancel { job }).await?;
        let Reply::Cancelled { .. } = reply else { bail!("{} answered {reply:?} to a cancel", self.name) };
        Ok(())
    }

    /// Switches the policy of the network to this strategy.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn switch(&self, kind: StrategyKind, issuer_rank: u32) -> Result<()> {
        self.set_policy(&Policy::of(kind), issuer_rank).await
    }

    /// Switches the policy of the network.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) async fn set_policy(&self, policy: &Policy, issuer_rank: u32) -> Result<()> {
        let canonical = policy.canonical_bytes();
        let reply = self.ask(Command::SetPolicy { canonical, issuer_rank }).await?;
        let Reply::PolicySet { .. } = reply else { bail!("{} answered {reply:?} to a policy", self.name) };
        Ok(())
    }

    /// Waits until it says that this strategy is in force.
    ///
    /// # Errors
    /// If it does not in time.
    pub(super) async fn follows(&self, kind: StrategyKind) -> Result<()> {
        until(&format!("{} follows {kind:?}", self.name), SOON, async || {
            let reply = self.ask(Command::Policy).await?;
            let Reply::Policy(view) = reply else { bail!("{} answered {reply:?} for the policy", self.name) };
            Ok((view.kind == kind).then_some(()))
        })
        .await
    }

    /// Its counters.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn statistics(&self) -> Result<Statistics> {
        let reply = self.ask(Command::Statistics).await?;
        let Reply::Statistics(statistics) = reply else { bail!("{} answered {reply:?} for counters", self.name) };
        Ok(*statistics)
    }

    /// Waits until it sees another broker in this state.
    ///
    /// # Errors
    /// If it does not in time.
    pub(super) async fn sees(&self, other: &Self, state: &str) -> Result<()> {
        let node = other.node();
        let mut last = String::new();
        let seen = until(&format!("{} sees {} {state}", self.name, other.name), SOON, async || {
            last = self.view_of(node).await?;
            Ok((last == state).then_some(()))
        })
        .await;
        seen.with_context(|| format!("it is {last:?} there"))
    }

    /// The state in which it sees a broker; `unknown` if it has not heard of it.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) async fn view_of(&self, node: NodeId) -> Result<String> {
        let status = self.status().await?;
        let peer = status.peers.iter().find(|peer| peer.node == node);
        Ok(peer.map_or_else(|| "unknown".to_owned(), |peer| format!("{:?}", peer.state).to_lowercase()))
    }
}

/// Waits until all of these brokers hold the same.
///
/// # Errors
/// If they do not in time.
pub(super) async fn agree(brokers: &[&Broker]) -> Result<()> {
    until("the brokers hold the same", SOON, async || {
        let mut digests = Vec::new();
        for broker in brokers {
            digests.push(broker.status().await?.digest);
        }
        digests.dedup();
        Ok((digests.len() == 1).then_some(()))
    })
    .await
}

fn shown(view: Option<&JobView>) -> String {
    match view {
        None => "unknown".to_owned(),
        Some(view) => {
            let (attempts, submissions) = (view.attempts.len(), view.submissions.len());
            format!("{:?} with {attempts} attempts and {submissions} results", view.status)
        }
    }
}

async fn launch(site: &Site, name: &str, door: &str, data: &Path, settings: BrokerSettings<'_>) -> Result<Process> {
    let file = site.broker_file(name, &settings)?;
    let mut command = site.command(true);
    command
        .args(["broker", "--listen", "127.0.0.1:0", "--advertise", door, "--log", "warn,reconvene=info"])
        .args(["--for", LIFETIME])
        .arg("--keys")
        .arg(site.keys())
        .arg("--data")
        .arg(data)
        .arg("--config")
        .arg(file);
    for peer in settings.peers {
        command.args(["--peer", peer.door()]);
    }
    fs::create_dir_all(data)?;
    let process = Process::start(&mut command, site.path(&format!("{name}.log"))).await;
    let process = process.with_context(|| format!("broker {name} did not start"))?;
    site.proxy.place(name, process.port);
    Ok(process)
}

/// Longer than any row. Whatever becomes of the observer, its processes end.
pub(super) const LIFETIME: &str = "10m";

/// How long something that must not happen is waited for, at most.
pub(super) const fn a_moment() -> Duration {
    Duration::from_millis(600)
}
