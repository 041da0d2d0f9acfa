//! How far an attempt has come, as an order in which facts only rise.

use core::cmp::Ordering;

use reconvene_store::sabotage;
use serde::{Deserialize, Serialize};

/// How far an attempt has come.
///
/// The first four are live: the attempt may still be at work. The last five are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a new phase must be placed in the order everywhere")]
pub enum Phase {
    /// Placed on an executor, which has not confirmed it.
    Offered,
    /// The executor has taken it and not begun.
    Leased,
    /// The executor runs it.
    Running,
    /// A broker has not heard of it for too long. An opinion, which a later registration of the executor overrules.
    Lost,
    /// The executor did not take it; nothing ran.
    Refused,
    /// It was stopped so that a graver job has its place.
    Preempted,
    /// It was stopped.
    Cancelled,
    /// Its executor reported a failure, which a broker accepted.
    Failed,
    /// Its executor reported a success, which a broker accepted.
    Finished,
}

impl Phase {
    /// Whether nothing more is expected to follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Offered | Self::Leased | Self::Running | Self::Lost => false,
            Self::Refused | Self::Preempted | Self::Cancelled | Self::Failed | Self::Finished => true,
        }
    }

    /// Whether the attempt is believed to be at work, or about to be.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Offered | Self::Leased | Self::Running => true,
            Self::Lost | Self::Refused | Self::Preempted | Self::Cancelled | Self::Failed | Self::Finished => false,
        }
    }
}

/// A phase and the registration of the executor under which it was seen.
///
/// Live phases are compared by registration first, so that an attempt marked lost lives again when its executor
/// registers and still holds it; final phases stand above all live ones. The greatest is what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the order is over these two fields and will stay so")]
pub struct PhaseMark {
    /// The phase.
    pub phase: Phase,
    /// The number of the executor's registration.
    pub registration: u64,
}

impl PhaseMark {
    /// The mark of `phase` seen under `registration`.
    #[must_use]
    pub const fn new(phase: Phase, registration: u64) -> Self {
        Self { phase, registration }
    }

    fn order(self) -> (bool, u64, Phase, u64) {
        // X48: in a plain chain of phases, what was lost stays lost.
        if sabotage::on(48) {
            (self.phase.is_final(), 0, self.phase, self.registration)
        } else if self.phase.is_final() {
            (true, 0, self.phase, self.registration)
        } else {
            (false, self.registration, self.phase, 0)
        }
    }
}

impl PartialOrd for PhaseMark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PhaseMark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_registration_revives_what_was_lost() {
        let lost = PhaseMark::new(Phase::Lost, 1);
        assert!(PhaseMark::new(Phase::Running, 1) < lost);
        assert!(PhaseMark::new(Phase::Running, 2) > lost);
        assert!(PhaseMark::new(Phase::Lost, 2) > PhaseMark::new(Phase::Running, 2));
    }

    #[test]
    fn final_phases_stand_above_every_live_one() {
        let live = PhaseMark::new(Phase::Lost, u64::MAX);
        for phase in [Phase::Refused, Phase::Preempted, Phase::Cancelled, Phase::Failed, Phase::Finished] {
            assert!(PhaseMark::new(phase, 0) > live);
        }
        assert!(PhaseMark::new(Phase::Finished, 0) > PhaseMark::new(Phase::Failed, 9));
    }
}
