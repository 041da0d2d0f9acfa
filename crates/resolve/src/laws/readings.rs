//! What holds for an explanation on its own.

use alloc::format;
use alloc::string::String;

use crate::laws::{Law, ensure};
use crate::{Deciding, Decision, KeyBreakdown, RankKey, Unit};

/// The breakdown makes the key, to the bit, and names no more links than it has words.
pub(super) fn is_the_key(key: &RankKey, breakdown: &KeyBreakdown) -> Result<(), (Law, String)> {
    ensure(Law::ExplanationEqualsDecision, breakdown.key() == *key, || {
        format!("the key of {} is {key}, explained as {}", key.id(), breakdown.key())
    })
}

/// The deciding link is the first in which the keys of first and second differ, and its margin their distance.
pub(super) fn names_what_decided(
    decision: &Decision,
    best: &RankKey,
    second: Option<&RankKey>,
) -> Result<(), (Law, String)> {
    let law = Law::ExplanationEqualsDecision;
    let Some(second) = second else {
        return ensure(law, decision.deciding.is_none(), || format!("{} alone was decided by a link", best.id()));
    };
    let place = best.words().iter().zip(second.words()).position(|(ours, theirs)| ours != theirs);
    let standing = decision.standings.first();
    let expected = place.map_or(Some(("id", None)), |place| {
        let link = standing.and_then(|standing| standing.key.links().get(place));
        link.map(|link| (link.name, Some(second.word(place).saturating_sub(best.word(place)))))
    });
    let found = decision.deciding.map(|Deciding { link, margin, .. }| (link, margin));
    let agrees = expected.zip(found).is_some_and(|((link, margin), (found, by))| {
        link == found && by > 0 && margin.is_none_or(|margin| margin == by)
    });
    ensure(law, agrees, || format!("{} leads {} by {expected:?}, decided by {found:?}", best.id(), second.id()))
}

/// Words that are sums are the sums of their factors: as they are, or as head starts before `since_ms`.
pub(super) fn adds_up(breakdown: &KeyBreakdown, since_ms: u64) -> Result<(), (Law, String)> {
    for link in breakdown.links().iter().filter(|link| !link.factors.is_empty()) {
        let sum = link.factors.iter().fold(0_u128, |sum, factor| sum.saturating_add(factor.contribution.into()));
        let bucket = u128::from(link.bucket.get());
        let stepped = |value: u128| value.checked_div(bucket).unwrap_or(0);
        let value = u128::from(link.value());
        let start = u128::from(since_ms).saturating_add(1 << 32).checked_sub(sum);
        let is_sum = link.unit != Unit::Millis && value == stepped(sum);
        let is_start = start.is_some_and(|start| value == stepped(start));
        ensure(Law::WeightsNeverOverflow, is_sum || is_start, || {
            format!("link `{}` of {} is {value}, its factors add up to {sum}", link.name, breakdown.id())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{CandidateId, StrategyKind, SubjectId, VersionFacts, decide};

    /// Two versions that differ in the stamp, and what is said of them if it is doctored.
    fn doctored(change: impl FnOnce(&mut Decision)) -> Result<(), (Law, String)> {
        let strategy = StrategyKind::FirstComeFirstServed.reconcile();
        let stamps = [3, 5].map(reconvene_clock::Hlc::from_u64);
        let versions: Vec<VersionFacts> =
            stamps.map(|stamp| VersionFacts::new(SubjectId::NONE, CandidateId::new(1, stamp.as_u64()), stamp)).into();
        let mut decision = decide(strategy, &versions).unwrap();
        change(&mut decision);
        names_what_decided(&decision, &strategy.key(&versions[0]), Some(&strategy.key(&versions[1])))
    }

    #[test]
    fn a_decision_names_the_link_that_decided_and_by_how_much() {
        let refused = |change: fn(&mut Deciding)| {
            doctored(|decision| decision.deciding.iter_mut().for_each(change)).unwrap_err().0
        };
        assert_eq!(doctored(|_| ()), Ok(()));
        let law = Law::ExplanationEqualsDecision;
        assert_eq!(refused(|deciding| deciding.link = "outcome"), law);
        assert_eq!(refused(|deciding| deciding.margin = 0), law);
        assert_eq!(refused(|deciding| deciding.margin = 3), law);
        assert_eq!(doctored(|decision| decision.deciding = None).unwrap_err().0, law);
    }

    #[test]
    fn an_explanation_makes_the_key_to_the_bit() {
        let strategy = StrategyKind::VectorClockCausal.reconcile();
        let version = |number| VersionFacts::new(SubjectId::NONE, CandidateId::new(1, number), Default::default());
        let explained = strategy.explain(&version(1));
        assert_eq!(is_the_key(&strategy.key(&version(1)), &explained), Ok(()));
        assert_eq!(is_the_key(&strategy.key(&version(2)), &explained).unwrap_err().0, Law::ExplanationEqualsDecision);
    }

    #[test]
    fn the_id_decides_where_no_word_does() {
        let key = |number| RankKey::new([0; 6], CandidateId::new(1, number));
        let version = |number| VersionFacts::new(SubjectId::NONE, CandidateId::new(1, number), Default::default());
        let mut decision = decide(StrategyKind::FirstComeFirstServed.reconcile(), &[version(1), version(2)]).unwrap();
        let mut named = |link, margin| {
            decision.deciding = Some(Deciding { link, unit: Unit::Id, margin });
            names_what_decided(&decision, &key(1), Some(&key(2))).is_ok()
        };
        assert!(named("id", 1));
        assert!(!named("id", 0));
        assert!(!named("tie hash", 1));
        assert!(names_what_decided(&decision, &key(1), None).is_err(), "of one alone nothing decides");
        decision.deciding = None;
        assert!(names_what_decided(&decision, &key(1), None).is_ok());
    }
}
