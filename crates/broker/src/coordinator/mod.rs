//! The life of jobs on one broker: a value that folds facts, decides, and says what to do.

mod commands;
mod compaction;
mod data;
mod displaced;
mod elsewhere;
mod emergencies;
mod executors;
mod explain;
mod finality;
mod heartbeats;
mod jobs;
mod limits;
mod outbox;
mod ownership;
mod parked;
mod placement;
mod policies;
mod preemption;
mod quarantine;
mod queue;
mod reappearance;
mod recall;
mod registration;
mod reservations;
mod results;
mod retirement;
mod storm;
mod suspicion;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{Height, Hlc, MaxAhead, NodeId, Now, ReplicaId, Timestamp, VectorClock, WallTime};
use reconvene_executor::message::{ToBroker, ToExecutor};
use reconvene_executor::{EmergencyId, JobId, SubmissionId};
use reconvene_resolve::{PolicyId, PreemptionBudget};
use reconvene_store::{Identity, PlanError, Record, sabotage};
use reconvene_sync::{Member, NewWrite, Ticket};

use self::compaction::Compaction;
use self::executors::Homed;
use self::finality::Ladder;
use self::jobs::{Local, Trouble};
use self::limits::{Recovered, Unattested};
use self::outbox::{Effect, Next, Outbox};
use self::ownership::{Owner, Peer};
use self::parked::Parked;
use self::policies::InForce;
use self::quarantine::Lately;
use self::queue::Queue;
use self::reservations::Reservations;
use self::storm::StormGuard;
use self::timers::{Timer, Timers};
use crate::by_job::ByJob;
use crate::event::StormEnd;
use crate::fact::DataId;
use crate::peer::PeerMessage;
use crate::statistics::count;
use crate::view::{Change, Content, SetAside, View};
use crate::{Command, CommandError, Config, Event, EventKind, ExecutorView, Fact, FactKey, JobView, Reply, Statistics};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new input must break every driver at compile time")]
pub enum Input {
    /// A deadline may have passed.
    Tick,
    /// Rows of the store after a durable change, whoever made it.
    Facts(Vec<Record>),
    /// A write is durable.
    Written {
        /// As in [`Output::Write`].
        ticket: Ticket,
    },
    /// A write was not made. Nothing of it is in the store.
    WriteRefused {
        /// As in [`Output::Write`].
        ticket: Ticket,
        /// Why.
        error: PlanError,
    },
    /// An executor can be reached.
    ExecutorUp {
        /// The executor, by the transport's word.
        executor: NodeId,
    },
    /// An executor cannot be reached at the moment. Nothing is concluded from that but where to send.
    ExecutorDown {
        /// The executor.
        executor: NodeId,
    },
    /// An executor says something.
    FromExecutor {
        /// The executor, by the transport's word.
        from: NodeId,
        /// What it says.
        message: ToBroker,
    },
    /// Another broker says something.
    FromPeer {
        /// The broker, by the transport's word.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// A broker was heard, directly or through others.
    PeerHeard {
        /// The broker.
        node: NodeId,
    },
    /// A pull from a broker is complete: what it knew is known here.
    PeerSynced {
        /// The broker.
        node: NodeId,
    },
    /// Every member has acknowledged what this clock covers, and what each of them had by then is known here.
    Stable {
        /// The clock.
        through: VectorClock,
    },
    /// This broker is about to leave. Changes nothing; what the network loses with it is reported.
    Leaving,
    /// A broker has said that it leaves.
    PeerLeft {
        /// The broker.
        node: NodeId,
    },
    /// A client asks for something.
    Command {
        /// Chosen by the caller, echoed in [`Output::Reply`].
        ticket: Ticket,
        /// What it asks for.
        command: Command,
    },
}

/// Everything a [`Coordinator`] asks of its driver. To be performed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an unperformed output is a lost effect"]
#[expect(clippy::exhaustive_enums, reason = "a new effect must break every driver at compile time")]
pub enum Output {
    /// Write these facts as one batch, and answer with [`Input::Written`] or [`Input::WriteRefused`].
    Write {
        /// Echoed in the answer. Tickets of writes and of commands are apart.
        ticket: Ticket,
        /// The facts.
        writes: Vec<NewWrite>,
    },
    /// Write down that this replica will not return, as `sync::Input::Retire` does, and answer as to a write.
    Retire {
        /// Echoed in the answer; from the same numbers as those of writes.
        ticket: Ticket,
        /// The replica.
        replica: ReplicaId,
    },
    /// Best effort: may be lost, repeated or late.
    SendExecutor {
        /// The executor.
        to: NodeId,
        /// What to say.
        message: ToExecutor,
    },
    /// Best effort, as well.
    SendPeer {
        /// The broker.
        to: NodeId,
        /// What to say.
        message: PeerMessage,
    },
    /// The answer to a command. What it says is durable here.
    Reply {
        /// As in [`Input::Command`].
        ticket: Ticket,
        /// The answer.
        reply: Result<Reply, CommandError>,
    },
    /// Something to report. What it speaks of is durable here.
    Notify(Event),
}

/// One broker's part in the life of jobs.
///
/// It folds facts, its own and those that arrive, into one view; places the jobs it owns on the executors that are
/// registered here; judges results; and takes over jobs whose owner is silent. It does no I/O and reads no clock.
///
/// ```
/// use reconvene_broker::{Command, Config, Coordinator, Input, Output, Reply, StrategyKind};
/// use reconvene_clock::{NodeId, Now, ReplicaId, Timestamp, WallTime};
/// use reconvene_executor::JobSpec;
/// use reconvene_store::Identity;
/// use reconvene_sync::Ticket;
///
/// let own = Identity { node: NodeId::new([1; 16]), replica: ReplicaId::new(7).unwrap(), incarnation: 1 };
/// let now = Now { mono: Timestamp::from_millis(0), wall: WallTime::from_millis(1_000) };
/// let config = Config::new(StrategyKind::FirstComeFirstServed).build()?;
/// let mut broker = Coordinator::open(config, own, Vec::new(), now);
///
/// let command = Command::Submit { spec: JobSpec::new(b"work".to_vec()) };
/// broker.handle(now, Input::Command { ticket: Ticket(1), command });
/// let Some(Output::Write { ticket, .. }) = broker.poll_output() else { panic!("the job is written first") };
/// assert!(broker.poll_output().is_none(), "nothing is answered before it is durable");
///
/// broker.handle(now, Input::Written { ticket });
/// let reply = core::iter::from_fn(|| broker.poll_output()).find_map(|output| match output {
///     Output::Reply { reply, .. } => Some(reply),
///     _ => None,
/// });
/// assert!(matches!(reply, Some(Ok(Reply::Submitted { .. }))));
/// # Ok::<(), reconvene_broker::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    own: Identity,
    view: View,
    at: Moment,
    /// How long this value was not called when it should have been. Silence during that time is nobody's.
    slept_ms: u64,
    last_call: Timestamp,
    /// When this value was opened.
    opened: Timestamp,
    stamp: Hlc,
    height: Option<Height>,
    last_job: u64,
    last_submission: u64,
    last_emergency: u64,
    last_event: u64,
    outbox: Outbox,
    timers: Timers,
    dirty: BTreeSet<JobId>,
    locals: ByJob<Box<Local>>,
    troubles: BTreeMap<JobId, Trouble>,
    queue: Queue,
    /// Waiting jobs that no executor of ours could run even when idle.
    stranded: BTreeSet<JobId>,
    /// Jobs that have begun to wait in this call.
    waiting: BTreeSet<JobId>,
    placing: bool,
    handing: bool,
    /// The capacity here has changed, and with it the rank of waiting jobs.
    rank_again: bool,
    homed: BTreeMap<NodeId, Homed>,
    reserved: Reservations,
    /// Of preemptions: this broker's, and those of clients that used some lately.
    budget: PreemptionBudget,
    budgets: BTreeMap<String, PreemptionBudget>,
    linked: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    owners: BTreeMap<ReplicaId, Owner>,
    /// Set while a broker that came back has not yet learned what happened meanwhile.
    learning: bool,
    /// While the store's records are folded at the opening.
    loading: bool,
    parked: Parked,
    unattested: Unattested,
    recovered: Recovered,
    /// Executors that had their home here and do not serve here any more.
    departed: BTreeSet<NodeId>,
    storm: StormGuard,
    lately_lost: Lately,
    in_force: InForce,
    ladder: Ladder,
    compaction: Compaction,
    /// Policies that are durable here.
    defined: BTreeSet<PolicyId>,
    declared: VecDeque<Timestamp>,
    standing: BTreeSet<EmergencyId>,
    known_emergencies: BTreeSet<EmergencyId>,
    /// Names under which there are different data.
    divergent: BTreeMap<DataId, BTreeSet<Content>>,
    statistics: Statistics,
}

/// The time of a call: monotonic time without what was slept, and wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) mono: Timestamp,
    pub(crate) wall: WallTime,
}

impl Coordinator {
    /// The coordinator of a broker whose store holds `records`.
    ///
    /// A broker that comes back to jobs of its own first learns from a peer what happened meanwhile, or waits for twice
    /// the discovery interval, before it places or claims anything.
    #[must_use]
    pub fn open(config: Config, own: Identity, records: Vec<Record>, now: Now) -> Self {
        let at = Moment { mono: now.mono, wall: now.wall };
        let retries = config.retries;
        let in_force = InForce::configured(&config.policy);
        let mut coordinator = Self {
            config,
            own,
            view: View::new(retries),
            at,
            slept_ms: 0,
            last_call: now.mono,
            opened: now.mono,
            stamp: Hlc::default(),
            height: None,
            last_job: 0,
            last_submission: 0,
            last_emergency: 0,
            last_event: 0,
            outbox: Outbox::default(),
            timers: Timers::default(),
            dirty: BTreeSet::new(),
            locals: ByJob::default(),
            troubles: BTreeMap::new(),
            queue: Queue::default(),
            stranded: BTreeSet::new(),
            waiting: BTreeSet::new(),
            placing: false,
            handing: false,
            rank_again: false,
            homed: BTreeMap::new(),
            reserved: Reservations::default(),
            budget: PreemptionBudget::default(),
            budgets: BTreeMap::new(),
            linked: BTreeSet::new(),
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
            learning: false,
            loading: true,
            parked: Parked::default(),
            unattested: Unattested::default(),
            recovered: Recovered::default(),
            departed: BTreeSet::new(),
            storm: StormGuard::default(),
            lately_lost: Lately::default(),
            in_force,
            ladder: Ladder::default(),
            compaction: Compaction::default(),
            defined: BTreeSet::new(),
            declared: VecDeque::new(),
            standing: BTreeSet::new(),
            known_emergencies: BTreeSet::new(),
            divergent: BTreeMap::new(),
            statistics: Statistics::default(),
        };
        coordinator.load(&records);
        coordinator
    }

    fn load(&mut self, records: &[Record]) {
        self.fold(records);
        if self.view.open_count(self.own.replica) > 0 {
            self.learning = true;
            let alone = self.config.discovery_interval_ms.saturating_mul(2);
            self.arm(Timer::Alone, alone);
        }
        self.count_recovered();
        self.resume_homes();
        self.repeat_notices();
        self.settle_down();
        self.loading = false;
        if let Some(rank) = self.config.promoted {
            self.notify(EventKind::BrokerPromoted { rank });
            self.outbox.flush();
        }
    }

    /// Takes what happened. Never waits, and never fails: what is wrong is answered or reported.
    ///
    /// # Complexity
    /// Logarithmic in what is known, times what the input touches; a change of executors or emergencies ranks the jobs
    /// that wait here again.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.advance(now);
        self.run_timers();
        match input {
            Input::Tick => {}
            Input::Facts(records) => self.fold(&records),
            Input::Written { ticket } => self.outbox.written(ticket),
            Input::WriteRefused { ticket, error } => self.write_refused(ticket, &error),
            Input::ExecutorUp { executor } => {
                self.linked.insert(executor);
                self.placing = true;
            }
            Input::ExecutorDown { executor } => {
                self.linked.remove(&executor);
            }
            Input::FromExecutor { from, message } => match message {
                ToBroker::Register(register) => self.register(from, register),
                ToBroker::Heartbeat(heartbeat) => self.heartbeat(from, heartbeat),
                ToBroker::Submit(submit) => self.submitted(from, submit),
                ToBroker::Leave(leave) => self.executor_leaves(from, leave),
                ToBroker::Spec(held) => self.spec_recovered(from, held),
            },
            Input::FromPeer { from, message } => self.hear_peer(from, message),
            Input::PeerHeard { node } => self.peer_heard(node),
            Input::PeerSynced { node } => {
                self.peer_heard(node);
                self.learned();
            }
            Input::Stable { through } => self.stable_through(through),
            Input::Leaving => self.leaving(),
            Input::PeerLeft { node } => self.peer_left(node),
            Input::Command { ticket, command } => self.command(ticket, command),
        }
        self.settle_down();
    }

    /// What to do next. `None`: nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.outbox.poll()? {
                Next::Output(output) => return Some(output),
                Next::Taken(job) => {
                    self.notice_taken(job);
                    self.outbox.flush();
                }
            }
        }
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`] at the latest. At most one heartbeat interval ahead,
    /// so that a call that comes late shows that the process stood still.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let pulse = self.last_call.saturating_add(self.config.heartbeat_ms);
        let due = self.timers.next().map(|due| due.saturating_add(self.slept_ms));
        Some(due.map_or(pulse, |due| due.min(pulse)))
    }

    fn advance(&mut self, now: Now) {
        let announced = self.last_call.saturating_add(self.config.heartbeat_ms);
        let late = now.mono.saturating_since(announced);
        if late > self.config.heartbeat_ms {
            self.slept_ms = self.slept_ms.saturating_add(late);
            self.statistics.stalled_ms = self.slept_ms;
        }
        self.last_call = self.last_call.max(now.mono);
        let awake = Timestamp::from_millis(self.last_call.as_millis().saturating_sub(self.slept_ms));
        self.at = Moment { mono: self.at.mono.max(awake), wall: now.wall };
    }

    /// Brings everything into line with what has changed: jobs, waiting jobs, what goes out.
    fn settle_down(&mut self) {
        loop {
            self.check_storm();
            if self.storm.has_ended() {
                // What was held back is due now.
                self.run_timers();
            }
            while let Some(job) = self.dirty.pop_first() {
                self.refresh(job);
            }
            if core::mem::take(&mut self.rank_again) {
                self.rank_waiting();
            }
            if core::mem::take(&mut self.placing) {
                self.place();
            }
            while let Some(job) = self.waiting.pop_first() {
                self.check_stranded(job);
            }
            if core::mem::take(&mut self.handing) {
                self.hand_over_stranded();
            }
            if self.dirty.is_empty() && !self.placing && !self.handing {
                break;
            }
        }
        self.outbox.flush();
    }

    fn run_timers(&mut self) {
        while let Some(timer) = self.timers.pop(self.at.mono) {
            match timer {
                Timer::Owner(replica) => self.check_owner(replica),
                Timer::Takeover(job) => self.take_over(job),
                Timer::Recover(_) | Timer::HomeLost(_) if self.hold_back(timer) => {}
                Timer::Recover(job) => self.recover(job),
                Timer::HomeLost(replica) => self.home_lost(replica),
                Timer::Storm if sabotage::on(47) => {}
                Timer::Storm => {
                    self.end_storm(StormEnd::HoldOver);
                }
                Timer::Executor(executor) => self.check_executor(executor),
                Timer::Ready(job) => {
                    self.placing = true;
                    self.dirty.insert(job);
                }
                Timer::Release(job) => self.release_after_losses(job),
                Timer::Preempt => self.placing = true,
                Timer::Reserved(job) => self.reservation_lapses(job),
                Timer::PlaceAnswer(job) => self.place_answer_is_late(job),
                Timer::HandOver(job) => self.consider_hand_over(job),
                Timer::Settle(job) => self.settle(job),
                Timer::Parked(job) => self.expire_parked(job),
                Timer::Emergency(id) => self.emergency_changed(id),
                Timer::Alone => self.learned(),
                Timer::Compact => self.compact(),
                Timer::Recall(job) => self.recall(job),
            }
            self.check_storm();
            // A later timer may depend on what this one has changed.
            while let Some(job) = self.dirty.pop_first() {
                self.refresh(job);
            }
        }
    }

    fn fold(&mut self, records: &[Record]) {
        let mut changes = Vec::new();
        for record in records {
            for version in record.siblings() {
                self.saw_write(version.dot);
            }
            if let Some(key) = self.outbox.echo(record) {
                self.fold_echo(key, record, &mut changes);
            } else {
                self.fold_record(record, &mut changes);
            }
        }
        for change in changes {
            self.changed(change);
        }
    }

    /// What this broker wrote is durable. It was folded when it was written, and observed.
    fn fold_echo(&mut self, key: FactKey, record: &Record, changes: &mut Vec<Change>) {
        if self.view.folds_to_nothing(&key) {
            changes.push(Change::Leftover(key));
            return;
        }
        for version in record.siblings() {
            self.ladder.note(&key, version.dot);
        }
    }

    fn fold_record(&mut self, record: &Record, changes: &mut Vec<Change>) {
        if self.view.join_row_of_sync(record, changes) {
            if let Some(Ok(member)) = Member::from_record(record)
                && let Some(version) = record.siblings().last()
            {
                self.ladder.note_member(member.replica, version.dot);
            }
            return;
        }
        let Some(key) = FactKey::parse(record.key()) else { return };
        // Our own were forgotten before this came.
        if record.values().next().is_none()
            && let FactKey::Executor { executor, home } = key
            && home != self.own.replica
        {
            self.view.forget_executor(executor, home);
        }
        if self.view.folds_to_nothing(&key) {
            if record.values().next().is_some() {
                changes.push(Change::Leftover(key));
            }
            return;
        }
        for (version, bytes) in record.values() {
            match Fact::decode(&key, bytes) {
                Ok(fact) => {
                    self.observe(&key, &fact);
                    self.ladder.note(&key, version.dot);
                    self.view.apply(key, fact, changes);
                }
                Err(error) => self.view.set_aside(record.key(), bytes, &error, changes),
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Job(job) => {
                self.dirty.insert(job);
            }
            Change::Executor(executor) => self.executor_changed(executor),
            Change::Emergency(id) => self.emergency_changed(id),
            Change::Data(id, by) => self.data_changed(id, by),
            Change::Member(replica) => self.member_changed(replica),
            Change::Retired(replica) => self.member_retired(replica),
            Change::Done(job) => self.job_done(job),
            Change::MoreDone => self.answer_parked_of_done(),
            Change::Leftover(key) => self.delete_leftover(key),
            Change::Policy => self.policy_changed(),
            Change::Fault { key, reason } => {
                count(&mut self.statistics.fact_faults);
                self.notify(EventKind::FactFault { key, reason });
            }
        }
    }

    /// Learns stamps, heights and our own numbers from a fact before it is folded.
    fn observe(&mut self, key: &FactKey, fact: &Fact) {
        self.height = self.height.max(fact.height());
        if let Some(stamp) = fact.stamp() {
            let ahead_ms = stamp.wall().saturating_since(self.at.wall);
            if ahead_ms <= self.config.max_skew_ms {
                self.stamp = self.stamp.max(stamp);
            } else if let Some(writer) = writer(key) {
                count(&mut self.statistics.clock_suspects);
                self.notify(EventKind::ClockSuspect { writer, ahead_ms });
            }
        }
        let own = self.own.replica;
        match key {
            FactKey::Spec(job) if job.admitted_by == own => self.last_job = self.last_job.max(job.sequence),
            FactKey::Submission { id, .. } if id.accepted_by == own => {
                self.last_submission = self.last_submission.max(id.number);
            }
            FactKey::Emergency { id, .. } if id.declared_by == own => {
                self.last_emergency = self.last_emergency.max(id.number);
            }
            FactKey::PolicyDef(id) => {
                self.defined.insert(*id);
            }
            FactKey::Done { admitted_by, .. } if *admitted_by == own => {
                if let Fact::Done(done) = fact {
                    self.last_job = self.last_job.max(done.jobs.last().unwrap_or(0));
                }
            }
            FactKey::Spec(_)
            | FactKey::Copy { .. }
            | FactKey::Own { .. }
            | FactKey::Attempt(_)
            | FactKey::Seen { .. }
            | FactKey::Submission { .. }
            | FactKey::Settle { .. }
            | FactKey::Cancel { .. }
            | FactKey::Hold { .. }
            | FactKey::Pin { .. }
            | FactKey::PolicyCurrent { .. }
            | FactKey::Done { .. }
            | FactKey::Told { .. }
            | FactKey::Executor { .. }
            | FactKey::Data { .. }
            | FactKey::Emergency { .. } => {}
        }
    }

    /// Writes a fact of ours: folded at once, durable before anybody hears of it.
    fn write(&mut self, key: FactKey, fact: Fact) {
        if key.job().is_some_and(|job| self.view.is_done(job)) {
            return;
        }
        let mut changes = Vec::new();
        self.height = self.height.max(fact.height());
        self.outbox.write(key, fact.clone());
        self.view.apply(key, fact, &mut changes);
        for change in changes {
            self.changed(change);
        }
    }

    fn write_refused(&mut self, ticket: Ticket, error: &PlanError) {
        let refused = self.outbox.refused(ticket, error);
        for job in refused.admitted {
            self.view.withdraw(job);
            self.forget(job);
        }
        for admitted_by in refused.done {
            self.not_forgotten(admitted_by);
        }
    }

    fn next_stamp(&mut self) -> Hlc {
        let bound = MaxAhead::from_millis(self.config.max_skew_ms);
        // A full clock stands still for the rest of its millisecond; the name of the fact breaks the tie.
        self.stamp = self.stamp.tick_at(self.at.wall, bound).unwrap_or(self.stamp);
        self.stamp
    }

    fn next_height(&self) -> Height {
        // The greatest height has nothing above it; the strategies break the tie by name.
        Height::above(self.height).or(self.height).unwrap_or(Height::MIN)
    }

    fn notify(&mut self, kind: EventKind) {
        self.last_event = self.last_event.saturating_add(1);
        self.outbox.effect(Effect::Notify(Event { seq: self.last_event, at: self.at.wall, kind }));
    }

    fn send(&mut self, to: NodeId, message: ToExecutor) {
        self.outbox.effect(Effect::Send { to, message });
    }

    /// Arms a timer `ms` from now.
    fn arm(&mut self, timer: Timer, ms: u64) {
        self.timers.arm(timer, self.at.mono.saturating_add(ms));
    }

    /// Who this broker is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.own
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// A job as the facts known here tell it, with the bytes of its result.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.view.job(id).map(|job| self.show(job, true))
    }

    /// All jobs known here, by name, without the bytes of their results.
    pub fn jobs(&self) -> impl Iterator<Item = JobView> + '_ {
        self.view.jobs_after(None).map(|job| self.show(job, false))
    }

    /// The canonical result of a job, if one was accepted anywhere that is known here.
    #[must_use]
    pub fn canonical(&self, id: JobId) -> Option<SubmissionId> {
        self.view.job(id)?.canonical()
    }

    /// The executors known here, by name.
    pub fn executors(&self) -> impl Iterator<Item = ExecutorView> + '_ {
        self.view.executors().map(|(id, home, fact)| self.executor_view(id, home, fact))
    }

    /// The emergencies known here, by name.
    pub fn emergencies(&self) -> impl Iterator<Item = crate::EmergencyView> + '_ {
        self.view.emergencies().map(|(id, fact)| self.emergency_view(id, fact))
    }

    /// Facts that are stored here and cannot be folded, by hash.
    pub fn set_aside(&self) -> impl Iterator<Item = &SetAside> {
        self.view.aside().iter()
    }

    /// Counters, and how many jobs there are.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            storm_ms: self.statistics.storm_ms.saturating_add(self.storm.on_for_ms(self.at.mono)),
            jobs: number(self.view.job_count()),
            jobs_open: number(self.view.open_total()),
            jobs_waiting: number(self.queue.len()),
            data_names: self.data_names(),
            ..self.statistics
        }
    }
}

/// The incarnation that writes under this key.
fn writer(key: &FactKey) -> Option<ReplicaId> {
    Some(match key {
        FactKey::Spec(job) => job.admitted_by,
        FactKey::Attempt(attempt) => attempt.owner,
        FactKey::Submission { id, .. } => id.accepted_by,
        FactKey::Own { by, .. }
        | FactKey::Copy { by, .. }
        | FactKey::Seen { by, .. }
        | FactKey::Settle { by, .. }
        | FactKey::Cancel { by, .. }
        | FactKey::Hold { by, .. }
        | FactKey::Pin { by, .. }
        | FactKey::PolicyCurrent { by }
        | FactKey::Done { by, .. }
        | FactKey::Told { by, .. }
        | FactKey::Data { by, .. }
        | FactKey::Emergency { by, .. } => *by,
        FactKey::Executor { home, .. } => *home,
        FactKey::PolicyDef(_) => return None,
    })
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
