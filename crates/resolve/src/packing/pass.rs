//! One pass over jobs in an order: each is placed by a rule or left out.

use alloc::vec::Vec;

use reconvene_clock::WallTime;

use super::index::{Asked, FreeIndex};
use crate::{ExecutorFacts, FitRule, JobFacts, Reservation};

/// A round, divided and looked up once, over which many passes go.
#[derive(Debug)]
pub(super) struct Round<'a> {
    jobs: &'a [JobFacts],
    asked: Vec<Asked>,
    index: FreeIndex,
    reservations: Vec<Reservation>,
    /// Executors that hold reservations, whose room differs from job to job.
    special: Vec<usize>,
    now: WallTime,
}

/// What a pass came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) value: u64,
    /// Jobs by index, in the order of placement.
    pub(super) placed: Vec<usize>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        jobs: &'a [JobFacts],
        executors: &[ExecutorFacts],
        reservations: Vec<Reservation>,
        now: WallTime,
    ) -> Self {
        let mut index = FreeIndex::new(executors);
        let mut special: Vec<usize> = reservations.iter().map(|reservation| reservation.executor).collect();
        special.sort_unstable();
        special.dedup();
        special.iter().for_each(|executor| index.unlist(*executor));
        let asked = jobs.iter().map(|job| index.ask(job)).collect();
        Self { jobs, asked, index, reservations, special, now }
    }

    /// Whether a job fits somewhere as long as no other is placed.
    pub(super) fn fits(&self, job: usize) -> bool {
        self.choose(&self.index, &self.reservations, job, FitRule::Best).is_some()
    }

    /// Tries the jobs, given by index, one after the other.
    ///
    /// # Complexity
    /// O(n × s) for n jobs and s different rooms.
    pub(super) fn pack(&self, order: &[usize], rule: FitRule) -> Packed {
        let mut index = self.index.clone();
        let mut reservations = self.reservations.clone();
        let mut packed = Packed { value: 0, placed: Vec::new() };
        for place in order {
            let Some(job) = self.jobs.get(*place) else { continue };
            let Some(executor) = self.choose(&index, &reservations, *place, rule) else { continue };
            index.take(executor, job.demand.amounts());
            reservations.retain(|held| held.job != job.id);
            packed.value = packed.value.saturating_add(u64::from(job.value.get()));
            packed.placed.push(*place);
        }
        packed
    }

    fn choose(&self, index: &FreeIndex, reservations: &[Reservation], job: usize, rule: FitRule) -> Option<usize> {
        let (job, asked) = (self.jobs.get(job)?, self.asked.get(job)?);
        // A place that is kept for the job comes before all others.
        let mut best = index.best(asked, rule).map(|(score, executor)| (true, score, executor));
        for executor in &self.special {
            let kept = || reservations.iter().filter(|held| held.executor == *executor);
            let free = index.free(*executor).unwrap_or_default();
            if kept().any(|held| held.blocks(job, &free, self.now)) {
                continue;
            }
            if let Some(score) = index.score(asked, rule, *executor, free.amounts()) {
                let this = (!kept().any(|held| held.job == job.id), score, *executor);
                best = Some(best.map_or(this, |best| best.min(this)));
            }
        }
        best.map(|(_, _, executor)| executor)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use reconvene_clock::Hlc;

    use super::*;
    use crate::{CandidateId, Level, ReservationCause, Resources};

    fn executor(cpu: u64, tags: &[&str]) -> ExecutorFacts {
        let capacity = Resources::new(cpu, 0, 0);
        ExecutorFacts { capacity, free: capacity, tags: tags.iter().map(|tag| (*tag).into()).collect() }
    }

    fn job(number: u64, cpu: u64) -> JobFacts {
        let demand = Resources::new(cpu, 0, 0);
        JobFacts { demand, ..JobFacts::new(CandidateId::new(1, number), Hlc::default()) }
    }

    /// Of the first executor for job 4.
    fn kept(cpu: u64) -> Reservation {
        Reservation {
            executor: 0,
            job: CandidateId::new(1, 4),
            level: Level::ROUTINE,
            demand: Resources::new(cpu, 0, 0),
            cause: ReservationCause::Preempted,
            from: WallTime::from_millis(0),
            until: None,
        }
    }

    /// Room for two is left beside what is kept; once the job for which it is kept is placed, nothing is kept.
    #[test]
    fn a_place_is_kept_until_its_own_job_has_it() {
        let jobs = [job(1, 2), job(2, 2), job(3, 2), job(4, 6)];
        let round = Round::new(&jobs, &[executor(12, &[])], vec![kept(8)], WallTime::from_millis(0));
        assert_eq!(round.pack(&[0, 1, 2, 3], FitRule::Best), Packed { value: 3, placed: vec![0, 1, 3] });
        assert_eq!(round.pack(&[3, 0, 1, 2], FitRule::Best), Packed { value: 4, placed: vec![3, 0, 1, 2] });
        assert!((0..4).all(|job| round.fits(job)) && !round.fits(4));
    }

    /// It would fit the other executor better, which is the only one for the job after it.
    #[test]
    fn a_job_goes_to_the_place_that_is_kept_for_it() {
        let tagged = JobFacts { requires: ["gpu".into()].into(), ..job(5, 6) };
        let (jobs, executors) = ([job(4, 6), tagged], [executor(12, &[]), executor(6, &["gpu"])]);
        let with = |reservations| Round::new(&jobs, &executors, reservations, WallTime::from_millis(0));
        assert_eq!(with(vec![kept(6)]).pack(&[0, 1], FitRule::Best).placed, [0, 1]);
        assert_eq!(with(vec![]).pack(&[0, 1], FitRule::Best).placed, [0]);
    }
}
