use core::fmt;

use crate::{CandidateId, MAX_WORDS};

/// Where one candidate stands: six words and the candidate's id, compared left to right. **Smaller goes first.**
///
/// ```text
/// 64 bytes:  word0 | word1 | word2 | word3 | word4 | word5 | id.hi | id.lo        each a u64
/// ```
/// Words that a strategy does not use are 0. Because the id closes the key, equal keys mean the same candidate, and
/// `Ord` is total, antisymmetric and transitive by construction. Strategies return keys and never compare two
/// candidates: a pairwise rule such as "the causally later, else the higher writer" is cyclic, and sorting by it may
/// panic or give each replica another winner.
///
/// ```
/// use reconvene_resolve::{CandidateId, RankKey};
///
/// let early = RankKey::new([5, 0, 0, 0, 0, 0], CandidateId::new(9, 1));
/// let late = RankKey::new([6, 0, 0, 0, 0, 0], CandidateId::new(1, 1));
/// assert!(early < late);
/// assert_eq!(early.word(0), 5);
/// assert_eq!(early.id(), CandidateId::new(9, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RankKey {
    // Field order is comparison order.
    words: [u64; MAX_WORDS],
    id: CandidateId,
}

impl RankKey {
    /// The key of candidate `id` with these words.
    #[must_use]
    pub const fn new(words: [u64; MAX_WORDS], id: CandidateId) -> Self {
        Self { words, id }
    }

    /// Word `index`, counted from the left. 0 for words not used, and so for every `index` past the sixth.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// All six words.
    #[must_use]
    pub const fn words(&self) -> &[u64; MAX_WORDS] {
        &self.words
    }

    /// The candidate that this key ranks.
    #[must_use]
    pub const fn id(&self) -> CandidateId {
        self.id
    }
}

impl fmt::Display for RankKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in &self.words {
            write!(f, "{word}|")?;
        }
        write!(f, "{}", self.id)
    }
}

const _: () = assert!(size_of::<RankKey>() == 64, "a key is eight words");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_compare_left_to_right_and_the_id_last() {
        let id = CandidateId::new;
        let ordered = [
            RankKey::new([0, 9, 9, 9, 9, 9], id(9, 9)),
            RankKey::new([1, 0, 0, 0, 0, 0], id(1, 2)),
            RankKey::new([1, 0, 0, 0, 0, 0], id(2, 1)),
            RankKey::new([1, 0, 0, 0, 0, 1], id(0, 0)),
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_word_past_the_end_is_an_unused_word() {
        let key = RankKey::new([1, 2, 3, 4, 5, 6], CandidateId::new(7, 8));
        assert_eq!([key.word(0), key.word(5), key.word(6)], [1, 6, 0]);
    }
}
