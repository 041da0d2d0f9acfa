//! Laws that hold for each of the five strategies.

use proptest::prelude::*;
use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{
    BasisPoints, CandidateId, CausalOrder, ContentionStrategy, HeadStartMinutes, JobFacts, JobValue, Level, Outcome,
    Priority, ReconcileStrategy, Resources, RoundFacts, StrategyKind, SubjectId, VectorClockCausal, VersionFacts,
    decide, explain_rank, rank, resolve, top,
};

const SUBJECT: SubjectId = SubjectId::new(1, 7);

/// Small ranges, so that ties in every link are common.
fn version() -> impl Strategy<Value = VersionFacts> {
    let small = (0_u64..3, 0_u64..3, 1_u32..3, 1_u32..3, 1_u64..4, 0_u8..3);
    let more = (0_u16..3, 0_u64..3, 0_u64..3, any::<bool>(), 0_u64..4, 0_u64..4);
    (small, more).prop_map(
        |((ms, logical, epoch, number, height, level), (quality, placement, cost, failed, issuer, sequence))| {
            VersionFacts {
                outcome: if failed { Outcome::Failure } else { Outcome::Success },
                attempt_epoch: epoch,
                attempt_number: number,
                height: Height::new(height).unwrap(),
                level: Level::new(level * 100).unwrap(),
                quality: BasisPoints::new(quality * 5_000).unwrap(),
                placement,
                cost_resource_ms: cost,
                digest: [u8::try_from(cost).unwrap(); 32],
                ..VersionFacts::new(
                    SUBJECT,
                    CandidateId::new(issuer, sequence),
                    Hlc::from_parts(WallTime::from_millis(ms), u16::try_from(logical).unwrap()).unwrap(),
                )
            }
        },
    )
}

/// Versions with distinct ids, as brokers issue them.
fn versions() -> impl Strategy<Value = Vec<VersionFacts>> {
    prop::collection::vec(version(), 1..8).prop_map(|mut versions| {
        versions.sort_by_key(|version| version.id);
        versions.dedup_by_key(|version| version.id);
        versions
    })
}

fn job() -> impl Strategy<Value = JobFacts> {
    let times = (0_u64..20_000_000, prop::option::of(0_u64..8_000_000), 0_u64..4_000_000);
    let sizes = (prop::option::of(any::<u64>()), any::<[u16; 3]>(), 1_u32..=1_000_000);
    let rest = (any::<u8>(), 0_u8..=200, any::<bool>(), 1_u64..9, 0_u64..4, 0_u64..1_000);
    (times, sizes, rest).prop_map(
        |(
            (submit, slack, estimate_ms),
            (work, [cpu, memory, gpu], value),
            (priority, level, late, height, issuer, sequence),
        )| {
            JobFacts {
                priority: Priority(priority),
                deadline: slack.map(|slack| WallTime::from_millis(submit + slack)),
                estimate_ms,
                work_core_ms: work,
                demand: Resources::new(cpu.into(), memory.into(), gpu.into()),
                value: JobValue::new(value).unwrap(),
                level: Level::new(level).unwrap(),
                late,
                height: Height::new(height).unwrap(),
                ..JobFacts::new(
                    CandidateId::new(issuer, sequence),
                    Hlc::from_parts(WallTime::from_millis(submit), 0).unwrap(),
                )
            }
        },
    )
}

fn jobs() -> impl Strategy<Value = Vec<JobFacts>> {
    prop::collection::vec(job(), 1..12).prop_map(|mut jobs| {
        jobs.sort_by_key(|job| job.id);
        jobs.dedup_by_key(|job| job.id);
        jobs
    })
}

fn round() -> RoundFacts {
    RoundFacts::new(1, Resources::new(64_000, 262_144, 8_000))
}

static EARLIEST: &dyn ReconcileStrategy = &VectorClockCausal::new(CausalOrder::Earliest);
static LATEST: &dyn ReconcileStrategy = &VectorClockCausal::new(CausalOrder::Latest);

fn reconcilers() -> Vec<&'static dyn ReconcileStrategy> {
    let mut all: Vec<&'static dyn ReconcileStrategy> =
        StrategyKind::ALL.into_iter().map(StrategyKind::reconcile).collect();
    all.push(LATEST);
    all
}

fn contenders() -> Vec<&'static dyn ContentionStrategy> {
    StrategyKind::ALL.into_iter().map(StrategyKind::contention).collect()
}

fn winner(strategy: &dyn ReconcileStrategy, versions: &[VersionFacts]) -> VersionFacts {
    *resolve(strategy, versions).expect("not empty")
}

proptest! {
    #[test]
    fn law_key_is_injective(versions in versions(), jobs in jobs()) {
        for strategy in reconcilers() {
            let keys: std::collections::BTreeSet<_> = versions.iter().map(|version| strategy.key(version)).collect();
            prop_assert_eq!(keys.len(), versions.len());
        }
        for strategy in contenders() {
            let keys: std::collections::BTreeSet<_> = jobs.iter().map(|job| strategy.key(job, &round())).collect();
            prop_assert_eq!(keys.len(), jobs.len());
        }
    }

    #[test]
    fn law_key_is_deterministic(version in version(), job in job()) {
        for strategy in reconcilers() {
            prop_assert_eq!(strategy.key(&version), strategy.key(&version.clone()));
        }
        for strategy in contenders() {
            prop_assert_eq!(strategy.key(&job, &round()), strategy.key(&job.clone(), &round()));
        }
    }

    #[test]
    fn law_rank_ignores_order(jobs in jobs(), seed in any::<usize>()) {
        let mut turned = jobs.clone();
        turned.rotate_left(seed % jobs.len());
        turned.reverse();
        for strategy in contenders() {
            let order = rank(strategy, &jobs, &round());
            prop_assert_eq!(&order, &rank(strategy, &turned, &round()));
            for count in 0..=jobs.len() {
                prop_assert_eq!(top(strategy, &turned, &round(), count), &order[..count]);
            }
        }
    }

    #[test]
    fn law_irrelevant_candidates_change_nothing(jobs in jobs(), removed in any::<prop::sample::Index>()) {
        let removed = &jobs[removed.index(jobs.len())];
        let rest: Vec<JobFacts> = jobs.iter().filter(|job| job.id != removed.id).cloned().collect();
        for strategy in contenders() {
            let mut order = rank(strategy, &jobs, &round());
            order.retain(|id| *id != removed.id);
            prop_assert_eq!(order, rank(strategy, &rest, &round()));
        }
    }

    #[test]
    fn law_resolve_is_commutative_associative_and_idempotent(
        versions in versions(),
        split in any::<prop::sample::Index>(),
    ) {
        let (left, right) = versions.split_at(split.index(versions.len()));
        for strategy in reconcilers() {
            let whole = winner(strategy, &versions);
            let turned: Vec<VersionFacts> = versions.iter().rev().copied().collect();
            prop_assert_eq!(whole, winner(strategy, &turned));
            // Pruned halves decide as the whole does.
            let halves: Vec<VersionFacts> =
                [left, right].into_iter().filter_map(|half| resolve(strategy, half)).copied().collect();
            prop_assert_eq!(whole, winner(strategy, &halves));
            prop_assert_eq!(whole, winner(strategy, &[whole, whole]));
        }
    }

    /// Over random histories: each event observes some earlier ones and is one higher than the highest of them.
    #[test]
    fn law_causality_is_respected(
        events in prop::collection::vec((version(), any::<u8>(), 1_u64..9), 2..8),
        failed in any::<bool>(),
    ) {
        let outcome = if failed { Outcome::Failure } else { Outcome::Success };
        let contention = StrategyKind::VectorClockCausal.contention();
        let mut history: Vec<(VersionFacts, u8)> = Vec::new();
        for (place, (facts, observes, issuer)) in events.into_iter().enumerate() {
            // Bit b of `observed` says that event b happened before this one, directly or not.
            let seen = (0..place).filter(|b| observes >> b & 1 == 1);
            let observed = seen.clone().fold(0, |all, b| all | 1 << b | history[b].1);
            let height = Height::above(seen.map(|b| history[b].0.height).max()).unwrap();
            let id = CandidateId::new(issuer, u64::try_from(place).unwrap());
            history.push((VersionFacts { outcome, height, id, ..facts }, observed));
        }
        for (effect, observed) in &history {
            for (cause, _) in (0..8).filter(|b| observed >> b & 1 == 1).map(|b| &history[b]) {
                prop_assert!(EARLIEST.key(cause) < EARLIEST.key(effect));
                prop_assert!(LATEST.key(effect) < LATEST.key(cause));
                let job = |of: &VersionFacts| JobFacts { height: of.height, ..JobFacts::new(of.id, of.accepted) };
                prop_assert!(contention.key(&job(cause), &round()) < contention.key(&job(effect), &round()));
            }
        }
    }

    #[test]
    fn law_supersession_is_monotone(versions in versions()) {
        for strategy in reconcilers() {
            let mut changes = 0;
            let mut held = versions[0];
            for known in 1..=versions.len() {
                let now = winner(strategy, &versions[..known]);
                prop_assert!(strategy.key(&now) <= strategy.key(&held), "the canonical only improves");
                changes += usize::from(now.id != held.id);
                held = now;
            }
            prop_assert!(changes < versions.len());
        }
    }

    #[test]
    fn law_failure_never_beats_success(versions in versions()) {
        let success = versions.iter().any(|version| version.outcome == Outcome::Success);
        for strategy in reconcilers() {
            prop_assert_eq!(winner(strategy, &versions).outcome == Outcome::Success, success);
        }
    }

    #[test]
    fn law_tier_dominates(jobs in jobs()) {
        let order = rank(StrategyKind::EmergencyFirst.contention(), &jobs, &round());
        let levels: Vec<Level> =
            order.iter().map(|id| jobs.iter().find(|job| job.id == *id).expect("ranked").level).collect();
        prop_assert!(levels.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn law_overtake_is_bounded(jobs in jobs()) {
        for (kind, head_start) in [
            (StrategyKind::PriorityBased, HeadStartMinutes::PRIORITY_BASED),
            (StrategyKind::EmergencyFirst, HeadStartMinutes::EMERGENCY_FIRST),
        ] {
            let order = rank(kind.contention(), &jobs, &round());
            let at = |id: &CandidateId| jobs.iter().find(|job| job.id == *id).expect("ranked");
            for (place, first) in order.iter().enumerate() {
                for passed in &order[place + 1..] {
                    let (first, passed) = (at(first), at(passed));
                    let same_tier = kind == StrategyKind::PriorityBased || first.level == passed.level;
                    let later_by = first.submitted.millis().saturating_sub(passed.submitted.millis());
                    prop_assert!(!same_tier || later_by < head_start.longest_ms());
                }
            }
        }
    }

    #[test]
    fn law_explanation_equals_decision(versions in versions(), jobs in jobs()) {
        for strategy in reconcilers() {
            for version in &versions {
                prop_assert_eq!(strategy.explain(version).key(), strategy.key(version));
            }
            let decision = decide(strategy, &versions).expect("not empty");
            prop_assert_eq!(decision.winner(), winner(strategy, &versions).id);
            prop_assert_eq!(decision.deciding.is_none(), versions.len() == 1);
            prop_assert!(decision.deciding.is_none_or(|deciding| deciding.margin > 0));
        }
        for strategy in contenders() {
            for job in &jobs {
                prop_assert_eq!(strategy.explain(job, &round()).key(), strategy.key(job, &round()));
            }
            let decision = explain_rank(strategy, &jobs, &round()).expect("not empty");
            let order: Vec<CandidateId> = decision.standings.iter().map(|standing| standing.id).collect();
            prop_assert_eq!(order, rank(strategy, &jobs, &round()));
        }
    }

    #[test]
    fn law_weights_never_overflow(
        minutes in any::<[u16; 5]>(),
        priority in any::<u8>(),
        submit in 0_u64..1 << 48,
        level in 0_u8..=200,
    ) {
        let [priority_min, deadline, lightness, smallness, emergency] = minutes.map(u32::from);
        let head_start = HeadStartMinutes { priority: priority_min, deadline, lightness, smallness, emergency };
        if let Ok(strategy) = reconvene_resolve::PriorityBased::new(head_start) {
            let job = JobFacts {
                priority: Priority(priority),
                deadline: Some(WallTime::from_millis(0)),
                work_core_ms: Some(0),
                level: Level::new(level).unwrap(),
                ..JobFacts::new(
                    CandidateId::new(1, 1),
                    Hlc::from_parts(WallTime::from_millis(submit), 0).unwrap(),
                )
            };
            let breakdown = ContentionStrategy::explain(&strategy, &job, &round());
            let claimed: u128 =
                breakdown.links()[0].factors.iter().map(|factor| u128::from(factor.contribution)).sum();
            let exact = u128::from(submit) + (1 << 32) - claimed;
            prop_assert_eq!(u128::from(breakdown.key().word(0)), exact);
        }
    }
}
