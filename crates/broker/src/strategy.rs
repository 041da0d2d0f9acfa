//! Where facts become the inputs of the strategies, and their outcome becomes ours.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use reconvene_clock::ReplicaId;
use reconvene_executor::{JobId, SubmissionId, Tag};
use reconvene_resolve::{
    BasisPoints, CandidateId, ContestRule, Decision, ExecutorFacts, JobFacts, JobValue, Level, Outcome, Policy,
    PolicyId, Priority, RankKey, Reason, Resources, RoundFacts, StrategyKind, SubjectId, VersionFacts, balance, decide,
    explain_rank, tie_hash,
};

use crate::fact::{SpecFact, SubmissionFact};

/// The score by which brokers are ordered for a job, and by which two claims of one epoch are told apart.
pub(crate) fn owner_tie(job: JobId, owner: ReplicaId) -> u64 {
    tie_hash(subject(job), CandidateId::new(owner.get(), 0))
}

/// The five strategies with their default parameters: known to every broker, whatever has arrived.
pub(crate) fn built_in(id: PolicyId) -> Option<Arc<Policy>> {
    static DEFAULTS: LazyLock<BTreeMap<PolicyId, Arc<Policy>>> = LazyLock::new(|| {
        let named = |kind| {
            let policy = Policy::of(kind);
            (policy.id(), Arc::new(policy))
        };
        StrategyKind::ALL.into_iter().map(named).collect()
    });
    DEFAULTS.get(&id).cloned()
}

/// Whether the first accepted result ends the matter.
pub(crate) fn first_stands(policy: &Policy) -> bool {
    policy.kind().contest_rule() == ContestRule::FirstStands
}

/// The canonical one of these submissions.
pub(crate) fn canonical<'a>(
    job: JobId,
    policy: &Policy,
    accepted: impl Iterator<Item = (SubmissionId, &'a SubmissionFact)>,
) -> Option<SubmissionId> {
    let strategy = policy.reconcile();
    accepted.min_by_key(|(id, fact)| strategy.key(&version(job, *id, fact))).map(|(id, _)| id)
}

/// Whether a submission that has no name yet would be canonical beside the one that is.
pub(crate) fn wins(
    job: JobId,
    policy: &Policy,
    id: SubmissionId,
    new: &SubmissionFact,
    standing: (SubmissionId, &SubmissionFact),
) -> bool {
    let strategy = policy.reconcile();
    strategy.key(&version(job, id, new)) < strategy.key(&version(job, standing.0, standing.1))
}

/// Why one submission stands before another, in one line.
pub(crate) fn explain(
    job: JobId,
    policy: &Policy,
    new: (SubmissionId, &SubmissionFact),
    old: (SubmissionId, &SubmissionFact),
) -> String {
    let versions = [version(job, new.0, new.1), version(job, old.0, old.1)];
    decide(policy.reconcile(), &versions).map(|decision| decision.to_string()).unwrap_or_default()
}

/// How accepted submissions stand to each other, with reasons; `None` of none.
pub(crate) fn decision<'a>(
    job: JobId,
    policy: &Policy,
    submissions: impl Iterator<Item = (SubmissionId, &'a SubmissionFact)>,
) -> Option<Decision> {
    let versions: Vec<_> = submissions.map(|(id, fact)| version(job, id, fact)).collect();
    decide(policy.reconcile(), &versions)
}

/// Which of two waiting jobs goes first, with reasons.
pub(crate) fn order(policy: &Policy, jobs: [JobFacts; 2], total: reconvene_executor::Resources) -> Option<Decision> {
    explain_rank(policy.contention(), &jobs, &RoundFacts::new(0, resources(total)))
}

/// Where a waiting job stands: smaller goes first.
pub(crate) fn rank_key(policy: &Policy, job: &JobFacts, total: reconvene_executor::Resources) -> RankKey {
    policy.contention().key(job, &RoundFacts::new(0, resources(total)))
}

/// Why a job of lower tier has to leave what is free to graver ones, if it has to.
pub(crate) fn held_back(
    policy: &Policy,
    job: &JobFacts,
    free: reconvene_executor::Resources,
    total: reconvene_executor::Resources,
) -> Option<Reason> {
    policy.head_room().holds_back(job, &resources(free), &resources(total))
}

/// A waiting job as strategies see it.
pub(crate) fn job_facts(id: JobId, fact: &SpecFact, level: u8) -> JobFacts {
    let spec = &fact.spec;
    JobFacts {
        priority: Priority(spec.priority),
        deadline: spec.deadline,
        estimate_ms: spec.estimate_ms,
        // The wire has no other way to say that the work is not declared.
        work_core_ms: (spec.work_core_ms > 0).then_some(spec.work_core_ms),
        demand: resources(spec.demand),
        value: JobValue::new(spec.value).unwrap_or_default(),
        level: Level::new(level).unwrap_or_default(),
        height: fact.height,
        ..JobFacts::new(candidate(id), fact.submitted)
    }
}

/// How unevenly an executor's room would be used with this job on it: smaller is better.
pub(crate) fn imbalance(
    capacity: reconvene_executor::Resources,
    free: reconvene_executor::Resources,
    demand: reconvene_executor::Resources,
) -> u64 {
    let tags = std::collections::BTreeSet::new();
    balance(&ExecutorFacts { capacity: resources(capacity), free: resources(free), tags }, &resources(demand))
}

fn version(job: JobId, id: SubmissionId, fact: &SubmissionFact) -> VersionFacts {
    VersionFacts {
        outcome: if fact.success { Outcome::Success } else { Outcome::Failure },
        attempt_epoch: fact.attempt.epoch.0,
        attempt_number: fact.attempt.number,
        height: fact.height,
        level: Level::new(fact.level).unwrap_or_default(),
        quality: BasisPoints::new(fact.quality_bp).unwrap_or(BasisPoints::FULL),
        cost_resource_ms: fact.cost_resource_ms,
        digest: fact.digest.0,
        ..VersionFacts::new(subject(job), CandidateId::new(id.accepted_by.get(), id.number), fact.stamp)
    }
}

fn subject(job: JobId) -> SubjectId {
    SubjectId::new(job.admitted_by.get(), job.sequence)
}

/// A job's name, as strategies know it.
pub(crate) const fn candidate(job: JobId) -> CandidateId {
    CandidateId::new(job.admitted_by.get(), job.sequence)
}

/// What an executor has, of which so much is free.
pub(crate) fn executor_facts(
    capacity: reconvene_executor::Resources,
    free: reconvene_executor::Resources,
    tags: &std::collections::BTreeSet<Tag>,
) -> ExecutorFacts {
    let tags = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
    ExecutorFacts { capacity: resources(capacity), free: resources(free), tags }
}

pub(crate) const fn resources(of: reconvene_executor::Resources) -> Resources {
    Resources::new(of.cpu_milli, of.memory_mib, of.gpu_milli)
}
