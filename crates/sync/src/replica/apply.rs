//! The one way into the store: a serial queue of jobs, each of which becomes at most one batch at a time.

use std::collections::BTreeSet;

use reconvene_clock::{ClockError, MaxAhead, NodeId, VectorClock};
use reconvene_store::{Applied, Batch, Class, Key, LocalWrite, Plan, PlanError, Record, Version};

use super::Replica;
use super::bundles::FragmentJob;
use super::session::SessionKey;
use crate::columns::{Memory, travels_alone};
use crate::message::Message;
use crate::wire::encoded_bytes;
use crate::{Event, NewWrite, Output, Ticket, Want};

/// A change that waits for its turn.
#[derive(Debug)]
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
}

/// The job whose rows are being read.
#[derive(Debug)]
pub(super) struct Applying {
    ticket: Ticket,
    keys: BTreeSet<Key>,
    job: Job,
}

impl Replica {
    /// Takes a job into the queue.
    pub(super) fn enqueue(&mut self, job: Job) {
        self.jobs.push_back(job);
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
            let keys = match &job {
                Job::Claim { key } => {
                    self.join_claim(*key);
                    continue;
                }
                Job::Local { writes, .. } => writes.iter().map(|write| write.key.clone()).collect(),
                Job::Chunk { versions, .. } | Job::Push { versions, .. } => Plan::keys_needed(versions),
                Job::Fragment(job) => Plan::keys_needed(&job.versions),
            };
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
        if self.bundle_loaded(ticket, &records, more) {
            return;
        }
        let Some(Applying { keys, job, .. }) = self.applying.take_if(|applying| applying.ticket == ticket) else {
            return;
        };
        let plan = Plan::new(self.head.clone(), keys, records, &self.config.store);
        match job {
            Job::Local { ticket, writes } => self.apply_local(plan, ticket, writes),
            Job::Chunk { key, bytes, versions } => self.apply_chunk(plan, key, bytes, versions),
            Job::Push { from, hops, versions } => self.apply_push(plan, from, hops, versions),
            Job::Fragment(job) => self.apply_fragment(plan, job),
            // Claims read no rows, so none is ever under way.
            Job::Claim { .. } => {}
        }
        self.next_job();
    }

    fn apply_local(&mut self, mut plan: Plan, ticket: Option<Ticket>, writes: Vec<NewWrite>) {
        let mut dots = Vec::with_capacity(writes.len());
        for NewWrite { key, class, body, replaces } in writes {
            // Own stamps follow the greatest one seen, however far wall time has gone back since. A clock that is full
            // repeats its last stamp, which only ever breaks ties.
            self.hlc = self.hlc.tick_at(self.wall, MaxAhead::from_millis(u64::MAX)).unwrap_or(self.hlc);
            match plan.write(LocalWrite { key, class, body, hlc: self.hlc, replaces }) {
                Ok(dot) => dots.push(dot),
                Err(error) => {
                    self.outputs.extend(ticket.map(|ticket| Output::WriteRefused { ticket, error }));
                    return;
                }
            }
        }
        let urgent = if dots.is_empty() { Vec::new() } else { self.persist(plan.finish(), |_| true) };
        self.outputs.extend(ticket.map(|ticket| Output::Written { ticket, dots }));
        let hops = self.hop_limit();
        self.push(None, hops, urgent);
        if self.config.cascade_on_local_writes {
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
        for version in &result.refused {
            incoming.aside.put(version);
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
        let result = self.apply_versions(plan, from, versions);
        if let Some(hops) = hops.checked_sub(1) {
            self.push(Some(from), hops, result.urgent);
        }
        if !result.rest.is_empty() {
            self.put_back(Job::Push { from, hops, versions: result.rest });
        }
    }

    /// Joins what a peer claims, now that all its chunks are in.
    ///
    /// What was put aside is left out; all of it if chunks were.
    fn join_claim(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(claim) = session.incoming.claim.as_ref() else { return };
        let knowledge = session.incoming.aside.claimable(&claim.knowledge);
        if claim.whole && !knowledge.is_empty() {
            let mut plan = Plan::new(self.head.clone(), [], [], &self.config.store);
            match plan.claim(&knowledge, &VectorClock::new()) {
                Ok(()) => {
                    self.persist(plan.finish(), |_| false);
                }
                Err(error) => self.report_refusal(key.0, &error),
            }
        }
        self.direction_done(key);
    }

    /// Plans the versions a peer sent, as many as fit one batch, and persists them.
    pub(super) fn apply_versions(&mut self, mut plan: Plan, from: NodeId, versions: Vec<(Key, Version)>) -> Outcome {
        let mut result = Outcome::default();
        let mut new = BTreeSet::new();
        let mut ahead = None;
        let mut versions = versions.into_iter();
        let mut planned = false;
        while let Some((key, version)) = versions.next() {
            let (dot, hlc) = (version.dot, version.hlc);
            match plan.apply(key.clone(), version.clone()) {
                Ok(Applied::Known) => {
                    self.stats.duplicates_received = self.stats.duplicates_received.saturating_add(1);
                }
                Ok(Applied::New | Applied::Concurrent | Applied::Obsolete) => {
                    self.stats.records_received = self.stats.records_received.saturating_add(1);
                    result.new = result.new.saturating_add(1);
                    new.insert(dot);
                }
                Ok(Applied::Collided) => self.notify(Event::DotCollision { dot, from }),
                // The store leaves it, and what it replaced, out of every claim.
                Ok(Applied::PutAside) => {
                    let (len, limit) = (version.byte_len(), self.config.store.row_bytes);
                    self.report_refusal(from, &PlanError::RowTooLarge { key: key.clone(), len, limit });
                }
                Err(PlanError::BatchFull { .. }) if planned => {
                    result.rest = std::iter::once((key, version)).chain(versions).collect();
                    break;
                }
                Err(error) => {
                    result.refused.push(version);
                    self.report_refusal(from, &error);
                    continue;
                }
            }
            planned = true;
            // The version is stored as it is; only this replica's clock refuses to follow it too far.
            match self.hlc.observe_at(self.wall, hlc, self.config.max_ahead) {
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
        result.urgent = self.persist(plan.finish(), |version| new.contains(&version.dot));
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
        self.set_head(batch.head().clone());
        let mut members = Vec::new();
        let mut siblings = Vec::new();
        for row in batch.rows() {
            let Some(record) = row.after() else { continue };
            members
                .extend(record.key().as_bytes().starts_with(crate::Member::PREFIX.as_bytes()).then(|| record.clone()));
            let count = record.siblings().len();
            siblings.extend((count > 1 && !row.added().is_empty()).then(|| (record.key().clone(), count)));
        }
        self.outputs.push_back(Output::Persist(batch));
        for record in members {
            self.learn_member(&record);
        }
        for (key, count) in siblings {
            self.notify(Event::Siblings { key, count });
        }
        urgent
    }

    /// Says why something of a peer's was not applied.
    pub(super) fn report_refusal(&mut self, from: NodeId, error: &PlanError) {
        let event = if let PlanError::Clock(ClockError::StateLoss { held, .. }) = error {
            Event::Amnesia { peer: from, held: held.get() }
        } else if let PlanError::UnusedDot { dot } = error {
            Event::Amnesia { peer: from, held: dot.counter.get() }
        } else {
            Event::Refused { from, error: error.clone() }
        };
        self.notify(event);
    }

    /// Sends urgent versions to a few peers at once. Losing them is harmless: sessions bring them as well.
    pub(super) fn push(&mut self, not_to: Option<NodeId>, hops: u8, versions: Vec<(Key, Version)>) {
        if versions.is_empty() {
            return;
        }
        let linked = self.peers.iter().filter(|(node, peer)| peer.linked && peer.verified && Some(**node) != not_to);
        let mut targets: Vec<NodeId> = linked.map(|(node, _)| *node).collect();
        self.rng.draw(&mut targets, self.config.push_fan_out);
        targets.truncate(self.config.push_fan_out);
        for versions in self.push_frames(versions) {
            let count = u64::try_from(versions.len()).unwrap_or(u64::MAX);
            let message = Message::Push { hops, versions };
            for target in &targets {
                if self.send(*target, &message).is_some() {
                    self.stats.pushes_sent = self.stats.pushes_sent.saturating_add(count);
                }
            }
        }
    }

    /// Urgent versions in frames of the greatest size allowed, by dot. One that is larger by itself is left out.
    fn push_frames(&self, mut versions: Vec<(Key, Version)>) -> Vec<Vec<(Key, Version)>> {
        versions.sort_by_key(|(_, version)| version.dot);
        let limit = self.config.max_push_bytes.min(self.config.max_frame_bytes).saturating_sub(64);
        let mut frames: Vec<Vec<(Key, Version)>> = Vec::new();
        let (mut used, mut memory) = (limit, Memory::default());
        for entry in versions {
            let bytes = encoded_bytes(&entry.0, &entry.1);
            if bytes > limit || !travels_alone(&entry) {
                continue;
            }
            used = used.saturating_add(bytes);
            let fits = memory.admit(&entry.0, &entry.1) && used <= limit;
            match frames.last_mut() {
                Some(frame) if fits => frame.push(entry),
                _ => {
                    (used, memory) = (bytes, Memory::default());
                    memory.admit(&entry.0, &entry.1);
                    frames.push(vec![entry]);
                }
            }
        }
        frames
    }

    /// As many hops as reach every member when each passes news on to two others, and one to spare.
    pub(super) fn hop_limit(&self) -> u8 {
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        let log2 = u64::BITS.saturating_sub(members.saturating_sub(1).leading_zeros());
        u8::try_from(log2).unwrap_or(u8::MAX).saturating_add(1)
    }
}

/// What came of the versions of one frame.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    new: u64,
    /// Versions that were not taken in.
    pub(super) refused: Vec<Version>,
    pub(super) urgent: Vec<(Key, Version)>,
    /// What did not fit the batch.
    pub(super) rest: Vec<(Key, Version)>,
}
