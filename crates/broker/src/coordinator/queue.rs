//! The jobs that wait here, ranked.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_executor::{JobId, JobSpec, Resources, Tag};
use reconvene_resolve::RankKey;

/// Waiting jobs by what they need, each group in rank order.
///
/// Jobs of one shape fit the same executors, so a round looks at the first of each shape and gives a shape up as a
/// whole: a long queue of jobs that do not fit costs no more than one of them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    shapes: BTreeMap<Shape, BTreeSet<(RankKey, JobId)>>,
    places: BTreeMap<JobId, (Shape, RankKey)>,
}

/// What a job needs of an executor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    demand: (u64, u64, u64),
    requires: BTreeSet<Tag>,
}

impl Shape {
    pub(super) fn of(spec: &JobSpec) -> Self {
        let Resources { cpu_milli, memory_mib, gpu_milli } = spec.demand;
        Self { demand: (cpu_milli, memory_mib, gpu_milli), requires: spec.requires.clone() }
    }
}

impl Queue {
    /// Adds a job, or ranks it again.
    pub(super) fn insert(&mut self, job: JobId, shape: Shape, key: RankKey) {
        self.remove(job);
        self.shapes.entry(shape.clone()).or_default().insert((key, job));
        self.places.insert(job, (shape, key));
    }

    pub(super) fn remove(&mut self, job: JobId) -> bool {
        let Some((shape, key)) = self.places.remove(&job) else { return false };
        if let Some(jobs) = self.shapes.get_mut(&shape) {
            jobs.remove(&(key, job));
            if jobs.is_empty() {
                self.shapes.remove(&shape);
            }
        }
        true
    }

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.places.contains_key(&job)
    }

    /// The jobs ranked before this one: how many, and the `nearest` of them, the last one first.
    ///
    /// Linear in the jobs before it.
    pub(super) fn before(&self, job: JobId, nearest: usize) -> (usize, Vec<JobId>) {
        let Some((_, key)) = self.places.get(&job) else { return (0, Vec::new()) };
        let end = (*key, job);
        let mut count = 0_usize;
        let mut last = BTreeSet::new();
        for jobs in self.shapes.values() {
            count = count.saturating_add(jobs.range(..end).count());
            last.extend(jobs.range(..end).rev().take(nearest));
        }
        (count, last.into_iter().rev().take(nearest).map(|(_, job)| job).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The shapes that wait, each with one of its jobs.
    pub(super) fn shapes(&self) -> Vec<(Shape, JobId)> {
        let first = |(shape, jobs): (&Shape, &BTreeSet<(RankKey, JobId)>)| Some((shape.clone(), jobs.first()?.1));
        self.shapes.iter().filter_map(first).collect()
    }

    pub(super) fn jobs_of(&self, shape: &Shape) -> Vec<JobId> {
        self.shapes.get(shape).into_iter().flatten().map(|(_, job)| *job).collect()
    }

    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.places.keys().copied().collect()
    }

    /// The first job in rank order of those not passed over.
    pub(super) fn first(&self, passed: &Passed) -> Option<(JobId, Shape)> {
        let open = self.shapes.iter().filter(|(shape, _)| !passed.shapes.contains(*shape));
        let firsts = open.filter_map(|(shape, jobs)| {
            let first = jobs.iter().find(|(_, job)| !passed.jobs.contains(job))?;
            Some((first, shape))
        });
        firsts.min().map(|((_, job), shape)| (*job, shape.clone()))
    }
}

/// What a round has found not to fit.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) shapes: BTreeSet<Shape>,
    pub(super) jobs: BTreeSet<JobId>,
}
