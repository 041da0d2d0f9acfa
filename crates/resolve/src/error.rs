//! Why a key could not be built.

use crate::MAX_WORDS;

/// A key that does not fit its form. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// More links than a key has words.
    #[error("a key of {words} links does not fit {MAX_WORDS} words; join rules that never decide on their own")]
    TooManyWords {
        /// How many there were.
        words: usize,
    },
    /// Head starts that together could reach further back than a key can say.
    #[error("head starts of {minutes} minutes together are over the limit of {limit}")]
    HeadStartTooLong {
        /// The sum of the maximum head starts.
        minutes: u64,
        /// The most that never wraps.
        limit: u32,
    },
}
