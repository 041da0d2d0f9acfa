//! From a plan that breaks a promise to a small one that still does.

use super::plan::Plan;
use super::{Violation, run_plan};

/// Leaves out steps in ever smaller groups, then brokers and time, as long as some promise still breaks. At most `runs`
/// runs.
#[must_use]
pub fn shrink(plan: &Plan, runs: usize) -> Plan {
    search(plan, runs, &|plan| fails(plan).is_some())
}

fn search(plan: &Plan, runs: usize, is_broken: &dyn Fn(&Plan) -> bool) -> Plan {
    let mut search = Search { best: plan.clone(), left: runs, is_broken };
    search.cut_time();
    let mut size = search.best.steps.len().div_ceil(2);
    while size > 0 && search.left > 0 {
        let mut from = 0;
        while from < search.best.steps.len() && search.left > 0 {
            let mut smaller = search.best.clone();
            let until = (from + size).min(smaller.steps.len());
            smaller.steps.drain(from..until);
            if !search.keep(smaller) {
                from = until;
            }
        }
        size /= 2;
    }
    search.fewer_brokers();
    search.simpler_options();
    search.shorter_steps();
    search.cut_time();
    search.best
}

struct Search<'a> {
    best: Plan,
    left: usize,
    is_broken: &'a dyn Fn(&Plan) -> bool,
}

impl Search<'_> {
    /// Takes the plan if it breaks a promise.
    fn keep(&mut self, plan: Plan) -> bool {
        if self.left == 0 || plan == self.best {
            return false;
        }
        self.left -= 1;
        let fails = (self.is_broken)(&plan);
        if fails {
            self.best = plan;
        }
        fails
    }

    fn fewer_brokers(&mut self) {
        while self.best.options.brokers > 2 {
            let mut smaller = self.best.clone();
            smaller.options.brokers -= 1;
            smaller.options.skew_ms.truncate(smaller.options.brokers);
            if !self.keep(smaller) {
                return;
            }
        }
    }

    /// The faulty part ends soon after the last step.
    fn cut_time(&mut self) {
        let last = self.best.steps.last().map_or(0, |step| step.at_ms);
        for more in [1_000, 60_000, 600_000] {
            let mut shorter = self.best.clone();
            shorter.options.faulty_ms = shorter.options.faulty_ms.min(last + more);
            if self.keep(shorter) {
                break;
            }
        }
    }

    fn simpler_options(&mut self) {
        let simpler: [fn(&mut Plan); 7] = [
            |plan| plan.options.skew_ms.fill(0),
            |plan| plan.options.store_ms = 0,
            |plan| plan.options.link_bits = 0,
            |plan| plan.options.delay_ms = 1,
            |plan| plan.options.chained = false,
            |plan| plan.options.chunk_bytes = 32_768,
            |plan| plan.options.window_bytes = 262_144,
        ];
        for change in simpler {
            let mut plan = self.best.clone();
            change(&mut plan);
            self.keep(plan);
        }
    }

    fn shorter_steps(&mut self) {
        for index in 0..self.best.steps.len() {
            for _ in 0..6 {
                let mut shorter = self.best.clone();
                let Some(for_ms) = shorter.steps[index].act.for_ms_mut().filter(|for_ms| **for_ms > 1_000) else {
                    break;
                };
                *for_ms /= 2;
                if !self.keep(shorter) {
                    break;
                }
            }
        }
    }
}

/// The first promise that this plan breaks.
#[must_use]
pub fn fails(plan: &Plan) -> Option<Violation> {
    run_plan(plan, None).violations.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::super::plan::Act;
    use super::*;
    use crate::{FaultPlan, Options};

    #[test]
    fn what_does_not_matter_is_left_out() {
        // The smallest seed with two pauses and a crash among all that it draws.
        let is_broken = |plan: &Plan| {
            let count = |is: fn(&Act) -> bool| plan.steps.iter().filter(|step| is(&step.act)).count();
            count(|act| matches!(act, Act::Pause { .. })) >= 2 && count(|act| matches!(act, Act::Crash { .. })) >= 1
        };
        let drawn = (0..100).map(|seed| Plan::draw(Options::from_seed(seed), &FaultPlan::swarm()));
        let plan = drawn.into_iter().find(|plan| is_broken(plan) && plan.steps.len() > 20).unwrap();
        let small = search(&plan, 2_000, &is_broken);
        assert!(is_broken(&small));
        assert_eq!((small.steps.len(), small.options.brokers), (3, 2));
        assert!(small.options.faulty_ms < plan.options.faulty_ms);
    }
}
