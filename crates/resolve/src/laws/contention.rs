use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::laws::{Claims, JobHistory, Law, Random, ensure, readings};
use crate::{
    CandidateId, CausalOrder, ContentionStrategy, JobFacts, MAX_WORDS, RankKey, RoundFacts, explain_rank, rank, top,
};

/// The laws of one strategy on one history.
pub(super) struct ContentionCheck<'a> {
    pub(super) strategy: &'a dyn ContentionStrategy,
    pub(super) claims: Claims,
    pub(super) laws: &'a [Law],
}

type Checked = Result<(), (Law, String)>;

impl ContentionCheck<'_> {
    /// Those that hold for all, and those that are claimed.
    pub(super) fn laws(claims: &Claims) -> Vec<Law> {
        let mut laws = Vec::from([
            Law::KeyIsInjective,
            Law::KeyIsDeterministic,
            Law::RankIgnoresOrder,
            Law::IrrelevantCandidatesChangeNothing,
            Law::WaitingNeverWorsensRank,
            Law::ExplanationEqualsDecision,
            Law::WeightsNeverOverflow,
        ]);
        laws.extend(claims.causal.map(|_| Law::CausalityIsRespected));
        laws.extend((claims.tiers || claims.late_tier).then_some(Law::TierDominates));
        laws.extend(claims.overtake_bound_ms.map(|_| Law::OvertakeIsBounded));
        laws
    }

    pub(super) fn history(&self, history: &JobHistory, random: &mut Random) -> Checked {
        let JobHistory { jobs, round, .. } = history;
        for law in self.laws {
            match law {
                Law::KeyIsInjective => self.key_is_injective(jobs, round)?,
                Law::KeyIsDeterministic => self.key_is_deterministic(jobs, round)?,
                Law::RankIgnoresOrder => self.rank_ignores_order(jobs, round, random)?,
                Law::IrrelevantCandidatesChangeNothing => self.irrelevant_change_nothing(jobs, round, random)?,
                Law::CausalityIsRespected => self.respects_causality(history)?,
                Law::TierDominates => self.tier_dominates(jobs, round)?,
                Law::WaitingNeverWorsensRank => self.waiting_never_worsens(jobs, round, random)?,
                Law::OvertakeIsBounded => self.overtake_is_bounded(jobs, round)?,
                Law::ExplanationEqualsDecision => self.explanation_equals_decision(jobs, round)?,
                Law::WeightsNeverOverflow => {
                    jobs.iter().try_for_each(|job| {
                        readings::adds_up(&self.strategy.explain(job, round), job.submitted.millis())
                    })?;
                }
                // Of results, plans and policies.
                Law::ResolveIsCommutative
                | Law::ResolveIsAssociative
                | Law::ResolveIsIdempotent
                | Law::ResolvePrunes
                | Law::SupersessionIsMonotone
                | Law::FailureNeverBeatsSuccess
                | Law::PreemptionIsBounded
                | Law::SwapIsNotReversible
                | Law::HeadRoomIsKept
                | Law::PolicyRoundtrips => {}
            }
        }
        Ok(())
    }

    fn key_is_injective(&self, jobs: &[JobFacts], round: &RoundFacts) -> Checked {
        let mut keys = self.keys(jobs, round);
        let own = keys.iter().zip(jobs).all(|(key, job)| key.id() == job.id);
        keys.sort_unstable();
        keys.dedup();
        ensure(Law::KeyIsInjective, own && keys.len() == jobs.len(), || {
            format!("{} keys of {} jobs, each with its id: {own}", keys.len(), jobs.len())
        })
    }

    fn key_is_deterministic(&self, jobs: &[JobFacts], round: &RoundFacts) -> Checked {
        let keys = self.keys(jobs, round);
        for (job, key) in jobs.iter().zip(keys).rev() {
            let again = self.strategy.key(&job.clone(), &{ *round });
            ensure(Law::KeyIsDeterministic, again == key, || format!("first {key}, then {again}"))?;
            let odd = (0..=MAX_WORDS).find(|index| self.strategy.word(job, round, *index) != key.word(*index));
            ensure(Law::KeyIsDeterministic, odd.is_none(), || format!("alone, word {odd:?} of {key} is another"))?;
            let least = self.strategy.least_words(job, round);
            ensure(Law::KeyIsDeterministic, least <= [key.word(0), key.word(1)], || format!("{key} below {least:?}"))?;
        }
        Ok(())
    }

    fn rank_ignores_order(&self, jobs: &[JobFacts], round: &RoundFacts, random: &mut Random) -> Checked {
        let order = rank(self.strategy, jobs, round);
        let mut turned = jobs.to_vec();
        random.shuffle(&mut turned);
        let other = rank(self.strategy, &turned, round);
        ensure(Law::RankIgnoresOrder, order == other, || format!("{order:?}, in another order {other:?}"))?;
        let count = random.place(jobs.len().saturating_add(2));
        let first = top(self.strategy, &turned, round, count);
        ensure(Law::RankIgnoresOrder, order.iter().take(count).eq(&first), || {
            format!("the first {count} of {order:?} are {first:?}")
        })
    }

    fn irrelevant_change_nothing(&self, jobs: &[JobFacts], round: &RoundFacts, random: &mut Random) -> Checked {
        let mut rest = jobs.to_vec();
        let gone = rest.remove(random.place(rest.len())).id;
        let mut order = rank(self.strategy, jobs, round);
        order.retain(|id| *id != gone);
        let without = rank(self.strategy, &rest, round);
        ensure(Law::IrrelevantCandidatesChangeNothing, order == without, || {
            format!("{order:?} beside {gone}, {without:?} without")
        })
    }

    fn respects_causality(&self, history: &JobHistory) -> Checked {
        let Some(order) = self.claims.causal else { return Ok(()) };
        let keys = self.keys(&history.jobs, &history.round);
        for (effect, after) in keys.iter().enumerate() {
            for (cause, before) in keys.iter().enumerate() {
                let holds = match order {
                    CausalOrder::Earliest => before < after,
                    CausalOrder::Latest => before > after,
                };
                ensure(Law::CausalityIsRespected, holds || !history.happened_before(cause, effect), || {
                    format!("{} happened before {}, keys {before} and {after}", before.id(), after.id())
                })?;
            }
        }
        Ok(())
    }

    fn tier_dominates(&self, jobs: &[JobFacts], round: &RoundFacts) -> Checked {
        let ranked = self.ranked(jobs, round);
        ensure(Law::TierDominates, ranked.is_sorted_by_key(|(_, job)| self.tier(job)), || {
            format!("tiers in order: {:?}", ranked.iter().map(|(_, job)| self.tier(job)).collect::<Vec<_>>())
        })
    }

    /// Time passes and jobs arrive: those that wait keep their order. Who is found late falls back at most.
    fn waiting_never_worsens(&self, jobs: &[JobFacts], round: &RoundFacts, random: &mut Random) -> Checked {
        let law = Law::WaitingNeverWorsensRank;
        let later = RoundFacts { epoch: round.epoch.saturating_add(random.below(1_000)).saturating_add(1), ..*round };
        let (now, then) = (rank(self.strategy, jobs, round), rank(self.strategy, jobs, &later));
        ensure(law, now == then, || format!("{now:?}, and later {then:?}"))?;
        for job in jobs.iter().filter(|job| !job.late) {
            let (before, after) = (self.strategy.key(job, round), {
                let late = JobFacts { late: true, ..job.clone() };
                self.strategy.key(&late, round)
            });
            ensure(law, before <= after, || format!("{before}, and once it is late {after}"))?;
        }
        Ok(())
    }

    fn overtake_is_bounded(&self, jobs: &[JobFacts], round: &RoundFacts) -> Checked {
        let Some(bound_ms) = self.claims.overtake_bound_ms else { return Ok(()) };
        let ranked = self.ranked(jobs, round);
        for (place, (_, first)) in ranked.iter().enumerate() {
            for (_, passed) in ranked.iter().skip(place).skip(1) {
                let by_ms = first.submitted.millis().saturating_sub(passed.submitted.millis());
                let holds = by_ms == 0 || by_ms < bound_ms || self.tier(first) != self.tier(passed);
                ensure(Law::OvertakeIsBounded, holds, || {
                    format!("{} came {by_ms} ms after {} and goes before it", first.id, passed.id)
                })?;
            }
        }
        Ok(())
    }

    fn explanation_equals_decision(&self, jobs: &[JobFacts], round: &RoundFacts) -> Checked {
        for job in jobs {
            readings::is_the_key(&self.strategy.key(job, round), &self.strategy.explain(job, round))?;
        }
        let Some(decision) = explain_rank(self.strategy, jobs, round) else { return Ok(()) };
        let ranked: Vec<CandidateId> = decision.standings.iter().map(|standing| standing.id).collect();
        let order = rank(self.strategy, jobs, round);
        ensure(Law::ExplanationEqualsDecision, ranked == order, || {
            format!("explained in the order {ranked:?}, ranked {order:?}")
        })?;
        let mut keys = self.keys(jobs, round);
        keys.sort_unstable();
        match keys.as_slice() {
            [best, rest @ ..] => readings::names_what_decided(&decision, best, rest.first()),
            [] => Ok(()),
        }
    }

    /// What nothing crosses, as far as it is claimed; smaller goes first.
    fn tier(&self, job: &JobFacts) -> (u64, bool) {
        (if self.claims.tiers { job.level.tier() } else { 0 }, self.claims.late_tier && job.late)
    }

    fn keys(&self, jobs: &[JobFacts], round: &RoundFacts) -> Vec<RankKey> {
        jobs.iter().map(|job| self.strategy.key(job, round)).collect()
    }

    fn ranked<'j>(&self, jobs: &'j [JobFacts], round: &RoundFacts) -> Vec<(RankKey, &'j JobFacts)> {
        let mut ranked: Vec<_> = jobs.iter().map(|job| (self.strategy.key(job, round), job)).collect();
        ranked.sort_unstable_by_key(|(key, _)| *key);
        ranked
    }
}
