//! Everything known of one job, as a product of lattices: each part only grows, whatever order facts arrive in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{Height, Hlc, NodeId, ReplicaId};
use reconvene_executor::{
    AttemptId, FencingToken, JobId, OwnershipEpoch, Reappearance, ResultDigest, SessionEpoch, SpecDigest, SubmissionId,
};
use reconvene_resolve::{Pin, Policy, PolicyId};
use reconvene_store::sabotage;

use crate::fact::{
    AttemptFact, Fact, FactKey, HoldFact, OwnCause, OwnFact, Phase, PhaseMark, PinFact, SeenFact, SpecFact,
    SubmissionFact, ToldFact, Verdict,
};
use crate::strategy;
use crate::view::JobStatus;
use crate::view::few::Few;

/// What the facts of one job say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobRecord {
    pub(crate) id: JobId,
    /// By which the broker that admitted it stands among owners; asked for at every turn.
    first_tie: u64,
    pub(crate) spec: Option<Specified>,
    /// Whether that is what the admitting broker wrote, and no copy.
    pub(super) original: bool,
    claims: Option<Ownership>,
    pub(crate) attempts: Few<AttemptId, AttemptRecord>,
    pub(crate) submissions: Few<SubmissionId, SubmissionFact>,
    settled: Option<Hlc>,
    /// What judges: the policy that is pinned, once it is known here.
    policy: Option<(PolicyId, Arc<Policy>)>,
    /// The keys of those facts of which only the greatest is kept.
    pub(super) written: Few<FactKey, ()>,
    canonical: Option<SubmissionId>,
    uncommon: Option<Box<Uncommon>>,
}

/// What the facts say that most jobs do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uncommon {
    /// What brokers recovered from executors.
    pub(super) copies: BTreeMap<ReplicaId, Specified>,
    pub(super) cancels: BTreeMap<ReplicaId, Hlc>,
    hold: Option<(Held, HoldFact)>,
    pin: Option<PinFact>,
    pub(super) told: BTreeMap<ReplicaId, ToldFact>,
}

impl Uncommon {
    const NONE: Self =
        Self { copies: BTreeMap::new(), cancels: BTreeMap::new(), hold: None, pin: None, told: BTreeMap::new() };
}

/// The specification and its digest, which is the name under which executors have run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Specified {
    pub(crate) fact: Arc<SpecFact>,
    pub(crate) digest: SpecDigest,
}

impl Specified {
    fn new(fact: SpecFact) -> Self {
        let digest = fact.spec.digest();
        Self { fact: Arc::new(fact), digest }
    }

    /// Of two that differ, the lesser is used.
    fn order(&self) -> (SpecDigest, Hlc, Height, PolicyId, Reappearance) {
        let fact = &self.fact;
        (self.digest, fact.submitted, fact.height, fact.policy, fact.reappearance)
    }
}

/// Who owns a job. Greater is later, and the tie between two claims of one epoch is broken by a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ownership {
    pub(crate) epoch: OwnershipEpoch,
    tie: u64,
    pub(crate) owner: ReplicaId,
    pub(crate) cause: Option<OwnCause>,
    at: Hlc,
}

/// What is known of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttemptRecord {
    fact: Option<AttemptFact>,
    seen: BTreeMap<ReplicaId, SeenFact>,
    reported: Option<Phase>,
}

impl AttemptRecord {
    /// How far it has come: the greatest of what its owner and others wrote and of what was accepted from it.
    pub(crate) fn phase(&self) -> Option<Phase> {
        let written = self.mark_now().map(|mark| mark.phase);
        match self.reported {
            Some(reported) if written.is_none_or(|phase| !phase.is_final() || phase < reported) => Some(reported),
            _ => written,
        }
    }

    /// The greatest mark that somebody wrote.
    pub(crate) fn mark_now(&self) -> Option<PhaseMark> {
        let seen = self.seen.values().map(|seen| seen.mark).max();
        self.fact.map(|fact| fact.mark).max(seen)
    }

    /// The brokers that have written what they saw of it.
    pub(crate) fn seen_by(&self) -> impl Iterator<Item = ReplicaId> {
        self.seen.keys().copied()
    }

    /// The broker that saw it last.
    pub(crate) fn last_seen_by(&self) -> Option<ReplicaId> {
        self.seen.iter().max_by_key(|(_, seen)| seen.mark).map(|(broker, _)| *broker)
    }

    /// The registration under which it was last seen.
    pub(crate) fn registration(&self) -> u64 {
        self.mark_now().map_or(0, |mark| mark.registration)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase().is_some_and(Phase::is_live)
    }

    /// Whether it was at work when it was lost, so that the loss uses the budget.
    pub(crate) fn is_loss(&self) -> bool {
        self.phase() == Some(Phase::Lost) && (self.fact.is_some_and(|fact| fact.started) || !self.seen.is_empty())
    }

    /// How far it was, in basis points, when somebody last wrote that down.
    pub(crate) fn progress_bp(&self) -> u16 {
        let seen = self.seen.values().map(|seen| seen.progress_bp).max();
        self.fact.map(|fact| fact.progress_bp).max(seen).unwrap_or(0)
    }

    /// The executor and session it was given to, if its owner's fact is known.
    pub(crate) fn given_to(&self) -> Option<(NodeId, SessionEpoch)> {
        self.fact.map(|fact| (fact.executor, fact.session))
    }

    pub(crate) const fn fact(&self) -> Option<&AttemptFact> {
        self.fact.as_ref()
    }

    /// Whether no result of it can come any more.
    fn has_ended(&self) -> bool {
        self.phase().is_some_and(Phase::is_final)
    }
}

impl JobRecord {
    pub(crate) fn new(id: JobId) -> Self {
        Self {
            id,
            first_tie: strategy::owner_tie(id, id.admitted_by),
            spec: None,
            original: false,
            claims: None,
            attempts: Few::default(),
            submissions: Few::default(),
            settled: None,
            policy: None,
            written: Few::default(),
            canonical: None,
            uncommon: None,
        }
    }

    pub(super) fn uncommon(&self) -> &Uncommon {
        static NONE: Uncommon = Uncommon::NONE;
        self.uncommon.as_deref().unwrap_or(&NONE)
    }

    /// To be written to at once: what is there is not nothing.
    fn uncommon_mut(&mut self) -> &mut Uncommon {
        self.uncommon.get_or_insert_with(|| Box::new(Uncommon::NONE))
    }

    /// Joins one fact. Says whether something changed, and what contradiction was found.
    pub(crate) fn apply(&mut self, key: &FactKey, fact: Fact) -> (bool, Option<&'static str>) {
        if matches!(
            (key, &fact),
            (FactKey::Own { .. }, Fact::Own(_))
                | (FactKey::Settle { .. }, Fact::Settle(_))
                | (FactKey::Hold { .. }, Fact::Hold(_))
                | (FactKey::Pin { .. }, Fact::Pin(_))
        ) {
            self.written.insert(*key, ());
        }
        match (key, fact) {
            (FactKey::Spec(_), Fact::Spec(fact)) => self.join_spec(*fact),
            (FactKey::Copy { by, .. }, Fact::Copy(fact)) => self.join_copy(*by, *fact),
            (FactKey::Own { epoch, .. }, Fact::Own(fact)) => (self.join_claim(*epoch, fact), None),
            (FactKey::Attempt(attempt), Fact::Attempt(fact)) => {
                let record = self.attempts.entry(*attempt);
                (raise(&mut record.fact, fact), None)
            }
            (FactKey::Seen { attempt, by }, Fact::Seen(fact)) => {
                let record = self.attempts.entry(*attempt);
                (raise_entry(&mut record.seen, *by, fact), None)
            }
            (FactKey::Submission { id, .. }, Fact::Submission(fact)) => self.join_submission(*id, *fact),
            (FactKey::Settle { .. }, Fact::Settle(fact)) => {
                let earlier = self.settled.map_or(fact.at, |at| at.min(fact.at));
                (self.settled.replace(earlier) != Some(earlier), None)
            }
            (FactKey::Cancel { by, .. }, Fact::Cancel(fact)) => {
                let cancels = &mut self.uncommon_mut().cancels;
                let earlier = cancels.get(by).map_or(fact.at, |at| fact.at.min(*at));
                (cancels.insert(*by, earlier) != Some(earlier), None)
            }
            (FactKey::Hold { by, .. }, Fact::Hold(fact)) => {
                (raise(&mut self.uncommon_mut().hold, ((fact.revision, fact.released, *by), fact)), None)
            }
            (FactKey::Pin { .. }, Fact::Pin(fact)) => (raise(&mut self.uncommon_mut().pin, fact), None),
            (FactKey::Told { by, .. }, Fact::Told(fact)) => {
                (raise_entry(&mut self.uncommon_mut().told, *by, fact), None)
            }
            _ => (false, Some("the fact is not of the kind that its key names")),
        }
    }

    fn join_spec(&mut self, fact: SpecFact) -> (bool, Option<&'static str>) {
        let new = Specified::new(fact);
        let differs = self.uncommon().copies.values().any(|copy| copy.digest != new.digest);
        match self.spec.as_ref().filter(|_| self.original) {
            Some(known) if *known == new => (false, None),
            Some(known) if known.order() <= new.order() => (false, Some(TWO_SPECS)),
            known => {
                let fault = (known.is_some() || differs).then_some(TWO_SPECS);
                self.original = true;
                self.spec = Some(new);
                self.judge();
                (true, fault)
            }
        }
    }

    /// What an executor was ordered with counts as long as nobody has heard from the broker that admitted the job.
    fn join_copy(&mut self, by: ReplicaId, fact: SpecFact) -> (bool, Option<&'static str>) {
        let new = Specified::new(fact);
        let mut others = self.uncommon().copies.values().chain(&self.spec);
        let fault = others.any(|known| known.digest != new.digest).then_some(TWO_COPIES);
        let copies = &mut self.uncommon_mut().copies;
        if copies.get(&by).is_some_and(|known| known.order() <= new.order()) {
            return (false, fault);
        }
        copies.insert(by, new);
        let least = copies.values().min_by_key(|copy| copy.order()).cloned();
        if self.original || self.spec == least {
            return (false, fault);
        }
        self.spec = least;
        self.judge();
        (true, fault)
    }

    /// Whether the specification is what the admitting broker wrote, and no copy.
    pub(crate) const fn is_original(&self) -> bool {
        self.original
    }

    /// What this broker recovered from an executor.
    pub(crate) fn copy_by(&self, by: ReplicaId) -> Option<&SpecFact> {
        self.uncommon().copies.get(&by).map(|copy| copy.fact.as_ref())
    }

    fn join_claim(&mut self, epoch: OwnershipEpoch, fact: OwnFact) -> bool {
        let tie = self.tie(fact.owner);
        raise(&mut self.claims, Ownership { epoch, tie, owner: fact.owner, cause: Some(fact.cause), at: fact.at })
    }

    fn join_submission(&mut self, id: SubmissionId, fact: SubmissionFact) -> (bool, Option<&'static str>) {
        let attempt = fact.attempt;
        let fault = match self.submissions.get(&id) {
            Some(known) if *known == fact => return (false, None),
            Some(known) if *known < fact => return (false, Some(TWO_SUBMISSIONS)),
            Some(_) => Some(TWO_SUBMISSIONS),
            None => None,
        };
        let replaced = self.submissions.insert(id, fact);
        for attempt in replaced.map(|fact| fact.attempt).into_iter().chain([attempt]) {
            let record = self.attempts.entry(attempt);
            record.reported = self
                .submissions
                .values()
                .filter(|other| other.attempt == attempt && other.verdict == Verdict::Accepted)
                .map(|other| if other.success { Phase::Finished } else { Phase::Failed })
                .max();
            if *record == AttemptRecord::default() {
                self.attempts.remove(&attempt);
            }
        }
        self.judge();
        (true, fault)
    }

    fn judge(&mut self) {
        // X26: what arrived first stays.
        if sabotage::on(26) && self.canonical.is_some() {
            return;
        }
        self.canonical = self.least();
    }

    fn least(&self) -> Option<SubmissionId> {
        let mut successes = self.accepted().filter(|(_, fact)| fact.success);
        match (&self.spec, self.policy()) {
            (None, _) => None,
            (Some(_), Some(policy)) => strategy::canonical(self.id, policy, successes),
            // The only one is canonical under whatever policy; between two it would be a guess.
            (Some(_), None) => successes.next().map(|(id, _)| id).filter(|_| successes.next().is_none()),
        }
    }

    /// The pin that holds: the greatest of those written, else that of the admission.
    pub(crate) fn pin(&self) -> Option<Pin> {
        let admitted = self.spec.as_ref().map(|spec| Pin::at_admission(spec.fact.policy))?;
        Some(self.uncommon().pin.map_or(admitted, |fact| fact.pin.merge(admitted)))
    }

    /// The policy that judges, if it is known here.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref().map(|(_, policy)| policy.as_ref())
    }

    /// The policy that is pinned and was not given yet.
    pub(crate) fn wanted_policy(&self) -> Option<PolicyId> {
        let wanted = self.pin()?.policy;
        (self.policy.as_ref().map(|(id, _)| *id) != Some(wanted)).then_some(wanted)
    }

    /// The policy that is pinned and not known here.
    pub(crate) fn awaited_policy(&self) -> Option<PolicyId> {
        self.pin().map(|pin| pin.policy).filter(|_| self.policy.is_none())
    }

    /// Judges by this policy from now on; `None` while the one that is pinned is not known here.
    pub(crate) fn set_policy(&mut self, id: PolicyId, policy: Option<Arc<Policy>>) {
        self.policy = policy.map(|policy| (id, policy));
        self.judge();
    }

    /// Whether a success was accepted anywhere.
    pub(crate) fn has_success(&self) -> bool {
        self.canonical.is_some() || self.accepted().any(|(_, fact)| fact.success)
    }

    /// Whether it has results and nobody here can tell which counts.
    pub(crate) fn is_unresolved(&self) -> bool {
        self.spec.is_some() && self.canonical.is_none() && self.has_success()
    }

    /// The accepted submissions, successes and failures.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (SubmissionId, &SubmissionFact)> {
        self.submissions.iter().filter(|(_, fact)| fact.verdict == Verdict::Accepted).map(|(id, fact)| (*id, fact))
    }

    /// The canonical result: the least under the job's strategy of the successes accepted anywhere.
    pub(crate) const fn canonical(&self) -> Option<SubmissionId> {
        self.canonical
    }

    pub(crate) fn canonical_fact(&self) -> Option<(SubmissionId, &SubmissionFact)> {
        let id = self.canonical?;
        Some((id, self.submissions.get(&id)?))
    }

    /// The owner: of the greatest claim, else the broker that admitted the job.
    pub(crate) fn ownership(&self) -> Ownership {
        let first = self.first_ownership();
        self.claims.map_or(first, |claim| claim.max(first))
    }

    /// The broker that owns it.
    pub(crate) fn owner(&self) -> ReplicaId {
        match &self.claims {
            None => self.id.admitted_by,
            Some(_) => self.ownership().owner,
        }
    }

    fn tie(&self, owner: ReplicaId) -> u64 {
        if owner == self.id.admitted_by { self.first_tie } else { strategy::owner_tie(self.id, owner) }
    }

    /// The first epoch belongs to the broker that admitted the job, and needs no fact.
    pub(crate) fn first_ownership(&self) -> Ownership {
        Ownership {
            epoch: OwnershipEpoch::FIRST,
            tie: self.first_tie,
            owner: self.id.admitted_by,
            cause: None,
            at: Hlc::default(),
        }
    }

    pub(crate) fn token(&self, attempt: &AttemptId) -> FencingToken {
        FencingToken {
            epoch: attempt.epoch,
            tie: self.tie(attempt.owner),
            owner: attempt.owner,
            number: attempt.number,
        }
    }

    /// The attempt with the greatest token.
    pub(crate) fn current_attempt(&self) -> Option<AttemptId> {
        self.attempts.keys().copied().max_by_key(|attempt| self.token(attempt))
    }

    pub(crate) fn live_attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.attempts.iter().filter(|(_, record)| record.is_live()).map(|(id, _)| *id)
    }

    /// Losses of attempts that the present owner placed.
    pub(crate) fn losses(&self) -> u32 {
        count(self.attempts_of_owner().filter(|attempt| attempt.is_loss()))
    }

    /// Failures of attempts that the present owner placed: a new owner's executors may do what those before could not.
    pub(crate) fn failures(&self) -> u32 {
        count(self.attempts_of_owner().filter(|attempt| attempt.phase() == Some(Phase::Failed)))
    }

    /// How often it was preempted under its present owner.
    pub(crate) fn preemptions(&self) -> u32 {
        count(self.attempts_of_owner().filter(|attempt| attempt.phase() == Some(Phase::Preempted)))
    }

    fn attempts_of_owner(&self) -> impl Iterator<Item = &AttemptRecord> {
        let owner = self.owner();
        self.attempts.iter().filter(move |(id, _)| id.owner == owner).map(|(_, record)| record)
    }

    /// The last word about whether it is in quarantine.
    pub(crate) fn hold(&self) -> Option<&HoldFact> {
        match &self.uncommon().hold {
            Some((_, fact)) => Some(fact),
            None => None,
        }
    }

    /// The quarantine that it is in.
    pub(crate) fn quarantine(&self) -> Option<&HoldFact> {
        self.hold().filter(|hold| !hold.released)
    }

    pub(crate) const fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        !self.uncommon().cancels.is_empty()
    }

    /// The brokers that took a cancel, and when the first of them did.
    pub(crate) fn cancelled(&self) -> Option<(Vec<ReplicaId>, Hlc)> {
        let cancels = &self.uncommon().cancels;
        let first = cancels.values().min()?;
        Some((cancels.keys().copied().collect(), *first))
    }

    pub(crate) fn is_cancelled_by(&self, broker: ReplicaId) -> bool {
        self.uncommon().cancels.contains_key(&broker)
    }

    /// Whether the first accepted result ends the matter, or others may challenge it until the job is settled.
    pub(crate) fn first_stands(&self) -> bool {
        self.policy().is_some_and(strategy::first_stands)
    }

    /// Whether a result was accepted and no challenger is admitted any more.
    pub(crate) fn is_decided(&self) -> bool {
        self.canonical.is_some() && (self.first_stands() || self.is_settled())
    }

    /// Whether nothing is to be run or waited for: decided, cancelled, or all tries used.
    pub(crate) fn is_over(&self, retries: u32) -> bool {
        if self.has_success() { self.is_decided() } else { self.is_cancelled() || self.failures() > retries }
    }

    /// Whether every attempt known has ended or reported, so that no challenger can come from one.
    pub(crate) fn all_attempts_ended(&self) -> bool {
        let reported = |id: &AttemptId| self.submissions.values().any(|fact| fact.attempt == *id);
        self.attempts.iter().all(|(id, record)| record.has_ended() || reported(id))
    }

    pub(crate) fn status(&self, retries: u32) -> JobStatus {
        let any = |wanted: fn(Phase) -> bool| self.attempts.values().filter_map(AttemptRecord::phase).any(wanted);
        if self.spec.is_some() && self.has_success() {
            JobStatus::Completed
        } else if self.spec.is_none() {
            JobStatus::Unknown
        } else if self.is_cancelled() {
            JobStatus::Cancelled
        } else if self.quarantine().is_some() {
            JobStatus::Quarantined
        } else if self.failures() > retries {
            JobStatus::Failed
        } else if any(|phase| phase == Phase::Running) {
            JobStatus::Running
        } else if any(Phase::is_live) {
            JobStatus::Dispatched
        } else if any(|phase| matches!(phase, Phase::Lost | Phase::Preempted)) {
            JobStatus::Redeploying
        } else {
            JobStatus::Waiting
        }
    }

    /// How many attempts came to this result, accepted or not.
    pub(crate) fn agreement(&self, digest: ResultDigest, also: Option<AttemptId>) -> u32 {
        let reported = self.submissions.values().filter(|fact| fact.success && fact.digest == digest);
        let attempts: BTreeSet<_> = reported.map(|fact| fact.attempt).chain(also).collect();
        count(attempts.iter())
    }

    /// What this broker last named as the canonical result, by an explicit fact or when it accepted one.
    pub(crate) fn told_by(&self, broker: ReplicaId) -> Option<SubmissionId> {
        let explicit = self.uncommon().told.get(&broker).map(|told| told.named);
        explicit.or_else(|| {
            let own = self.accepted().filter(|(id, fact)| id.accepted_by == broker && fact.named);
            own.map(|(id, _)| id).min()
        })
    }

    pub(crate) fn told_fact(&self, broker: ReplicaId) -> Option<&ToldFact> {
        self.uncommon().told.get(&broker)
    }
}

/// The order of holds: revision, released, writer.
type Held = (u64, bool, ReplicaId);

const TWO_SPECS: &str = "two specifications of one job; the one with the smaller digest is used";
const TWO_COPIES: &str = "two specifications of one job, one of them recovered from an executor; that of the broker that \
                          admitted the job is used, else the one with the smaller digest";
const TWO_SUBMISSIONS: &str = "two submissions under one name; the smaller one is used";

fn raise<T: Ord>(held: &mut Option<T>, new: T) -> bool {
    let rises = held.as_ref().is_none_or(|held| *held < new);
    if rises {
        *held = Some(new);
    }
    rises
}

fn raise_entry<K: Ord, T: Ord>(entries: &mut BTreeMap<K, T>, key: K, new: T) -> bool {
    let rises = entries.get(&key).is_none_or(|held| *held < new);
    if rises {
        entries.insert(key, new);
    }
    rises
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
