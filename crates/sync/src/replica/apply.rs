//! The one way into the store: a serial queue of jobs, each of which becomes at most one batch at a time.

use std::collections::BTreeSet;

use reconvene_clock::{ClockError, Dot, Hlc, MaxAhead, NodeId, ReplicaId, VectorClock};
use reconvene_store::sabotage;
use reconvene_store::{Applied, Batch, Class, Frozen, Key, LocalWrite, Plan, PlanError, Record, Version};

use super::Replica;
use super::bundles::FragmentJob;
use super::claims::Verdict;
use super::session::SessionKey;
use crate::fact::{Acknowledgement, Fact};
use crate::message::Message;
use crate::{Event, NewWrite, Output, Retirement, Ticket, Want};

/// A change that waits for its turn.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// A batch of this broker's own; without a ticket it is this replica's.
    Local { ticket: Option<Ticket>, writes: Vec<NewWrite> },
    /// A chunk of a session.
    Chunk { key: SessionKey, bytes: u64, versions: Vec<(Key, Version)> },
    /// The claim of a session, whose chunks are all before it in the queue or done.
    Claim { key: SessionKey },
    /// A fragment of a bundle.
    Fragment(FragmentJob),
    /// Urgent versions from a peer.
    Push { from: NodeId, hops: u8, versions: Vec<(Key, Version)> },
    /// The fact that retires a replica.
    Retire { ticket: Option<Ticket>, replica: ReplicaId },
    /// The fact that says what is durable here.
    Acknowledge,
    /// Versions that a peer supplies in a repair, in answer to a question or not. `ends` is what [`Replica::ends_taken`] was
    /// when the repair began.
    Restore { key: SessionKey, asked: bool, ends: u64, versions: Vec<(Key, Version)> },
    /// What a peer has seen the end of, if that is too much for the batch that joins its claim.
    Verdict { key: SessionKey, verdict: Verdict },
    /// Deletes that everybody has, to be forgotten.
    Collect { settled: Vec<(Dot, Key)> },
    /// A tombstone that cannot settle, to be replaced by an own one.
    DeleteAgain { dot: Dot, key: Key },
}

impl Job {
    /// Whether everything else goes first.
    fn is_bulk(&self) -> bool {
        match self {
            Self::Chunk { .. }
            | Self::Claim { .. }
            | Self::Fragment(_)
            | Self::Collect { .. }
            | Self::Restore { .. }
            | Self::Verdict { .. } => true,
            Self::Local { .. }
            | Self::Push { .. }
            | Self::Retire { .. }
            | Self::Acknowledge
            | Self::DeleteAgain { .. } => false,
        }
    }
}

/// The job whose rows are being read.
#[derive(Clone, Debug)]
pub(super) struct Applying {
    ticket: Ticket,
    /// Ascending, each once.
    pub(super) keys: Vec<Key>,
    job: Job,
}

impl Applying {
    /// Whether this ticket is of its rows.
    pub(super) fn is_for(&self, ticket: Ticket) -> bool {
        self.ticket == ticket
    }
}

impl Replica {
    /// Takes a job into the queue: bulk at its end, anything else ahead of all bulk.
    pub(super) fn enqueue(&mut self, job: Job) {
        let bulk = self.jobs.iter().position(Job::is_bulk).filter(|_| !job.is_bulk());
        self.jobs.insert(bulk.unwrap_or(self.jobs.len()), job);
        self.next_job();
    }

    /// Puts the rest of a job first again.
    pub(super) fn put_back(&mut self, job: Job) {
        self.jobs.push_front(job);
    }

    /// How many pushes wait.
    pub(super) fn queued_pushes(&self) -> usize {
        self.jobs.iter().filter(|job| matches!(job, Job::Push { .. })).count()
    }

    /// Bytes of chunks that wait.
    pub(super) fn queued_bytes(&self) -> u64 {
        let bytes = self.jobs.iter().map(|job| if let Job::Chunk { bytes, .. } = job { *bytes } else { 0 });
        bytes.fold(0, u64::saturating_add)
    }

    /// Begins the next job, if none is under way. At most one is, so that each plans from what the last one left.
    fn next_job(&mut self) {
        while self.applying.is_none() {
            let Some(job) = self.jobs.pop_front() else { return };
            let mut keys: Vec<Key> = match &job {
                Job::Claim { key } => {
                    let keys = self.keys_of_claim(*key);
                    if keys.is_empty() {
                        let plan = Plan::new(self.head.clone(), [], [], &self.config.store);
                        self.join_claim(plan, *key);
                        continue;
                    }
                    keys
                }
                Job::Local { writes, .. } => writes.iter().map(|write| write.key.clone()).collect(),
                Job::Fragment(FragmentJob { versions, .. })
                | Job::Chunk { versions, .. }
                | Job::Push { versions, .. }
                | Job::Restore { versions, .. } => {
                    keys_of(versions).chain(self.own_retirement_keys(versions)).collect()
                }
                Job::Verdict { verdict, .. } => verdict.keys().cloned().collect(),
                Job::Retire { replica, .. } => Retirement::key_of(*replica, self.replica()).into_iter().collect(),
                Job::Acknowledge => Acknowledgement::key_of(self.replica()).into_iter().collect(),
                Job::Collect { settled } => settled.iter().map(|(_, key)| key.clone()).collect(),
                Job::DeleteAgain { key, .. } => vec![key.clone()],
            };
            keys.sort();
            keys.dedup();
            let ticket = self.fresh_ticket();
            self.outputs.push_back(Output::Load { ticket, view: None, want: Want::Keys(keys.clone()) });
            self.applying = Some(Applying { ticket, keys, job });
        }
    }

    /// Records were read, for the job under way or for a session.
    pub(super) fn loaded(&mut self, ticket: Ticket, records: Vec<Record>, more: bool) {
        if let Some(key) = self.loads.remove(&ticket) {
            self.view_loaded(key, ticket, &records, more);
            return;
        }
        if self.bundle_loaded(ticket, &records, more)
            || self.tombstones_loaded(ticket, &records, more)
            || self.repair_loaded(ticket, &records, more)
        {
            return;
        }
        let Some(Applying { keys, job, .. }) = self.applying.take_if(|applying| applying.ticket == ticket) else {
            return;
        };
        if let Job::Chunk { versions, .. } = &job
            && sabotage::on(2)
        {
            let mut early = Plan::new(self.head.clone(), [], [], &self.config.store);
            if early.claim(&versions.iter().map(|(_, version)| version.dot).collect(), &VectorClock::new()).is_ok() {
                self.persist(early.finish(), |_| false);
            }
        }
        let plan = Plan::new(self.head.clone(), keys, records, &self.config.store);
        match job {
            Job::Local { ticket, writes } => self.apply_local(plan, ticket, writes),
            Job::Chunk { key, bytes, versions } => self.apply_chunk(plan, key, bytes, versions),
            Job::Push { from, hops, versions } => self.apply_push(plan, from, hops, versions),
            Job::Fragment(job) => self.apply_fragment(plan, job),
            Job::Retire { ticket, replica } => self.apply_retire(plan, ticket, replica),
            Job::Acknowledge => self.apply_acknowledge(plan),
            Job::Restore { key, asked, ends, versions } => self.apply_restore(plan, key, asked, ends, versions),
            Job::Verdict { key, verdict } => self.apply_verdict(plan, key, verdict),
            Job::Collect { settled } => self.apply_collect(plan, &settled),
            Job::DeleteAgain { dot, key } => self.apply_delete_again(plan, dot, key),
            Job::Claim { key } => self.join_claim(plan, key),
        }
        self.next_job();
    }

    fn apply_local(&mut self, mut plan: Plan, ticket: Option<Ticket>, writes: Vec<NewWrite>) {
        let mut dots = Vec::with_capacity(writes.len());
        for NewWrite { key, class, body, replaces } in writes {
            let hlc = self.stamp();
            match plan.write(LocalWrite { key, class, body, hlc, replaces }) {
                Ok(dot) => dots.push(dot),
                Err(error) => {
                    self.outputs.extend(ticket.map(|ticket| Output::WriteRefused { ticket, error }));
                    return;
                }
            }
        }
        let early = ticket.filter(|_| sabotage::on(1));
        self.outputs.extend(early.map(|ticket| Output::Written { ticket, dots: dots.clone() }));
        let urgent = if dots.is_empty() { Vec::new() } else { self.persist(plan.finish(), |_| true) };
        self.outputs.extend(ticket.filter(|_| early.is_none()).map(|ticket| Output::Written { ticket, dots }));
        let hops = self.hop_limit();
        self.push(None, hops, urgent);
        if self.config.cascade_on_local_writes {
            self.note_news();
        }
    }

    /// The stamp of the next own write.
    ///
    /// Own stamps follow the greatest one seen, however far wall time has gone back since. A clock that is full repeats
    /// its last stamp, which only ever breaks ties.
    pub(super) fn stamp(&mut self) -> Hlc {
        self.hlc = self.hlc.tick_at(self.wall, MaxAhead::from_millis(u64::MAX)).unwrap_or(self.hlc);
        self.hlc
    }

    fn apply_acknowledge(&mut self, mut plan: Plan) {
        let ack = self.acknowledgement();
        let Some(NewWrite { key, class, body, replaces }) = ack.to_write() else { return };
        let hlc = self.stamp();
        if plan.write(LocalWrite { key, class, body, hlc, replaces }).is_ok() {
            self.persist(plan.finish(), |_| false);
            self.acknowledged(ack.prefix);
            self.note_news();
        }
    }

    fn apply_chunk(&mut self, plan: Plan, key: SessionKey, bytes: u64, versions: Vec<(Key, Version)>) {
        let result = self.apply_versions(plan, key.0, versions);
        let full = !result.rest.is_empty();
        if full {
            // The batch was full. The chunk counts as applied once all of it is.
            self.put_back(Job::Chunk { key, bytes, versions: result.rest });
        }
        let enough = self.enough_for_credit();
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let incoming = &mut session.incoming;
        incoming.new_versions = incoming.new_versions.saturating_add(result.new);
        for (name, version) in &result.refused {
            incoming.aside.put(name, version);
        }
        if full {
            return;
        }
        incoming.applied_chunks = incoming.applied_chunks.saturating_add(1);
        incoming.applied_bytes = incoming.applied_bytes.saturating_add(bytes);
        if incoming.applied_bytes.saturating_sub(incoming.credited_bytes) >= enough {
            incoming.credited_bytes = incoming.applied_bytes;
            let applied_bytes = incoming.applied_bytes;
            self.send(key.0, &Message::Credit { session: key.1, applied_bytes });
        }
        self.advance(key);
    }

    /// As many applied bytes as are worth a frame that says so: before a sender has to stop, as its next chunk would not
    /// fit the window.
    fn enough_for_credit(&self) -> u64 {
        let chunk = u64::try_from(self.config.chunk_bytes).unwrap_or(u64::MAX);
        self.config.window_bytes.saturating_sub(chunk) / 2
    }

    fn apply_push(&mut self, plan: Plan, from: NodeId, hops: u8, versions: Vec<(Key, Version)>) {
        let all = if sabotage::on(23) { versions.clone() } else { Vec::new() };
        let mut result = self.apply_versions(plan, from, versions);
        if sabotage::on(23) {
            result.urgent = all;
        }
        if let Some(hops) = hops.checked_sub(1) {
            self.push(Some(from), hops, result.urgent);
        }
        if !result.rest.is_empty() {
            self.put_back(Job::Push { from, hops, versions: result.rest });
        }
    }

    /// Plans the versions a peer sent, as many as fit one batch, and persists them.
    pub(super) fn apply_versions(&mut self, mut plan: Plan, from: NodeId, versions: Vec<(Key, Version)>) -> Outcome {
        let mut result = Outcome::default();
        let mut new_urgent = BTreeSet::new();
        let retirements: Vec<_> =
            versions.iter().filter(|(key, _)| Retirement::named_by(key).is_some()).cloned().collect();
        let mut ahead = None;
        let mut versions = versions.into_iter();
        let mut planned = false;
        while let Some((key, version)) = versions.next() {
            let (dot, hlc, class) = (version.dot, version.hlc, version.class);
            if sabotage::on(15) && self.members.is_retired(dot.replica) {
                continue;
            }
            let arrived = match sabotage::on(2) {
                true => plan.restore(key.clone(), version.clone()),
                false => plan.apply(key.clone(), version.clone()),
            };
            match arrived {
                Ok(Applied::Known) => {
                    self.stats.duplicates_received = self.stats.duplicates_received.saturating_add(1);
                }
                Ok(Applied::PutAside) => {
                    let (len, limit) = (version.byte_len(), self.config.store.row_bytes);
                    result.refused.push((key.clone(), version));
                    self.refused(from, &PlanError::RowTooLarge { key, len, limit });
                    planned = true;
                    continue;
                }
                Ok(Applied::Collided) => self.collided(dot, from),
                Ok(Applied::New | Applied::Concurrent | Applied::Obsolete) => {
                    self.stats.records_received = self.stats.records_received.saturating_add(1);
                    result.new = result.new.saturating_add(1);
                    if class == Class::URGENT {
                        new_urgent.insert(dot);
                    }
                }
                Err(PlanError::BatchFull { .. }) if planned => {
                    result.rest = std::iter::once((key, version)).chain(versions).collect();
                    break;
                }
                Err(error) => {
                    result.refused.push((key, version));
                    self.refused(from, &error);
                    continue;
                }
            }
            planned = true;
            // The version is stored as it is; only this replica's clock refuses to follow it too far.
            let max_ahead = if sabotage::on(20) { MaxAhead::from_millis(u64::MAX) } else { self.config.max_ahead };
            match self.hlc.observe_at(self.wall, hlc, max_ahead) {
                Ok(hlc) => self.hlc = hlc,
                Err(_) => {
                    let by_ms = hlc.wall().saturating_since(self.wall);
                    ahead = ahead.max(Some((by_ms, dot.replica)));
                }
            }
        }
        if let Some((by_ms, replica)) = ahead {
            self.notify(Event::AheadOfBound { replica, by_ms });
        }
        self.add_own_cuts(&mut plan, &retirements);
        result.urgent = self.persist(plan.finish(), |version| new_urgent.contains(&version.dot));
        if result.new > 0 {
            self.note_news();
        }
        result
    }

    /// Makes a batch durable, if it changes anything, and gives the urgent versions among those asked for.
    pub(super) fn persist(&mut self, batch: Batch, wanted: impl Fn(&Version) -> bool) -> Vec<(Key, Version)> {
        if batch.is_idle() {
            return Vec::new();
        }
        let urgent = batch.versions().filter(|(_, version)| version.class == Class::URGENT && wanted(version));
        let urgent: Vec<_> = urgent.map(|(key, version)| (key.clone(), version.clone())).collect();
        let shrunk = !batch.head().knowledge().covers(self.head.knowledge());
        self.set_head(batch.head().clone());
        self.note_deletes(&batch);
        let mut facts = Vec::new();
        let mut siblings = Vec::new();
        for row in batch.rows() {
            let Some(record) = row.after() else { continue };
            facts.extend(Fact::from_record(record));
            let count = record.siblings().len();
            siblings.extend((count > 1 && !row.added().is_empty()).then(|| (record.key().clone(), count)));
        }
        self.outputs.push_back(Output::Persist(batch));
        for fact in facts {
            self.learn_fact(fact);
        }
        for (key, count) in siblings {
            if sabotage::on(5) && !key.as_bytes().starts_with(b"sys/") {
                let writes = vec![NewWrite::new(key.clone(), Class::NORMAL, reconvene_store::Body::of("merged"))];
                self.enqueue(Job::Local { ticket: None, writes });
            }
            self.notify(Event::Siblings { key, count });
        }
        if shrunk {
            self.knowledge_shrunk();
        }
        urgent
    }

    /// One dot has two contents. Both are kept, and all replicas show the same one.
    pub(super) fn collided(&mut self, dot: Dot, from: NodeId) {
        self.notify(Event::DotCollision { dot, from });
        if dot.replica == self.replica() {
            self.notify(Event::Frozen { why: Frozen::Collision });
        }
    }

    /// Something of a peer's was not applied: says why, and draws the consequence if it shows that own writes were lost.
    pub(super) fn refused(&mut self, from: NodeId, error: &PlanError) {
        let lost = if let PlanError::Clock(ClockError::StateLoss { held, .. }) = error {
            Some(Dot::new(self.replica(), *held))
        } else if let PlanError::UnusedDot { dot } = error {
            Some(*dot)
        } else {
            None
        };
        let Some(lost) = lost else {
            self.notify(Event::Refused { from, error: error.clone() });
            return;
        };
        self.notify(Event::Amnesia { peer: from, held: lost.counter.get() });
        self.freeze(Frozen::Amnesia, Some(lost));
    }
}

fn keys_of(versions: &[(Key, Version)]) -> impl Iterator<Item = Key> {
    versions.iter().map(|(key, _)| key.clone())
}

/// What came of the versions of one frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    new: u64,
    /// Versions that were not taken in.
    pub(super) refused: Vec<(Key, Version)>,
    pub(super) urgent: Vec<(Key, Version)>,
    /// What did not fit the batch.
    pub(super) rest: Vec<(Key, Version)>,
}
