//! Decisions that explain themselves.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use crate::{
    AlgorithmId, CandidateId, ContentionStrategy, Counterfactual, InputsDigest, JobFacts, KeyBreakdown, PolicyRef,
    Reason, ReconcileStrategy, RoundFacts, SubjectId, Unit, VersionFacts,
};

/// In which sense of conflict a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The policy it came from, where the caller [named](Self::under) one.
    pub policy: Option<PolicyRef>,
    /// Fingerprint of all the facts that went in, whatever order they came in.
    pub inputs: InputsDigest,
    /// Best first.
    pub standings: Vec<Standing>,
    /// The first link in which winner and runner-up differ, and by how much; `None` for a single candidate.
    pub deciding: Option<Deciding>,
}

/// The first link in which two candidates differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "a link and a distance")]
pub struct Deciding {
    /// What the link ranks by; `id` if nothing before it differed.
    pub link: &'static str,
    /// What a difference of one means in it.
    pub unit: Unit,
    /// How much smaller the better one's word is, in that unit; above 0.
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
        self.best().id
    }

    /// Why the best candidate is the best: [`Reason::Chosen`] or [`Reason::OnlyCandidate`].
    ///
    /// # Panics
    ///
    /// Never: a decision has at least one standing.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.best().reason
    }

    /// By how much the best candidate is ahead in the deciding link; 0 of a single one.
    #[must_use]
    pub fn margin(&self) -> u64 {
        self.deciding.map_or(0, |deciding| deciding.margin)
    }

    /// Where a candidate stands.
    #[must_use]
    pub fn standing(&self, id: CandidateId) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.id == id)
    }

    /// The same, made under this policy since this switch.
    #[must_use]
    pub const fn under(mut self, policy: PolicyRef) -> Self {
        self.policy = Some(policy);
        self
    }

    /// What would have made a candidate the first; `None` for the first itself and for who is not in the decision.
    #[must_use]
    pub fn counterfactual(&self, id: CandidateId) -> Option<Counterfactual> {
        let (best, other) = (self.best(), self.standing(id)?);
        (best.id != id).then(|| Counterfactual::between(&best.key, &other.key))
    }

    /// Everybody's place with its grounds, in lines for a person.
    #[must_use]
    pub const fn in_words(&self) -> InWords<'_> {
        InWords { decision: self }
    }

    fn best(&self) -> &Standing {
        self.standings.first().expect("a decision has at least one standing")
    }
}

/// What [`Decision::in_words`] shows.
#[derive(Clone, Copy, Debug)]
pub struct InWords<'a> {
    decision: &'a Decision,
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decision } = self;
        write!(f, "{decision}")?;
        for (standing, place) in decision.standings.iter().zip(1_u64..) {
            write!(f, "\n{place}. {}: {}", standing.id, standing.reason)?;
            if let Some(counterfactual) = decision.counterfactual(standing.id) {
                write!(f, "; {counterfactual}")?;
            }
            for link in standing.key.links() {
                write!(f, "\n     {link}")?;
            }
        }
        Ok(())
    }
}

/// One sentence for a person.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chose {}", self.algorithm, self.winner())?;
        match &self.deciding {
            Some(Deciding { link, unit, margin }) => {
                write!(f, " of {} by {link} ", self.standings.len())?;
                match unit.minutes(*margin) {
                    Some(minutes) => write!(f, "({minutes} min ahead)"),
                    None => write!(f, "(margin {margin})"),
                }
            }
            None => write!(f, ", the only candidate"),
        }
    }
}

/// Judges versions and says why, or `None` of none. The winner is that of [`resolve`](crate::resolve).
///
/// # Complexity
/// O(k log k) for k versions, with an explanation of each.
#[must_use]
pub fn decide(strategy: &dyn ReconcileStrategy, versions: &[VersionFacts]) -> Option<Decision> {
    let ranked = in_order(versions.iter().map(|version| (strategy.explain(version), version)).collect());
    let (best, canonical) = ranked.first().cloned()?;
    let reasons = ranked.iter().map(|(key, version)| {
        if version.digest == canonical.digest && version.outcome == canonical.outcome {
            Reason::AgreesWith { winner: best.id() }
        } else {
            lost(&best, key)
        }
    });
    let reasons = reasons.collect();
    let head = Head {
        context: Context::Divergence,
        subject: canonical.subject,
        algorithm: strategy.algorithm(),
        inputs: InputsDigest::of_versions(versions),
    };
    Some(decision(head, ranked, reasons))
}

/// Ranks jobs and says why, or `None` of none. The order is that of [`rank`](crate::rank).
///
/// # Complexity
/// O(n log n) for n jobs, with an explanation of each.
#[must_use]
pub fn explain_rank(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Option<Decision> {
    let ranked = in_order(jobs.iter().map(|job| (strategy.explain(job, round), ())).collect());
    let best = ranked.first()?.0.clone();
    // Jobs come tier by tier, so those of a higher tier are the ones before the first of this tier.
    let mut tier = (tier_of(&best), 0_u64);
    let mut reasons = Vec::with_capacity(ranked.len());
    for ((key, ()), ahead) in ranked.iter().zip(0_u64..) {
        if tier_of(key) != tier.0 {
            tier = (tier_of(key), ahead);
        }
        reasons.push(match tier.1 {
            0 => behind(&best, key, ahead),
            higher => Reason::BehindHigherTier { n: higher },
        });
    }
    let head = Head {
        context: Context::Contention,
        subject: SubjectId::NONE,
        algorithm: strategy.algorithm(),
        inputs: InputsDigest::of_jobs(jobs, round),
    };
    Some(decision(head, ranked, reasons))
}

/// Best first, and each key once.
fn in_order<T>(mut candidates: Vec<(KeyBreakdown, T)>) -> Vec<(KeyBreakdown, T)> {
    candidates.sort_by_key(|(key, _)| key.key());
    candidates.dedup_by_key(|(key, _)| key.key());
    candidates
}

/// What is decided, by what, of what.
struct Head {
    context: Context,
    subject: SubjectId,
    algorithm: AlgorithmId,
    inputs: InputsDigest,
}

/// Joins keys in order with why each is not the first.
fn decision<T>(head: Head, ranked: Vec<(KeyBreakdown, T)>, reasons: Vec<Reason>) -> Decision {
    let deciding = match ranked.as_slice() {
        [(best, _), (second, _), ..] => Some(difference(best, second)),
        [_] | [] => None,
    };
    let first = if deciding.is_some() { Reason::Chosen } else { Reason::OnlyCandidate };
    let reasons = core::iter::once(first).chain(reasons.into_iter().skip(1));
    let standings =
        ranked.into_iter().zip(reasons).map(|((key, _), reason)| Standing { id: key.id(), key, reason }).collect();
    let Head { context, subject, algorithm, inputs } = head;
    Decision { context, subject, algorithm, policy: None, inputs, standings, deciding }
}

/// Why `key` is behind `best` although no tier is between them.
fn behind(best: &KeyBreakdown, key: &KeyBreakdown, ahead: u64) -> Reason {
    let Deciding { unit, margin, .. } = difference(best, key);
    match unit.minutes(margin) {
        Some(minutes) => Reason::BehindEarlier { n: ahead, minutes },
        None => lost(best, key),
    }
}

fn lost(best: &KeyBreakdown, key: &KeyBreakdown) -> Reason {
    let Deciding { link, margin, .. } = difference(best, key);
    Reason::LostTo { winner: best.id(), link: Cow::Borrowed(link), margin }
}

/// The first link in which the better key differs from the worse, and by how much. The id is the last link.
pub(crate) fn difference(better: &KeyBreakdown, worse: &KeyBreakdown) -> Deciding {
    let links = better.links().iter().zip(worse.links());
    let words = links.map(|(ours, theirs)| (ours.name, ours.unit, ours.word, theirs.word));
    let ids = better.id().0.into_iter().zip(worse.id().0).map(|(ours, theirs)| ("id", Unit::Id, ours, theirs));
    words.chain(ids).find(|(_, _, ours, theirs)| ours != theirs).map_or(
        Deciding { link: "id", unit: Unit::Id, margin: 0 },
        |(link, unit, ours, theirs)| Deciding { link, unit, margin: theirs.saturating_sub(ours) },
    )
}

/// The leading word, if it is one of tiers.
fn tier_of(key: &KeyBreakdown) -> Option<u64> {
    key.links().first().filter(|link| link.unit == Unit::Tier).map(|link| link.word)
}
