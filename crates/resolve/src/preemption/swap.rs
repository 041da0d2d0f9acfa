//! Stopping jobs for one of more value, where no tier decides.

use core::cmp::Reverse;

use reconvene_clock::WallTime;

use crate::preemption::{Room, afford, is_immune, lost_work, may_ask, preemption};
use crate::{
    ClusterView, Preemption, PreemptionBudget, PreemptionRefusal, PreemptionRules, Preemptor, Reason, RunningJob,
};

/// Whom to stop so that a job of more value can run, under `RESOURCE_OPTIMAL`. Victims are of the same tier or a lower one
/// and otherwise eligible as in [`plan_preemption`](crate::plan_preemption); they are collected by ascending (value, lost
/// work, times preempted, id), and the executor is the one with the greatest gain.
///
/// # Errors
/// As [`plan_preemption`](crate::plan_preemption), and [`Reason::NotPacked`] if the swap does not [pay](swap_pays).
pub fn plan_swap(
    preemptor: &Preemptor<'_>,
    view: &ClusterView,
    rules: &PreemptionRules,
    budgets: &[PreemptionBudget],
    now: WallTime,
) -> Result<Preemption, Reason> {
    let job = preemptor.job;
    may_ask(preemptor, view, rules, now)?;
    let eligible = |victim: &RunningJob| {
        rules.enabled
            && victim.preemptible
            && victim.level <= job.level
            && victim.ran_ms(now) >= rules.min_run_ms
            && !is_immune(victim, preemptor, rules)
    };
    let room = Room::new(job, view, rules, now);
    let sets = (0..view.executors.len()).filter_map(|index| {
        let victims =
            room.victims_on(index, &eligible, |victim| (u64::from(victim.value.get()), victim.lost_core_ms(now)))?;
        let total = |of: &dyn Fn(&RunningJob) -> u64| victims.iter().fold(0, |sum: u64, v| sum.saturating_add(of(v)));
        let value = total(&|victim| u64::from(victim.value.get()));
        let lost = total(&|victim| lost_value(victim, now));
        Some((index, value, lost, victims))
    });
    // All gain the same job, so the least cost is the greatest gain.
    let cheapest = sets.min_by_key(|(index, value, lost, victims)| {
        (value.saturating_add(*lost), victims.len(), lost_work(victims, now), *index, Reverse(*value))
    });
    let Some((executor, value, lost, victims)) = cheapest else {
        return Err(Reason::PreemptionRefused { why: PreemptionRefusal::WouldNotFit });
    };
    let gain = u64::from(job.value.get());
    if !victims.is_empty() && !swap_pays(gain, value, lost) {
        return Err(Reason::NotPacked { value: value.saturating_add(lost), best_without: gain });
    }
    afford(victims.len(), job, rules, budgets, now)?;
    Ok(preemption(executor, &victims, job, rules, now))
}

/// Whether stopping victims of this value, of which `lost` was already done, pays for a job worth `gain`: what is left
/// must be more than a tenth of the victims' value. The reverse swap is therefore always a loss.
///
/// ```
/// use reconvene_resolve::swap_pays;
///
/// assert!(swap_pays(112, 100, 1));
/// assert!(!swap_pays(111, 100, 1), "exactly a tenth");
/// ```
#[must_use]
pub fn swap_pays(gain: u64, victims: u64, lost: u64) -> bool {
    let tenfold = |value: u64| u128::from(value).saturating_mul(10);
    tenfold(gain) > tenfold(victims).saturating_add(tenfold(lost)).saturating_add(victims.into())
}

/// The part of its value that a job would lose if it were stopped now; all of it if its length is not known.
fn lost_value(victim: &RunningJob, now: WallTime) -> u64 {
    let value = u64::from(victim.value.get());
    let ran = u128::from(victim.ran_ms(now));
    let Some(ends) = victim.ends else { return value };
    let whole = ran.saturating_add(ends.saturating_since(now).into());
    let lost = u128::from(value).saturating_mul(ran).checked_div(whole).unwrap_or(0);
    u64::try_from(lost).unwrap_or(value)
}
