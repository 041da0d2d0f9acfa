//! Packing instances with known bounds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use reconvene_clock::{Hlc, WallTime};
use reconvene_resolve::{
    CandidateId, ClusterView, ExecutorFacts, JobFacts, JobValue, ResourcePacking, Resources, RoundFacts,
};
use serde::{Deserialize, Serialize};

/// Values reached, as shares of the upper bounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Packing {
    pub(crate) instances: usize,
    pub(crate) portfolio: Quality,
    pub(crate) search: Quality,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Quality {
    pub(crate) mean: f64,
    pub(crate) worst: f64,
}

/// One instance, as its file has it.
#[derive(Debug, Deserialize)]
struct Instance {
    id: String,
    nodes: Vec<Amounts>,
    jobs: Vec<Job>,
    upper_bound: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Amounts {
    cpu_milli: u64,
    memory_mib: u64,
    gpu_milli: u64,
}

#[derive(Debug, Deserialize)]
struct Job {
    #[serde(flatten)]
    demand: Amounts,
    value: u32,
}

/// Packs all instances of these files, or of the sample.
///
/// # Errors
/// A file that is not of the format, or a plan that is over capacity or above the bound.
pub(crate) fn run(files: &[PathBuf]) -> Result<Packing> {
    let mut instances: Vec<Instance> = Vec::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let read = serde_json::from_slice::<Vec<Instance>>(&bytes);
        instances.extend(read.with_context(|| format!("{} does not hold packing instances", file.display()))?);
    }
    if files.is_empty() {
        instances = serde_json::from_str(SAMPLE).context("the sample")?;
    }
    ensure!(!instances.is_empty(), "there is no packing instance");
    let quality = |packing: ResourcePacking| -> Result<Quality> {
        let ratios: Vec<f64> = instances.iter().map(|instance| instance.ratio(packing)).collect::<Result<_>>()?;
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        Ok(Quality { mean, worst: ratios.into_iter().fold(f64::INFINITY, f64::min) })
    };
    Ok(Packing {
        instances: instances.len(),
        portfolio: quality(ResourcePacking::new())?,
        search: quality(ResourcePacking::new().searching(3))?,
    })
}

impl Instance {
    fn ratio(&self, packing: ResourcePacking) -> Result<f64> {
        ensure!(self.upper_bound > 0.0, "instance {} has no upper bound above 0", self.id);
        let view = ClusterView::new(self.nodes.iter().map(|node| node.executor()).collect());
        let jobs = self.jobs.iter().zip(1..).map(|(job, number)| {
            let value =
                JobValue::new(job.value).with_context(|| format!("instance {}: value {}", self.id, job.value))?;
            let demand = job.demand.resources();
            Ok(JobFacts { demand, value, ..JobFacts::new(CandidateId::new(1, number), Hlc::default()) })
        });
        let jobs: Vec<JobFacts> = jobs.collect::<Result<_>>()?;
        let plan = packing.pack(&jobs, &view, &RoundFacts::new(1, view.total()), WallTime::from_millis(0));
        for (executor, facts) in view.executors.iter().enumerate() {
            let here = plan.placements.iter().filter(|placement| placement.executor == executor);
            let taken = here.filter_map(|placement| jobs.iter().find(|job| job.id == placement.job));
            let taken = taken.fold(Resources::default(), |sum, job| sum.saturating_add(&job.demand));
            ensure!(facts.capacity.holds(&taken), "instance {}: node {executor} is over capacity", self.id);
        }
        let ratio = plan.value(&jobs) as f64 / self.upper_bound;
        ensure!(
            ratio <= 1.0,
            "instance {}: {} is above the upper bound {}",
            self.id,
            plan.value(&jobs),
            self.upper_bound
        );
        Ok(ratio)
    }
}

impl Amounts {
    const fn resources(self) -> Resources {
        Resources::new(self.cpu_milli, self.memory_mib, self.gpu_milli)
    }

    const fn executor(self) -> ExecutorFacts {
        ExecutorFacts { capacity: self.resources(), free: self.resources(), tags: BTreeSet::new() }
    }
}

/// Instances of our own, with optima found by trying everything.
const SAMPLE: &str = include_str!("../../packing/sample.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_packed_close_to_its_optima() {
        let Packing { instances, portfolio, search } = run(&[]).unwrap();
        assert_eq!(instances, 12);
        assert!(portfolio.mean >= 0.98 && portfolio.worst >= 0.95, "{portfolio:?}");
        assert!(search.mean >= 0.99 && search.worst >= 0.965, "{search:?}");
    }

    /// The public set of 24 instances stays outside of the project; `RECONVENE_PACKING` says where it is.
    #[test]
    fn the_public_set_is_packed_as_promised() {
        let beside = std::env::var_os("RECONVENE_TRACES").map(|traces| PathBuf::from(traces).join("../packing"));
        let Some(folder) = std::env::var_os("RECONVENE_PACKING").map(PathBuf::from).or(beside).filter(|p| p.exists())
        else {
            println!("skipped: RECONVENE_PACKING names no folder of packing instances");
            return;
        };
        let files = super::super::files(Some(&folder), &[".json"]).unwrap();
        let Packing { portfolio, search, .. } = run(&files).unwrap();
        assert!(portfolio.mean >= 0.98 && portfolio.worst >= 0.95, "{portfolio:?}");
        assert!(search.mean >= 0.99 && search.worst >= 0.965, "{search:?}");
    }
}
