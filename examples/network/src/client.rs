//! Asking a broker.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reconvene_broker::{
    BundleRequest, Command, CommandError, Explanation, JobView, NodeStatus, PAGE_JOBS, Reply, Statistics, Subject,
    client::{self, Call, ClientReply, ClientRequest, Outcome},
};
use reconvene_clock::NodeId;
use reconvene_executor::JobId;
use reconvene_transport_quic::{Advertise, Endpoint, EndpointConfig, LinkEvent, Links, Protocol};
use tokio::time::timeout;

use crate::{
    config::{HostPort, Plain as _},
    exit::Failure,
    keys, service,
};

/// Flags of every command that asks a broker.
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// The broker to ask.
    #[arg(
        long,
        env = "RECONVENE_CONNECT",
        value_name = "ADDR",
        default_value_t = HostPort::local(),
        value_parser = HostPort::read,
    )]
    connect: HostPort,
    /// Where the network's keys are [default: reconvene/keys in the user's data directory].
    #[arg(long, env = "RECONVENE_KEYS", value_name = "DIR")]
    keys: Option<PathBuf>,
}

impl ConnectArgs {
    /// The broker at this address, with the keys in this directory.
    pub(crate) const fn new(connect: HostPort, keys: PathBuf) -> Self {
        Self { connect, keys: Some(keys) }
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    links: Links,
    broker: NodeId,
    address: String,
    last_request: u64,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The broker said no, and nothing changed.
    #[error("the broker at {address} refused")]
    Refused {
        address: String,
        #[source]
        source: CommandError,
    },
    /// A bundle was not made, or a fragment not taken in; nothing changed.
    #[error("the broker at {address} refused: {reason}")]
    Bundle { address: String, reason: String },
    /// The answer is too long for a frame. If the call was to change something, it has.
    #[error("the answer of the broker at {address} is too long")]
    TooLarge { address: String },
    /// There is no telling whether the broker has done it.
    #[error("no answer from the broker at {address}")]
    Unanswered {
        address: String,
        #[source]
        source: anyhow::Error,
    },
}

/// A bundle that waits to be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) fragments: u32,
    pub(crate) bytes: u64,
    pub(crate) whole: bool,
}

/// What has come of the bundle that a fragment is of.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) bundle: String,
    pub(crate) applied: u32,
    pub(crate) fragments: u32,
    pub(crate) claimed: bool,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else a broker says does not answer the question")]
impl Client {
    /// Connects to the broker as a new node with a certificate of the network.
    ///
    /// # Errors
    /// If there are no keys, nobody answers, or who answers is of another network.
    pub(crate) async fn connect(args: &ConnectArgs) -> Result<Self, Failure> {
        let dir = keys::dir(args.keys.clone())?;
        let authority = keys::load(&dir)?;
        let identity = authority.issue()?;
        let address = args.connect.as_str().to_owned();
        let here = local_address_for(&address).await;
        let config = EndpointConfig::default().with_network(service::network()).with_advertise(Advertise::Nothing);
        let endpoint = Endpoint::bind(here, &identity, config)?;
        let links = endpoint.links(Protocol::Client).context("this endpoint has no links to brokers")?;
        match links.connect(&address).await {
            Ok(broker) => Ok(Self { endpoint, links, broker, address, last_request: 0 }),
            Err(error) => {
                endpoint.close().await;
                let advice = format!(
                    "cannot reach a broker at {address} with the keys in {}; see that one runs there and has the \
                     same keys ('--connect <ADDR>' and '--keys <DIR>' name others)",
                    dir.display()
                );
                Err(anyhow::Error::from(error).context(advice).into())
            }
        }
    }

    /// The address that was dialled.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Has a command carried out.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn command(&mut self, command: Command) -> Result<Reply, CallError> {
        match self.call(Call::Command(Box::new(command))).await? {
            Outcome::Done(reply) => Ok(*reply),
            Outcome::Refused(source) => Err(CallError::Refused { address: self.address.clone(), source }),
            other => Err(self.no_such_answer(&other)),
        }
    }

    /// How the broker is.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn status(&mut self) -> Result<NodeStatus, CallError> {
        match self.call(Call::Status).await? {
            Outcome::Status(status) => Ok(*status),
            other => Err(self.no_such_answer(&other)),
        }
    }

    /// Has a bundle made, to be fetched fragment by fragment.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn make_bundle(&mut self, request: BundleRequest) -> Result<Made, CallError> {
        match self.call(Call::MakeBundle(request)).await? {
            Outcome::BundleMade { fragments, bytes, whole } => Ok(Made { fragments, bytes, whole }),
            other => Err(self.no_such_answer(&other)),
        }
    }

    /// A fragment of the bundle that was made last.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn fragment(&mut self, index: u32) -> Result<Vec<u8>, CallError> {
        match self.call(Call::Fragment { index }).await? {
            Outcome::Fragment(bytes) => Ok(bytes),
            other => Err(self.no_such_answer(&other)),
        }
    }

    /// Hands over a fragment of a bundle; it is durable once this returns.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn take_fragment(&mut self, bytes: Vec<u8>) -> Result<Taken, CallError> {
        match self.call(Call::TakeFragment { bytes }).await? {
            Outcome::FragmentTaken { bundle, applied, fragments, claimed } => {
                Ok(Taken { bundle, applied, fragments, claimed })
            }
            other => Err(self.no_such_answer(&other)),
        }
    }

    /// One job with its result.
    ///
    /// # Errors
    /// [`CallError`]; a job that the broker does not know is refused.
    pub(crate) async fn job(&mut self, job: JobId) -> Result<JobView, CallError> {
        let reply = self.command(Command::Job { job }).await?;
        let Reply::Job(view) = reply else { return Err(self.unanswered(unexpected(&reply))) };
        Ok(*view)
    }

    /// Why a job or a result is where it is.
    ///
    /// # Errors
    /// [`CallError`]; a job or result that the broker does not know is refused.
    pub(crate) async fn explain(&mut self, of: Subject) -> Result<Explanation, CallError> {
        let reply = self.command(Command::Explain { of }).await?;
        let Reply::Explanation(explanation) = reply else { return Err(self.unanswered(unexpected(&reply))) };
        Ok(*explanation)
    }

    /// Every counter of the broker.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn statistics(&mut self) -> Result<Statistics, CallError> {
        let reply = self.command(Command::Statistics).await?;
        let Reply::Statistics(statistics) = reply else { return Err(self.unanswered(unexpected(&reply))) };
        Ok(*statistics)
    }

    /// Every job that the broker knows.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn jobs(&mut self) -> Result<Vec<JobView>, CallError> {
        let mut found: Vec<JobView> = Vec::new();
        let mut limit = PAGE_JOBS;
        loop {
            let after = found.last().map(|job| job.id);
            match self.command(Command::Jobs { after, limit }).await {
                Ok(Reply::Jobs { jobs, more }) => {
                    let ends = !more || jobs.is_empty();
                    found.extend(jobs);
                    if ends {
                        return Ok(found);
                    }
                }
                Ok(other) => return Err(self.unanswered(unexpected(&other))),
                // Jobs with many attempts are long: fewer of them fit.
                Err(CallError::TooLarge { .. }) if limit > 1 => limit = limit.div_euclid(2),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says good-bye.
    pub(crate) async fn close(self) {
        self.endpoint.close().await;
    }

    async fn call(&mut self, call: Call) -> Result<Outcome, CallError> {
        self.last_request = self.last_request.wrapping_add(1);
        let request = self.last_request;
        let answered = timeout(ANSWER_WITHIN, self.exchange(ClientRequest { request, call })).await;
        let outcome = answered.unwrap_or_else(|_| Err(anyhow!("it took longer than {} s", ANSWER_WITHIN.as_secs())));
        outcome.map_err(|error| self.unanswered(error))
    }

    async fn exchange(&self, request: ClientRequest) -> anyhow::Result<Outcome> {
        let number = request.request;
        self.links.send(self.broker, &client::encode_request(&request)?)?;
        loop {
            match self.links.recv().await? {
                LinkEvent::Frame { from, frame } if from == self.broker => {
                    let ClientReply { request, outcome } = client::decode_reply(&frame)?;
                    // The answer to a call that was given up may come late.
                    if request == number {
                        return Ok(outcome);
                    }
                }
                LinkEvent::LinkDown { peer } if peer == self.broker => {
                    return Err(anyhow!("it closed the connection"));
                }
                LinkEvent::Frame { .. } | LinkEvent::LinkDown { .. } | LinkEvent::LinkUp { .. } => {}
            }
        }
    }

    /// What an answer means that does not fit the question.
    fn no_such_answer(&self, answer: &Outcome) -> CallError {
        let address = self.address.clone();
        match answer {
            Outcome::BundleRefused(reason) => CallError::Bundle { address, reason: reason.clone() },
            Outcome::TooLarge => CallError::TooLarge { address },
            other => self.unanswered(unexpected(other)),
        }
    }

    fn unanswered(&self, source: anyhow::Error) -> CallError {
        CallError::Unanswered { address: self.address.clone(), source }
    }
}

/// Gives one command to a broker and tells what came of it; `tell` says `None` to an answer that does not fit.
///
/// # Errors
/// [`CallError`], or what `tell` fails with.
pub(crate) fn ask(
    connect: &ConnectArgs,
    command: Command,
    tell: impl FnOnce(Reply) -> Option<Result<(), Failure>>,
) -> Result<(), Failure> {
    service::block_on(async {
        let mut client = Client::connect(connect).await?;
        let reply = client.command(command).await?;
        let strange = client.unanswered(unexpected(&reply));
        client.close().await;
        tell(reply).unwrap_or_else(|| Err(strange.into()))
    })
}

fn unexpected(answer: &impl std::fmt::Debug) -> anyhow::Error {
    let shown: String = format!("{answer:?}").chars().take(100).collect();
    anyhow!("it answered something else: {shown}")
}

/// Where to bind in order to dial this address: any port, of the family that reaches it.
pub(crate) async fn local_address_for(address: &str) -> SocketAddr {
    let resolved = timeout(RESOLVE_WITHIN, tokio::net::lookup_host(address)).await;
    let first = resolved.ok().and_then(Result::ok).and_then(|mut found| found.next());
    if first.is_some_and(|first| first.is_ipv6()) {
        // Reaches IPv4 as well where the system allows it.
        SocketAddr::from(([0_u16; 8], 0))
    } else {
        // Also for a name that is not known now: the dial tells what is wrong with it.
        SocketAddr::from(([0_u8; 4], 0))
    }
}

/// Reads never wait for peers and a change only for the store, so that a broker that is well answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
