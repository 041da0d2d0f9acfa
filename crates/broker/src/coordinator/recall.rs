//! Jobs that only an executor knows any more: what it was told to run is asked back from it.

use reconvene_clock::NodeId;
use reconvene_executor::JobId;
use reconvene_executor::message::{HeldSpec, ToExecutor};

use crate::coordinator::Coordinator;
use crate::coordinator::timers::Timer;
use crate::fact::SpecFact;
use crate::statistics::count;
use crate::{EventKind, Fact, FactKey};

impl Coordinator {
    /// An executor speaks of a job. Where that is unknown here, its specification should come with the next exchanges.
    pub(super) fn await_spec(&mut self, id: JobId) {
        if self.lacks_spec(id) && !self.timers.is_armed(Timer::Recall(id)) {
            self.arm(Timer::Recall(id), self.config.sync_interval_ms.saturating_mul(2));
        }
    }

    fn lacks_spec(&self, id: JobId) -> bool {
        !self.view.is_done(id) && self.view.job(id).is_none_or(|job| job.spec.is_none())
    }

    /// It has not come: whoever holds an attempt of the job, or a result, is asked. Again and again, as long as it does.
    pub(super) fn recall(&mut self, id: JobId) {
        if !self.lacks_spec(id) {
            return;
        }
        let held = self.homed.iter().flat_map(|(executor, homed)| {
            let of_job = homed.attempts.keys().find(|attempt| attempt.job == id);
            of_job.map(|attempt| (*executor, *attempt))
        });
        let kept = self.parked.of(id).iter().map(|kept| (kept.from, kept.submit.attempt));
        let linked = held.chain(kept).filter(|(executor, _)| self.linked.contains(executor));
        let asked: Vec<_> = linked.take(ASKED_AT_ONCE).collect();
        for (executor, attempt) in &asked {
            self.send(*executor, ToExecutor::AskSpec { attempt: *attempt });
        }
        if !asked.is_empty() {
            self.await_spec(id);
        }
    }

    /// An executor says what it was told to run.
    pub(super) fn spec_recovered(&mut self, from: NodeId, held: HeldSpec) {
        let HeldSpec { attempt, spec } = held;
        let id = attempt.job;
        let holds = self.homed.get(&from).is_some_and(|homed| homed.attempts.contains_key(&attempt))
            || self.parked.of(id).iter().any(|kept| (kept.from, kept.submit.attempt) == (from, attempt));
        if !holds || !self.lacks_spec(id) || spec.validate().is_err() {
            return;
        }
        if !self.may_recover(id, spec.payload.len()) {
            count(&mut self.statistics.over_limits);
            return;
        }
        let (policy, rules) = (self.in_force.id, self.in_force.policy.clone());
        self.define(policy, &rules);
        let reappearance = spec.reappearance.unwrap_or(self.config.reappearance);
        let fact = SpecFact { spec, submitted: self.next_stamp(), height: self.next_height(), policy, reappearance };
        count(&mut self.statistics.recovered);
        self.write(FactKey::Copy { job: id, by: self.own.replica }, Fact::Copy(Box::new(fact)));
        self.notify(EventKind::SpecRecovered { job: id, executor: from });
    }
}

/// Executors asked for one specification at once.
const ASKED_AT_ONCE: usize = 2;
