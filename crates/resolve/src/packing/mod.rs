//! Many jobs onto many executors at once.

mod fit;
mod index;
mod order;
mod pass;
mod search;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use reconvene_clock::WallTime;

pub use self::fit::{FitRule, Scarce};
pub use self::index::FreeIndex;
use self::order::Order;
pub(crate) use self::order::density;
use self::pass::Round;
use self::search::{Seen, insertions};
use crate::{CandidateId, ClusterView, JobFacts, PackingRules, Plan, Reason, RoundFacts, greedy};

/// Chooses jobs and places of great total value: what `RESOURCE_OPTIMAL` does once it is known what is free.
///
/// The problem is a multiple knapsack over vectors, which is NP-hard, hence the name: it packs, and its ratio to the
/// optimum is measured, not promised (`docs/benchmarks.md`). It tries fifteen packings, three orders by five rules of
/// fit, and takes the one of greatest value; optionally it then moves single jobs ahead in the order and keeps what
/// gains. Everything is integers and iterations, so the plan is the same on any machine.
///
/// ```
/// use reconvene_clock::{Hlc, WallTime};
/// use reconvene_resolve::{
///     CandidateId, ClusterView, ExecutorFacts, JobFacts, JobValue, ResourcePacking, Resources, RoundFacts,
/// };
///
/// let room = Resources::new(10, 10, 0);
/// let view = ClusterView::new(vec![ExecutorFacts { capacity: room, free: room, tags: Default::default() }]);
/// let job = |number, cpu, value| JobFacts {
///     demand: Resources::new(cpu, 1, 0),
///     value: JobValue::new(value).unwrap_or_default(),
///     ..JobFacts::new(CandidateId::new(1, number), Hlc::default())
/// };
/// // The densest job alone would leave room for neither of the others.
/// let jobs = [job(1, 6, 7), job(2, 5, 5), job(3, 5, 5)];
/// let round = RoundFacts::new(1, view.total());
/// let plan = ResourcePacking::new().pack(&jobs, &view, &round, WallTime::from_millis(0));
/// assert_eq!(plan.value(&jobs), 7);
/// let searched = ResourcePacking::new().searching(3).pack(&jobs, &view, &round, WallTime::from_millis(0));
/// assert_eq!(searched.value(&jobs), 10);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourcePacking {
    rules: PackingRules,
}

impl ResourcePacking {
    /// The most jobs that are searched over; of more only the portfolio is taken.
    pub const MAX_SEARCHED_JOBS: usize = 256;

    /// The portfolio without search; jobs that have waited for 4 hours go first, so that density cannot starve large
    /// ones.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_rules(PackingRules::DEFAULT)
    }

    /// Packing by these rules.
    #[must_use]
    pub const fn with_rules(rules: PackingRules) -> Self {
        Self { rules }
    }

    /// The same with at most `rounds` rounds of search from each start; 3 are usual.
    #[must_use]
    pub const fn searching(mut self, rounds: u8) -> Self {
        self.rules.search_rounds = rounds;
        self
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &PackingRules {
        &self.rules
    }

    /// The plan for one round. Equal values go to the lowest place in the portfolio, equal fits to the lowest executor.
    ///
    /// Deadlines, reservations, reserved shares and the head room are kept as the view's rules say.
    ///
    /// # Complexity
    /// O(15 × n × s) for n jobs and s executors that differ in what they have free; with search O(n) times that for
    /// each round.
    #[must_use]
    pub fn pack(&self, jobs: &[JobFacts], view: &ClusterView, round: &RoundFacts, now: WallTime) -> Plan {
        let state = Round::new(jobs, &view.executors, greedy::standing(jobs, view, now), now);
        let mut seen = Seen::new(jobs.len());
        let mut starts = Vec::new();
        let rules = FitRule::all(Scarce::of(jobs, view));
        for by in Order::ALL {
            let (order, fixed) = self.order(by, jobs, round, now);
            for rule in rules {
                let packed = state.pack(&order, rule);
                seen.note(&packed);
                starts.push(Start { value: packed.value, order: order.clone(), fixed, rule });
            }
        }
        // A stable sort: of equal values the lowest place in the portfolio.
        starts.sort_by_key(|start| Reverse(start.value));
        let mut plans: Vec<Plan> = starts.first().map(|best| best.plan(jobs, view, now)).into_iter().collect();
        if self.rules.search_rounds > 0 && jobs.len() <= Self::MAX_SEARCHED_JOBS {
            // One start is caught in one valley: each rule with its best order is one.
            for rule in rules {
                let Some(mut start) = starts.iter().find(|start| start.rule == rule).cloned() else { continue };
                insertions(&state, &mut seen, &mut start, self.rules.search_rounds);
                plans.push(start.plan(jobs, view, now));
            }
        }
        // The first of equals: nothing is moved about for no gain.
        let mut plan = plans.into_iter().min_by_key(|plan| Reverse(plan.value(jobs))).unwrap_or_default();
        let value = plan.value(jobs);
        let places: BTreeMap<CandidateId, usize> = jobs.iter().map(|job| job.id).zip(0..).collect();
        for waiting in &mut plan.waiting {
            let place = places.get(&waiting.job).copied();
            if let (Some(place), Reason::WaitingForCapacity { .. }) = (place, &waiting.reason)
                && state.fits(place)
            {
                // It has room as long as the others have none.
                let best_without = seen.best_with.get(place).copied().unwrap_or(0);
                waiting.reason = Reason::NotPacked { value, best_without };
            }
        }
        plan
    }

    /// All jobs, those that starve first and by age, the others by `by`; and how many starve.
    fn order(&self, by: Order, jobs: &[JobFacts], round: &RoundFacts, now: WallTime) -> (Vec<usize>, usize) {
        let starves =
            |job: &JobFacts| now.as_millis().saturating_sub(job.submitted.millis()) >= self.rules.starvation_after_ms;
        let (mut starving, mut others) = (Vec::new(), Vec::new());
        for (index, job) in jobs.iter().enumerate() {
            if starves(job) {
                starving.push(((job.submitted, job.id), index));
            } else {
                others.push((by.key(job, &round.total), index));
            }
        }
        starving.sort_unstable();
        others.sort_unstable();
        let count = starving.len();
        let starving = starving.into_iter().map(|(_, index)| index);
        (starving.chain(others.into_iter().map(|(_, index)| index)).collect(), count)
    }
}

/// An order and a rule, and what they come to.
#[derive(Clone, Debug)]
struct Start {
    value: u64,
    order: Vec<usize>,
    /// How many jobs at the front must stay there.
    fixed: usize,
    rule: FitRule,
}

impl Start {
    fn plan(&self, jobs: &[JobFacts], view: &ClusterView, now: WallTime) -> Plan {
        let places = self.order.iter().zip(0_usize..).filter_map(|(job, place)| Some((jobs.get(*job)?.id, place)));
        let places: BTreeMap<CandidateId, usize> = places.collect();
        greedy::plan(|job| (places.get(&job.id).copied(), job.id), self.rule, jobs, view, now)
    }
}
