//! Links: the parts that chains are made of.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;

use crate::{BasisPoints, FactorReading, Facts, LinkReading, tie_hash};

/// One part of a key: a word, or the id that closes it.
///
/// | link | words | meaning |
/// |---|---|---|
/// | [`word`](Self::word) | 1 | any integer read from the facts, smaller first |
/// | [`weighted`](Self::weighted) | 1 | Σ bp × weight, at most 16 factors; **larger is better**, so reverse it |
/// | [`head_start`](Self::head_start) | 1 | `since + 2^32 − Σ bp × minutes × 6`: a virtual start in milliseconds |
/// | [`tie_hash`](Self::tie_hash) | 1 | [`tie_hash`](crate::tie_hash) of subject and candidate |
/// | [`id`](Self::id) | – | the candidate's id, mandatory last link |
/// | [`.bucketed(n)`](Self::bucketed) | as before | `floor(word / n)`; the only "nearly equal", since an epsilon test is not transitive |
/// | [`.reversed()`](Self::reversed) | as before | `u64::MAX − word`: turns larger-is-better into smaller-first |
pub struct Link<F: Facts> {
    name: &'static str,
    unit: Unit,
    source: Source<F>,
    bucket: NonZeroU64,
    reversed: bool,
}

impl<F: Facts> Link<F> {
    /// The integer that `read` finds in the facts; the smaller goes first.
    #[must_use]
    pub const fn word(name: &'static str, unit: Unit, read: fn(&F, &F::Round) -> u64) -> Self {
        Self::plain(name, unit, Source::Word(read))
    }

    /// Σ basis points × weight over at most 16 factors of weight at most 65,535: below 2^34, **larger is better**.
    #[must_use]
    pub fn weighted(name: &'static str, terms: Vec<Term<F>>) -> Self {
        Self::plain(name, Unit::Score, Source::Weighted(Cow::Owned(terms)))
    }

    /// The moment from which the candidate stands, less the head start that its factors earn it: at 10,000 bp the
    /// weight of a factor in minutes, below that in proportion. In milliseconds, plus 2^32 so that it never wraps.
    ///
    /// Waiting changes nothing and needs no timer: whoever comes later starts further right. No candidate is ranked
    /// before another that stands since longer by more than the sum of the minutes.
    #[must_use]
    pub fn head_start(name: &'static str, terms: Vec<Term<F>>) -> Self {
        Self::plain(name, Unit::Millis, Source::HeadStart(Cow::Owned(terms)))
    }

    pub(crate) const fn fixed_head_start(name: &'static str, terms: &'static [Term<F>]) -> Self {
        Self::plain(name, Unit::Millis, Source::HeadStart(Cow::Borrowed(terms)))
    }

    /// The fixed hash of subject and candidate: a fair last word before the id.
    #[must_use]
    pub const fn tie_hash() -> Self {
        Self::plain("tie hash", Unit::Hash, Source::TieHash)
    }

    /// The candidate's id. The last link of every chain, and nowhere else.
    #[must_use]
    pub const fn id() -> Self {
        Self::plain("id", Unit::Id, Source::Id)
    }

    /// The same with larger words first: `u64::MAX − word`, after any bucket.
    #[must_use]
    pub const fn reversed(mut self) -> Self {
        self.reversed = !self.reversed;
        self
    }

    /// The same with words of one bucket of `size` counted as equal, before any reversal. Buckets of buckets are larger
    /// buckets.
    #[must_use]
    pub const fn bucketed(mut self, size: NonZeroU64) -> Self {
        self.bucket = self.bucket.saturating_mul(size);
        self
    }

    /// What the link is called in explanations.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a difference of one in its word means. A reversed or bucketed word has no unit but its order.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        if self.is_altered() { Unit::Score } else { self.unit }
    }

    pub(crate) const fn is_id(&self) -> bool {
        matches!(self.source, Source::Id)
    }

    pub(crate) const fn is_altered(&self) -> bool {
        self.reversed || self.bucket.get() != 1
    }

    /// The terms that the link adds up, and whether they are minutes of head start.
    pub(crate) fn terms(&self) -> Option<(&[Term<F>], bool)> {
        match &self.source {
            Source::Weighted(terms) => Some((terms, false)),
            Source::HeadStart(terms) => Some((terms, true)),
            Source::Word(_) | Source::TieHash | Source::Id => None,
        }
    }

    pub(crate) fn read(&self, facts: &F, round: &F::Round) -> u64 {
        let word = match &self.source {
            Source::Word(read) => read(facts, round),
            Source::Weighted(terms) => sum(terms, facts, round, Term::points),
            Source::HeadStart(terms) => {
                // A chain is built only if the sum is below 2^32, and `since` is below 2^48: nothing saturates.
                let earned = sum(terms, facts, round, Term::earned_ms);
                facts.stands_since_ms().saturating_add(HEAD_START_ORIGIN).saturating_sub(earned)
            }
            Source::TieHash => tie_hash(facts.subject(), facts.id()),
            Source::Id => 0,
        };
        self.altered(word)
    }

    /// What [`read`](Self::read) gives for each of `facts`, into `words`. For words read from the facts without a look
    /// at the link for each of them.
    pub(crate) fn read_each(&self, facts: &[&F], round: &F::Round, words: &mut [u64]) {
        let places = words.iter_mut().zip(facts);
        match &self.source {
            Source::Word(read) => places.for_each(|(word, facts)| *word = self.altered(read(facts, round))),
            Source::Weighted(_) | Source::HeadStart(_) | Source::TieHash | Source::Id => {
                places.for_each(|(word, facts)| *word = self.read(facts, round));
            }
        }
    }

    fn altered(&self, word: u64) -> u64 {
        let word = if self.bucket == NonZeroU64::MIN { word } else { word / self.bucket };
        // The complement is `u64::MAX − word`.
        if self.reversed { !word } else { word }
    }

    /// A word that is no greater than what [`read`](Self::read) gives, and whether it is equal to it, without reading
    /// factors.
    pub(crate) fn least(&self, facts: &F, round: &F::Round) -> (u64, bool) {
        match &self.source {
            Source::Word(_) | Source::Id => (self.read(facts, round), true),
            Source::HeadStart(terms) => {
                // Reversed, the least is where nothing is earned.
                let terms: &[Term<F>] = if self.reversed { &[] } else { terms };
                let most = terms.iter().fold(0, |sum: u64, term| sum.saturating_add(term.earned_ms(BasisPoints::FULL)));
                (self.altered(facts.stands_since_ms().saturating_add(HEAD_START_ORIGIN).saturating_sub(most)), false)
            }
            Source::Weighted(_) | Source::TieHash => (0, false),
        }
    }

    pub(crate) fn explain(&self, facts: &F, round: &F::Round) -> LinkReading {
        let factors = self.terms().map_or_else(Vec::new, |(terms, minutes)| {
            terms.iter().map(|term| term.explain(facts, round, minutes)).collect()
        });
        let Self { name, bucket, reversed, .. } = *self;
        LinkReading { name, unit: self.unit(), word: self.read(facts, round), bucket, reversed, factors }
    }

    const fn plain(name: &'static str, unit: Unit, source: Source<F>) -> Self {
        Self { name, unit, source, bucket: NonZeroU64::MIN, reversed: false }
    }
}

impl<F: Facts> Clone for Link<F> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), ..*self }
    }
}

impl<F: Facts> fmt::Debug for Link<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.name)
            .field("unit", &self.unit)
            .field("terms", &self.terms().map(|(terms, _)| terms))
            .field("bucket", &self.bucket)
            .field("reversed", &self.reversed)
            .finish()
    }
}

enum Source<F: Facts> {
    Word(fn(&F, &F::Round) -> u64),
    Weighted(Cow<'static, [Term<F>]>),
    HeadStart(Cow<'static, [Term<F>]>),
    TieHash,
    Id,
}

impl<F: Facts> Clone for Source<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Word(read) => Self::Word(*read),
            Self::Weighted(terms) => Self::Weighted(terms.clone()),
            Self::HeadStart(terms) => Self::HeadStart(terms.clone()),
            Self::TieHash => Self::TieHash,
            Self::Id => Self::Id,
        }
    }
}

/// A factor and what it weighs: a weight in [`Link::weighted`], minutes in [`Link::head_start`].
pub struct Term<F: Facts> {
    factor: Factor<F>,
    weight: u32,
}

impl<F: Facts> Term<F> {
    /// `factor` with this weight, or with these minutes of head start at 10,000 bp.
    #[must_use]
    pub const fn new(factor: Factor<F>, weight: u32) -> Self {
        Self { factor, weight }
    }

    /// The factor.
    #[must_use]
    pub const fn factor(&self) -> Factor<F> {
        self.factor
    }

    /// Its weight or minutes.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Below 2^46, whatever the weight.
    fn points(&self, bp: BasisPoints) -> u64 {
        u64::from(bp.get()).saturating_mul(u64::from(self.weight))
    }

    /// One minute is 60,000 ms and the whole 10,000 bp, so one bp of one minute is 6 ms.
    fn earned_ms(&self, bp: BasisPoints) -> u64 {
        self.points(bp).saturating_mul(6)
    }

    fn explain(&self, facts: &F, round: &F::Round, minutes: bool) -> FactorReading {
        let FactorValue { raw, share: bp } = self.factor.read(facts, round);
        let contribution = if minutes { self.earned_ms(bp) } else { self.points(bp) };
        FactorReading { name: self.factor.name, raw, share: bp, weight: self.weight, contribution }
    }
}

impl<F: Facts> Clone for Term<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Facts> Copy for Term<F> {}

impl<F: Facts> fmt::Debug for Term<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.factor.name, self.weight)
    }
}

/// One property of a candidate as a share of a **declared** range, larger is better.
///
/// Never of the range that the other candidates happen to span: then an irrelevant job would reorder two others.
pub struct Factor<F: Facts> {
    name: &'static str,
    read: fn(&F, &F::Round) -> FactorValue,
}

impl<F: Facts> Factor<F> {
    /// The factor that `read` finds in the facts.
    #[must_use]
    pub const fn new(name: &'static str, read: fn(&F, &F::Round) -> FactorValue) -> Self {
        Self { name, read }
    }

    /// What the factor is called in explanations.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its value for one candidate.
    #[must_use]
    pub fn read(&self, facts: &F, round: &F::Round) -> FactorValue {
        (self.read)(facts, round)
    }
}

impl<F: Facts> Clone for Factor<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Facts> Copy for Factor<F> {}

impl<F: Facts> fmt::Debug for Factor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Factor").field(&self.name).finish()
    }
}

/// What a [`Factor`] says of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data that every factor builds")]
pub struct FactorValue {
    /// The number it was read from, for explanations; `None` where the candidate has none.
    pub raw: Option<u64>,
    /// The share of the declared range.
    pub share: BasisPoints,
}

impl FactorValue {
    /// `share`, read from `raw`.
    #[must_use]
    pub const fn new(raw: u64, share: BasisPoints) -> Self {
        Self { raw: Some(raw), share }
    }

    /// The candidate does not have this property, which counts as 0 bp.
    pub const ABSENT: Self = Self { raw: None, share: BasisPoints::ZERO };
}

/// What a difference of one between two words of a link means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unit {
    /// Classes that nothing after the link can cross, such as the outcome.
    Class,
    /// Tiers of emergency.
    Tier,
    /// Milliseconds.
    Millis,
    /// Hybrid logical stamps: milliseconds in the high 48 bits.
    Stamp,
    /// Basis points.
    BasisPoints,
    /// Counts, such as heights and attempts.
    Count,
    /// A score without a unit.
    Score,
    /// A hash: only its order says anything.
    Hash,
    /// The id: only its order says anything.
    Id,
}

impl Unit {
    /// The number of this unit in canonical bytes.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Class => 0,
            Self::Tier => 1,
            Self::Millis => 2,
            Self::Stamp => 3,
            Self::BasisPoints => 4,
            Self::Count => 5,
            Self::Score => 6,
            Self::Hash => 7,
            Self::Id => 8,
        }
    }

    /// A difference in this unit in minutes, rounded up; `None` if it is not time.
    #[must_use]
    pub const fn minutes(self, difference: u64) -> Option<u64> {
        match self {
            Self::Millis => Some(difference.div_ceil(60_000)),
            Self::Stamp => Some((difference >> 16).div_ceil(60_000)),
            Self::Class | Self::Tier | Self::BasisPoints | Self::Count | Self::Score | Self::Hash | Self::Id => None,
        }
    }
}

fn sum<F: Facts>(
    terms: &[Term<F>],
    facts: &F,
    round: &F::Round,
    contribution: fn(&Term<F>, BasisPoints) -> u64,
) -> u64 {
    // Bounded where the chain is built; saturating, so that an unbuilt link cannot panic either.
    terms.iter().fold(0, |sum: u64, term| sum.saturating_add(contribution(term, term.factor.read(facts, round).share)))
}

/// What keeps a virtual start from wrapping below zero: above every sum of head starts that a chain may grant.
const HEAD_START_ORIGIN: u64 = 1 << 32;
