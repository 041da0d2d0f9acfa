use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::{
    AlgorithmId, ChainError, ContentionStrategy, Facts, JobFacts, KeyBreakdown, Link, LinkReading, MAX_WORDS, RankKey,
    ReconcileStrategy, RoundFacts, VersionFacts,
};

/// Factors that one link may add up: 16 × 10,000 bp × 65,535 is below 2^34.
pub const MAX_FACTORS: usize = 16;
/// Minutes of head start that one link may grant in all: 71,582 × 60,000 ms is below 2^32.
pub const MAX_HEAD_START_MINUTES: u32 = 71_582;

/// A strategy made of links, compared one after the other: a `Chain<JobFacts>` is a [`ContentionStrategy`], a
/// `Chain<VersionFacts>` a [`ReconcileStrategy`].
///
/// "Absolute" rules are links of their own, never big weights: no sum of later links can outweigh an earlier one. A
/// chain that exists is valid: at most six words, sums that cannot overflow, and the id at the end.
///
/// ```
/// use reconvene_resolve::{AlgorithmId, Chain, ChainError, Link, VersionFacts, version};
///
/// let cheapest = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1);
/// let links = [version::outcome(), version::cost(), Link::tie_hash(), Link::id()];
/// let chain: Chain<VersionFacts> = Chain::new(cheapest, links)?;
/// assert_eq!(chain.links().len(), 4);
///
/// // Without the id two versions could have equal keys.
/// let refused = Chain::new(cheapest, [version::outcome(), version::cost()]);
/// assert_eq!(refused.err(), Some(ChainError::MissingId));
/// # Ok::<(), ChainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chain<F: Facts> {
    algorithm: AlgorithmId,
    /// At most [`MAX_WORDS`] of one word each, and then the id.
    links: Cow<'static, [Link<F>]>,
}

impl<F: Facts> Chain<F> {
    /// Joins links into the strategy `algorithm`. Its id is the caller's to keep unique; see
    /// [`AlgorithmId::FIRST_CUSTOM`].
    ///
    /// # Errors
    /// Whatever would make keys ambiguous or let a word overflow; see [`ChainError`].
    pub fn new(algorithm: AlgorithmId, links: impl IntoIterator<Item = Link<F>>) -> Result<Self, ChainError> {
        let links: Vec<_> = links.into_iter().collect();
        check(&links)?;
        Ok(Self { algorithm, links: Cow::Owned(links) })
    }

    /// A chain known when the program is compiled. A test checks each of them as [`new`](Self::new) does.
    pub(crate) const fn fixed(algorithm: AlgorithmId, links: &'static [Link<F>]) -> Self {
        Self { algorithm, links: Cow::Borrowed(links) }
    }

    /// The links, in comparison order, the id last.
    #[must_use]
    pub fn links(&self) -> &[Link<F>] {
        &self.links
    }

    fn rank_key(&self, facts: &F, round: &F::Round) -> RankKey {
        let mut words = [0; MAX_WORDS];
        for (word, link) in words.iter_mut().zip(self.words()) {
            *word = link.read(facts, round);
        }
        RankKey::new(words, facts.id())
    }

    fn breakdown(&self, facts: &F, round: &F::Round) -> KeyBreakdown {
        let readings: Vec<LinkReading> = self.words().map(|link| link.explain(facts, round)).collect();
        KeyBreakdown::of_chain(facts.id(), readings)
    }

    fn rank_word(&self, facts: &F, round: &F::Round, index: usize) -> u64 {
        // The id, like all that is past it, reads as 0.
        self.links.get(index).map_or(0, |link| link.read(facts, round))
    }

    fn words(&self) -> impl Iterator<Item = &Link<F>> {
        self.links.iter().take_while(|link| !link.is_id())
    }
}

impl ContentionStrategy for Chain<JobFacts> {
    fn algorithm(&self) -> AlgorithmId {
        self.algorithm
    }

    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
        self.rank_key(job, round)
    }

    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
        self.breakdown(job, round)
    }

    fn word(&self, job: &JobFacts, round: &RoundFacts, index: usize) -> u64 {
        self.rank_word(job, round, index)
    }

    fn least_words(&self, job: &JobFacts, round: &RoundFacts) -> [u64; 2] {
        let mut least = [0; 2];
        for (word, link) in least.iter_mut().zip(self.words()) {
            let (bound, exact) = link.least(job, round);
            *word = bound;
            if !exact {
                break;
            }
        }
        least
    }
}

impl ReconcileStrategy for Chain<VersionFacts> {
    fn algorithm(&self) -> AlgorithmId {
        self.algorithm
    }

    fn key(&self, version: &VersionFacts) -> RankKey {
        self.rank_key(version, &())
    }

    fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
        self.breakdown(version, &())
    }

    fn word(&self, version: &VersionFacts, index: usize) -> u64 {
        self.rank_word(version, &(), index)
    }

    fn words(&self, versions: &[&VersionFacts], index: usize, words: &mut [u64]) {
        match self.links.get(index) {
            Some(link) => link.read_each(versions, &(), words),
            None => words.fill(0),
        }
    }
}

pub(crate) fn check<F: Facts>(links: &[Link<F>]) -> Result<(), ChainError> {
    let Some(position) = links.iter().position(Link::is_id) else {
        return Err(ChainError::MissingId);
    };
    if position.saturating_add(1) != links.len() {
        return Err(ChainError::IdNotLast { position, links: links.len() });
    }
    if links.last().is_some_and(Link::is_altered) {
        return Err(ChainError::IdAltered);
    }
    if position > MAX_WORDS {
        return Err(ChainError::TooManyWords { words: position });
    }
    links.iter().try_for_each(check_terms)
}

fn check_terms<F: Facts>(link: &Link<F>) -> Result<(), ChainError> {
    let Some((terms, minutes)) = link.terms() else {
        return Ok(());
    };
    if terms.len() > MAX_FACTORS {
        return Err(ChainError::TooManyFactors { link: link.name(), factors: terms.len() });
    }
    if minutes {
        let minutes = terms.iter().fold(0, |sum: u64, term| sum.saturating_add(u64::from(term.weight())));
        if minutes > u64::from(MAX_HEAD_START_MINUTES) {
            return Err(ChainError::HeadStartTooLong { minutes });
        }
    } else if let Some(term) = terms.iter().find(|term| term.weight() > u32::from(u16::MAX)) {
        return Err(ChainError::WeightTooLarge {
            link: link.name(),
            factor: term.factor().name(),
            weight: term.weight(),
        });
    }
    Ok(())
}
