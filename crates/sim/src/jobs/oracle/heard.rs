//! What is seen as it happens, against what was seen before.

use reconvene_broker::{AttemptCause, Event, EventKind, Fact, FactKey, HoldReason, NodeEvent, OwnCause, StormEnd};
use reconvene_executor::{self as executor, Answer, AttemptId, Finality, JobId};
use reconvene_store::Record;

use super::end::records;
use super::{Accepted, Oracle};
use crate::jobs::Violation;
use crate::world::{Happened, What, World};

impl Oracle {
    pub(in crate::jobs) fn happened(&mut self, world: &World, happened: &Happened) -> Result<(), Violation> {
        let at_ms = happened.at.as_millis();
        match &happened.what {
            What::Broker { broker, event: NodeEvent::Job(event) } => {
                self.announced(*broker, event, at_ms)?;
                self.follow(world, *broker, &event.kind, at_ms)
            }
            What::Broker { .. } => Ok(()),
            What::Executor { event, .. } => {
                self.answered(world, event);
                Ok(())
            }
            What::RunStarted { executor, attempt } => self.run_started(world, *executor, *attempt, at_ms),
            What::RunEnded { attempt, digest, .. } => {
                if let Some(running) = self.running.get_mut(&attempt.job) {
                    running.remove(attempt);
                }
                if let Some(digest) = digest {
                    self.produced.insert(*attempt, *digest);
                }
                for told in &mut self.brokers {
                    told.at_work.remove(attempt);
                }
                Ok(())
            }
        }
    }

    fn run_started(&mut self, world: &World, executor: usize, attempt: AttemptId, at_ms: u64) -> Result<(), Violation> {
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        if let Some(before) = self.started.insert(attempt, executor) {
            let what = format!("{attempt} ran on executor {before} and again on {executor}");
            return violation("no attempt runs twice", what);
        }
        let running = self.running.entry(attempt.job).or_default();
        let others: Vec<_> = running.iter().map(ToString::to_string).collect();
        running.insert(attempt);
        // The world has gone on since; what was disturbed before counts, not what is disturbed now.
        let quiet_ms = at_ms.saturating_sub(self.disturbed_ms);
        if quiet_ms > self.detected_ms && !others.is_empty() && world.now().as_millis() >= at_ms {
            return violation("S15", format!("{attempt} starts on executor {executor} while {} run", others.join(" ")));
        }
        if !others.is_empty() {
            self.reach("two attempts at once");
        }
        Ok(())
    }

    fn answered(&mut self, world: &World, event: &executor::Event) {
        if let executor::Event::ResultAnswered { attempt, answer, .. } = event {
            match answer {
                Answer::Accepted { .. } => {
                    // An answer may outlive the only broker that knew what it says.
                    if !self.lost_accepts.contains(attempt) || self.is_accepted(world, *attempt) {
                        self.accepted.insert(*attempt);
                    }
                    self.reach("results accepted");
                }
                Answer::Rejected(_) => self.reach("results rejected"),
                Answer::Fault(_) => self.reach("results that contradict themselves"),
                Answer::AcceptedFailure | Answer::Parked { .. } | Answer::Busy { .. } => {}
            }
        }
        if let executor::Event::SessionRaised { .. } = event {
            self.reach("sessions raised");
        }
    }

    /// Whether a broker that is there lists this attempt's result as accepted.
    fn is_accepted(&self, world: &World, attempt: AttemptId) -> bool {
        let there = self.brokers.iter().enumerate().filter(|(_, told)| !told.killed);
        let views = there.filter_map(|(broker, _)| world.broker(broker)?.coordinator().job(attempt.job));
        views.flat_map(|view| view.submissions).any(|submission| submission.attempt == attempt && submission.accepted)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events say nothing that is checked")]
    fn announced(&mut self, broker: usize, event: &Event, at_ms: u64) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        if event.seq <= told.seq {
            let what = format!("event {} of broker {broker} comes after {}", event.seq, told.seq);
            return Err(Violation { promise: "S9", at_ms, what });
        }
        told.seq = event.seq;
        let name = match &event.kind {
            EventKind::ResultAccepted { job, submission, attempt, digest } => {
                let accepted = Accepted { submission: *submission, attempt: *attempt, digest: *digest };
                let before = told.accepted.entry(*job).or_default();
                before.push(accepted);
                if before.len() > 1 { "results accepted as challengers" } else { "results accepted first" }
            }
            EventKind::ResultSuperseded { job, old, new, .. } => {
                told.changes.entry(*job).or_default().push((*old, *new));
                "results superseded"
            }
            EventKind::ResultConfirmed { job, old, new, .. } => {
                told.changes.entry(*job).or_default().push((*old, *new));
                "results confirmed"
            }
            EventKind::JobQuarantined { job, reason } => {
                self.held.entry(*job).or_default().insert(broker);
                match reason {
                    HoldReason::PoisonSuspected => "suspects quarantined",
                    HoldReason::LossBudget | _ => "loss budgets used up",
                }
            }
            EventKind::PolicySwitched { .. } => "policies switched",
            EventKind::JobRepinned { job, .. } => {
                self.repinned.insert(*job);
                "jobs repinned"
            }
            EventKind::JobCancelled { job } => {
                self.over.insert(*job);
                return Ok(());
            }
            EventKind::JobCompacted { job, result } => {
                self.check_forgotten(broker, *job, *result, at_ms)?;
                "jobs forgotten"
            }
            EventKind::FinalityChanged { job, to: Finality::Stable, .. } => {
                self.over.insert(*job);
                "results stable"
            }
            EventKind::FinalityChanged { job, .. } => {
                // A pin may change it, and a broker from outside the membership of then.
                if !self.repinned.contains(job) && !self.membership_changed {
                    let what = format!("broker {broker} called the result of {job} stable, and does not any more");
                    return Err(Violation { promise: "S2", at_ms, what });
                }
                "results stable no more"
            }
            EventKind::Unresolved { .. } => "results that had to wait for a policy",
            EventKind::JobReleased { job, .. } => {
                self.held.remove(job);
                "jobs released"
            }
            EventKind::AttemptOffered { attempt, .. }
                if self.held.get(&attempt.job).is_some_and(|by| by.contains(&broker)) =>
            {
                let what = format!("broker {broker} holds {} in quarantine and places {attempt}", attempt.job);
                return Err(Violation { promise: "what is in quarantine waits", at_ms, what });
            }
            EventKind::AttemptOffered { cause: AttemptCause::Redeployed, .. } => "jobs redeployed",
            EventKind::AttemptOffered { cause: AttemptCause::Retried, .. } => "jobs retried",
            EventKind::JobPreempted { attempt, by, .. } => {
                self.check_preemption(broker, *attempt, *by, at_ms)?;
                "jobs preempted"
            }
            EventKind::PreemptionRefused { .. } => "preemptions refused",
            EventKind::OwnershipTaken { cause: OwnCause::TakenOver, .. } => "jobs taken over",
            EventKind::OwnershipTaken { cause: OwnCause::HandedOver, .. } => "jobs handed over",
            EventKind::ExecutorAdopted { .. } => "executors adopted",
            EventKind::AttemptReappeared { .. } => "attempts reappeared",
            EventKind::ResultParked { .. } => "results parked",
            EventKind::CancelTooLate { .. } => "cancels too late",
            EventKind::JobFailed { .. } => "jobs failed",
            EventKind::AttemptLost { .. } => "attempts lost",
            EventKind::EmergencyDeclared { .. } => "emergencies heard of",
            EventKind::StormGuardOn { .. } => "storm guards",
            EventKind::StormGuardOff { cause: StormEnd::HoldOver } => "storm guards that held to the end",
            EventKind::ClockSuspect { .. } => "clocks suspected",
            EventKind::FactFault { key, reason } => {
                let what = format!("broker {broker} finds {key} faulty: {reason}");
                return Err(Violation { promise: "S8", at_ms, what });
            }
            _ => return Ok(()),
        };
        self.reach(name);
        Ok(())
    }

    /// What a broker announced of owners, attempts and cancelled jobs, against what it announced before.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events say nothing of these")]
    fn follow(&mut self, world: &World, broker: usize, kind: &EventKind, at_ms: u64) -> Result<(), Violation> {
        let Some(told) = self.brokers.get_mut(broker) else { return Ok(()) };
        let violation = |promise, what| Err(Violation { promise, at_ms, what });
        match kind {
            EventKind::JobAdmitted { job, .. } => {
                told.owned.insert(*job);
            }
            EventKind::OwnershipTaken { job, .. } => {
                told.owned.insert(*job);
                self.placed.entry(*job).or_default().cause();
            }
            EventKind::OwnershipYielded { job, .. } => {
                told.owned.remove(job);
            }
            EventKind::AttemptOffered { attempt, .. } => {
                // Its process may have ended after it wrote that down and before it told of it.
                if !told.owned.contains(&attempt.job) && has_claimed(world, broker, *attempt) {
                    told.owned.insert(attempt.job);
                    self.placed.entry(attempt.job).or_default().cause();
                }
                if let Some(what) = told.placed(broker, *attempt) {
                    return violation("S15", what);
                }
                self.placed.entry(attempt.job).or_default().attempt();
            }
            EventKind::AttemptStarted { attempt, executor } | EventKind::AttemptReappeared { attempt, executor } => {
                told.at_work.insert(*attempt, *executor);
            }
            EventKind::AttemptLost { attempt, .. }
            | EventKind::JobPreempted { attempt, .. }
            | EventKind::AttemptRefused { attempt, .. }
            | EventKind::AttemptFailed { attempt, .. } => {
                told.at_work.remove(attempt);
                self.placed.entry(attempt.job).or_default().cause();
            }
            EventKind::AttemptStopped { attempt, .. } | EventKind::ResultRejected { attempt, .. } => {
                told.at_work.remove(attempt);
            }
            EventKind::ResultAccepted { job, submission, attempt, .. } => {
                told.at_work.remove(attempt);
                if !self.cancelled.get(job).is_some_and(|by| by.contains(&broker)) {
                    return Ok(());
                }
                // It knew that the job is cancelled. Only where a result had been accepted already may others challenge it.
                let view = world.broker(broker).and_then(|node| node.coordinator().job(*job));
                let other = |other: &reconvene_broker::SubmissionView| {
                    other.accepted && other.success && other.id != *submission
                };
                if !view.is_some_and(|view| view.submissions.iter().any(other)) {
                    return violation("S5", format!("broker {broker} accepts {submission} of {job}, cancelled there"));
                }
            }
            EventKind::ExecutorMoved { executor, .. } | EventKind::ExecutorGone { executor } => {
                told.at_work.retain(|_, at| at != executor);
            }
            _ => {}
        }
        Ok(())
    }

    /// Who was preempted runs no more, and for a job that an emergency covers.
    fn check_preemption(&self, broker: usize, attempt: AttemptId, by: JobId, at_ms: u64) -> Result<(), Violation> {
        if self.running.get(&attempt.job).is_some_and(|running| running.contains(&attempt)) {
            let what = format!("broker {broker} calls {attempt} preempted, and it runs");
            return Err(Violation { promise: "who is preempted has stopped", at_ms, what });
        }
        if self.admitted.get(&by).is_some_and(|job| !job.covered) {
            let what = format!("broker {broker} has stopped {attempt} for {by}, which no emergency covers");
            return Err(Violation { promise: "S10", at_ms, what });
        }
        Ok(())
    }
}

/// Whether a broker's store holds the claim that an attempt was placed under.
fn has_claimed(world: &World, broker: usize, attempt: AttemptId) -> bool {
    let claims = |record: &Record| match FactKey::parse(record.key()) {
        Some(key @ FactKey::Own { job, epoch, .. }) if (job, epoch) == (attempt.job, attempt.epoch) => {
            let mut facts = record.values().filter_map(|(_, bytes)| Fact::decode(&key, bytes).ok());
            facts.any(|fact| matches!(fact, Fact::Own(own) if own.owner == attempt.owner))
        }
        _ => false,
    };
    world.store(broker).is_some_and(|store| records(store).iter().any(claims))
}
