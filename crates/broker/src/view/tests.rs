//! The fold as a law.

use proptest::collection::vec;
use proptest::prelude::*;
use reconvene_clock::{Height, Hlc, NodeId, ReplicaId, WallTime};
use reconvene_executor::{
    AttemptId, EmergencyId, JobId, JobSpec, OwnershipEpoch, Reappearance, Rejection, Resources, ResultDigest,
    SessionEpoch, SpecDigest, SubmissionId,
};
use reconvene_resolve::{HeadStartMinutes, Pin, PinEpoch, PolicyChoice, PolicyEpoch, StrategyKind};

use super::*;
use crate::fact::{
    AttemptCause, AttemptFact, CancelFact, ContentHash, DataFact, DataName, DataState, DoneFact, EmergencyFact,
    ExecutorFact, HoldFact, HoldReason, OwnCause, OwnFact, Phase, PhaseMark, PinFact, PolicyCurrentFact, PolicyDefFact,
    SeenFact, SettleFact, SpecFact, SubmissionFact, ToldFact,
};

fn replica() -> impl Strategy<Value = ReplicaId> {
    (1_u64..4).prop_map(|id| ReplicaId::new(id).unwrap())
}

fn node() -> impl Strategy<Value = NodeId> {
    (1_u8..4).prop_map(|id| NodeId::new([id; 16]))
}

fn job() -> impl Strategy<Value = JobId> {
    (replica(), 1_u64..3).prop_map(|(by, sequence)| JobId::new(by, sequence))
}

fn hlc() -> impl Strategy<Value = Hlc> {
    (0_u64..5).prop_map(|ms| Hlc::from_parts(WallTime::from_millis(ms), 0).unwrap())
}

fn height() -> impl Strategy<Value = Height> {
    (1_u64..5).prop_map(|height| Height::new(height).unwrap())
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    (job(), 1_u32..3, replica(), 1_u32..3).prop_map(|(job, epoch, owner, number)| AttemptId {
        job,
        epoch: OwnershipEpoch(epoch),
        owner,
        number,
    })
}

fn session() -> impl Strategy<Value = SessionEpoch> {
    hlc().prop_map(|start| SessionEpoch::new(start, 1))
}

fn mark() -> impl Strategy<Value = PhaseMark> {
    let phases = [
        Phase::Offered,
        Phase::Leased,
        Phase::Running,
        Phase::Lost,
        Phase::Refused,
        Phase::Preempted,
        Phase::Cancelled,
        Phase::Failed,
        Phase::Finished,
    ];
    (proptest::sample::select(phases.to_vec()), 0_u64..3).prop_map(|(phase, number)| PhaseMark::new(phase, number))
}

/// Three that everybody knows, and two that have to arrive.
fn policies() -> Vec<Policy> {
    let minutes = |priority| HeadStartMinutes { priority, ..HeadStartMinutes::PRIORITY_BASED };
    let own = [1, 2].map(|priority| Policy::priority_based(minutes(priority)).unwrap());
    let named = [StrategyKind::FirstComeFirstServed, StrategyKind::PriorityBased, StrategyKind::ResourceOptimal];
    named.map(Policy::of).into_iter().chain(own).collect()
}

fn about_policies() -> impl Strategy<Value = (FactKey, Fact)> {
    let policy = || proptest::sample::select(policies());
    prop_oneof![
        policy().prop_map(|policy| {
            let canonical = policy.canonical_bytes();
            (FactKey::PolicyDef(policy.id()), Fact::PolicyDef(PolicyDefFact { canonical }))
        }),
        (replica(), policy(), 1_u64..4, 0_u32..3, hlc()).prop_map(|(by, policy, epoch, issuer_rank, at)| {
            let choice = PolicyChoice { epoch: PolicyEpoch(epoch), issuer_rank, policy: policy.id() };
            (FactKey::PolicyCurrent { by }, Fact::PolicyCurrent(PolicyCurrentFact { choice, at }))
        }),
        (job(), replica(), policy(), 1_u64..4, 0_u32..3, hlc()).prop_map(
            |(job, by, policy, epoch, issuer_rank, at)| {
                let pin = Pin { epoch: PinEpoch(epoch), issuer_rank, policy: policy.id() };
                (FactKey::Pin { job, by }, Fact::Pin(PinFact { pin, at }))
            }
        ),
    ]
}

fn spec() -> impl Strategy<Value = (FactKey, Fact)> {
    let strategy = proptest::sample::select(policies());
    let emergency = proptest::option::of(replica());
    let copy = proptest::option::of(replica());
    (job(), 0_u8..2, hlc(), height(), strategy, 0_u64..3, emergency, (reappearance(), copy)).prop_map(
        |(id, payload, submitted, height, policy, client, emergency, (reappearance, copy))| {
            let policy = policy.id();
            let mut spec = JobSpec::new(vec![payload]);
            if client > 0 {
                spec = spec.with_client("client", client);
            }
            spec.emergency = emergency.map(|declared_by| EmergencyId { declared_by, number: 1 });
            let fact = Box::new(SpecFact { spec, submitted, height, policy, reappearance });
            match copy {
                Some(by) => (FactKey::Copy { job: id, by }, Fact::Copy(fact)),
                None => (FactKey::Spec(id), Fact::Spec(fact)),
            }
        },
    )
}

fn submission() -> impl Strategy<Value = (FactKey, Fact)> {
    let judged = (any::<bool>(), any::<bool>(), any::<bool>(), 0_u16..3);
    (attempt(), replica(), 1_u64..3, node(), session(), 0_u8..2, hlc(), height(), judged).prop_map(
        |(attempt, by, number, executor, session, digest, stamp, height, (success, accepted, named, quality_bp))| {
            let verdict = if accepted { Verdict::Accepted } else { Verdict::Refused(Rejection::Divergent) };
            let fact = SubmissionFact {
                attempt,
                executor,
                session,
                sequence: number,
                spec: SpecDigest([0; 32]),
                digest: ResultDigest([digest; 32]),
                success,
                verdict,
                stamp,
                height,
                level: 0,
                cost_resource_ms: 5,
                quality_bp,
                named,
                output: None,
            };
            let id = SubmissionId { accepted_by: by, number };
            (FactKey::Submission { job: attempt.job, id }, Fact::Submission(Box::new(fact)))
        },
    )
}

fn attempt_fact() -> impl Strategy<Value = (FactKey, Fact)> {
    let cause = proptest::sample::select(vec![AttemptCause::First, AttemptCause::Redeployed]);
    let given = (node(), session(), any::<bool>(), cause);
    (attempt(), mark(), given, 0_u16..3, 0_u64..3, hlc()).prop_map(|(id, mark, given, progress_bp, score, at)| {
        let (executor, session, started, cause) = given;
        let fact = AttemptFact { mark, progress_bp, executor, session, started, cause, score, at };
        (FactKey::Attempt(id), Fact::Attempt(fact))
    })
}

fn reappearance() -> impl Strategy<Value = Reappearance> {
    proptest::sample::select(vec![
        Reappearance::FirstResult,
        Reappearance::KeepOriginal,
        Reappearance::KeepReplacement,
        Reappearance::BestScore,
        Reappearance::MostProgress,
    ])
}

fn about_jobs() -> impl Strategy<Value = (FactKey, Fact)> {
    prop_oneof![
        spec(),
        submission(),
        attempt_fact(),
        (job(), replica(), 1_u64..4, any::<bool>(), any::<bool>(), replica(), hlc()).prop_map(
            |(job, by, revision, released, poison, owner, at)| {
                let reason = if poison { HoldReason::PoisonSuspected } else { HoldReason::LossBudget };
                let fact = HoldFact { revision, released, reason, owner, losses: 4, at };
                (FactKey::Hold { job, by }, Fact::Hold(fact))
            }
        ),
        (attempt(), replica(), mark(), 0_u16..3).prop_map(|(attempt, by, mark, progress_bp)| {
            (FactKey::Seen { attempt, by }, Fact::Seen(SeenFact { mark, progress_bp }))
        }),
        (job(), 2_u32..4, replica(), replica(), any::<bool>(), hlc()).prop_map(|(job, epoch, by, owner, given, at)| {
            let cause = if given { OwnCause::HandedOver } else { OwnCause::TakenOver };
            (FactKey::Own { job, epoch: OwnershipEpoch(epoch), by }, Fact::Own(OwnFact { owner, cause, at }))
        }),
        (job(), replica(), hlc())
            .prop_map(|(job, by, at)| { (FactKey::Settle { job, by }, Fact::Settle(SettleFact { at })) }),
        (job(), replica(), hlc())
            .prop_map(|(job, by, at)| { (FactKey::Cancel { job, by }, Fact::Cancel(CancelFact { at })) }),
        (job(), replica(), replica(), 0_u64..3, any::<bool>()).prop_map(|(job, by, named, revision, pending)| {
            let named = SubmissionId { accepted_by: named, number: 1 };
            (FactKey::Told { job, by }, Fact::Told(ToldFact { revision, named, pending: pending.then_some(named) }))
        }),
    ]
}

fn fact() -> impl Strategy<Value = (FactKey, Fact)> {
    prop_oneof![
        8 => about_jobs(),
        2 => about_policies(),
        1 => (replica(), replica(), vec(1_u64..4, 0..3)).prop_map(|(admitted_by, by, jobs)| {
            let jobs = jobs.into_iter().collect();
            (FactKey::Done { admitted_by, by }, Fact::Done(DoneFact { jobs }))
        }),
        1 => (node(), replica(), session(), 0_u64..3, any::<bool>()).prop_map(|(executor, home, session, number, up)| {
            let state = if up { ExecutorState::Up } else { ExecutorState::Gone };
            let (capacity, tags) = (Resources::NONE, BTreeSet::new());
            let fact = ExecutorFact { session, registration: number, state, capacity, slots: 1, tags, heir: None };
            (FactKey::Executor { executor, home }, Fact::Executor(fact))
        }),
        1 => (replica(), replica(), 1_u64..3, any::<bool>(), 1_u8..3).prop_map(|(by, of, revision, revoked, level)| {
            let fact = EmergencyFact {
                revision,
                revoked,
                level,
                region: String::new(),
                issued: WallTime::from_millis(0),
                expires: WallTime::from_millis(9),
            };
            let id = EmergencyId { declared_by: of, number: 1 };
            (FactKey::Emergency { id, by }, Fact::Emergency(fact))
        }),
        2 => (replica(), 1_u64..4, any::<bool>(), 0_u8..2, 0_u8..2, hlc()).prop_map(
            |(by, revision, there, name, content, at)| {
                let state = if there { DataState::Present } else { DataState::Gone };
                let name = DataName::new(format!("data-{name}")).unwrap();
                let id = name.id();
                let fact = DataFact { revision, state, name, hash: ContentHash::of(&[content]), size: 1, at };
                (FactKey::Data { id, by }, Fact::Data(fact))
            },
        ),
    ]
}

fn folded(facts: impl IntoIterator<Item = (FactKey, Fact)>) -> View {
    let mut view = View::new(2);
    for (key, fact) in facts {
        view.apply(key, fact, &mut Vec::new());
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn law_fold_ignores_order(
        (facts, shuffled) in vec(fact(), 0..60).prop_flat_map(|facts| {
            // A permutation in which some facts come twice.
            let again = proptest::sample::subsequence(facts.clone(), 0..=facts.len());
            let all = (Just(facts.clone()), again).prop_map(|(facts, again)| [facts, again].concat());
            (Just(facts), all.prop_shuffle())
        }),
    ) {
        let (one, two) = (folded(facts), folded(shuffled));
        for job in one.jobs_after(None) {
            prop_assert_eq!(job.canonical(), two.job(job.id).and_then(JobRecord::canonical));
            prop_assert_eq!(job.surplus(), two.job(job.id).and_then(JobRecord::surplus), "all stop the same attempts");
        }
        prop_assert_eq!(one, two);
    }

    #[test]
    fn law_one_attempt_goes_on_and_the_others_stop(facts in vec(about_jobs(), 0..60)) {
        for job in folded(facts).jobs_after(None) {
            let live: Vec<_> = job.live_attempts().collect();
            match job.surplus() {
                None => {}
                Some((keeps, others)) => {
                    prop_assert!(job.reappearance() != Reappearance::FirstResult);
                    prop_assert!(live.contains(&keeps) && !others.contains(&keeps));
                    prop_assert_eq!(others.len() + 1, live.len());
                }
            }
        }
    }

    #[test]
    fn law_facts_of_a_job_that_is_done_fold_to_nothing(facts in vec(fact(), 0..60), done in job(), by in replica()) {
        let jobs = [done.sequence].into_iter().collect();
        let fact = (FactKey::Done { admitted_by: done.admitted_by, by }, Fact::Done(DoneFact { jobs }));
        let without = facts.iter().filter(|(key, _)| key.job() != Some(done)).cloned();
        let view = folded(facts.iter().cloned().chain([fact.clone()]));
        prop_assert!(view.is_done(done) && view.job(done).is_none());
        prop_assert_eq!(view, folded(without.chain([fact])));
    }

    #[test]
    fn law_the_keys_of_a_job_are_those_of_its_facts(facts in vec(about_jobs(), 0..40)) {
        let view = folded(facts.iter().cloned());
        for job in view.jobs_after(None) {
            let keys: BTreeSet<FactKey> = job.keys().into_iter().collect();
            let written: BTreeSet<FactKey> =
                facts.iter().map(|(key, _)| *key).filter(|key| key.job() == Some(job.id)).collect();
            prop_assert_eq!(keys, written);
        }
    }

    #[test]
    fn law_facts_are_read_back((key, fact) in fact()) {
        let bytes = fact.encode().unwrap();
        prop_assert_eq!(&Fact::decode(&key, &bytes).unwrap(), &fact);
        prop_assert!(Fact::decode(&key, &bytes[..bytes.len() - 1]).is_err());
        prop_assert!(Fact::decode(&key, &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn law_damaged_facts_are_refused_and_change_nothing((key, fact) in fact(), bytes in vec(any::<u8>(), 0..64)) {
        let _ = Fact::decode(&key, &bytes);
        let mut view = folded([(key, fact)]);
        let before = view.clone();
        // A fact under a key of another kind.
        let other = Fact::Settle(SettleFact { at: Hlc::default() });
        let foreign = FactKey::Executor { executor: NodeId::new([1; 16]), home: ReplicaId::new(1).unwrap() };
        let mut changes = Vec::new();
        view.apply(foreign, other, &mut changes);
        prop_assert_eq!(view, before);
        let refused = matches!(changes[..], [Change::Fault { .. }]);
        prop_assert!(refused);
    }
}
