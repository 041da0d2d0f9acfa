//! Who is ranked, for what, and by which algorithm.

use core::fmt;

use crate::StrategyKind;

/// The name of one candidate, and the last link of every key.
///
/// Two words: for a job the `ReplicaId` that admitted it and its sequence number there, for a version the `ReplicaId`
/// that accepted it and its submission number there. Neither pair is ever issued twice, so equal ids mean the same
/// candidate. `Ord` compares the words left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "two words are what a key has room for")]
pub struct CandidateId(pub [u64; 2]);

impl CandidateId {
    /// The id (`issuer`, `number`), where `issuer` is the replica that issued `number`.
    #[must_use]
    pub const fn new(issuer: u64, number: u64) -> Self {
        Self([issuer, number])
    }
}

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([issuer, number]) = self;
        write!(f, "{issuer:016x}-{number}")
    }
}

/// What the candidates compete for: in divergence the job whose versions are judged, in contention [`SubjectId::NONE`].
///
/// A type of its own, so that [`tie_hash`](crate::tie_hash) cannot be called with its arguments swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "two words, as the hash reads them")]
pub struct SubjectId(pub [u64; 2]);

impl SubjectId {
    /// The subject of contention: jobs compete for places, not for a subject.
    pub const NONE: Self = Self([0, 0]);

    /// The subject (`issuer`, `number`).
    #[must_use]
    pub const fn new(issuer: u64, number: u64) -> Self {
        Self([issuer, number])
    }
}

/// A job is a candidate while it waits and the subject once its results are judged.
impl From<CandidateId> for SubjectId {
    fn from(id: CandidateId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CandidateId(self.0).fmt(f)
    }
}

/// Which algorithm made a key, and in which version.
///
/// Two brokers may only compare answers that carry the same `AlgorithmId`: a change to what a strategy's key contains
/// is a new `version`. Ids below [`AlgorithmId::FIRST_CUSTOM`] belong to this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "plain data, fixed by the policy format")]
pub struct AlgorithmId {
    /// Which algorithm.
    pub id: u16,
    /// Which version of it.
    pub version: u16,
}

impl AlgorithmId {
    /// The least id free for strategies defined outside this crate.
    pub const FIRST_CUSTOM: u16 = 1024;

    /// Algorithm `id` in `version`.
    #[must_use]
    pub const fn new(id: u16, version: u16) -> Self {
        Self { id, version }
    }
}

/// The strategy's name where it is one of the five, else the numbers.
impl fmt::Display for AlgorithmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match StrategyKind::from_algorithm(*self) {
            Some(kind) => f.write_str(kind.name()),
            None => write!(f, "algorithm {} version {}", self.id, self.version),
        }
    }
}
