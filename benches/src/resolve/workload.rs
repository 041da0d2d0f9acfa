//! Jobs of a log, and pools of cores on which they make a load of 97 %.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{CandidateId, JobFacts, JobValue, Level, Priority, Resources};

use crate::swf::{self, SwfJob};

/// One log.
pub(crate) struct Workload {
    pub(crate) name: String,
    /// By time of submission.
    jobs: Vec<LogJob>,
    span_ms: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LogJob {
    pub(crate) submit_ms: u64,
    pub(crate) run_ms: u64,
    /// What was asked for; most logs do not say.
    pub(crate) requested_ms: Option<u64>,
    pub(crate) cores: u64,
    /// 0 to 4, by the group of the user.
    pub(crate) class: u8,
    site: u64,
    height: Height,
}

/// Jobs that want one pool.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) cores: u64,
    /// By time of submission.
    pub(crate) jobs: Vec<LogJob>,
}

pub(crate) const CLASSES: u8 = 5;

/// Reads these logs, or the sample.
///
/// # Errors
/// A log that is not of the format, with the line.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Workload>> {
    if files.is_empty() {
        let jobs = swf::read(Path::new("sample.swf"), SAMPLE.as_bytes(), usize::MAX)?;
        return Ok(vec![Workload::new("sample.swf".to_owned(), &jobs)]);
    }
    let read = files.iter().map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Workload::new(name, &swf::read_file(file, usize::MAX)?))
    });
    read.collect()
}

const SAMPLE: &str = include_str!("../../../examples/network/workloads/sample.swf");

impl Workload {
    /// Jobs of unknown run time are left out: nothing can be replayed of them.
    fn new(name: String, log: &[SwfJob]) -> Self {
        let known = log.iter().filter_map(|job| Some((job, job.run_ms?)));
        let mut jobs: Vec<LogJob> = known
            .map(|(job, run_ms)| LogJob {
                submit_ms: job.submit_ms,
                run_ms,
                requested_ms: job.requested_ms,
                cores: job.processors.unwrap_or(1).max(1),
                class: (job.group.unwrap_or(0) % u64::from(CLASSES)) as u8,
                site: job.partition.unwrap_or(0),
                height: Height::MIN,
            })
            .collect();
        jobs.sort_by_key(|job| job.submit_ms);
        let (first, last) = (jobs.first().map_or(0, |job| job.submit_ms), jobs.last().map_or(0, |job| job.submit_ms));
        set_heights(&mut jobs);
        Self { name, jobs, span_ms: (last - first).max(1) }
    }

    /// All jobs on one pool.
    pub(crate) fn whole(&self) -> Case {
        self.case(self.jobs.clone(), |cores| cores.floor())
    }

    /// Each site on a pool of its own, of whole cores and therefore loaded with at most 97 %.
    pub(crate) fn sites(&self) -> BTreeMap<u64, Case> {
        let mut sites: BTreeMap<u64, Vec<LogJob>> = BTreeMap::new();
        for job in &self.jobs {
            sites.entry(job.site).or_default().push(*job);
        }
        sites.into_iter().map(|(site, jobs)| (site, self.case(jobs, |cores| cores.ceil()))).collect()
    }

    fn case(&self, jobs: Vec<LogJob>, whole: impl Fn(f64) -> f64) -> Case {
        let work: f64 = jobs.iter().map(|job| job.run_ms as f64 * job.cores as f64).sum();
        let cores = whole(work / self.span_ms as f64 / LOAD) as u64;
        let widest = jobs.iter().map(|job| job.cores).max().unwrap_or(1);
        Case { cores: cores.max(widest), jobs }
    }
}

const LOAD: f64 = 0.97;

/// Heights as sites would give them that hear of each other once a minute.
fn set_heights(jobs: &mut [LogJob]) {
    let mut sites: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut heard, mut greatest, mut minute) = (0, 0, 0);
    for job in jobs {
        if job.submit_ms / 60_000 != minute {
            (minute, heard) = (job.submit_ms / 60_000, greatest);
        }
        let height = sites.entry(job.site).or_default();
        *height = heard.max(*height) + 1;
        greatest = greatest.max(*height);
        job.height = Height::new(*height).unwrap_or(Height::MIN);
    }
}

impl LogJob {
    /// When the job would end by what its user asked for; by its run time where that is not known.
    pub(crate) fn expected_ms(&self) -> u64 {
        self.requested_ms.unwrap_or(self.run_ms)
    }
}

impl Case {
    /// The jobs as strategies see them, in the same order; the second word of the id is the place.
    pub(crate) fn facts(&self, level: impl Fn(usize) -> Level) -> Vec<JobFacts> {
        let facts = self.jobs.iter().enumerate().map(|(place, job)| {
            let level = level(place);
            // Whoever declares an emergency calls it urgent; the classes are for the others.
            let class = if level > Level::ROUTINE { CLASSES - 1 } else { job.class };
            let priority = Priority((u16::from(class) * 255 / u16::from(CLASSES - 1)) as u8);
            let submitted = Hlc::from_parts(WallTime::from_millis(job.submit_ms), 0).unwrap_or_default();
            JobFacts {
                priority,
                estimate_ms: job.requested_ms.unwrap_or(0),
                work_core_ms: job.requested_ms.map(|requested| requested.saturating_mul(job.cores)),
                demand: Resources::new(job.cores.saturating_mul(1_000), 0, 0),
                value: JobValue::new(u32::from(job.class) + 1).unwrap_or_default(),
                level,
                height: job.height,
                ..JobFacts::new(CandidateId::new(1, place as u64), submitted)
            }
        });
        facts.collect()
    }

    pub(crate) fn total(&self) -> Resources {
        Resources::new(self.cores.saturating_mul(1_000), 0, 0)
    }
}
