//! The view: what all facts known here say together. Facts of others and our own go through the same fold.

mod aside;
mod data;
mod done;
mod few;
mod job;
mod models;
mod reappearance;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{Hlc, NodeId, ReplicaId, WallTime, digest};
use reconvene_executor::{AttemptId, EmergencyId, Finality, JobId, JobSpec};
use reconvene_resolve::{Policy, PolicyId, PolicyRegistry};
use reconvene_store::{Key, Record, sabotage};
use reconvene_sync::{Member, Retirement};
use smallvec::SmallVec;

use self::aside::Aside;
pub use self::aside::SetAside;
pub(crate) use self::data::{Content, DataIndex};
use self::few::Few;
pub(crate) use self::job::{JobRecord, Ownership};
pub use self::models::{
    AttemptView, DataContent, DataHolder, DataView, EmergencyView, ExecutorView, JobStatus, JobView, PolicyView,
    ResultView, SubmissionView,
};
use crate::by_job::ByJob;
use crate::fact::{
    CodecError, DataId, EmergencyFact, ExecutorFact, ExecutorState, Fact, FactKey, Ranges, SpecFact, Verdict,
};
use crate::strategy;

/// Everything known, with the indexes that let one input cost no more than what it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    retries: u32,
    jobs: ByJob<Box<JobRecord>>,
    executors: BTreeMap<NodeId, BTreeMap<ReplicaId, ExecutorFact>>,
    /// How many of these facts each broker has written.
    homes: BTreeMap<ReplicaId, usize>,
    emergencies: BTreeMap<EmergencyId, EmergencyFact>,
    data: DataIndex,
    members: BTreeMap<ReplicaId, Member>,
    /// Incarnations of which an operator, or a later one, said that they will not return.
    retired: BTreeSet<ReplicaId>,
    /// The latest incarnation of each broker.
    latest: BTreeMap<NodeId, (u64, ReplicaId)>,
    /// The jobs of each client's own number, the first one first.
    clients: BTreeMap<(String, u64), Few<(Hlc, JobId), ()>>,
    /// Jobs that are specified and not over, by owner.
    open: BTreeMap<ReplicaId, BTreeSet<JobId>>,
    /// Attempts believed to be at work for open jobs, by executor.
    working: BTreeMap<NodeId, BTreeSet<AttemptId>>,
    /// Open jobs that name an emergency.
    naming: BTreeMap<EmergencyId, BTreeSet<JobId>>,
    aside: Aside,
    registry: PolicyRegistry,
    /// The policies in it that this program understands.
    policies: BTreeMap<PolicyId, Arc<Policy>>,
    /// Jobs whose policy is not known here.
    awaiting: BTreeMap<PolicyId, BTreeSet<JobId>>,
    /// Jobs that are over and forgotten, by the broker that admitted them.
    done: BTreeMap<ReplicaId, Ranges>,
}

/// What a fact has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Job(JobId),
    Executor(NodeId),
    Emergency(EmergencyId),
    /// What a broker says of data under a name.
    Data(DataId, ReplicaId),
    Member(ReplicaId),
    Retired(ReplicaId),
    /// The job is done: nothing is known of it any more.
    Done(JobId),
    /// Some jobs are done that were not, known here or not.
    MoreDone,
    /// A fact of a job that is done is in the store.
    Leftover(FactKey),
    /// A policy became known, or another one is in force.
    Policy,
    Fault {
        key: String,
        reason: String,
    },
}

/// Where a job is indexed.
#[derive(Default)]
struct Indexed {
    spec: Option<Arc<SpecFact>>,
    /// If the job is open.
    owner: Option<ReplicaId>,
    working: SmallVec<[(NodeId, AttemptId); 1]>,
}

impl Indexed {
    fn of(job: &JobRecord, retries: u32) -> Self {
        let spec = job.spec.as_ref().map(|spec| Arc::clone(&spec.fact));
        if spec.is_none() || job.is_over(retries) {
            return Self { spec, owner: None, working: SmallVec::new() };
        }
        let working = job.attempts.iter().filter(|(_, record)| record.is_live());
        let working = working.filter_map(|(id, record)| Some((record.given_to()?.0, *id)));
        Self { spec, owner: Some(job.owner()), working: working.collect() }
    }
}

impl View {
    pub(crate) fn new(retries: u32) -> Self {
        Self {
            retries,
            jobs: ByJob::default(),
            executors: BTreeMap::new(),
            homes: BTreeMap::new(),
            emergencies: BTreeMap::new(),
            data: DataIndex::default(),
            members: BTreeMap::new(),
            retired: BTreeSet::new(),
            latest: BTreeMap::new(),
            clients: BTreeMap::new(),
            open: BTreeMap::new(),
            working: BTreeMap::new(),
            naming: BTreeMap::new(),
            aside: Aside::default(),
            registry: PolicyRegistry::default(),
            policies: BTreeMap::new(),
            awaiting: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Folds a row that the layer below writes: who is a member, and who will not return. Says whether it is one.
    pub(crate) fn join_row_of_sync(&mut self, record: &Record, changes: &mut Vec<Change>) -> bool {
        if let Some(member) = Member::from_record(record) {
            match member {
                Ok(member) => changes.extend(self.join_member(member)),
                Err(error) => changes.push(fault(record.key(), error)),
            }
            return true;
        }
        if let Some(retirement) = Retirement::from_record(record) {
            match retirement {
                Ok(Retirement { replica, .. }) if self.retired.insert(replica) => {
                    changes.push(Change::Retired(replica));
                }
                Ok(_) => {}
                Err(error) => changes.push(fault(record.key(), error)),
            }
            return true;
        }
        false
    }

    /// Keeps a value that is no fact of the kind that its key names, and reports it once.
    pub(crate) fn set_aside(&mut self, key: &Key, bytes: &[u8], error: &CodecError, changes: &mut Vec<Change>) {
        if self.aside.keep(&key.to_string(), bytes, &error.to_string()) {
            changes.push(fault(key, error));
        }
    }

    /// Folds one fact.
    pub(crate) fn apply(&mut self, key: FactKey, fact: Fact, changes: &mut Vec<Change>) {
        match (key, fact) {
            (FactKey::Executor { executor, home }, Fact::Executor(fact)) => {
                let known = self.executors.entry(executor).or_default();
                if known.get(&home).is_none_or(|known| *known < fact) {
                    if known.insert(home, fact).is_none() {
                        let count = self.homes.entry(home).or_default();
                        *count = count.saturating_add(1);
                    }
                    changes.push(Change::Executor(executor));
                }
            }
            (FactKey::Emergency { id, .. }, Fact::Emergency(fact)) => {
                if self.emergencies.get(&id).is_none_or(|known| emergency_order(known) < emergency_order(&fact)) {
                    self.emergencies.insert(id, fact);
                    changes.push(Change::Emergency(id));
                }
            }
            (FactKey::Data { id, .. }, Fact::Data(fact)) if fact.name.id() != id => {
                changes.push(fault(key, "the name is another than the key says"));
            }
            (FactKey::Data { id, by }, Fact::Data(fact)) => {
                if self.data.join(id, by, fact) {
                    changes.push(Change::Data(id, by));
                }
            }
            (FactKey::PolicyDef(id), Fact::PolicyDef(fact)) => self.join_policy(id, &fact.canonical, changes),
            (FactKey::PolicyCurrent { .. }, Fact::PolicyCurrent(fact)) => {
                if self.registry.observe(fact.choice) {
                    changes.push(Change::Policy);
                }
            }
            (FactKey::Done { admitted_by, .. }, Fact::Done(fact)) => self.join_done(admitted_by, &fact.jobs, changes),
            (
                FactKey::Executor { .. }
                | FactKey::Emergency { .. }
                | FactKey::Done { .. }
                | FactKey::Data { .. }
                | FactKey::PolicyDef(_)
                | FactKey::PolicyCurrent { .. },
                _,
            ) => changes.push(fault(key, "the fact is not of the kind that its key names")),
            (key, fact) => self.apply_to_job(key, fact, changes),
        }
    }

    fn apply_to_job(&mut self, key: FactKey, fact: Fact, changes: &mut Vec<Change>) {
        let Some(id) = key.job().filter(|_| !self.folds_to_nothing(&key)) else { return };
        let job = self.jobs.or_insert_with(id, || Box::new(JobRecord::new(id)));
        let before = Indexed::of(job, self.retries);
        let awaited = job.awaited_policy();
        let (changed, contradiction) = job.apply(&key, fact);
        if let Some(wanted) = job.wanted_policy() {
            job.set_policy(wanted, known(&self.policies, wanted));
        }
        let after = Indexed::of(job, self.retries);
        let awaits = job.awaited_policy();
        if awaited != awaits {
            if let Some(policy) = awaited {
                remove(&mut self.awaiting, &policy, &id);
            }
            if let Some(policy) = awaits {
                self.awaiting.entry(policy).or_default().insert(id);
            }
        }
        if changed {
            self.reindex(id, before, after);
            changes.push(Change::Job(id));
        }
        changes.extend(contradiction.map(|reason| fault(key, reason)));
    }

    fn join_policy(&mut self, id: PolicyId, canonical: &[u8], changes: &mut Vec<Change>) {
        if PolicyId::of_bytes(canonical) != id {
            changes.push(fault(FactKey::PolicyDef(id), "the bytes are of another policy than the key says"));
            return;
        }
        if self.registry.bytes(id).is_some() {
            return;
        }
        if let Err(error) = self.registry.insert(canonical) {
            changes.push(fault(FactKey::PolicyDef(id), error));
            return;
        }
        // One of an algorithm that is not known here is kept for those who know it, and judges nothing here.
        let Ok(policy) = self.registry.get(id) else { return };
        let policy = Arc::new(policy);
        self.policies.insert(id, Arc::clone(&policy));
        changes.push(Change::Policy);
        for job in self.awaiting.remove(&id).unwrap_or_default() {
            let Some(record) = self.jobs.get_mut(job).filter(|record| record.wanted_policy() == Some(id)) else {
                continue;
            };
            let before = Indexed::of(record, self.retries);
            record.set_policy(id, Some(Arc::clone(&policy)));
            let after = Indexed::of(record, self.retries);
            self.reindex(job, before, after);
            changes.push(Change::Job(job));
        }
    }

    /// A policy that can judge and rank here.
    pub(crate) fn policy(&self, id: PolicyId) -> Option<Arc<Policy>> {
        known(&self.policies, id)
    }

    /// The switches between policies.
    pub(crate) const fn registry(&self) -> &PolicyRegistry {
        &self.registry
    }

    fn join_member(&mut self, member: Member) -> Option<Change> {
        let replica = member.replica;
        let latest = self.latest.entry(member.node).or_insert((member.incarnation, replica));
        *latest = (*latest).max((member.incarnation, replica));
        let changed = self.members.get(&replica) != Some(&member);
        self.members.insert(replica, member);
        changed.then_some(Change::Member(replica))
    }

    /// Moves a job in the indexes from where it was to where it is, touching those alone in which it moves.
    fn reindex(&mut self, id: JobId, before: Indexed, after: Indexed) {
        let same_spec = match (&before.spec, &after.spec) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if !same_spec || before.owner.is_some() != after.owner.is_some() {
            let naming = |indexed: &Indexed| indexed.spec.as_ref()?.spec.emergency.filter(|_| indexed.owner.is_some());
            if let Some(emergency) = naming(&before) {
                remove(&mut self.naming, &emergency, &id);
            }
            if let Some(emergency) = naming(&after) {
                self.naming.entry(emergency).or_default().insert(id);
            }
        }
        if before.owner != after.owner {
            if let Some(owner) = before.owner {
                remove(&mut self.open, &owner, &id);
            }
            if let Some(owner) = after.owner {
                self.open.entry(owner).or_default().insert(id);
            }
        }
        if before.working != after.working {
            for (executor, attempt) in before.working {
                remove(&mut self.working, &executor, &attempt);
            }
            for (executor, attempt) in after.working {
                self.working.entry(executor).or_default().insert(attempt);
            }
        }
        if same_spec {
            return;
        }
        if let Some((key, submitted)) = before.spec.and_then(|spec| Some((client_key(&spec)?, spec.submitted)))
            && let Some(jobs) = self.clients.get_mut(&key)
        {
            jobs.remove(&(submitted, id));
            if jobs.len() == 0 {
                self.clients.remove(&key);
            }
        }
        if let Some((key, submitted)) = after.spec.and_then(|spec| Some((client_key(&spec)?, spec.submitted))) {
            self.clients.entry(key).or_default().insert((submitted, id), ());
        }
    }

    /// Takes a job back whose specification the store refused. Nobody has heard of it.
    pub(crate) fn withdraw(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(id) else { return };
        self.reindex(id, Indexed::of(&job, self.retries), Indexed::default());
    }

    pub(crate) fn job(&self, id: JobId) -> Option<&JobRecord> {
        self.jobs.get(id).map(Box::as_ref)
    }

    /// Jobs by name, beginning after `after`.
    pub(crate) fn jobs_after(&self, after: Option<JobId>) -> impl Iterator<Item = &JobRecord> {
        self.jobs.after(after).map(|(_, job)| job.as_ref())
    }

    pub(crate) const fn job_count(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn job_of_client(&self, client: &str, key: u64) -> Option<JobId> {
        self.clients.get(&(client.to_owned(), key))?.keys().next().map(|(_, job)| *job)
    }

    /// Jobs that are specified and not over, owned by this broker.
    pub(crate) fn open_jobs(&self, owner: ReplicaId) -> impl Iterator<Item = JobId> {
        self.open.get(&owner).into_iter().flatten().copied()
    }

    pub(crate) fn open_count(&self, owner: ReplicaId) -> usize {
        self.open.get(&owner).map_or(0, BTreeSet::len)
    }

    pub(crate) fn open_total(&self) -> usize {
        self.open.values().map(BTreeSet::len).fold(0, usize::saturating_add)
    }

    /// Attempts believed to be at work on this executor.
    pub(crate) fn working_on(&self, executor: NodeId) -> impl Iterator<Item = AttemptId> {
        self.working.get(&executor).into_iter().flatten().copied()
    }

    pub(crate) fn jobs_naming(&self, emergency: EmergencyId) -> impl Iterator<Item = JobId> {
        self.naming.get(&emergency).into_iter().flatten().copied()
    }

    /// The executor as it last registered anywhere, and where.
    pub(crate) fn executor(&self, id: NodeId) -> Option<(ReplicaId, &ExecutorFact)> {
        let homes = self.executors.get(&id)?;
        let latest = homes.iter().max_by_key(|(home, fact)| (fact.session, fact.registration, **home))?;
        Some((*latest.0, latest.1))
    }

    /// How many executors have ever registered at this broker and are not forgotten.
    pub(crate) fn executors_of(&self, home: ReplicaId) -> usize {
        self.homes.get(&home).copied().unwrap_or(0)
    }

    pub(crate) fn registered_at(&self, executor: NodeId, home: ReplicaId) -> bool {
        self.executors.get(&executor).is_some_and(|homes| homes.contains_key(&home))
    }

    /// Forgets that an executor was at this broker.
    pub(crate) fn forget_executor(&mut self, executor: NodeId, home: ReplicaId) {
        let Some(homes) = self.executors.get_mut(&executor) else { return };
        if homes.remove(&home).is_some()
            && let Some(count) = self.homes.get_mut(&home)
        {
            *count = count.saturating_sub(1);
        }
        if homes.is_empty() {
            self.executors.remove(&executor);
        }
    }

    pub(crate) fn executors(&self) -> impl Iterator<Item = (NodeId, ReplicaId, &ExecutorFact)> {
        self.executors.keys().filter_map(|id| self.executor(*id).map(|(home, fact)| (*id, home, fact)))
    }

    pub(crate) fn emergency(&self, id: EmergencyId) -> Option<&EmergencyFact> {
        self.emergencies.get(&id)
    }

    pub(crate) fn emergencies(&self) -> impl Iterator<Item = (EmergencyId, &EmergencyFact)> {
        self.emergencies.iter().map(|(id, fact)| (*id, fact))
    }

    /// Where data is.
    pub(crate) const fn data(&self) -> &DataIndex {
        &self.data
    }

    /// The incarnations of a broker.
    pub(crate) fn incarnations(&self, node: NodeId) -> impl Iterator<Item = ReplicaId> {
        self.members.values().filter(move |member| member.node == node).map(|member| member.replica)
    }

    pub(crate) const fn aside(&self) -> &Aside {
        &self.aside
    }

    pub(crate) fn member(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.get(&replica)
    }

    /// Whether it was said of this incarnation that it will not return.
    pub(crate) fn is_retired(&self, replica: ReplicaId) -> bool {
        self.retired.contains(&replica)
    }

    /// The latest incarnation of each broker.
    pub(crate) fn latest_members(&self) -> impl Iterator<Item = &Member> {
        self.latest.values().filter_map(|(_, replica)| self.members.get(replica))
    }

    /// Whether the broker of this incarnation runs a later one.
    pub(crate) fn is_superseded(&self, replica: ReplicaId) -> bool {
        let member = self.members.get(&replica);
        member.and_then(|member| self.latest.get(&member.node)).is_some_and(|(_, latest)| *latest != replica)
    }

    /// The emergency level of a job at this wall time: that of the emergency it names, while that stands and covers
    /// the job's region.
    pub(crate) fn level(&self, job: &JobRecord, wall: WallTime) -> u8 {
        let Some(spec) = &job.spec else { return 0 };
        let named = spec.fact.spec.emergency.and_then(|id| self.emergencies.get(&id));
        named.map_or(0, |emergency| level_in(emergency, &spec.fact.spec.region, wall))
    }

    /// What a client sees of a job.
    pub(crate) fn job_view(&self, job: &JobRecord, wall: WallTime, with_output: bool) -> JobView {
        let ownership = job.ownership();
        let spec = job.spec.as_ref().map(|spec| spec.fact.as_ref());
        let attempts = job.attempts.iter().map(|(id, record)| AttemptView {
            id: *id,
            token: job.token(id),
            executor: record.given_to().map(|(executor, _)| executor),
            phase: record.phase(),
            progress_bp: record.progress_bp(),
        });
        let submissions = job.submissions.iter().map(|(id, fact)| SubmissionView {
            id: *id,
            attempt: fact.attempt,
            executor: fact.executor,
            digest: fact.digest,
            success: fact.success,
            accepted: fact.verdict == Verdict::Accepted,
            verdict: fact.verdict,
            stamp: fact.stamp,
            quality_bp: fact.quality_bp,
            cost_resource_ms: fact.cost_resource_ms,
        });
        let result = job.canonical_fact().map(|(submission, fact)| ResultView {
            submission,
            digest: fact.digest,
            output: fact.output.clone().filter(|_| with_output),
            finality: Finality::Provisional,
            agreement: job.agreement(fact.digest, None),
        });
        JobView {
            id: job.id,
            status: job.status(self.retries),
            spec: job.spec.as_ref().map(|spec| spec.digest),
            client: spec.map(|spec| spec.spec.client.clone()).unwrap_or_default(),
            client_key: spec.map_or(0, |spec| spec.spec.client_key),
            priority: spec.map_or(0, |spec| spec.spec.priority),
            region: spec.map(|spec| spec.spec.region.clone()).unwrap_or_default(),
            level: self.level(job, wall),
            submitted: job.submitted(),
            strategy: job.policy().map(Policy::kind),
            policy: job.pin().map(|pin| pin.policy),
            owner: ownership.owner,
            epoch: ownership.epoch,
            settled: job.is_settled(),
            quarantine: job.quarantine().map(|hold| hold.reason),
            preempted: job.preemptions(),
            attempts: attempts.collect(),
            submissions: submissions.collect(),
            result,
        }
    }
}

impl JobRecord {
    pub(crate) fn submitted(&self) -> Option<Hlc> {
        self.spec.as_ref().map(|spec| spec.fact.submitted)
    }
}

/// What a client calls the job. A job without a client is anonymous: two of them are two jobs.
fn client_key(spec: &SpecFact) -> Option<(String, u64)> {
    let JobSpec { client, client_key, .. } = &spec.spec;
    (!client.is_empty()).then(|| (client.clone(), *client_key))
}

/// A policy that was written down, or one of those that everybody knows.
fn known(policies: &BTreeMap<PolicyId, Arc<Policy>>, id: PolicyId) -> Option<Arc<Policy>> {
    policies.get(&id).cloned().or_else(|| strategy::built_in(id))
}

/// Whether an emergency stands at this wall time.
pub(crate) fn in_force(emergency: &EmergencyFact, wall: WallTime) -> bool {
    !emergency.revoked && wall < emergency.expires
}

/// The level that an emergency gives to a job of this region that names it.
pub(crate) fn level_in(emergency: &EmergencyFact, region: &str, wall: WallTime) -> u8 {
    // X36: an emergency counts everywhere.
    let covers = sabotage::on(36) || reconvene_resolve::scope_covers(&emergency.region, region);
    if covers && in_force(emergency, wall) { emergency.level } else { 0 }
}

pub(crate) fn serves(executor: &ExecutorFact) -> bool {
    executor.state == ExecutorState::Up
}

/// Larger revision; at equal revision revoked wins, then the smaller digest.
fn emergency_order(fact: &EmergencyFact) -> (u64, bool, Reverse<[u8; 32]>) {
    let bytes = Fact::Emergency(fact.clone()).encode().unwrap_or_default();
    (fact.revision, fact.revoked, Reverse(digest::sha256(&bytes)))
}

fn fault(key: impl ToString, reason: impl ToString) -> Change {
    Change::Fault { key: key.to_string(), reason: reason.to_string() }
}

fn remove<K: Ord, T: Ord>(index: &mut BTreeMap<K, BTreeSet<T>>, key: &K, item: &T) {
    if let Some(set) = index.get_mut(key) {
        set.remove(item);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
