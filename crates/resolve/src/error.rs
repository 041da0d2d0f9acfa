//! Why a key or a chain could not be built.

use crate::{MAX_FACTORS, MAX_HEAD_START_MINUTES, MAX_WORDS};

/// Links that do not make a key. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The last link is not [`Link::id`](crate::Link::id).
    #[error("the chain does not end in the id, so two candidates could have equal keys")]
    MissingId,
    /// [`Link::id`](crate::Link::id) stands before the end.
    #[error("the id is link {position} of {links}; nothing after it could ever decide")]
    IdNotLast {
        /// Its place, counted from 0.
        position: usize,
        /// How many links were given.
        links: usize,
    },
    /// The id was reversed or bucketed, which would leave it no id.
    #[error("the id was reversed or bucketed")]
    IdAltered,
    /// More links than a key has words.
    #[error("a key of {words} links does not fit {MAX_WORDS} words; join rules that never decide on their own")]
    TooManyWords {
        /// How many there were.
        words: usize,
    },
    /// More factors than one link may add up.
    #[error("link `{link}` adds up {factors} factors, the limit is {MAX_FACTORS}")]
    TooManyFactors {
        /// The link.
        link: &'static str,
        /// How many factors it has.
        factors: usize,
    },
    /// A weight above 65,535.
    #[error("link `{link}` gives factor `{factor}` the weight {weight}, the limit is 65535")]
    WeightTooLarge {
        /// The link.
        link: &'static str,
        /// The factor.
        factor: &'static str,
        /// Its weight.
        weight: u32,
    },
    /// Head starts that together could reach further back than a key can say.
    #[error("head starts of {minutes} minutes together are over the limit of {MAX_HEAD_START_MINUTES}")]
    HeadStartTooLong {
        /// The sum of the maximum head starts.
        minutes: u64,
    },
}
