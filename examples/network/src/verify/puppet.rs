//! An executor in the observer's own hands: it says what a row wants it to say, when it wants, and hears every answer.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use reconvene_clock::{Hlc, MaxAhead, NodeId, SystemTimeSource, TimeSource as _};
use reconvene_executor::{
    Answer, AttemptId, FencingToken, JobId, JobSpec, Outcome, Resources, ResultDigest, SessionEpoch, Tag, codec,
    message::{Heartbeat, HeldAttempt, HeldVerdict, Order, Register, StopReason, Submit, Terms, ToBroker, ToExecutor},
};
use reconvene_transport_quic::{Advertise, Endpoint, EndpointConfig, LinkEvent, Links, Protocol};
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};

use super::{
    broker::Broker,
    site::Site,
    wait::{SOON, until},
};
use crate::service;

/// An executor without a process: its messages are written here, by the same rules.
#[derive(Debug)]
pub(super) struct Puppet {
    links: Links,
    _endpoint: Endpoint,
    state: Rc<RefCell<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    session: SessionEpoch,
    registration: u64,
    sequence: u64,
    home: Option<NodeId>,
    /// Neither says anything.
    silent: bool,
    /// The last registration that was answered, and what was said to the attempts held.
    registered: Option<(u64, Vec<(AttemptId, HeldVerdict)>)>,
    terms: Option<Terms>,
    /// Whatever was ordered ever.
    given: BTreeMap<AttemptId, (FencingToken, JobSpec)>,
    running: BTreeSet<AttemptId>,
    kept: BTreeSet<AttemptId>,
    stopped: Vec<(AttemptId, StopReason)>,
    answers: Vec<(AttemptId, u64, Answer)>,
    /// Heartbeats that were answered with their own number.
    answered: u64,
    slots: u32,
    tags: BTreeSet<Tag>,
}

/// A result as the puppet submits it.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) sequence: u64,
    pub(super) output: &'a str,
    pub(super) quality_bp: u16,
    /// Another specification than the job's is said to have been run.
    pub(super) stale: bool,
}

impl<'a> Claim<'a> {
    pub(super) const fn new(sequence: u64, output: &'a str) -> Self {
        Self { sequence, output, quality_bp: 10_000, stale: false }
    }

    pub(super) fn digest(&self) -> ResultDigest {
        ResultDigest::of(self.output.as_bytes())
    }
}

impl Puppet {
    pub(super) async fn join(site: &Site, home: &Broker) -> Result<Self> {
        let puppet = Self::new(site, 1, &[])?;
        puppet.register(home).await?;
        Ok(puppet)
    }

    /// One that has not registered anywhere.
    ///
    /// # Errors
    /// If it finds no socket.
    pub(super) fn new(site: &Site, slots: u32, tags: &[&str]) -> Result<Self> {
        let config = EndpointConfig::default().with_network(service::network()).with_advertise(Advertise::Nothing);
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into(), &site.authority.issue()?, config)?;
        let links = endpoint.links(Protocol::Executor).context("an endpoint without links for executors")?;
        let start = Hlc::default().tick_at(SystemTimeSource::new().now(), MaxAhead::from_millis(u64::MAX))?;
        let tags = tags.iter().map(|tag| Ok(Tag::new(*tag)?)).collect::<Result<_>>()?;
        let state = Rc::new(RefCell::new(State {
            session: SessionEpoch::new(start, 1),
            registration: 0,
            sequence: 0,
            home: None,
            silent: false,
            registered: None,
            terms: None,
            given: BTreeMap::new(),
            running: BTreeSet::new(),
            kept: BTreeSet::new(),
            stopped: Vec::new(),
            answers: Vec::new(),
            answered: 0,
            slots,
            tags,
        }));
        let beat = Duration::from_millis(site.scaled_ms(5_000));
        let task = tokio::task::spawn_local(live(links.clone(), Rc::clone(&state), beat));
        Ok(Self { links, _endpoint: endpoint, state, task })
    }

    pub(super) fn node(&self) -> NodeId {
        self.links.node_id()
    }

    /// Makes a broker its home, in the same session, with what it runs and keeps. What the broker says to each attempt.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub(super) async fn register(&self, home: &Broker) -> Result<Vec<(AttemptId, HeldVerdict)>> {
        let node = self.links.connect(&home.address()).await?;
        let again = Duration::from_secs(2);
        let mut sent: Option<Instant> = None;
        self.state.borrow_mut().silent = false;
        until("an executor is registered", SOON, async || {
            let mut state = self.state.borrow_mut();
            let number = state.registration;
            if sent.is_some()
                && let Some((_, held)) = state.registered.take_if(|(answered, _)| *answered == number)
            {
                state.home = Some(node);
                return Ok(Some(held));
            }
            if sent.is_none_or(|sent| sent.elapsed() > again) {
                sent = Some(Instant::now());
                state.registration = number.saturating_add(1);
                state.home = None;
                let register = ToBroker::Register(Register {
                    session: state.session,
                    registration: state.registration,
                    capacity: Resources::new(
                        u64::from(state.slots).saturating_mul(1_000),
                        u64::from(state.slots).saturating_mul(1_024),
                        0,
                    ),
                    slots: state.slots,
                    tags: state.tags.clone(),
                    held: state.held(),
                    kept: state.kept.iter().copied().collect(),
                    heir: None,
                });
                self.links.send(node, &codec::encode_to_broker(&register)?)?;
            }
            Ok(None)
        })
        .await
    }

    /// Says and answers nothing from now on.
    pub(super) fn fall_silent(&self) {
        self.state.borrow_mut().silent = true;
    }

    /// How many of its heartbeats were answered, each with its own number.
    pub(super) fn heartbeats_answered(&self) -> u64 {
        self.state.borrow().answered
    }

    /// Waits for an order to start an attempt of the job other than the ones it knows of.
    ///
    /// # Errors
    /// If none comes.
    pub(super) async fn is_given(&self, job: JobId) -> Result<AttemptId> {
        until("an executor is given the job", SOON, async || Ok(self.holds(job))).await
    }

    /// The attempt of the job that it runs, if any.
    pub(super) fn holds(&self, job: JobId) -> Option<AttemptId> {
        self.state.borrow().running.iter().rfind(|attempt| attempt.job == job).copied()
    }

    /// Waits until it is told to stop an attempt.
    ///
    /// # Errors
    /// If it is not.
    pub(super) async fn is_stopped(&self, attempt: AttemptId) -> Result<StopReason> {
        until("an executor is told to stop", SOON, async || {
            let state = self.state.borrow();
            Ok(state.stopped.iter().find(|(stopped, _)| *stopped == attempt).map(|(_, reason)| *reason))
        })
        .await
    }

    /// Submits a result of an attempt at a broker and waits for its answer.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn submit(&self, to: &Broker, attempt: AttemptId, claim: &Claim<'_>) -> Result<Answer> {
        let spec = self.state.borrow().given.get(&attempt).map(|(_, spec)| spec.clone());
        let spec = spec.context("a puppet submits only what it was given")?;
        self.submit_of(to, attempt, &spec, claim).await
    }

    /// The same for an attempt that it was never given.
    ///
    /// # Errors
    /// If there is no answer.
    pub(super) async fn submit_of(
        &self,
        to: &Broker,
        attempt: AttemptId,
        spec: &JobSpec,
        claim: &Claim<'_>,
    ) -> Result<Answer> {
        let node = self.links.connect(&to.address()).await?;
        let before = self.state.borrow().answers.len();
        let (session, spec) = {
            let mut state = self.state.borrow_mut();
            state.running.remove(&attempt);
            state.kept.insert(attempt);
            (state.session, if claim.stale { spec.clone().with_value(7) } else { spec.clone() })
        };
        let submit = ToBroker::Submit(Submit {
            attempt,
            session,
            sequence: claim.sequence,
            spec_digest: spec.digest(),
            digest: claim.digest(),
            outcome: Outcome::Success { output: claim.output.as_bytes().to_vec() },
            cost_resource_ms: 1_000,
            quality_bp: claim.quality_bp,
        });
        self.links.send(node, &codec::encode_to_broker(&submit)?)?;
        until("a result is answered", SOON, async || {
            let state = self.state.borrow();
            let mut answers = state.answers.iter().skip(before);
            Ok(answers.find(|(to, number, _)| (*to, *number) == (attempt, claim.sequence)).map(|(.., answer)| *answer))
        })
        .await
    }

    /// Waits for a final answer to a submission, also one that comes unasked.
    ///
    /// # Errors
    /// If none comes.
    pub(super) async fn final_answer(&self, attempt: AttemptId, sequence: u64) -> Result<Answer> {
        until("a final answer comes", SOON, async || {
            let state = self.state.borrow();
            let mut answers =
                state.answers.iter().rev().filter(|(to, number, _)| (*to, *number) == (attempt, sequence));
            Ok(answers.find(|(.., answer)| answer.is_final()).map(|(.., answer)| *answer))
        })
        .await
    }

    /// Sends bytes that are no message at all.
    ///
    /// # Errors
    /// If there is no link.
    pub(super) async fn send_raw(&self, to: &Broker, bytes: &[u8]) -> Result<()> {
        let node = self.links.connect(&to.address()).await?;
        Ok(self.links.send(node, bytes)?)
    }

    /// How leases and heartbeats are kept, as a broker told it.
    pub(super) fn terms(&self) -> Option<Terms> {
        self.state.borrow().terms
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn held(&self) -> Vec<HeldAttempt> {
        let held = self.running.iter().filter_map(|attempt| self.given.get_key_value(attempt));
        held.map(|(attempt, (token, _))| HeldAttempt { attempt: *attempt, token: *token, progress_bp: 5_000 }).collect()
    }

    /// What it says now and then, and to whom.
    fn heartbeat(&mut self) -> Option<(NodeId, ToBroker)> {
        let home = self.home.filter(|_| !self.silent)?;
        self.sequence = self.sequence.saturating_add(1);
        let heartbeat = Heartbeat {
            session: self.session,
            registration: self.registration,
            sequence: self.sequence,
            running: self.held(),
            kept: self.kept.iter().copied().collect(),
            refused: Vec::new(),
        };
        Some((home, ToBroker::Heartbeat(heartbeat)))
    }

    fn hear(&mut self, message: ToExecutor) {
        match message {
            ToExecutor::Registered { registration, terms, held, .. } => {
                self.registered = Some((registration, held));
                self.terms = Some(terms);
            }
            ToExecutor::HeartbeatAnswer { sequence, orders, .. } => {
                if sequence > 0 && sequence == self.sequence {
                    self.answered = self.answered.saturating_add(1);
                }
                orders.into_iter().for_each(|order| self.obey(order));
            }
            ToExecutor::SubmitAnswer { attempt, sequence, answer } => {
                if answer.is_final() {
                    self.kept.remove(&attempt);
                }
                self.answers.push((attempt, sequence, answer));
            }
            ToExecutor::SessionBehind { .. } | ToExecutor::NotRegistered { .. } | ToExecutor::AskSpec { .. } => {}
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start { attempt, token, spec, .. } => {
                // An order is repeated until it shows in a heartbeat.
                if self.given.insert(attempt, (token, spec)).is_none() {
                    self.running.insert(attempt);
                }
            }
            Order::Stop { attempt, reason, .. } => {
                self.running.remove(&attempt);
                self.stopped.push((attempt, reason));
            }
        }
    }
}

/// Heartbeats and answers, until the task is ended.
async fn live(links: Links, state: Rc<RefCell<State>>, beat: Duration) {
    let mut beats = interval(beat.max(Duration::from_millis(10)));
    loop {
        tokio::select! {
            _ = beats.tick() => {
                let Some((home, heartbeat)) = state.borrow_mut().heartbeat() else { continue };
                if let Ok(frame) = codec::encode_to_broker(&heartbeat) {
                    // A broker that is gone does not hear it.
                    let _ = links.send(home, &frame);
                }
            }
            event = links.recv() => match event {
                Ok(LinkEvent::Frame { frame, .. }) => {
                    let mut state = state.borrow_mut();
                    if !state.silent && let Ok(message) = codec::decode_to_executor(&frame) {
                        state.hear(message);
                    }
                }
                Ok(LinkEvent::LinkUp { .. } | LinkEvent::LinkDown { .. }) => {}
                Err(_) => return,
            },
        }
    }
}
