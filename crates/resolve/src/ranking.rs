//! From keys to orders and winners.

use alloc::vec::Vec;
use core::cmp::Ordering;

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
        if run.len() > 1 {
            sort_from(index.saturating_add(1), run, word, key);
        }
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
    let most = count.saturating_mul(2).max(FEW).min(jobs.len());
    let mut keys: Vec<RankKey> = Vec::with_capacity(most);
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
        if keys.len() >= most && keys.len() > count {
            let (_, greatest, _) = keys.select_nth_unstable(last);
            bound = Some(*greatest);
            keys.truncate(count);
        }
    }
    keys.sort_unstable();
    keys.iter().take(count).map(RankKey::id).collect()
}

/// The canonical version, or `None` of none: that of the least [key](ReconcileStrategy::key). A word is computed only
/// for versions that the words before it do not tell apart.
///
/// # Complexity
/// O(k) for k versions.
#[must_use]
pub fn resolve<'a>(strategy: &dyn ReconcileStrategy, versions: &'a [VersionFacts]) -> Option<&'a VersionFacts> {
    let (first, others) = versions.split_first()?;
    let mut best = Standing { version: first, words: [0; MAX_WORDS], known: 0 };
    for version in others {
        best.meet(strategy, version);
    }
    Some(best.version)
}

/// The best version so far with as many of its words as were needed.
struct Standing<'a> {
    version: &'a VersionFacts,
    words: [u64; MAX_WORDS],
    known: usize,
}

impl<'a> Standing<'a> {
    /// Gives way to `version`, if its key is less. The words before the one that decides are equal, so they stay.
    fn meet(&mut self, strategy: &dyn ReconcileStrategy, version: &'a VersionFacts) {
        for (index, ours) in self.words.iter_mut().enumerate() {
            if index >= self.known {
                *ours = strategy.word(self.version, index);
                self.known = index.saturating_add(1);
            }
            let theirs = strategy.word(version, index);
            match theirs.cmp(ours) {
                Ordering::Less => {
                    *ours = theirs;
                    (self.version, self.known) = (version, index.saturating_add(1));
                    return;
                }
                Ordering::Equal => {}
                Ordering::Greater => return,
            }
        }
        if version.id < self.version.id {
            self.version = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use reconvene_clock::{Hlc, WallTime};

    use super::*;
    use crate::{AlgorithmId, Chain, Link, Priority, Resources, StrategyKind, Unit, job};

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
        let own = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);
        vec![
            Chain::new(own, [wide.clone(), Link::id()]).unwrap(),
            Chain::new(own, [tie.clone(), tie.clone(), Link::id()]).unwrap(),
            Chain::new(own, [tie.clone(), coarse.clone(), tie, coarse, wide, Link::id()]).unwrap(),
            Chain::new(own, [Link::id()]).unwrap(),
            Chain::new(own, [job::submitted().reversed(), Link::tie_hash(), Link::id()]).unwrap(),
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
}
