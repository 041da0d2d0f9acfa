use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::laws::{Claims, Law, Random, VersionHistory, ensure, readings};
use crate::{CandidateId, CausalOrder, MAX_WORDS, Outcome, RankKey, ReconcileStrategy, VersionFacts, decide, resolve};

/// The laws of one strategy on one history.
pub(super) struct ReconcileCheck<'a> {
    pub(super) strategy: &'a dyn ReconcileStrategy,
    pub(super) claims: Claims,
    pub(super) laws: &'a [Law],
}

type Checked = Result<(), (Law, String)>;

impl ReconcileCheck<'_> {
    /// Those that hold for all, and those that are claimed.
    pub(super) fn laws(claims: &Claims) -> Vec<Law> {
        let mut laws = Vec::from([
            Law::KeyIsInjective,
            Law::KeyIsDeterministic,
            Law::RankIgnoresOrder,
            Law::IrrelevantCandidatesChangeNothing,
            Law::ResolveIsCommutative,
            Law::ResolveIsAssociative,
            Law::ResolveIsIdempotent,
            Law::ResolvePrunes,
            Law::SupersessionIsMonotone,
            Law::FailureNeverBeatsSuccess,
            Law::ExplanationEqualsDecision,
            Law::WeightsNeverOverflow,
        ]);
        laws.extend(claims.causal.map(|_| Law::CausalityIsRespected));
        laws.extend(claims.tiers.then_some(Law::TierDominates));
        laws
    }

    pub(super) fn history(&self, history: &VersionHistory, random: &mut Random) -> Checked {
        let versions = history.versions.as_slice();
        for law in self.laws {
            match law {
                Law::KeyIsInjective => self.key_is_injective(versions)?,
                Law::KeyIsDeterministic => self.key_is_deterministic(versions)?,
                Law::RankIgnoresOrder => self.rank_ignores_order(versions, random)?,
                Law::IrrelevantCandidatesChangeNothing => self.irrelevant_change_nothing(versions, random)?,
                Law::ResolveIsCommutative => self.is_commutative(versions, random)?,
                Law::ResolveIsAssociative => self.is_associative(versions, random)?,
                Law::ResolveIsIdempotent => self.is_idempotent(versions)?,
                Law::ResolvePrunes => self.prunes(versions, random)?,
                Law::CausalityIsRespected => self.respects_causality(history)?,
                Law::SupersessionIsMonotone => self.supersession_is_monotone(versions, random)?,
                Law::FailureNeverBeatsSuccess => self.failure_never_wins(versions)?,
                Law::TierDominates => self.tier_dominates(versions)?,
                Law::ExplanationEqualsDecision => self.explanation_equals_decision(versions)?,
                Law::WeightsNeverOverflow => {
                    versions.iter().try_for_each(|version| {
                        readings::adds_up(&self.strategy.explain(version), version.accepted.millis())
                    })?;
                }
                // Of jobs, plans and policies.
                Law::WaitingNeverWorsensRank
                | Law::OvertakeIsBounded
                | Law::PreemptionIsBounded
                | Law::SwapIsNotReversible
                | Law::HeadRoomIsKept
                | Law::PolicyRoundtrips => {}
            }
        }
        Ok(())
    }

    fn key_is_injective(&self, versions: &[VersionFacts]) -> Checked {
        let mut keys: Vec<RankKey> = versions.iter().map(|version| self.strategy.key(version)).collect();
        let own = keys.iter().zip(versions).all(|(key, version)| key.id() == version.id);
        keys.sort_unstable();
        keys.dedup();
        ensure(Law::KeyIsInjective, own && keys.len() == versions.len(), || {
            format!("{} keys of {} versions, each with its id: {own}", keys.len(), versions.len())
        })
    }

    fn key_is_deterministic(&self, versions: &[VersionFacts]) -> Checked {
        let keys: Vec<RankKey> = versions.iter().map(|version| self.strategy.key(version)).collect();
        for (version, key) in versions.iter().zip(&keys).rev() {
            let again = self.strategy.key(&{ *version });
            ensure(Law::KeyIsDeterministic, again == *key, || format!("first {key}, then {again}"))?;
        }
        self.words_are_of_the_keys(&versions.iter().zip(&keys).collect::<Vec<_>>())
    }

    /// Asked for one by one or for all versions at once, and past the last.
    fn words_are_of_the_keys(&self, versions: &[(&VersionFacts, &RankKey)]) -> Checked {
        let facts: Vec<&VersionFacts> = versions.iter().map(|(version, _)| *version).collect();
        let mut words: Vec<u64> = versions.iter().map(|_| u64::MAX).collect();
        for index in 0..=MAX_WORDS {
            self.strategy.words(&facts, index, &mut words);
            for ((version, key), word) in versions.iter().zip(&words) {
                let alone = self.strategy.word(version, index);
                ensure(Law::KeyIsDeterministic, [*word, alone] == [key.word(index); 2], || {
                    format!("word {index} of {key} is {alone}, and {word} beside others")
                })?;
            }
        }
        Ok(())
    }

    fn rank_ignores_order(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let order = self.order(versions);
        let mut turned = versions.to_vec();
        random.shuffle(&mut turned);
        let other = self.order(&turned);
        ensure(Law::RankIgnoresOrder, order == other, || format!("{order:?}, in another order {other:?}"))
    }

    fn irrelevant_change_nothing(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let mut rest = versions.to_vec();
        let gone = rest.remove(random.place(rest.len())).id;
        let mut order = self.order(versions);
        order.retain(|id| *id != gone);
        let without = self.order(&rest);
        ensure(Law::IrrelevantCandidatesChangeNothing, order == without, || {
            format!("{order:?} beside {gone}, {without:?} without")
        })
    }

    fn is_commutative(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let (left, right) = halves(versions, random);
        let (one, other) = (self.pick(&[left, right].concat()), self.pick(&[right, left].concat()));
        ensure(Law::ResolveIsCommutative, one == other, || format!("{one:?} one way, {other:?} the other"))
    }

    fn is_associative(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let mut turned = versions.to_vec();
        random.shuffle(&mut turned);
        let merge = |held: Option<VersionFacts>, new: &VersionFacts| match held {
            Some(held) => resolve(self.strategy, &[held, *new]).copied(),
            None => Some(*new),
        };
        let left = turned.iter().fold(None, merge).map(|version| version.id);
        let right = turned.iter().rev().fold(None, merge).map(|version| version.id);
        ensure(Law::ResolveIsAssociative, left == right, || format!("{left:?} from the left, {right:?} from the right"))
    }

    fn is_idempotent(&self, versions: &[VersionFacts]) -> Checked {
        let Some(winner) = resolve(self.strategy, versions).copied() else { return Ok(()) };
        let again = self.pick(&[&[winner], versions, &[winner]].concat());
        ensure(Law::ResolveIsIdempotent, again == Some(winner.id), || format!("{}, then {again:?}", winner.id))
    }

    fn prunes(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let (left, right) = halves(versions, random);
        let winners: Vec<VersionFacts> =
            [left, right].into_iter().filter_map(|half| resolve(self.strategy, half)).copied().collect();
        let (whole, pruned) = (self.pick(versions), self.pick(&winners));
        ensure(Law::ResolvePrunes, whole == pruned, || format!("{whole:?} of all, {pruned:?} of the winners"))
    }

    fn respects_causality(&self, history: &VersionHistory) -> Checked {
        let Some(order) = self.claims.causal else { return Ok(()) };
        let keys: Vec<RankKey> = history.versions.iter().map(|version| self.strategy.key(version)).collect();
        let candidates = || keys.iter().zip(&history.versions).enumerate();
        for (effect, (after, result)) in candidates() {
            for (cause, (before, origin)) in candidates() {
                if !history.happened_before(cause, effect) || origin.outcome != result.outcome {
                    continue;
                }
                let holds = match order {
                    CausalOrder::Earliest => before < after,
                    CausalOrder::Latest => before > after,
                };
                ensure(Law::CausalityIsRespected, holds, || {
                    format!("{} happened before {}, keys {before} and {after}", origin.id, result.id)
                })?;
            }
        }
        Ok(())
    }

    fn supersession_is_monotone(&self, versions: &[VersionFacts], random: &mut Random) -> Checked {
        let mut arriving = versions.to_vec();
        random.shuffle(&mut arriving);
        let mut held: Option<(RankKey, CandidateId)> = None;
        for known in 1..=arriving.len() {
            let winner = arriving.get(..known).and_then(|known| resolve(self.strategy, known));
            let Some(now) = winner.map(|winner| (self.strategy.key(winner), winner.id)) else { continue };
            // Each version can become canonical only when it arrives.
            let newest = known.checked_sub(1).and_then(|last| arriving.get(last)).map(|version| version.id);
            let holds = held.is_none_or(|(key, id)| now.0 <= key && (now.1 == id || Some(now.1) == newest));
            ensure(Law::SupersessionIsMonotone, holds, || format!("{held:?} was superseded by {now:?}"))?;
            held = Some(now);
        }
        Ok(())
    }

    fn failure_never_wins(&self, versions: &[VersionFacts]) -> Checked {
        let success = versions.iter().any(|version| version.outcome == Outcome::Success);
        let winner = resolve(self.strategy, versions);
        let holds = winner.is_none_or(|winner| !success || winner.outcome == Outcome::Success);
        ensure(Law::FailureNeverBeatsSuccess, holds, || format!("{winner:?} failed and won"))
    }

    fn tier_dominates(&self, versions: &[VersionFacts]) -> Checked {
        let mut ranked: Vec<_> = versions.iter().map(|version| (self.strategy.key(version), version)).collect();
        ranked.sort_unstable_by_key(|(key, _)| *key);
        let class = |version: &VersionFacts| (version.outcome, version.level.tier());
        let sorted = ranked.is_sorted_by_key(|(_, version)| class(version));
        ensure(Law::TierDominates, sorted, || {
            format!("tiers in order: {:?}", ranked.iter().map(|(_, version)| class(version)).collect::<Vec<_>>())
        })
    }

    fn explanation_equals_decision(&self, versions: &[VersionFacts]) -> Checked {
        for version in versions {
            readings::is_the_key(&self.strategy.key(version), &self.strategy.explain(version))?;
        }
        let Some(decision) = decide(self.strategy, versions) else { return Ok(()) };
        let mut keys: Vec<RankKey> = versions.iter().map(|version| self.strategy.key(version)).collect();
        keys.sort_unstable();
        let ranked: Vec<CandidateId> = decision.standings.iter().map(|standing| standing.id).collect();
        ensure(Law::ExplanationEqualsDecision, keys.iter().map(RankKey::id).eq(ranked.iter().copied()), || {
            format!("explained in the order {ranked:?}, ranked {keys:?}")
        })?;
        match keys.as_slice() {
            [best, rest @ ..] => readings::names_what_decided(&decision, best, rest.first()),
            [] => Ok(()),
        }
    }

    fn order(&self, versions: &[VersionFacts]) -> Vec<CandidateId> {
        let mut keys: Vec<RankKey> = versions.iter().map(|version| self.strategy.key(version)).collect();
        keys.sort_unstable();
        keys.iter().map(RankKey::id).collect()
    }

    fn pick(&self, versions: &[VersionFacts]) -> Option<CandidateId> {
        resolve(self.strategy, versions).map(|version| version.id)
    }
}

fn halves<'a>(versions: &'a [VersionFacts], random: &mut Random) -> (&'a [VersionFacts], &'a [VersionFacts]) {
    versions.split_at(random.place(versions.len().saturating_add(1)))
}
