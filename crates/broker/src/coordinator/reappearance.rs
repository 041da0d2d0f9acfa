//! Attempts that come back when others run in their place.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_executor::message::StopReason;
use reconvene_executor::{AttemptId, JobId, Reappearance};

use crate::EventKind;
use crate::coordinator::Coordinator;
use crate::coordinator::executors::HeldState;
use crate::fact::{Phase, PhaseMark};
use crate::statistics::count;
use crate::view::JobRecord;

impl Coordinator {
    /// Follows the reappearance policy of a job that is not over: its owner decides by the facts which attempts are one
    /// too many, and every broker stops those that run here.
    pub(super) fn check_reappeared(&mut self, id: JobId) {
        self.revive(id);
        let Some(job) = self.view.job(id) else { return };
        if job.reappearance() == Reappearance::MostProgress && job.live_attempts().nth(1).is_some() {
            self.write_progress(id);
        }
        let Some(job) = self.view.job(id) else { return };
        let decides = job.owner() == self.own.replica && !self.learning;
        if let Some((keeps, others)) = job.surplus().filter(|_| decides) {
            for attempt in others {
                if self.mark(attempt, Phase::Cancelled, 0, 0) {
                    count(&mut self.statistics.replaced);
                    self.notify(EventKind::AttemptReplaced { attempt, by: keeps });
                }
            }
        }
        let Some(job) = self.view.job(id) else { return };
        let replaced: BTreeSet<_> = job.attempts.keys().filter(|attempt| job.is_replaced(attempt)).copied().collect();
        if !replaced.is_empty() {
            self.stop_where(id, StopReason::Replaced, |attempt| replaced.contains(attempt));
        }
    }

    /// Whether another broker has given up an attempt that an executor of ours has, and has not been silent about for as
    /// long as it takes to be given up here. Nothing is to be placed beside it.
    pub(super) fn is_given_up_in_error(&self, job: &JobRecord) -> bool {
        let lost = job.attempts.iter().filter(|(_, record)| record.phase() == Some(Phase::Lost));
        lost.map(|(attempt, _)| attempt).any(|attempt| {
            let held = self.homed.values().find_map(|homed| homed.attempts.get(attempt));
            held.is_some_and(|held| !matches!(held.state, HeldState::Stopping(_)))
        })
    }

    /// Another broker has given up an attempt that runs here: its executor is to register again, which says otherwise.
    fn revive(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let lost = job.attempts.iter().filter(|(_, record)| record.phase() == Some(Phase::Lost));
        for (attempt, record) in lost {
            let registration = record.registration();
            for homed in self.homed.values_mut().filter(|homed| homed.registration <= registration) {
                let runs = homed.attempts.get(attempt).is_some_and(|held| held.state == HeldState::Running);
                homed.must_register |= runs && !homed.suspect;
            }
        }
    }

    /// Writes down how far the attempts are that run here, where that decides.
    fn write_progress(&mut self, id: JobId) {
        let running = self.homed.values().flat_map(|homed| {
            let of_job =
                homed.attempts.iter().filter(|(attempt, held)| attempt.job == id && held.state == HeldState::Running);
            of_job.map(|(attempt, held)| (*attempt, (homed.registration, held.progress_bp)))
        });
        let running: BTreeMap<AttemptId, (u64, u16)> = running.collect();
        for (attempt, (registration, progress_bp)) in running {
            let record = self.view.job(id).and_then(|job| job.attempts.get(&attempt));
            let Some(mark) = record.and_then(|record| record.mark_now()) else { continue };
            let further = record.is_some_and(|record| record.progress_bp() < progress_bp);
            if mark == PhaseMark::new(Phase::Running, registration) && further {
                self.write_mark(attempt, mark, progress_bp);
            }
        }
    }
}
