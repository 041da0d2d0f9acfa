//! What must hold at any time.

use reconvene_broker::{JobStatus, JobView, Node, StrategyKind};
use reconvene_executor::{Finality, JobId, SubmissionId};

use super::{Oracle, violation};
use crate::jobs::Violation;
use crate::world::{Place, World};

impl Oracle {
    /// What must hold at any time.
    pub(in crate::jobs) fn check(&mut self, world: &World) -> Result<(), Violation> {
        for broker in 0..world.counts().0 {
            let Some(node) = world.broker(broker).filter(|_| world.runs(Place::Broker(broker))) else { continue };
            self.check_clock(world, broker, node)?;
            for job in node.coordinator().jobs() {
                self.check_job(world, broker, &job)?;
            }
            self.check_gone(world, broker, node)?;
            for (id, admitted) in &self.admitted {
                if self.is_forgotten(node, *id) {
                    continue;
                }
                let view = node.coordinator().job(*id);
                if admitted.by.contains(&broker) && view.is_none_or(|view| view.spec != Some(admitted.spec)) {
                    return Err(violation(
                        world,
                        "S1",
                        format!("broker {broker} does not know {id}, which it admitted"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A broker forgets a job, and which of its results counted.
    pub(super) fn check_forgotten(
        &mut self,
        broker: usize,
        job: JobId,
        result: Option<SubmissionId>,
        at_ms: u64,
    ) -> Result<(), Violation> {
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        if !self.over.contains(&job) {
            return violation("S1", format!("broker {broker} forgets {job}, which is not over"));
        }
        let may_change = self.membership_changed || self.repinned.contains(&job);
        if let Some(before) = self.forgotten.insert(job, result).filter(|before| *before != result && !may_change) {
            return violation("S2", format!("{job} is forgotten with {before:?} and with {result:?}"));
        }
        match (self.stable.get(&job), result) {
            (Some((by, stable)), _) if Some(*stable) != result && !may_change => {
                let what = format!("broker {by:?} called {stable} of {job} stable, it is forgotten with {result:?}");
                violation("S2", what)
            }
            (None, Some(result)) => {
                self.stable.insert(job, (Some(broker), result));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a broker has forgotten stays forgotten there, and somebody said so.
    fn check_gone(&mut self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let gone = |job: &&JobId| node.coordinator().is_compacted(**job);
        if let Some(job) = self.admitted.keys().filter(gone).find(|job| !self.forgotten.contains_key(job)) {
            return Err(violation(world, "S1", format!("broker {broker} has forgotten {job}, and nobody said so")));
        }
        told.forgotten.extend(self.forgotten.keys().filter(gone));
        match told.forgotten.iter().find(|job| node.coordinator().job(**job).is_some()) {
            Some(job) => Err(violation(world, "S5", format!("broker {broker} knows {job}, which it had forgotten"))),
            None => Ok(()),
        }
    }

    /// Whether a job was rightly forgotten here.
    pub(super) fn is_forgotten(&self, node: &Node, job: JobId) -> bool {
        self.forgotten.contains_key(&job) && node.coordinator().is_compacted(job)
    }

    fn check_clock(&mut self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let issued = node.replica().head().issued();
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        if issued < told.issued {
            return Err(violation(
                world,
                "S9",
                format!("broker {broker} goes back from {:?} to {issued:?}", told.issued),
            ));
        }
        told.issued = issued;
        Ok(())
    }

    /// A result that was called stable by anybody is the one that everybody names who has heard of it.
    fn check_stable(&mut self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let may_change = self.membership_changed || self.repinned.contains(&job.id);
        let Some(result) = job.result.as_ref().filter(|_| !may_change) else { return Ok(()) };
        if let Some((by, stable)) = self.stable.get(&job.id)
            && (result.finality == Finality::Stable || Some(broker) == *by)
            && *stable != result.submission
        {
            let what = format!(
                "broker {by:?} called {stable} of {} stable, broker {broker} names {} as {:?}",
                job.id, result.submission, result.finality
            );
            return Err(violation(world, "S2", what));
        }
        if result.finality == Finality::Stable {
            self.stable.entry(job.id).or_insert((Some(broker), result.submission));
        }
        Ok(())
    }

    fn check_job(&mut self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let id = job.id;
        self.check_stable(world, broker, job)?;
        if job.level > 0 && self.admitted.get(&id).is_some_and(|admitted| !admitted.covered) {
            let what = format!("broker {broker} gives {id} level {}, and no emergency covers it", job.level);
            return Err(violation(world, "S10", what));
        }
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let accepted = |submission: SubmissionId| {
            job.submissions.iter().find(|other| other.id == submission && other.accepted && other.success)
        };
        let any = job.submissions.iter().any(|submission| submission.accepted && submission.success);
        match &job.result {
            // Between several it cannot choose before the policy arrives.
            None if any && job.strategy.is_some() => {
                let what = format!("broker {broker} has an accepted result of {id} and names none");
                return Err(violation(world, "S2", what));
            }
            None => {}
            Some(result) => {
                let Some(fact) = accepted(result.submission).filter(|fact| fact.digest == result.digest) else {
                    let what = format!("broker {broker} names {} of {id}, which nobody accepted", result.submission);
                    return Err(violation(world, "S2", what));
                };
                let earlier = |other: &&reconvene_broker::SubmissionView| {
                    other.accepted && other.success && other.stamp < fact.stamp
                };
                let first_come = job.strategy == Some(StrategyKind::FirstComeFirstServed);
                if first_come && let Some(earlier) = job.submissions.iter().find(earlier) {
                    let what =
                        format!("broker {broker} names {} of {id}, {} came first", result.submission, earlier.id);
                    return Err(violation(world, "S2", what));
                }
                if self.produced.get(&fact.attempt) != Some(&result.digest) {
                    let what = format!("broker {broker} names a result of {} that no run had", fact.attempt);
                    return Err(violation(world, "S10", what));
                }
            }
        }
        if job.status == JobStatus::Completed {
            told.completed.insert(id);
        } else if told.completed.contains(&id) {
            let what = format!("{id} was completed at broker {broker} and is {:?}", job.status);
            return Err(violation(world, "S5", what));
        }
        let cancelled = self.cancelled.get(&id).is_some_and(|by| by.contains(&broker));
        if cancelled && !matches!(job.status, JobStatus::Cancelled | JobStatus::Completed) {
            let what = format!("{id} was cancelled at broker {broker} and is {:?}", job.status);
            return Err(violation(world, "S5", what));
        }
        Ok(())
    }
}
