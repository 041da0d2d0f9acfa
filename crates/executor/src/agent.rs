//! What an executor does, without doing any of it: time, messages and ends of runs go in, messages and starts come out.

use std::collections::{BTreeMap, VecDeque};

use reconvene_clock::{MaxAhead, NodeId, Now, Timestamp};

use self::attempts::{Attempts, Circumstances, Ordered};
use self::home::{Candidates, Home, Seeking, State, Step};
use self::promotion::Heirship;
use self::results::Results;
use crate::answer::Answer;
use crate::config::{AgentConfig, ConfigError};
use crate::event::{Event, StopCause};
use crate::id::{AttemptId, FencingToken, SessionEpoch};
use crate::limits;
use crate::message::{
    Heartbeat, HeldAttempt, HeldSpec, HeldVerdict, LeaseLost, Leave, Order, Refusal, Refused, Register, RosterEntry,
    StopReason, Submit, Terms, ToBroker, ToExecutor,
};
use crate::report::Report;
use crate::rng::Rng;
use crate::spec::{JobSpec, Resources};

mod attempts;
mod home;
mod io;
mod promotion;
mod results;

pub use self::io::{Input, Output};

/// The executor side of the life of a job, as a plain value.
///
/// It registers with a broker and makes it its *home*, sends heartbeats, follows orders that its capacity and the
/// fencing tokens allow, counts leases, and keeps every result until a broker has answered it for good. When the home
/// falls silent, attempts go on, and another broker becomes the home.
///
/// An attempt whose lease has ended goes on too, and its result is submitted; only attempts of jobs that are `fenced`
/// are stopped. A lease is counted from when the request was *sent*, so that it ends here before the broker counts it
/// as ended. Where wall time runs ahead of monotonic time between two inputs, the machine has slept, and all leases
/// count as ended.
///
/// The agent never reads a clock and never waits. Feed it every input as it happens, perform its outputs in order, and
/// feed [`Input::Tick`] at [`next_deadline`](Self::next_deadline). Same configuration, same inputs: same outputs.
/// Nothing is persisted in this version: results that no broker has answered are lost with the process.
///
/// ```
/// use reconvene_clock::{Hlc, NodeId, Now, Timestamp, WallTime};
/// use reconvene_executor::{Agent, AgentConfig, Input, Output, SessionEpoch, ToBroker};
///
/// let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(1_700_000_000_000) };
/// let mut config = AgentConfig::new(SessionEpoch::new(Hlc::from_u64(1), 2), 3);
/// config.brokers = vec!["10.0.0.7:7400".into()];
/// let mut agent = Agent::new(config, now)?;
/// assert_eq!(agent.poll_output(), Some(Output::Connect { address: "10.0.0.7:7400".into() }));
///
/// let broker = NodeId::new([7; 16]);
/// agent.handle(now, Input::LinkUp { broker, address: Some("10.0.0.7:7400".into()) });
/// let Some(Output::Send { to, message: ToBroker::Register(register) }) = agent.poll_output() else { panic!() };
/// assert_eq!((to, register.registration), (broker, 1));
/// # Ok::<(), reconvene_executor::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Agent {
    config: AgentConfig,
    rng: Rng,
    last: Now,
    session: SessionEpoch,
    registration: u64,
    heartbeat: u64,
    submission: u64,
    terms: Terms,
    state: State,
    candidates: Candidates,
    attempts: Attempts,
    results: Results,
    refused: BTreeMap<AttemptId, Refusal>,
    heirship: Heirship,
    draining: bool,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// An agent that begins to look for a home.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: AgentConfig, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut agent = Self {
            rng: Rng::new(config.seed),
            last: now,
            session: config.session,
            registration: 0,
            heartbeat: 0,
            submission: 0,
            terms: config.terms,
            state: State::Seeking(Seeking { step: Step::Pausing, until: now.mono }),
            candidates: Candidates::new(&config),
            attempts: Attempts::default(),
            results: Results::default(),
            refused: BTreeMap::new(),
            heirship: Heirship::new(now.mono),
            draining: false,
            outputs: VecDeque::new(),
            config,
        };
        agent.advance();
        Ok(agent)
    }

    /// Takes in what happened. Never waits, never fails on what brokers or runners say.
    ///
    /// Time that goes back counts as standing still.
    pub fn handle(&mut self, now: Now, input: Input) {
        if matches!(self.state, State::Left) {
            return;
        }
        self.pass_time(now);
        match input {
            Input::Tick => {}
            Input::LinkUp { broker, address } => self.link_up(broker, address),
            Input::LinkDown { broker } => self.link_down(broker),
            Input::ConnectFailed { address } => self.connect_failed(&address),
            Input::Received { from, message } => self.received(from, message),
            Input::Started { attempt } => self.started(attempt),
            Input::Progress { attempt, bp } => {
                if let Some(held) = self.attempts.get_mut(attempt) {
                    held.progress_bp = bp.min(limits::WHOLE_BP);
                }
            }
            Input::Finished { attempt, report } => self.finished(attempt, report),
            Input::Drain => self.drain(),
            Input::Leave => self.leave(),
        }
        self.advance();
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] next, if nothing else comes before. Always after the time of the last input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let protocol = match &self.state {
            State::Left => return None,
            State::Seeking(Seeking { step: Step::Registering { again, .. }, until }) => Some((*again).min(*until)),
            // Nobody to ask: only a link that somebody else makes can help.
            State::Seeking(_) if self.candidates.is_empty() => None,
            State::Seeking(Seeking { step: Step::Pausing | Step::Connecting, until }) => Some(*until),
            State::Home(home) => {
                let orphaned = home.last_answer.saturating_add(self.config.orphan_after_ms);
                let next = if home.linked {
                    let results = self.results.next_due(&self.config);
                    results.map_or(home.heartbeat_due, |due| due.min(home.heartbeat_due))
                } else {
                    home.reconnect_due
                };
                Some(next.min(orphaned))
            }
        };
        [protocol, self.attempts.next_end(), self.attempts.next_stop(), self.promotion_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The session of this run, which brokers may have made it raise.
    #[must_use]
    pub const fn session(&self) -> SessionEpoch {
        self.session
    }

    /// The number of the last registration sent; 0 before the first.
    #[must_use]
    pub const fn registration(&self) -> u64 {
        self.registration
    }

    /// The broker that is the home, if there is one.
    #[must_use]
    pub const fn home(&self) -> Option<NodeId> {
        match &self.state {
            State::Home(home) => Some(home.broker),
            State::Seeking(_) | State::Left => None,
        }
    }

    /// The attempts that run here, in order.
    pub fn held(&self) -> impl Iterator<Item = HeldAttempt> {
        self.attempts.iter()
    }

    /// Whether the attempt runs here and has a lease.
    #[must_use]
    pub fn is_leased(&self, attempt: AttemptId) -> bool {
        self.attempts.is_leased(attempt)
    }

    /// How many results wait for a final answer.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.results.len()
    }

    /// What is free.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.config.capacity.saturating_sub(self.attempts.used())
    }

    /// Whether the executor has left. Nothing happens any more then.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        matches!(self.state, State::Left)
    }

    // Time.

    /// Moves time on, and ends all leases if the machine has slept since the last input.
    fn pass_time(&mut self, now: Now) {
        let mono = now.mono.max(self.last.mono);
        let passed_ms = mono.saturating_since(self.last.mono);
        let ahead_ms = now.wall.saturating_since(self.last.wall).saturating_sub(passed_ms);
        self.last = Now { mono, wall: now.wall };
        if ahead_ms <= self.terms.drift_ms {
            return;
        }
        self.notify(Event::Slept { ahead_ms });
        // How long no broker was heard is not known.
        self.heirship.heard(mono);
        match &mut self.state {
            // What is on its way was asked for before the sleep, and must not give a lease from then.
            State::Home(home) => {
                home.sent.clear();
                home.heartbeat_due = mono;
            }
            State::Seeking(Seeking { step: Step::Registering { sent, again, .. }, .. }) => {
                *sent = None;
                *again = mono;
            }
            State::Seeking(_) | State::Left => {}
        }
        for attempt in self.attempts.ids() {
            self.end_lease(attempt, None);
        }
    }

    /// Does what is due, whatever came in.
    fn advance(&mut self) {
        if self.has_left() {
            return;
        }
        for attempt in self.attempts.expired(self.last.mono) {
            self.end_lease(attempt, None);
        }
        for (attempt, reason) in self.attempts.drained(self.last.mono) {
            self.stop(attempt, StopCause::Ordered(reason));
        }
        if self.draining && self.attempts.len() == 0 && self.results.len() == 0 {
            self.leave();
        }
        let now = self.last.mono;
        if let State::Home(home) = &self.state
            && home.last_answer.saturating_add(self.config.orphan_after_ms) <= now
        {
            self.lose_home();
        }
        self.promote_if_due();
        match &self.state {
            State::Left => {}
            State::Seeking(seeking) => {
                let seeking = *seeking;
                self.seek(seeking);
            }
            State::Home(home) if !home.linked => {
                if home.reconnect_due <= now {
                    self.reconnect();
                }
            }
            State::Home(home) => {
                let (broker, due) = (home.broker, home.heartbeat_due <= now);
                if due {
                    self.send_heartbeat();
                }
                while let Some(submit) = self.results.next(now, &self.config, &mut self.rng) {
                    self.send(broker, ToBroker::Submit(submit));
                }
            }
        }
    }

    // Finding a home.

    fn seek(&mut self, seeking: Seeking) {
        let now = self.last.mono;
        match seeking.step {
            Step::Registering { broker, .. } if seeking.until <= now => self.close_and_go_on(broker),
            Step::Registering { broker, again, wait_ms, behind, .. } => {
                if again <= now {
                    self.register(broker, seeking.until, wait_ms, behind);
                }
            }
            Step::Pausing | Step::Connecting => {
                if seeking.until <= now {
                    self.try_next();
                }
            }
        }
    }

    fn try_next(&mut self) {
        let until = self.last.mono.saturating_add(self.config.discovery_interval_ms);
        let step = match self.candidates.advance() {
            Some(address) => {
                self.push(Output::Connect { address });
                Step::Connecting
            }
            None => Step::Pausing,
        };
        self.state = State::Seeking(Seeking { step, until });
    }

    /// The broker being tried is out of the question: go on with the next one soon, or, if all were tried, when the
    /// discovery interval of this one is over.
    fn give_up_candidate(&mut self) {
        let retry = self.last.mono.saturating_add(self.config.connect_retry_ms);
        if let State::Seeking(seeking) = &mut self.state {
            seeking.until = if self.candidates.round_over() { retry.max(seeking.until) } else { retry };
            seeking.step = Step::Pausing;
        }
    }

    fn lose_home(&mut self) {
        let State::Home(home) = &self.state else { return };
        let (broker, linked) = (home.broker, home.linked);
        let silent_ms = self.last.mono.saturating_since(home.last_answer);
        self.notify(Event::HomeLost { broker, silent_ms });
        self.candidates.start_round();
        if linked {
            self.close_and_go_on(broker);
        } else {
            self.try_next();
        }
    }

    /// Closes the link to a broker that is silent, and tries the next one. Where that is the same one again, its link
    /// is given a moment to close, lest the new one be taken for the old.
    fn close_and_go_on(&mut self, broker: NodeId) {
        self.push(Output::Disconnect { broker });
        if self.candidates.is_only_one() {
            let until = self.last.mono.saturating_add(self.config.connect_retry_ms);
            self.state = State::Seeking(Seeking { step: Step::Pausing, until });
        } else {
            self.try_next();
        }
    }

    fn reconnect(&mut self) {
        if let State::Home(home) = &mut self.state {
            // Should the driver never answer, this is tried again.
            home.reconnect_due = self.last.mono.saturating_add(self.config.discovery_interval_ms);
        }
        // Without an address, only the broker itself can bring the link back.
        if let Some(address) = self.candidates.current().map(ToOwned::to_owned) {
            self.push(Output::Connect { address });
        }
    }

    fn link_up(&mut self, broker: NodeId, address: Option<String>) {
        let now = self.last.mono;
        match &mut self.state {
            State::Home(home) if home.broker == broker => {
                if !home.linked {
                    home.linked = true;
                    home.heartbeat_due = now;
                    home.reconnect_wait_ms = self.config.connect_retry_ms;
                    self.results.all_due(now, &self.config);
                }
            }
            State::Seeking(Seeking { step: Step::Registering { broker: asked, .. }, .. }) if *asked == broker => {}
            // Somebody is asked already. A link that came late is of no use.
            State::Home(_) | State::Seeking(Seeking { step: Step::Registering { .. }, .. }) => {
                self.push(Output::Disconnect { broker });
            }
            State::Seeking(Seeking { step: Step::Pausing | Step::Connecting, .. }) => {
                if address.is_some() {
                    self.candidates.set_current(address);
                }
                let until = now.saturating_add(self.config.discovery_interval_ms);
                self.register(broker, until, self.config.resend_first_ms, 0);
            }
            State::Left => {}
        }
    }

    fn link_down(&mut self, broker: NodeId) {
        let now = self.last.mono;
        match &mut self.state {
            State::Home(home) if home.broker == broker && home.linked => {
                home.linked = false;
                home.reconnect_due = now;
            }
            State::Seeking(Seeking { step: Step::Registering { broker: asked, .. }, .. }) if *asked == broker => {
                self.give_up_candidate();
            }
            State::Home(_) | State::Seeking(_) | State::Left => {}
        }
    }

    fn connect_failed(&mut self, address: &str) {
        if self.candidates.current() != Some(address) {
            return;
        }
        let now = self.last.mono;
        match &mut self.state {
            State::Home(home) if !home.linked => {
                home.reconnect_due = now.saturating_add(self.rng.jitter(home.reconnect_wait_ms).max(1));
                let doubled = home.reconnect_wait_ms.saturating_mul(2);
                home.reconnect_wait_ms = doubled.min(self.config.discovery_interval_ms);
            }
            State::Seeking(Seeking { step: Step::Connecting, .. }) => self.give_up_candidate(),
            State::Home(_) | State::Seeking(_) | State::Left => {}
        }
    }

    /// Sends a registration, which no earlier answer fits.
    fn register(&mut self, broker: NodeId, until: Timestamp, wait_ms: u64, behind: u32) {
        let Some(registration) = self.registration.checked_add(1) else { return self.give_up_candidate() };
        self.registration = registration;
        let now = self.last.mono;
        let step = Step::Registering {
            broker,
            sent: Some(now),
            again: now.saturating_add(wait_ms.max(1)),
            wait_ms: wait_ms.saturating_mul(2).min(self.config.resend_max_ms),
            behind,
        };
        self.state = State::Seeking(Seeking { step, until });
        let register = Register {
            session: self.session,
            registration,
            capacity: self.config.capacity,
            slots: self.config.slots,
            tags: self.config.tags.clone(),
            held: self.attempts.iter().collect(),
            kept: self.results.ids(),
            heir: self.config.promote_at.clone(),
        };
        self.send(broker, ToBroker::Register(register));
    }

    // What brokers say.

    fn received(&mut self, from: NodeId, message: ToExecutor) {
        self.heirship.heard(self.last.mono);
        match message {
            ToExecutor::Registered { session, registration, terms, roster, held } => {
                if (session, registration) == (self.session, self.registration) {
                    self.registered(from, terms, &roster, &held);
                }
            }
            ToExecutor::SessionBehind { known } => self.session_behind(from, known),
            ToExecutor::HeartbeatAnswer { session, registration, sequence, renewed, lost, orders, roster } => {
                if (session, registration) == (self.session, self.registration) && self.hear_home(from) {
                    self.heartbeat_answered(sequence, &renewed, &lost, orders, &roster);
                }
            }
            ToExecutor::NotRegistered { registration } => {
                if registration == self.registration && self.hear_home(from) {
                    let until = self.last.mono.saturating_add(self.config.discovery_interval_ms);
                    self.register(from, until, self.config.resend_first_ms, 0);
                }
            }
            ToExecutor::SubmitAnswer { attempt, sequence, answer } => {
                self.hear_home(from);
                self.submit_answered(attempt, sequence, answer);
            }
            ToExecutor::AskSpec { attempt } => {
                let spec = self.attempts.spec(attempt).or_else(|| self.results.spec(attempt)).cloned();
                if let Some(spec) = spec.filter(|_| self.hear_home(from)) {
                    self.send(from, ToBroker::Spec(HeldSpec { attempt, spec }));
                }
            }
        }
    }

    /// Notes that the home has answered; false if somebody else did.
    fn hear_home(&mut self, from: NodeId) -> bool {
        match &mut self.state {
            State::Home(home) if home.broker == from => {
                home.last_answer = self.last.mono;
                true
            }
            State::Home(_) | State::Seeking(_) | State::Left => false,
        }
    }

    fn registered(&mut self, from: NodeId, terms: Terms, roster: &[RosterEntry], held: &[(AttemptId, HeldVerdict)]) {
        let State::Seeking(Seeking { step: Step::Registering { broker, sent, .. }, .. }) = self.state else { return };
        if broker != from {
            return;
        }
        self.terms = within_limits(terms);
        self.take_roster(roster);
        let now = self.last.mono;
        self.state = State::Home(Home {
            broker,
            linked: true,
            last_answer: now,
            heartbeat_due: now.saturating_add(self.terms.heartbeat_ms),
            sent: sent.into_iter().map(|sent| (0, sent)).collect(),
            reconnect_due: now,
            reconnect_wait_ms: self.config.connect_retry_ms,
        });
        let registration = self.registration;
        self.notify(Event::Registered { broker, registration, held: self.attempts.len(), kept: self.results.len() });
        let verdicts: BTreeMap<_, _> = held.iter().copied().collect();
        for attempt in self.attempts.ids() {
            match (verdicts.get(&attempt), sent) {
                (Some(HeldVerdict::Stop), _) => self.stop(attempt, StopCause::Unwanted),
                (Some(HeldVerdict::Continue), Some(sent)) => self.renew(attempt, sent),
                (Some(HeldVerdict::Continue | HeldVerdict::SubmitOnly) | None, _) => self.end_lease(attempt, None),
            }
        }
        self.results.all_due(now, &self.config);
    }

    fn session_behind(&mut self, from: NodeId, known: SessionEpoch) {
        let State::Seeking(Seeking { step: Step::Registering { broker, wait_ms, behind, .. }, until }) = self.state
        else {
            return;
        };
        // An answer to an earlier registration names a session that we are above already.
        if broker != from || known < self.session {
            return;
        }
        let Ok(start) = known.start.tick_at(self.last.wall, MaxAhead::from_millis(u64::MAX)) else {
            return self.refuse_candidate(broker);
        };
        // A broker whose knowledge outruns every session that we take is broken.
        if behind >= SESSION_RAISES {
            return self.refuse_candidate(broker);
        }
        let to = SessionEpoch { start, random: self.rng.next() };
        self.notify(Event::SessionRaised { from: self.session, to });
        self.session = to;
        self.register(broker, until, wait_ms, behind.saturating_add(1));
    }

    fn refuse_candidate(&mut self, broker: NodeId) {
        self.push(Output::Disconnect { broker });
        self.give_up_candidate();
    }

    fn heartbeat_answered(
        &mut self,
        sequence: u64,
        renewed: &[AttemptId],
        lost: &[LeaseLost],
        orders: Vec<Order>,
        roster: &[RosterEntry],
    ) {
        let State::Home(home) = &mut self.state else { return };
        let sent = home.answered(sequence);
        self.take_roster(roster);
        if let Some(sent) = sent {
            for attempt in renewed {
                self.renew(*attempt, sent);
            }
        }
        for LeaseLost { attempt, successor } in lost {
            self.end_lease(*attempt, *successor);
        }
        for order in orders {
            match order {
                Order::Start { attempt, token, spec, lease_ms } => {
                    // Without the time of sending there is no lease. The order comes again with a later answer.
                    if let Some(sent) = sent {
                        let lease_end = sent.saturating_add(lease_ms.min(limits::TERM_MS));
                        self.order(attempt, token, spec, lease_end);
                    }
                }
                Order::Stop { attempt, reason, drain_ms: 0 } => self.stop(attempt, StopCause::Ordered(reason)),
                Order::Stop { attempt, reason, drain_ms } => self.drain_attempt(attempt, reason, drain_ms),
            }
        }
    }

    fn submit_answered(&mut self, attempt: AttemptId, sequence: u64, answer: Answer) {
        if let Some(answer) = self.results.answer(attempt, sequence, answer, self.last.mono, &self.config) {
            self.notify(Event::ResultAnswered { attempt, answer });
        }
    }

    // Attempts.

    fn order(&mut self, attempt: AttemptId, token: FencingToken, spec: JobSpec, lease_end: Timestamp) {
        let given = Circumstances {
            now: self.last.mono,
            session: self.session,
            lease_end,
            draining: self.draining,
            result_kept: self.results.contains(attempt),
            room_for_result: self.results.has_room(self.attempts.len(), &self.config),
        };
        match self.attempts.order(attempt, token, &spec, &self.config, given) {
            Ordered::New => {
                self.refused.remove(&attempt);
                self.notify(Event::AttemptAccepted { attempt });
                self.push(Output::Run { attempt, spec });
            }
            Ordered::Known => {}
            Ordered::Refused(reason) => {
                self.notify(Event::OrderRefused { attempt, reason });
                // An order whose refusal finds no place is repeated by the broker, and refused again.
                if self.refused.len() < REFUSALS {
                    self.refused.insert(attempt, reason);
                }
            }
        }
        self.heartbeat_soon();
    }

    fn started(&mut self, attempt: AttemptId) {
        if let Some(held) = self.attempts.get_mut(attempt)
            && !held.started
        {
            held.started = true;
            self.notify(Event::AttemptStarted { attempt });
        }
    }

    fn finished(&mut self, attempt: AttemptId, report: Report) {
        // Not held: it was stopped, and its runner had ended before it heard of that.
        let Some(held) = self.attempts.remove(attempt) else { return };
        let report = report.within_limits();
        self.submission = self.submission.saturating_add(1);
        let success = report.outcome.is_success();
        self.notify(Event::AttemptFinished { attempt, success, digest: report.digest });
        let submit = Submit {
            attempt,
            session: held.session,
            sequence: self.submission,
            spec_digest: held.spec_digest,
            digest: report.digest,
            outcome: report.outcome,
            cost_resource_ms: report.cost_resource_ms,
            quality_bp: report.quality_bp,
        };
        self.results.keep(submit, held.spec, self.last.mono, &self.config);
        self.heartbeat_soon();
    }

    fn renew(&mut self, attempt: AttemptId, sent: Timestamp) {
        self.attempts.renew(attempt, sent.saturating_add(self.terms.lease_ms), self.last.mono);
    }

    fn end_lease(&mut self, attempt: AttemptId, successor: Option<AttemptId>) {
        match self.attempts.end_lease(attempt) {
            Some(true) => self.stop(attempt, StopCause::LeaseEnded),
            Some(false) => self.notify(Event::LeaseEnded { attempt, successor }),
            None => {}
        }
    }

    fn stop(&mut self, attempt: AttemptId, cause: StopCause) {
        if self.attempts.remove(attempt).is_some() {
            self.push(Output::Stop { attempt });
            self.notify(Event::AttemptStopped { attempt, cause });
            self.heartbeat_soon();
        }
    }

    /// Lets an attempt come to its end by itself, for so long and no longer.
    fn drain_attempt(&mut self, attempt: AttemptId, reason: StopReason, drain_ms: u64) {
        let until = self.last.mono.saturating_add(drain_ms.min(limits::TERM_MS));
        if self.attempts.drain(attempt, until, reason) {
            self.notify(Event::AttemptDrains { attempt, reason, drain_ms });
        }
    }

    // Heartbeats, and leaving.

    fn send_heartbeat(&mut self) {
        let now = self.last.mono;
        let State::Home(home) = &mut self.state else { return };
        home.heartbeat_due = now.saturating_add(self.terms.heartbeat_ms);
        let Some(sequence) = self.heartbeat.checked_add(1) else { return };
        self.heartbeat = sequence;
        home.note_sent(sequence, now);
        let broker = home.broker;
        let refused = std::mem::take(&mut self.refused);
        let heartbeat = Heartbeat {
            session: self.session,
            registration: self.registration,
            sequence,
            running: self.attempts.iter().collect(),
            kept: self.results.ids(),
            refused: refused.into_iter().map(|(attempt, reason)| Refused { attempt, reason }).collect(),
        };
        self.send(broker, ToBroker::Heartbeat(heartbeat));
    }

    /// There is news for the home: do not wait for the next heartbeat, but for more news.
    fn heartbeat_soon(&mut self) {
        if let State::Home(home) = &mut self.state {
            let soon = self.last.mono.saturating_add((self.terms.heartbeat_ms / EARLY_HEARTBEAT).max(1));
            home.heartbeat_due = home.heartbeat_due.min(soon);
        }
    }

    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.notify(Event::Draining);
        }
    }

    fn leave(&mut self) {
        let held = self.attempts.ids();
        for attempt in &held {
            self.stop(*attempt, StopCause::Leaving);
        }
        let broker = match &self.state {
            State::Home(home) if home.linked => Some(home.broker),
            State::Seeking(Seeking { step: Step::Registering { broker, .. }, .. }) => Some(*broker),
            State::Home(_) | State::Seeking(_) | State::Left => None,
        };
        if let Some(broker) = broker {
            let leave = Leave { session: self.session, registration: self.registration };
            self.send(broker, ToBroker::Leave(leave));
            self.push(Output::Disconnect { broker });
        }
        self.state = State::Left;
        self.notify(Event::Left { stopped: held.len(), unanswered: self.results.len() });
    }

    // Outputs.

    fn send(&mut self, to: NodeId, message: ToBroker) {
        self.push(Output::Send { to, message });
    }

    fn notify(&mut self, event: Event) {
        #[cfg(feature = "tracing")]
        tracing::debug!(session = %self.session, ?event, "executor");
        self.push(Output::Notify(event));
    }

    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

/// News reaches the home within this part of the heartbeat interval.
const EARLY_HEARTBEAT: u64 = 25;

/// Refusals that wait for the next heartbeat.
const REFUSALS: usize = 1_024;

/// How often a session is raised for one broker.
const SESSION_RAISES: u32 = 8;

/// Terms that may not have gone through the codec.
fn within_limits(terms: Terms) -> Terms {
    Terms {
        lease_ms: terms.lease_ms.clamp(1, limits::TERM_MS),
        heartbeat_ms: terms.heartbeat_ms.clamp(1, limits::TERM_MS),
        drift_ms: terms.drift_ms.min(limits::TERM_MS),
    }
}

#[cfg(test)]
mod tests;
