//! What a coordinator counts.

use serde::{Deserialize, Serialize};

use reconvene_resolve::PreemptionRefusal;

/// Counters of one coordinator since it was opened. Each thing is counted where it was done, so that the sum over
/// brokers counts it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Statistics {
    /// Jobs admitted here.
    pub submitted: u64,
    /// Submits answered with an earlier job of the same client key.
    pub repeated_submits: u64,
    /// Jobs cancelled here.
    pub cancelled: u64,
    /// Attempts placed here.
    pub placed: u64,
    /// Attempts placed because the one before was lost.
    pub redeployed: u64,
    /// Attempts placed because the one before failed.
    pub retried: u64,
    /// Orders that executors refused.
    pub refused: u64,
    /// Attempts declared lost here.
    pub lost: u64,
    /// Attempts that were lost and came back.
    pub reappeared: u64,
    /// Attempts that were to stop because another attempt at the job runs on.
    pub replaced: u64,
    /// Attempts that were stopped here so that a graver job has their place.
    pub preempted: u64,
    /// Times that nobody was stopped here for a job that would be grave enough.
    pub preemptions_refused: PreemptionsRefused,
    /// Times that another broker was asked for room for a job of ours.
    pub places_asked: u64,
    /// Times that another broker was told that a place is kept for its job.
    pub places_kept: u64,
    /// Times that it was told that none is.
    pub places_refused: u64,
    /// Places kept here that nobody used in time.
    pub reservations_lapsed: u64,
    /// Results accepted here.
    pub accepted: u64,
    /// Failures accepted here.
    pub failures: u64,
    /// Changes of a canonical result that this broker had named, reported.
    pub superseded: u64,
    /// Changes of a canonical result to one of equal digest, reported.
    pub confirmed: u64,
    /// Jobs settled here.
    pub settled: u64,
    /// Results that became stable, as far as this broker can tell.
    pub stable: u64,
    /// Specifications that were recovered here from executors.
    pub recovered: u64,
    /// Jobs that were over for so long that this broker deleted their facts.
    pub compacted: u64,
    /// Facts of such jobs that turned up here later, and were deleted.
    pub leftovers: u64,
    /// D0: the same submission again.
    pub retransmission: u64,
    /// D1: the same submission with another digest.
    pub fault: u64,
    /// D2 to D4: another submission with the digest of the canonical result.
    pub equivalent: u64,
    /// D2 to D4: another submission with another digest, refused or accepted as a challenger that won.
    pub divergent: u64,
    /// D5, and challengers after the job was settled.
    pub late: u64,
    /// D6: results of another specification.
    pub stale: u64,
    /// Results that could not be taken as they came: longer than is taken, or not what their digest says.
    pub damaged: u64,
    /// D7: results of jobs unknown here, kept until the job is known.
    pub parked: u64,
    /// Kept results given up because the job never became known.
    pub parked_expired: u64,
    /// Results refused because the limit of kept ones was reached.
    pub parked_refused: u64,
    /// D8: results of attempts given to another executor or session.
    pub foreign: u64,
    /// Failures of attempts that were not the current one, and results that the attempt rule of the job leaves out.
    pub not_current: u64,
    /// Work, in thousandths of a core times milliseconds, whose result was refused.
    pub wasted_resource_ms: u64,
    /// Jobs taken over from silent owners.
    pub taken_over: u64,
    /// Jobs handed to brokers with room.
    pub handed_over: u64,
    /// Jobs of ours that others had taken over.
    pub yielded: u64,
    /// Executors that registered here.
    pub registrations: u64,
    /// Registrations, attempts and results that were not noted because of a limit.
    pub over_limits: u64,
    /// Executors that registered here after their home fell silent.
    pub adopted: u64,
    /// Emergencies declared here.
    pub emergencies_declared: u64,
    /// Emergencies revoked here.
    pub emergencies_revoked: u64,
    /// Facts that could not be read or that contradict another.
    pub fact_faults: u64,
    /// Stamps too far ahead of local time.
    pub clock_suspects: u64,
    /// Times that a job of ours was put into quarantine.
    pub quarantined: u64,
    /// Times that a job was released here.
    pub released: u64,
    /// Names of data published here.
    pub data_published: u64,
    /// Names of data withdrawn here.
    pub data_withdrawn: u64,
    /// Times that different data became known here under one name.
    pub name_divergences: u64,
    /// Incarnations of brokers retired here.
    pub retired: u64,
    /// Switches of the policy that were ordered here.
    pub policies_set: u64,
    /// Jobs that were given another policy here.
    pub repinned: u64,
    /// Results that could not be judged yet, because the policy is not known here.
    pub unresolved: u64,
    /// Times that the storm guard was on.
    pub storms: u64,
    /// How long it was on, in milliseconds.
    pub storm_ms: u64,
    /// Milliseconds by which this coordinator was called late, in all; silence is not counted during them.
    pub stalled_ms: u64,
    /// Jobs known here.
    pub jobs: u64,
    /// Jobs known here that are not over.
    pub jobs_open: u64,
    /// Jobs owned here that wait for an executor.
    pub jobs_waiting: u64,
    /// Names of data known here.
    pub data_names: u64,
}

/// Why nobody was stopped for a graver job, and how often. One that goes on waiting for the same reason counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreemptionsRefused {
    /// Nothing of a lower tier runs.
    pub not_lower_tier: u64,
    /// What runs has not run for long enough.
    pub min_run: u64,
    /// What runs was preempted often enough.
    pub max_count: u64,
    /// The budget is spent.
    pub budget: u64,
    /// The job would not fit even then.
    pub would_not_fit: u64,
    /// The job was preempted itself a short while ago.
    pub cool_down: u64,
    /// This broker takes itself for cut off.
    pub storm: u64,
}

impl PreemptionsRefused {
    pub(crate) const fn count(&mut self, why: PreemptionRefusal) {
        count(match why {
            PreemptionRefusal::NotLowerTier => &mut self.not_lower_tier,
            PreemptionRefusal::MinRun => &mut self.min_run,
            PreemptionRefusal::MaxCount => &mut self.max_count,
            PreemptionRefusal::Budget => &mut self.budget,
            PreemptionRefusal::WouldNotFit => &mut self.would_not_fit,
            PreemptionRefusal::CoolDown => &mut self.cool_down,
        });
    }
}

/// Adds one. Saturates, since a statistic is no reason to stop.
pub(crate) const fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
