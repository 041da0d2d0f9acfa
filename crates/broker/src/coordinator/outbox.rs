//! What goes out, in order: writes at once, everything that speaks of them only when they are durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::JobId;
use reconvene_executor::message::ToExecutor;
use reconvene_store::{Body, Class, Key, PlanError, Record};
use reconvene_sync::{NewWrite, Ticket};

use crate::coordinator::Output;
use crate::peer::PeerMessage;
use crate::{CommandError, Event, Fact, FactKey, Reply};

/// A queue in which each effect waits for every write made before it, so that nobody hears of what a crash could undo.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: BTreeMap<FactKey, Fact>,
    retiring: Vec<ReplicaId>,
    deletes: BTreeSet<FactKey>,
    effects: Vec<Effect>,
    writes: VecDeque<Output>,
    steps: VecDeque<Step>,
    outstanding: BTreeMap<Ticket, Batch>,
    /// What was written of jobs, until it is durable, by its key.
    echoes: BTreeMap<Key, Echo>,
    last_ticket: u64,
}

/// A fact of a job that was folded when it was written, and will come back from the store.
#[derive(Debug)]
struct Echo {
    /// The last write of it.
    ticket: Ticket,
    key: FactKey,
    body: Body,
}

/// What depends on a write, should the store refuse it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Jobs that it admits.
    pub(super) admitted: Vec<JobId>,
    /// Incarnations of which it says which of their jobs are done.
    pub(super) done: Vec<ReplicaId>,
    /// The keys whose echoes are waited for.
    keys: Vec<Key>,
}

#[derive(Debug)]
enum Step {
    Wait(Ticket),
    Effect(Effect),
}

/// An effect that waits for durability.
#[derive(Debug)]
pub(super) enum Effect {
    Send {
        to: NodeId,
        message: ToExecutor,
    },
    Tell {
        to: NodeId,
        message: PeerMessage,
    },
    Reply {
        ticket: Ticket,
        reply: Result<Reply, CommandError>,
    },
    Notify(Event),
    /// The notice before this was taken: its mark may go.
    Taken(JobId),
}

/// What comes out of the queue.
#[derive(Debug)]
pub(super) enum Next {
    Output(Output),
    Taken(JobId),
}

impl Outbox {
    pub(super) fn write(&mut self, key: FactKey, fact: Fact) {
        self.pending.insert(key, fact);
    }

    /// What comes after waits for this too.
    pub(super) fn retire(&mut self, replica: ReplicaId) {
        self.retiring.push(replica);
    }

    /// Deletes a fact, after what is written now: what says that it may go is never behind.
    pub(super) fn delete(&mut self, key: FactKey) {
        self.pending.remove(&key);
        self.deletes.insert(key);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Turns the facts collected so far into writes, and queues the effects behind them.
    pub(super) fn flush(&mut self) {
        let mut writes = Vec::new();
        let mut batch = Batch::default();
        let mut bytes = 0_usize;
        for (key, fact) in core::mem::take(&mut self.pending) {
            let body = fact.encode().expect("every part of a fact is bounded so that the fact fits its limit");
            if writes.len() >= WRITES || bytes.saturating_add(body.len()) > WRITE_BYTES {
                self.emit(core::mem::take(&mut writes), core::mem::take(&mut batch));
                bytes = 0;
            }
            bytes = bytes.saturating_add(body.len());
            let (name, body) = (key.to_key(), Body::of(body));
            // The others are acted upon when they come back.
            if key.job().is_some() {
                batch.keys.push(name.clone());
                self.echoes.insert(name.clone(), Echo { ticket: self.next_ticket(), key, body: body.clone() });
            }
            writes.push(NewWrite::new(name, fact.class(), body));
            if let FactKey::Spec(job) = key {
                batch.admitted.push(job);
            }
            if let FactKey::Done { admitted_by, .. } = key {
                batch.done.push(admitted_by);
            }
        }
        for key in core::mem::take(&mut self.deletes) {
            if writes.len() >= WRITES {
                self.emit(core::mem::take(&mut writes), core::mem::take(&mut batch));
            }
            writes.push(NewWrite::new(key.to_key(), Class::NORMAL, Body::Tombstone));
        }
        self.emit(writes, batch);
        for replica in core::mem::take(&mut self.retiring) {
            let ticket = self.await_ticket(Batch::default());
            self.writes.push_back(Output::Retire { ticket, replica });
        }
        self.steps.extend(self.effects.drain(..).map(Step::Effect));
    }

    fn emit(&mut self, writes: Vec<NewWrite>, batch: Batch) {
        if writes.is_empty() {
            return;
        }
        let ticket = self.await_ticket(batch);
        self.writes.push_back(Output::Write { ticket, writes });
    }

    /// A ticket whose answer everything that follows waits for.
    fn await_ticket(&mut self, batch: Batch) -> Ticket {
        let ticket = self.next_ticket();
        let Ticket(number) = ticket;
        self.last_ticket = number;
        self.outstanding.insert(ticket, batch);
        self.steps.push_back(Step::Wait(ticket));
        ticket
    }

    fn next_ticket(&self) -> Ticket {
        Ticket(self.last_ticket.checked_add(1).expect("2^64 writes are never made"))
    }

    pub(super) fn written(&mut self, ticket: Ticket) {
        if let Some(batch) = self.outstanding.remove(&ticket) {
            self.forget_echoes(ticket, &batch);
        }
    }

    fn forget_echoes(&mut self, ticket: Ticket, batch: &Batch) {
        for key in &batch.keys {
            if self.echoes.get(key).is_some_and(|echo| echo.ticket == ticket) {
                self.echoes.remove(key);
            }
        }
    }

    /// The fact that this row says, if it says no more than what was written last, and was folded then.
    pub(super) fn echo(&self, record: &Record) -> Option<FactKey> {
        let echo = self.echoes.get(record.key())?;
        let [version] = record.siblings() else { return None };
        (version.body == echo.body).then_some(echo.key)
    }

    /// Turns what waited for a write that was refused into refusals, and says what has not come about.
    pub(super) fn refused(&mut self, ticket: Ticket, error: &PlanError) -> Batch {
        let Some(batch) = self.outstanding.remove(&ticket) else { return Batch::default() };
        self.forget_echoes(ticket, &batch);
        // What else was written of a job that is taken back is known by its echo alone.
        self.echoes.retain(|_, echo| !echo.key.job().is_some_and(|job| batch.admitted.contains(&job)));
        let mut steps = VecDeque::with_capacity(self.steps.len());
        let mut state = State::Before;
        for step in self.steps.drain(..) {
            match (&step, state) {
                (Step::Wait(other), State::Before) if *other == ticket => state = State::Waits,
                (Step::Wait(_), State::Effects) => state = State::After,
                (Step::Effect(_), State::Waits) => state = State::Effects,
                _ => {}
            }
            match (step, state) {
                (Step::Effect(Effect::Reply { ticket, .. }), State::Effects) => {
                    let reply = Err(CommandError::Store { reason: error.to_string() });
                    steps.push_back(Step::Effect(Effect::Reply { ticket, reply }));
                }
                (Step::Effect(_), State::Effects) => {}
                (step, _) => steps.push_back(step),
            }
        }
        self.steps = steps;
        batch
    }

    pub(super) fn poll(&mut self) -> Option<Next> {
        if let Some(write) = self.writes.pop_front() {
            return Some(Next::Output(write));
        }
        while let Some(Step::Wait(ticket)) = self.steps.front() {
            if self.outstanding.contains_key(ticket) {
                return None;
            }
            self.steps.pop_front();
        }
        let Step::Effect(effect) = self.steps.pop_front()? else { return None };
        Some(match effect {
            Effect::Send { to, message } => Next::Output(Output::SendExecutor { to, message }),
            Effect::Tell { to, message } => Next::Output(Output::SendPeer { to, message }),
            Effect::Reply { ticket, reply } => Next::Output(Output::Reply { ticket, reply }),
            Effect::Notify(event) => Next::Output(Output::Notify(event)),
            Effect::Taken(job) => Next::Taken(job),
        })
    }
}

#[derive(Clone, Copy)]
enum State {
    Before,
    Waits,
    Effects,
    After,
}

/// Facts in one write at most.
const WRITES: usize = 256;
/// Bytes of facts in one write, unless a single one has more.
const WRITE_BYTES: usize = 1024 * 1024;
