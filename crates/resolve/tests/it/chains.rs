//! Chains of one's own: what does not build, and what those that build keep.

use std::num::NonZeroU64;

use proptest::prelude::*;
use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    AlgorithmId, BasisPoints, CandidateId, Chain, ChainError, ContentionStrategy, Factor, FactorValue, JobFacts, Link,
    MAX_FACTORS, MAX_HEAD_START_MINUTES, MAX_WORDS, Priority, RankKey, ReconcileStrategy, Resources, RoundFacts,
    SubjectId, Term, Unit, VersionFacts, job, version,
};

const MINE: AlgorithmId = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);

const FULL: Factor<JobFacts> = Factor::new("full", |_, _| FactorValue::new(1, BasisPoints::FULL));

fn word() -> Link<JobFacts> {
    Link::word("priority", Unit::Score, |job, _| job.priority.0.into())
}

fn one(priority: u8) -> JobFacts {
    JobFacts { priority: Priority(priority), ..JobFacts::new(CandidateId::new(1, 1), Hlc::default()) }
}

fn round() -> RoundFacts {
    RoundFacts::new(1, Resources::default())
}

fn first_word(link: Link<JobFacts>, job: &JobFacts) -> u64 {
    Chain::new(MINE, [link, Link::id()]).unwrap().key(job, &round()).word(0)
}

fn refusal(links: Vec<Link<JobFacts>>) -> Option<ChainError> {
    Chain::new(MINE, links).err()
}

#[test]
fn a_chain_ends_in_the_id() {
    assert_eq!(refusal(vec![]), Some(ChainError::MissingId));
    assert_eq!(refusal(vec![word()]), Some(ChainError::MissingId));
    assert_eq!(refusal(vec![Link::id(), word()]), Some(ChainError::IdNotLast { position: 0, links: 2 }));
    assert_eq!(refusal(vec![Link::id(), Link::id()]), Some(ChainError::IdNotLast { position: 0, links: 2 }));
    assert_eq!(refusal(vec![Link::id().reversed()]), Some(ChainError::IdAltered));
    assert_eq!(refusal(vec![Link::id()]), None);
}

#[test]
fn a_chain_fits_a_key() {
    let words = |count| (0..count).map(|_| word()).chain([Link::id()]).collect::<Vec<_>>();
    assert_eq!(refusal(words(MAX_WORDS)), None);
    assert_eq!(refusal(words(MAX_WORDS + 1)), Some(ChainError::TooManyWords { words: MAX_WORDS + 1 }));
}

#[test]
fn sums_that_could_overflow_are_refused() {
    let merit = |factors, weight| vec![Link::weighted("merit", vec![Term::new(FULL, weight); factors]), Link::id()];
    assert_eq!(refusal(merit(MAX_FACTORS, 65_535)), None);
    assert_eq!(refusal(merit(17, 1)), Some(ChainError::TooManyFactors { link: "merit", factors: 17 }));
    let too_large = ChainError::WeightTooLarge { link: "merit", factor: "full", weight: 65_536 };
    assert_eq!(refusal(merit(1, 65_536)), Some(too_large));

    let start = |minutes| vec![Link::head_start("start", vec![Term::new(FULL, minutes)]), Link::id()];
    assert_eq!(refusal(start(MAX_HEAD_START_MINUTES)), None);
    assert_eq!(refusal(start(71_583)), Some(ChainError::HeadStartTooLong { minutes: 71_583 }));
}

#[test]
fn combinators_mean_what_they_say() {
    assert_eq!(first_word(word(), &one(37)), 37);
    assert_eq!(first_word(word().reversed(), &one(37)), u64::MAX - 37);
    let ten = NonZeroU64::new(10).unwrap();
    assert_eq!(first_word(word().bucketed(ten), &one(37)), 3);
    assert_eq!(first_word(word().bucketed(ten).reversed(), &one(37)), u64::MAX - 3);
    assert_eq!(first_word(word().reversed().bucketed(ten), &one(37)), u64::MAX - 3, "the bucket comes first");
    let merit = Link::weighted("merit", vec![Term::new(job::PRIORITY, 3), Term::new(FULL, 1)]);
    assert_eq!(first_word(merit, &one(255)), 40_000);
}

#[test]
fn a_reversed_word_has_no_unit() {
    assert_eq!(job::submitted().unit(), Unit::Stamp);
    assert_eq!(job::submitted().reversed().unit(), Unit::Score);
    assert_eq!(job::submitted().reversed().reversed().unit(), Unit::Stamp);
}

/// Any factor value and any weight that builds, at any time.
/// A head start counts from the acceptance of a version as from the submission of a job.
#[test]
fn versions_have_head_starts() {
    let chain = Chain::new(MINE, [Link::head_start("virtual start", vec![Term::new(version::QUALITY, 2)]), Link::id()])
        .unwrap();
    let accepted = Hlc::from_parts(WallTime::from_millis(500_000), 3).unwrap();
    let version = VersionFacts {
        quality: BasisPoints::from_ratio(1, 2),
        ..VersionFacts::new(SubjectId::NONE, CandidateId::new(1, 1), accepted)
    };
    assert_eq!(chain.key(&version).word(0), 500_000 + (1 << 32) - 60_000);
}

fn terms() -> impl Strategy<Value = Vec<Term<JobFacts>>> {
    const NONE: Factor<JobFacts> = Factor::new("none", |_, _| FactorValue::ABSENT);
    let factor = prop::sample::select(vec![FULL, NONE, job::PRIORITY, job::SMALLNESS, job::LIGHTNESS, job::DEADLINE]);
    let weight = prop_oneof![Just(0), Just(65_535), 0_u32..=65_535];
    prop::collection::vec((factor, weight).prop_map(|(factor, weight)| Term::new(factor, weight)), 0..=MAX_FACTORS)
}

fn extreme_job() -> impl Strategy<Value = JobFacts> {
    let number = || prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    (number(), number(), number(), number(), any::<u8>()).prop_map(|(stamp, deadline, estimate_ms, work, priority)| {
        JobFacts {
            priority: Priority(priority),
            deadline: Some(WallTime::from_millis(deadline)),
            estimate_ms,
            work_core_ms: Some(work),
            demand: Resources::new(work, deadline, estimate_ms),
            ..JobFacts::new(CandidateId::new(1, 1), Hlc::from_u64(stamp))
        }
    })
}

proptest! {
    #[test]
    fn law_weights_never_overflow(terms in terms(), job in extreme_job()) {
        let share = |term: &Term<JobFacts>| u128::from(term.factor().read(&job, &round()).share.get());
        let points: u128 = terms.iter().map(|term| share(term) * u128::from(term.weight())).sum();
        let merit = first_word(Link::weighted("merit", terms.clone()), &job);
        prop_assert_eq!(u128::from(merit), points);
        prop_assert!(merit < 1 << 34);
        if let Ok(chain) = Chain::new(MINE, [Link::head_start("start", terms), Link::id()]) {
            let exact = u128::from(job.submitted.millis()) + (1 << 32) - points * 6;
            prop_assert_eq!(u128::from(chain.key(&job, &round()).word(0)), exact);
        }
    }

    #[test]
    fn law_explanation_equals_decision_for_any_chain(
        picks in prop::collection::vec((0_usize..6, any::<bool>(), 1_u64..100), 0..=MAX_WORDS),
        terms in terms(),
        job in extreme_job(),
    ) {
        let links = picks.iter().map(|(pick, reversed, bucket)| {
            let link = match pick {
                0 => job::submitted(),
                1 => job::tier(),
                2 => job::density(),
                3 => job::height(),
                4 => Link::tie_hash(),
                _ => Link::weighted("merit", terms.clone()),
            };
            let link = link.bucketed(NonZeroU64::new(*bucket).unwrap());
            if *reversed { link.reversed() } else { link }
        });
        let chain = Chain::new(MINE, links.chain([Link::id()])).unwrap();
        let key: RankKey = chain.key(&job, &round());
        let breakdown = chain.explain(&job, &round());
        prop_assert_eq!(breakdown.key(), key);
        prop_assert_eq!(breakdown.links().len(), picks.len());
        prop_assert!(key.words()[picks.len()..].iter().all(|word| *word == 0), "words not used are 0");
    }
}
