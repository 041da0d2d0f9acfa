//! What the facts of a job say about which of its attempts count, and which go on: the same wherever they are known.

use reconvene_executor::{AttemptId, AttemptRule, FencingToken, Reappearance};

use crate::fact::Phase;
use crate::view::JobRecord;

/// The attempt of the least key goes on.
type Key = (u64, u32, u32, u64);

impl JobRecord {
    /// What becomes of its attempts when a lost one comes back.
    pub(crate) fn reappearance(&self) -> Reappearance {
        self.spec.as_ref().map_or(Reappearance::FirstResult, |spec| spec.fact.reappearance)
    }

    /// The attempts at work that are one too many, and the one that goes on in their place.
    ///
    /// None while the one that would go on is not known to run: to stop the others for it would be too soon.
    pub(crate) fn surplus(&self) -> Option<(AttemptId, Vec<AttemptId>)> {
        let policy = self.reappearance();
        if policy == Reappearance::FirstResult {
            return None;
        }
        let live: Vec<_> = self.live_attempts().collect();
        let keeps = live.iter().copied().min_by_key(|attempt| self.key(policy, attempt))?;
        let runs = self.attempts.get(&keeps).and_then(|record| record.phase()) == Some(Phase::Running);
        let others: Vec<_> = live.into_iter().filter(|attempt| *attempt != keeps).collect();
        (runs && !others.is_empty()).then_some((keeps, others))
    }

    fn key(&self, policy: Reappearance, attempt: &AttemptId) -> Key {
        let record = self.attempts.get(attempt);
        let score = || record.and_then(|record| record.fact()).map_or(0, |fact| fact.score);
        let progress = || record.map_or(0, |record| u64::from(record.progress_bp()));
        let (epoch, number, owner) = (attempt.epoch.0, attempt.number, attempt.owner.get());
        match policy {
            Reappearance::FirstResult | Reappearance::KeepOriginal => (0, epoch, number, owner),
            Reappearance::KeepReplacement => (0, !epoch, !number, !owner),
            Reappearance::BestScore => (!score(), epoch, number, owner),
            Reappearance::MostProgress => (!progress(), epoch, number, owner),
        }
    }

    /// The attempt with the greatest token of those that were not stopped, and that their executors did not refuse.
    pub(crate) fn attempt_in_force(&self) -> Option<AttemptId> {
        let in_force = self.attempts.iter().filter(|(_, record)| {
            !matches!(record.phase(), Some(Phase::Cancelled | Phase::Preempted | Phase::Refused))
        });
        in_force.map(|(attempt, _)| *attempt).max_by_key(|attempt| self.token(attempt))
    }

    /// The token that outranks this attempt, if the rule of the job leaves its result out of account for that.
    ///
    /// What is known here only through the attempt itself outranks what is known otherwise: its facts are on the way.
    pub(crate) fn outranked(&self, attempt: &AttemptId) -> Option<FencingToken> {
        let token = self.token(attempt);
        match self.spec.as_ref()?.fact.spec.attempts {
            AttemptRule::AnyAttempt => None,
            AttemptRule::CurrentAttemptOnly => {
                let current = self.attempt_in_force().map(|current| self.token(&current));
                current.filter(|current| *current > token)
            }
            AttemptRule::OwnerEpochOnly => {
                let owner = self.owner_token();
                let later = (owner.epoch, owner.tie, owner.owner) > (token.epoch, token.tie, token.owner);
                later.then_some(owner)
            }
        }
    }

    /// The least token of the present owner.
    fn owner_token(&self) -> FencingToken {
        let owner = self.ownership();
        let named = AttemptId { job: self.id, epoch: owner.epoch, owner: owner.owner, number: 0 };
        self.token(&named)
    }

    /// Whether an attempt was stopped for another one's sake.
    pub(crate) fn is_replaced(&self, attempt: &AttemptId) -> bool {
        self.attempts.get(attempt).and_then(|record| record.phase()) == Some(Phase::Cancelled)
    }
}
