//! Decisions that explain themselves.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    AlgorithmId, CandidateId, ContentionStrategy, JobFacts, KeyBreakdown, Reason, ReconcileStrategy, RoundFacts,
    SubjectId, VersionFacts,
};

/// In which sense of conflict a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_enums, reason = "there are two senses of conflict")]
pub enum Context {
    /// Jobs wanted one place.
    Contention,
    /// Versions of one result existed.
    Divergence,
}

/// Where one candidate stands in a decision, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "what there is to say of a candidate")]
pub struct Standing {
    /// The candidate.
    pub id: CandidateId,
    /// Its key, taken apart.
    pub key: KeyBreakdown,
    /// Why it stands here.
    pub reason: Reason,
}

/// An answer with its grounds: who won, by which link, by how much.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "built by this crate alone; read by whoever explains")]
pub struct Decision {
    /// The sense of conflict.
    pub context: Context,
    /// What the candidates competed for.
    pub subject: SubjectId,
    /// The rule.
    pub algorithm: AlgorithmId,
    /// Best first.
    pub standings: Vec<Standing>,
    /// The first link in which winner and runner-up differ, and by how much; `None` for a single candidate.
    pub deciding: Option<Deciding>,
}

/// The link that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "a link and a distance")]
pub struct Deciding {
    /// What the link ranks by; `id` if nothing before it differed.
    pub link: &'static str,
    /// How much smaller the winner's word is, in the unit of that word; 0 for `id`.
    pub margin: u64,
}

impl Decision {
    /// The best candidate.
    ///
    /// # Panics
    ///
    /// Never: a decision has at least one standing.
    #[must_use]
    pub fn winner(&self) -> CandidateId {
        self.standings.first().map(|standing| standing.id).expect("a decision has at least one standing")
    }
}

/// One sentence for a person.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chose {}", self.algorithm, self.winner())?;
        match &self.deciding {
            Some(Deciding { link, margin }) => {
                write!(f, " of {} by {link} (margin {margin})", self.standings.len())
            }
            None => write!(f, ", the only candidate"),
        }
    }
}

/// Judges versions and says why, or `None` of none. The winner is that of [`resolve`](crate::resolve).
#[must_use]
pub fn decide(strategy: &dyn ReconcileStrategy, versions: &[VersionFacts]) -> Option<Decision> {
    let subject = versions.first()?.subject;
    let mut ranked: Vec<(&VersionFacts, KeyBreakdown)> =
        versions.iter().map(|version| (version, strategy.explain(version))).collect();
    ranked.sort_by_key(|(_, key)| key.key());
    ranked.dedup_by_key(|(_, key)| key.key());
    let digest = ranked.first().map(|(version, _)| version.digest);
    let deciding = deciding(&ranked);
    let winner = ranked.first().map(|(version, key)| (version.id, key.clone()))?;
    let alone = ranked.len() == 1;
    let standings = ranked
        .into_iter()
        .map(|(version, key)| {
            let reason = if version.id == winner.0 {
                if alone { Reason::OnlyCandidate } else { Reason::Chosen }
            } else if Some(version.digest) == digest {
                Reason::AgreesWith { winner: winner.0 }
            } else {
                let (link, margin) = difference(&winner.1, &key);
                Reason::LostTo { winner: winner.0, link, margin }
            };
            Standing { id: version.id, key, reason }
        })
        .collect();
    Some(Decision { context: Context::Divergence, subject, algorithm: strategy.algorithm(), standings, deciding })
}

/// Ranks jobs and says why, or `None` of none. The order is that of [`rank`](crate::rank).
#[must_use]
pub fn explain_rank(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Option<Decision> {
    let mut ranked: Vec<(&JobFacts, KeyBreakdown)> =
        jobs.iter().map(|job| (job, strategy.explain(job, round))).collect();
    ranked.sort_by_key(|(_, key)| key.key());
    ranked.dedup_by_key(|(_, key)| key.key());
    let deciding = deciding(&ranked);
    let (first, first_key) = ranked.first().map(|(job, key)| (*job, key.clone()))?;
    let alone = ranked.len() == 1;
    let standings = ranked
        .into_iter()
        .enumerate()
        .map(|(place, (job, key))| {
            let reason = if place == 0 {
                if alone { Reason::OnlyCandidate } else { Reason::Chosen }
            } else {
                let ahead = u64::try_from(place).unwrap_or(u64::MAX);
                match difference(&first_key, &key) {
                    ("tier", _) => Reason::BehindHigherTier { n: ahead },
                    _ => Reason::BehindEarlier {
                        n: ahead,
                        minutes: job.submitted.millis().saturating_sub(first.submitted.millis()) / 60_000,
                    },
                }
            };
            Standing { id: job.id, key, reason }
        })
        .collect();
    let algorithm = strategy.algorithm();
    Some(Decision { context: Context::Contention, subject: SubjectId::NONE, algorithm, standings, deciding })
}

fn deciding<T>(ranked: &[(T, KeyBreakdown)]) -> Option<Deciding> {
    let [(_, winner), (_, runner_up), ..] = ranked else { return None };
    let (link, margin) = difference(winner, runner_up);
    Some(Deciding { link, margin })
}

/// The first link in which the better key differs from the worse, and by how much.
fn difference(better: &KeyBreakdown, worse: &KeyBreakdown) -> (&'static str, u64) {
    let pairs = better.links().iter().zip(worse.links());
    pairs
        .map(|(ours, theirs)| (ours.name, theirs.word.saturating_sub(ours.word)))
        .find(|(_, margin)| *margin > 0)
        .unwrap_or(("id", 0))
}
