//! Maps the jobs of a trace to jobs of the demo.

use std::{collections::BTreeMap, path::Path};

use reconvene_executor::{JobSpec, TraceJob};
use reconvene_sim::swf::{self, SwfError, SwfJob};

use super::Options;

/// Everything that will be submitted, in the order in which it will be.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// By time of submission.
    pub(crate) jobs: Vec<PlannedJob>,
    /// Slots of each executor.
    pub(crate) slots: u32,
    /// The region in which the emergency will be: the busiest of the last broker's.
    pub(crate) emergency_region: String,
}

/// One job to come.
#[derive(Clone, Debug)]
pub(crate) struct PlannedJob {
    /// When it is submitted, since the start.
    pub(crate) at_ms: u64,
    /// The broker it is submitted to, from 0.
    pub(crate) broker: usize,
    /// How long it will run.
    pub(crate) run_ms: u64,
    /// What is submitted.
    pub(crate) spec: JobSpec,
}

impl Workload {
    /// The first jobs of the file asked for, or of the sample.
    ///
    /// # Errors
    /// [`SwfError`] if the file cannot be read as a workload.
    pub(crate) fn load(options: &Options) -> Result<Self, SwfError> {
        let trace = match &options.workload {
            Some(path) => swf::read_file(path, options.jobs)?,
            None => swf::read(Path::new("sample.swf"), SAMPLE.as_bytes(), options.jobs)?,
        };
        Ok(Self::from_trace(options, trace))
    }

    /// Sites become brokers, users become clients, groups become classes of priority; time passes as many times faster
    /// as the options say.
    fn from_trace(options: &Options, mut trace: Vec<SwfJob>) -> Self {
        trace.sort_by_key(|job| (job.submit_ms, job.line));
        let first_ms = trace.first().map_or(0, |job| job.submit_ms);
        let homes = homes(&trace, options.brokers);
        let jobs: Vec<PlannedJob> = (0_u64..)
            .zip(&trace)
            .map(|(index, job)| {
                let run_ms = run_ms(job, options.time_scale);
                PlannedJob {
                    at_ms: scaled(job.submit_ms.saturating_sub(first_ms), options.time_scale),
                    broker: homes.get(&site(job)).copied().unwrap_or(0),
                    run_ms,
                    spec: spec(index, job, run_ms, options.time_scale),
                }
            })
            .collect();
        let slots = slots(&jobs, options.executors);
        let emergency_region = busiest_region(&jobs, options.brokers.saturating_sub(1));
        Self { jobs, slots, emergency_region }
    }

    /// When the last job is submitted.
    pub(crate) fn last_ms(&self) -> u64 {
        self.jobs.last().map_or(0, |job| job.at_ms)
    }

    /// How long the job in the middle runs, by length.
    pub(crate) fn typical_run_ms(&self) -> u64 {
        let mut runs: Vec<u64> = self.jobs.iter().map(|job| job.run_ms).collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied().unwrap_or(0)
    }
}

/// Where a job belongs: its site, or for a trace of one machine the group of its user.
fn site(job: &SwfJob) -> u64 {
    job.partition.or(job.group).or(job.user).unwrap_or(0)
}

/// A broker for each site: the busiest sites first, each to the broker with the fewest jobs so far.
fn homes(trace: &[SwfJob], brokers: usize) -> BTreeMap<u64, usize> {
    let mut sites: BTreeMap<u64, u64> = BTreeMap::new();
    for job in trace {
        let jobs = sites.entry(site(job)).or_default();
        *jobs = jobs.saturating_add(1);
    }
    let mut busiest: Vec<(u64, u64)> = sites.into_iter().collect();
    busiest.sort_by_key(|(site, jobs)| (std::cmp::Reverse(*jobs), *site));
    let mut load = vec![0_u64; brokers];
    let mut homes = BTreeMap::new();
    for (site, jobs) in busiest {
        if let Some((broker, least)) = load.iter_mut().enumerate().min_by_key(|(broker, load)| (**load, *broker)) {
            *least = least.saturating_add(jobs);
            homes.insert(site, broker);
        }
    }
    homes
}

/// The region from which a broker gets the most jobs; everywhere, if it gets none.
fn busiest_region(jobs: &[PlannedJob], broker: usize) -> String {
    let mut regions: BTreeMap<&str, u64> = BTreeMap::new();
    for job in jobs.iter().filter(|job| job.broker == broker) {
        let jobs = regions.entry(&job.spec.region).or_default();
        *jobs = jobs.saturating_add(1);
    }
    regions.into_iter().max_by_key(|(_, jobs)| *jobs).map(|(region, _)| region.to_owned()).unwrap_or_default()
}

fn spec(index: u64, job: &SwfJob, run_ms: u64, time_scale: u64) -> JobSpec {
    let user = job.user.unwrap_or(0);
    let group = job.group.unwrap_or(user);
    let trace_job = TraceJob {
        run_ms,
        input: format!("line {} of the workload", job.line).into_bytes(),
        // Results that depend on who computed them: only these can disagree after a cut.
        varies: index % 2 == 1,
    };
    let payload = trace_job.encode().unwrap_or_else(|_| unreachable!("a line's number is far from the limits"));
    // Classes 0 (least) to 7, in steps that leave room between them.
    let class = u8::try_from(group % 8).unwrap_or(0);
    let value = u32::try_from(group % 8).unwrap_or(0).saturating_add(1).saturating_mul(100);
    let estimate_ms = job.requested_ms.map_or(run_ms, |asked| scaled(asked, time_scale).clamp(1, LONGEST_RUN_MS));
    let mut spec = JobSpec::new(payload)
        .with_client(format!("user-{user}"), index)
        .with_priority(class.saturating_mul(32))
        .with_estimate_ms(estimate_ms)
        .with_work_core_ms(run_ms);
    spec.value = value;
    spec.region = format!("site-{}", site(job));
    spec
}

/// How long a job runs in the demo. A trace may not know; then what its user asked for stands in, else no time at all.
fn run_ms(job: &SwfJob, time_scale: u64) -> u64 {
    scaled(job.run_ms.or(job.requested_ms).unwrap_or(0), time_scale).clamp(1, LONGEST_RUN_MS)
}

fn scaled(trace_ms: u64, time_scale: u64) -> u64 {
    trace_ms.checked_div(time_scale).unwrap_or(trace_ms)
}

/// As many slots for each executor as make the offered load about 70 %.
fn slots(jobs: &[PlannedJob], executors: usize) -> u32 {
    let work_ms = jobs.iter().fold(0_u64, |sum, job| sum.saturating_add(job.run_ms));
    let span_ms = jobs.last().map_or(0, |job| job.at_ms).max(1_000);
    let executors = u64::try_from(executors).unwrap_or(u64::MAX);
    let capacity_ms = span_ms.saturating_mul(executors).saturating_mul(70);
    let slots = work_ms.saturating_mul(100).div_ceil(capacity_ms.max(1));
    u32::try_from(slots.clamp(1, 1_024)).unwrap_or(1)
}

/// So that nobody waits long for a demo.
const LONGEST_RUN_MS: u64 = 5_000;
/// Made by `examples/make_sample.rs`; built in, so that the demo runs from any directory.
const SAMPLE: &str = include_str!("../../workloads/sample.swf");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::tests::options;

    fn job(line: u64, submit_ms: u64, run_ms: Option<u64>, partition: u64) -> SwfJob {
        SwfJob {
            line,
            submit_ms,
            run_ms,
            requested_ms: Some(9_000_000),
            processors: Some(1),
            user: Some(3),
            group: Some(2),
            partition: Some(partition),
        }
    }

    #[test]
    fn the_sample_has_enough_jobs_for_every_broker() {
        let workload = Workload::load(&options()).unwrap();
        assert_eq!(workload.jobs.len(), 300);
        assert!(workload.jobs.is_sorted_by_key(|job| job.at_ms));
        for broker in 0..3 {
            let share = workload.jobs.iter().filter(|job| job.broker == broker).count();
            assert!((60..=140).contains(&share), "broker {broker} gets {share} of 300 jobs");
        }
        for job in &workload.jobs {
            job.spec.validate().unwrap();
        }
    }

    #[test]
    fn times_are_scaled_and_runs_are_capped() {
        let trace = vec![
            job(2, 1_012_000, Some(60_000_000), 1),
            job(1, 1_000_000, Some(2_500_000), 1),
            job(3, 1_012_000, Some(0), 1),
            job(4, 1_012_000, None, 1),
        ];
        let jobs = Workload::from_trace(&options(), trace).jobs;
        let times: Vec<(u64, u64)> = jobs.iter().map(|job| (job.at_ms, job.run_ms)).collect();
        assert_eq!(times, [(0, 2_500), (12, 5_000), (12, 1), (12, 5_000)], "sorted by submit time, then by line");
    }

    #[test]
    fn a_site_stays_with_one_broker() {
        let trace: Vec<SwfJob> = (0..40).map(|n| job(n, n, Some(1), n % 5)).collect();
        let jobs = Workload::from_trace(&options(), trace).jobs;
        let pairs: BTreeMap<String, usize> = jobs.iter().map(|job| (job.spec.region.clone(), job.broker)).collect();
        assert!(jobs.iter().all(|job| pairs[&job.spec.region] == job.broker));
        assert_eq!(pairs.len(), 5);
    }

    #[test]
    fn every_second_job_depends_on_its_executor() {
        let workload = Workload::load(&options()).unwrap();
        let varies = |job: &PlannedJob| TraceJob::decode(&job.spec.payload).unwrap().varies;
        assert_eq!(workload.jobs.iter().filter(|job| varies(job)).count(), 150);
    }

    #[test]
    fn slots_leave_three_tenths_of_the_capacity() {
        // 10 s of arrivals on 6 executors: 42 s of work are 70 % of one slot each.
        let trace = |jobs: u64| (0..jobs).map(|n| job(n, n * 10_000_000 / (jobs - 1), Some(1_000_000), n)).collect();
        assert_eq!(Workload::from_trace(&options(), trace(42)).slots, 1);
        assert_eq!(Workload::from_trace(&options(), trace(43)).slots, 2);
    }
}
