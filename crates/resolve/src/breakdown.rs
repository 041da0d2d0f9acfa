//! A key taken apart: which link made which word, and of what.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;

use crate::{BasisPoints, CandidateId, ChainError, MAX_WORDS, RankKey, Unit};

/// One factor's part in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "what there is to say of a factor")]
pub struct FactorReading {
    /// What was measured.
    pub name: &'static str,
    /// The number it was read from; `None` where the candidate has none.
    pub raw: Option<u64>,
    /// The measure, normalised against its declared range.
    pub share: BasisPoints,
    /// What the whole of it would count: minutes of head start, or a weight.
    pub weight: u32,
    /// What it counts here: milliseconds of head start, or basis points × weight.
    pub contribution: u64,
}

/// One link of a key: its name, its word, and the factors behind it if there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "what there is to say of a link")]
pub struct LinkReading {
    /// What the link ranks by.
    pub name: &'static str,
    /// What a difference of one in its word means.
    pub unit: Unit,
    /// Its word; smaller goes first.
    pub word: u64,
    /// How many neighbouring values count as equal; 1 is none.
    pub bucket: NonZeroU64,
    /// Whether the word is the complement, so that larger values go first.
    pub reversed: bool,
    /// How the word came about, where it is a sum.
    pub factors: Vec<FactorReading>,
}

impl LinkReading {
    /// The value in its buckets, before any reversal.
    #[must_use]
    pub const fn value(&self) -> u64 {
        if self.reversed { !self.word } else { self.word }
    }

    /// A link whose word is taken as it is.
    #[must_use]
    pub const fn plain(name: &'static str, unit: Unit, word: u64) -> Self {
        Self { name, unit, word, bucket: NonZeroU64::MIN, reversed: false, factors: Vec::new() }
    }
}

/// A key with its explanation: links from left to right, then the id.
///
/// Strategies of your own build one, and make their key from it or beside it; [`KeyBreakdown::key`] is bit-equal to what
/// the strategy's `key` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct KeyBreakdown {
    id: CandidateId,
    links: Vec<LinkReading>,
}

impl KeyBreakdown {
    /// The key of `id` made by `links`, from left to right.
    ///
    /// # Errors
    ///
    /// [`ChainError::TooManyWords`] if there are more links than a key has words.
    pub fn new(id: CandidateId, links: Vec<LinkReading>) -> Result<Self, ChainError> {
        if links.len() > MAX_WORDS {
            return Err(ChainError::TooManyWords { words: links.len() });
        }
        Ok(Self { id, links })
    }

    /// As [`new`](Self::new), for the words of a chain, which was checked when it was built.
    pub(crate) const fn of_chain(id: CandidateId, links: Vec<LinkReading>) -> Self {
        Self { id, links }
    }

    /// The candidate.
    #[must_use]
    pub const fn id(&self) -> CandidateId {
        self.id
    }

    /// The links, left to right.
    #[must_use]
    pub fn links(&self) -> &[LinkReading] {
        &self.links
    }

    /// The key that these links make.
    #[must_use]
    pub fn key(&self) -> RankKey {
        let mut words = [0; MAX_WORDS];
        for (word, link) in words.iter_mut().zip(&self.links) {
            *word = link.word;
        }
        RankKey::new(words, self.id)
    }
}

/// What the link says in words: "priority counts 12 min, smallness 7 min" where it is a sum, else its value.
impl fmt::Display for LinkReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, bucket, factors, .. } = self;
        write!(f, "{name} ")?;
        match unit {
            Unit::Hash => write!(f, "{:016x}", self.value())?,
            Unit::Millis
            | Unit::Stamp
            | Unit::Class
            | Unit::Tier
            | Unit::BasisPoints
            | Unit::Count
            | Unit::Score
            | Unit::Id => write!(f, "{}", self.value())?,
        }
        if bucket.get() > 1 {
            write!(f, " (in steps of {bucket})")?;
        }
        for (place, factor) in factors.iter().filter(|factor| factor.contribution > 0).enumerate() {
            f.write_str(if place == 0 { ": " } else { ", " })?;
            match unit {
                Unit::Millis => write!(f, "{} counts {} min", factor.name, factor.contribution / 60_000)?,
                Unit::Stamp
                | Unit::Class
                | Unit::Tier
                | Unit::BasisPoints
                | Unit::Count
                | Unit::Score
                | Unit::Hash
                | Unit::Id => write!(f, "{} counts {}", factor.name, factor.contribution)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for KeyBreakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for link in &self.links {
            write!(f, "{} {}, ", link.name, link.word)?;
        }
        write!(f, "id {}", self.id)
    }
}
