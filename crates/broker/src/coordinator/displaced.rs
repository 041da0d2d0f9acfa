//! Why a job lost its place, waits for a place that is kept, or had some of its attempts stopped: read off, changing nothing.

use reconvene_clock::NodeId;
use reconvene_executor::{AttemptId, Reappearance};

use crate::coordinator::executors::HeldState;
use crate::coordinator::{Coordinator, number};
use crate::explain::{Explanation, Ground};
use crate::fact::Phase;
use crate::view::JobRecord;

const LISTED: usize = Explanation::LISTED;

impl Coordinator {
    /// The jobs for which attempts of this one were stopped here.
    pub(super) fn why_preempted(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let Some(trouble) = self.troubles.get(&job.id) else { return };
        let phase = |attempt| job.attempts.get(attempt).and_then(|record| record.phase());
        let preempted = trouble.preempted_by.iter().filter(|(attempt, _)| phase(attempt) == Some(Phase::Preempted));
        grounds.extend(preempted.take(LISTED).map(|(attempt, by)| Ground::Preempted { attempt: *attempt, by: *by }));
    }

    /// The places here that are kept, for a job that waits here, and why nobody is stopped for it.
    pub(super) fn why_kept(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let kept = self.reserved.iter().take(LISTED).map(|(of, reserved)| Ground::RoomKept {
            executor: reserved.executor,
            job: of,
            stopping: number(
                reserved.victims.iter().filter(|victim| self.is_draining(reserved.executor, victim)).count(),
            ),
            for_ms: reserved.until.saturating_since(self.at.mono),
        });
        grounds.extend(kept);
        let refusal = self.troubles.get(&job.id).and_then(|trouble| trouble.refusal.clone());
        grounds.extend(refusal.map(|reason| Ground::NobodyPreempted { reason }));
    }

    /// What became of its attempts when a lost one came back.
    pub(super) fn why_stopped(&self, job: &JobRecord, grounds: &mut Vec<Ground>) {
        let policy = job.reappearance();
        let stopped: Vec<_> = job.attempts.keys().filter(|attempt| job.is_replaced(attempt)).copied().collect();
        let mut live = job.live_attempts();
        let (first, second) = (live.next(), live.next());
        let side_by_side = policy == Reappearance::FirstResult && second.is_some();
        if side_by_side || !stopped.is_empty() {
            let keeps = first.filter(|_| second.is_none());
            grounds.push(Ground::Reappeared { policy, keeps, stopped });
        }
    }

    fn is_draining(&self, executor: NodeId, attempt: &AttemptId) -> bool {
        let held = self.homed.get(&executor).and_then(|homed| homed.attempts.get(attempt));
        held.is_some_and(|held| matches!(held.state, HeldState::Draining { .. }))
    }
}
