use core::fmt;

use crate::decision::difference;
use crate::{CandidateId, Deciding, KeyBreakdown, Unit};

/// What would have made a candidate the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(clippy::exhaustive_structs, reason = "a link and a distance")]
pub struct Counterfactual {
    /// The candidate.
    pub id: CandidateId,
    /// The first link in which it is behind the first.
    pub link: &'static str,
    /// What a difference of one means in it.
    pub unit: Unit,
    /// How much smaller its word would have to be, in that unit. Level is enough where the links after it are in its
    /// favour.
    pub needs: u64,
}

impl Counterfactual {
    pub(crate) fn between(best: &KeyBreakdown, other: &KeyBreakdown) -> Self {
        let Deciding { link, unit, margin } = difference(best, other);
        let (ours, theirs) = (other.key(), best.key());
        let place = ours.words().iter().zip(theirs.words()).position(|(a, b)| a != b);
        // Level in that word, the ones after it and the id would decide.
        let level_wins = place.is_some_and(|place| {
            let after = ours.words().iter().zip(theirs.words()).skip(place).skip(1);
            after
                .map(|(a, b)| a.cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| ours.id().cmp(&theirs.id()))
                .is_lt()
        });
        let needs = if level_wins { margin } else { margin.saturating_add(1) };
        Self { id: other.id(), link, unit, needs }
    }
}

/// "needs 9 min more head start", and the like.
impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, unit, needs, .. } = self;
        match unit {
            Unit::Millis => write!(f, "needs {} min more head start", needs.div_ceil(60_000)),
            Unit::Stamp => write!(f, "would have to be {} min earlier in {link}", (needs >> 16).div_ceil(60_000)),
            Unit::Tier => write!(f, "needs an emergency {needs} levels higher"),
            Unit::BasisPoints => write!(f, "needs {needs} bp more in {link}"),
            Unit::Class => write!(f, "is of a worse class in {link}, which nothing after it can make up for"),
            Unit::Count | Unit::Score => write!(f, "is behind by {needs} in {link}"),
            Unit::Hash | Unit::Id => f.write_str("differs in nothing but a fixed tie-break"),
        }
    }
}
