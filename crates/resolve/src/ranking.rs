//! From keys to orders and winners.

use alloc::vec::Vec;

use crate::radix::sort_by_word;
use crate::{
    CandidateId, ContentionStrategy, JobFacts, MAX_WORDS, RankKey, ReconcileStrategy, RoundFacts, VersionFacts,
};

/// All jobs, first to run first: the order of their [keys](ContentionStrategy::key).
///
/// Word by word: a word is computed only for jobs that the words before it do not tell apart, and its significant bits
/// are sorted by digits.
///
/// # Complexity
/// O(n) for each word that decides, and O(t log t) for t jobs that tie in it.
#[must_use]
pub fn rank(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Vec<CandidateId> {
    // The ids apart, so that putting them into order does not go through all facts again.
    let ids: Vec<CandidateId> = jobs.iter().map(|job| job.id).collect();
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    let word = |candidate: usize, index: usize| jobs.get(candidate).map_or(0, |job| strategy.word(job, round, index));
    let key = |candidate: usize| jobs.get(candidate).map(|job| strategy.key(job, round));
    sort_from(0, &mut order, &word, &key);
    order.into_iter().filter_map(|candidate| ids.get(candidate).copied()).collect()
}

/// Sorts candidates that tie in all words before `index`.
fn sort_from(
    index: usize,
    order: &mut [usize],
    word: &impl Fn(usize, usize) -> u64,
    key: &impl Fn(usize) -> Option<RankKey>,
) {
    if order.len() <= FEW || index >= MAX_WORDS {
        // Also for words that end in a tie: then the ids are all that is left.
        order.sort_by_cached_key(|candidate| key(*candidate));
        return;
    }
    let mut rest = order;
    for tied in sort_by_word(rest, |candidate| word(candidate, index)) {
        let tied = tied.min(rest.len());
        let (run, after) = core::mem::take(&mut rest).split_at_mut(tied);
        sort_from(index.saturating_add(1), run, word, key);
        rest = after;
    }
}

/// So few candidates are sorted by whole keys.
const FEW: usize = 32;

/// The first `count` jobs of [`rank`], in order.
///
/// A job is left out without its key where [`ContentionStrategy::least_words`] says that it cannot be among them.
///
/// # Complexity
/// O(n + k log k), and no more memory than for 2 k keys.
#[must_use]
pub fn top(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts, count: usize) -> Vec<CandidateId> {
    let Some(last) = count.checked_sub(1) else { return Vec::new() };
    // More than `count`, unless that is as large as numbers are.
    let most = count.saturating_mul(2).max(FEW);
    let mut keys: Vec<RankKey> = Vec::with_capacity(most.min(jobs.len()));
    // The greatest key that is still among the first.
    let mut bound: Option<RankKey> = None;
    for job in jobs {
        if let Some(bound) = &bound {
            let [first, second, ..] = *bound.words();
            if strategy.least_words(job, round) > [first, second] {
                continue;
            }
        }
        let key = strategy.key(job, round);
        if bound.is_some_and(|bound| key >= bound) {
            continue;
        }
        keys.push(key);
        if keys.len() >= most {
            let (_, greatest, _) = keys.select_nth_unstable(last);
            bound = Some(*greatest);
            keys.truncate(count);
        }
    }
    keys.sort_unstable();
    keys.iter().take(count).map(RankKey::id).collect()
}

/// The canonical version, or `None` of none: that of the least [key](ReconcileStrategy::key). A word is computed only
/// for versions that the words before it do not tell apart, and for all of them in one call.
///
/// # Complexity
/// O(k) for k versions.
#[must_use]
pub fn resolve<'a>(strategy: &dyn ReconcileStrategy, versions: &'a [VersionFacts]) -> Option<&'a VersionFacts> {
    let (mut best, others) = versions.split_first()?;
    for others in others.chunks(AT_ONCE - 1) {
        let mut standing = [best; AT_ONCE];
        for (place, version) in standing.iter_mut().skip(1).zip(others) {
            *place = version;
        }
        best = least(strategy, standing.get_mut(..=others.len())?)?;
    }
    Some(best)
}

/// Of at most a few versions that of the least key. Word by word, those of the least word move to the front and stay.
fn least<'a>(strategy: &dyn ReconcileStrategy, mut standing: &mut [&'a VersionFacts]) -> Option<&'a VersionFacts> {
    let mut words = [0; AT_ONCE];
    for index in 0..MAX_WORDS {
        let words = words.get_mut(..standing.len())?;
        strategy.words(standing, index, words);
        let (first, others) = words.split_first()?;
        if others.iter().all(|word| word == first) {
            continue;
        }
        let least = others.iter().fold(*first, |least, word| least.min(*word));
        // Whoever is read is also written, whether it stays or not: this is not for the processor to guess.
        let mut staying = 0_usize;
        for (place, word) in words.iter().enumerate() {
            *standing.get_mut(staying)? = *standing.get(place)?;
            staying = staying.saturating_add(usize::from(*word == least));
        }
        standing = standing.get_mut(..staying)?;
        if let [only] = standing {
            return Some(only);
        }
    }
    standing.iter().copied().min_by_key(|version| version.id)
}

/// So many versions are judged at once, the best so far among them: most results have no more.
const AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::num::NonZeroU64;

    use reconvene_clock::{Height, Hlc, WallTime};

    use super::*;
    use crate::{AlgorithmId, Chain, Link, Priority, Resources, StrategyKind, SubjectId, Term, Unit, job};

    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        core::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 20
        })
    }

    /// `count` jobs whose times differ by less than `span_ms`.
    fn jobs(count: usize, span_ms: u64) -> Vec<JobFacts> {
        let random = numbers(7).take(count).zip(1..);
        random
            .map(|(random, number)| JobFacts {
                priority: Priority((random >> 5) as u8),
                work_core_ms: Some(random % 40_000_000),
                demand: Resources::new(random % 16_000, random % 65_536, 0),
                level: crate::Level::new((random >> 13) as u8 % 3 * 100).unwrap(),
                ..JobFacts::new(
                    CandidateId::new(random % 3, number),
                    Hlc::from_parts(WallTime::from_millis(random % span_ms), (random % 2) as u16).unwrap(),
                )
            })
            .collect()
    }

    /// Words over all 64 bits, words that all tie, and words that tie in runs.
    fn strategies() -> Vec<Chain<JobFacts>> {
        let wide = Link::word("wide", Unit::Hash, |job: &JobFacts, _| {
            job.submitted.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let tie = Link::word("tie", Unit::Score, |_, _| u64::MAX);
        let coarse = Link::word("coarse", Unit::Score, |job: &JobFacts, _| job.demand.cpu_milli % 5);
        let late = Link::head_start("late", vec![Term::new(job::PRIORITY, 30), Term::new(job::LIGHTNESS, 90)]);
        let own = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);
        vec![
            Chain::new(own, [wide.clone(), Link::id()]).unwrap(),
            Chain::new(own, [tie.clone(), tie.clone(), Link::id()]).unwrap(),
            Chain::new(own, [tie.clone(), coarse.clone(), tie, coarse, wide, Link::id()]).unwrap(),
            Chain::new(own, [Link::id()]).unwrap(),
            Chain::new(own, [job::submitted().reversed(), Link::tie_hash(), Link::id()]).unwrap(),
            Chain::new(own, [late.clone().reversed(), job::submitted(), Link::id()]).unwrap(),
            Chain::new(own, [late.bucketed(NonZeroU64::new(60_000).unwrap()).reversed(), Link::id()]).unwrap(),
        ]
    }

    fn all(chains: &[Chain<JobFacts>]) -> Vec<&dyn ContentionStrategy> {
        let named = StrategyKind::ALL.into_iter().map(|kind| -> &dyn ContentionStrategy { kind.contention() });
        named.chain(chains.iter().map(|chain| -> &dyn ContentionStrategy { chain })).collect()
    }

    #[test]
    fn the_order_is_that_of_the_keys_for_few_and_for_many() {
        let chains = strategies();
        for strategy in all(&chains) {
            for (count, span) in [(0, 1), (1, 1), (9, 5), (40, 3), (500, 1_000_000), (5_000, 900_000_000), (4_000, 50)]
            {
                let (jobs, round) = (jobs(count, span), RoundFacts::new(1, RoundFacts::REFERENCE));
                let mut keys: Vec<RankKey> = jobs.iter().map(|job| strategy.key(job, &round)).collect();
                keys.sort_unstable();
                let ids: Vec<CandidateId> = keys.iter().map(RankKey::id).collect();
                assert!(rank(strategy, &jobs, &round) == ids, "{} {count}", strategy.algorithm());
                for first in [0, 1, 7, count / 2, count, count + 1, usize::MAX] {
                    let expected = &ids[..first.min(count)];
                    assert!(top(strategy, &jobs, &round, first) == expected, "{} {first}", strategy.algorithm());
                }
            }
        }
    }

    /// Lower ones would be bounds as well, and leave no job uncomputed.
    #[test]
    fn least_words_are_as_great_as_can_be_without_reading_factors() {
        let submitted = Hlc::from_parts(WallTime::from_millis(1_000_000_000), 0).unwrap();
        let job = JobFacts { submitted, ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) };
        let round = RoundFacts::new(1, RoundFacts::REFERENCE);
        let least = |kind: StrategyKind| kind.contention().least_words(&job, &round);
        let earliest = |longest_ms| 1_000_000_000 + (1_u64 << 32) - longest_ms;
        assert_eq!(least(StrategyKind::FirstComeFirstServed), [submitted.as_u64(), 0]);
        assert_eq!(least(StrategyKind::PriorityBased), [earliest(14_400_000), 0]);
        assert_eq!(least(StrategyKind::EmergencyFirst), [200, earliest(7_200_000)]);
        let hour = Link::head_start("an hour", vec![Term::new(job::PRIORITY, 60)]);
        let least_of = |link: Link<JobFacts>| {
            let own = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);
            Chain::new(own, [link, Link::id()]).unwrap().least_words(&job, &round)
        };
        assert_eq!(least_of(hour.clone().reversed()), [u64::MAX - earliest(0), 0]);
        assert_eq!(least_of(hour.bucketed(NonZeroU64::new(1_000).unwrap())), [earliest(3_600_000) / 1_000, 0]);
        struct Plain;
        impl ContentionStrategy for Plain {
            fn algorithm(&self) -> AlgorithmId {
                AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1)
            }
            fn key(&self, job: &JobFacts, _: &RoundFacts) -> RankKey {
                RankKey::new([0; MAX_WORDS], job.id)
            }
            fn explain(&self, job: &JobFacts, _: &RoundFacts) -> crate::KeyBreakdown {
                crate::KeyBreakdown::of_chain(job.id, Vec::new())
            }
        }
        assert_eq!(Plain.least_words(&job, &round), [0, 0], "of a strategy that says nothing, nothing is left out");
    }

    #[test]
    fn words_one_by_one_are_those_of_the_key_and_least_words_are_no_greater() {
        let chains = strategies();
        let (jobs, round) = (jobs(300, 90_000_000), RoundFacts::new(1, RoundFacts::REFERENCE));
        for strategy in all(&chains) {
            for job in &jobs {
                let key = strategy.key(job, &round);
                let words = core::array::from_fn(|index| strategy.word(job, &round, index));
                assert_eq!(&words, key.words());
                assert_eq!(strategy.word(job, &round, MAX_WORDS), 0);
                assert!(strategy.least_words(job, &round) <= [key.word(0), key.word(1)]);
            }
        }
    }

    /// Stamps and costs that tie in runs, so that every link decides somewhere, for any number of versions.
    #[test]
    fn the_canonical_version_is_that_of_the_least_key() {
        for kind in StrategyKind::ALL {
            let strategy = kind.reconcile();
            for count in 0..40 {
                for (seed, spread) in [(1, 1), (2, 2), (3, 3), (4, 1_000_000)] {
                    let random = numbers(seed + count as u64).take(count).zip(1..);
                    let versions: Vec<VersionFacts> = random
                        .map(|(random, number)| VersionFacts {
                            cost_resource_ms: random % spread,
                            placement: (random >> 8) % spread,
                            height: Height::new(1 + (random >> 16) % spread).unwrap(),
                            ..VersionFacts::new(
                                SubjectId::new(1, 7),
                                CandidateId::new(random % 3, number),
                                Hlc::from_u64((random >> 24) % spread),
                            )
                        })
                        .collect();
                    let expected = versions.iter().min_by_key(|version| strategy.key(version));
                    assert_eq!(resolve(strategy, &versions), expected, "{kind} {count} {seed}");
                }
            }
        }
    }

    #[test]
    fn only_the_id_is_left_where_no_word_tells_versions_apart() {
        let all_tie = Chain::new(AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1), [Link::id()]).unwrap();
        for count in 1..12 {
            let version = |number| VersionFacts::new(SubjectId::NONE, CandidateId::new(1, number), Hlc::default());
            let versions: Vec<VersionFacts> = (1..=count).rev().map(version).collect();
            assert_eq!(resolve(&all_tie, &versions), versions.last());
        }
    }
}
