//! One executor after the other for a stream of jobs: by the index, and by looking at each.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use reconvene_clock::Hlc;
use reconvene_resolve::{CandidateId, ExecutorFacts, FitRule, FreeIndex, JobFacts, Resources};
use serde::Serialize;

use super::rank::median;
use crate::numbers;

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct PlacementRates {
    pub(crate) executors: usize,
    pub(crate) index_per_s: f64,
    pub(crate) scan_per_s: f64,
    pub(crate) identical: bool,
}

/// Places the pods of the Alibaba trace "openb" on its nodes, if the folder of traces holds them, else jobs and
/// executors of the same shape. Pods leave after as many placements as the cluster holds when it is nearly full.
///
/// # Errors
/// A trace that cannot be read.
pub(crate) fn run(traces: Option<&Path>) -> Result<PlacementRates> {
    let (nodes, pods) = match traces.filter(|folder| folder.join(NODES).exists() && folder.join(PODS).exists()) {
        Some(folder) => (nodes(&folder.join(NODES))?, pods(&folder.join(PODS))?),
        None => made_up(),
    };
    let by_index = stream(&nodes, &pods, &mut Indexed(FreeIndex::new(&nodes)));
    let by_scan = stream(&nodes, &pods, &mut Scanned(nodes.clone()));
    let index = median(3, || stream(&nodes, &pods, &mut Indexed(FreeIndex::new(&nodes))));
    let scan = median(3, || stream(&nodes, &pods, &mut Scanned(nodes.clone())));
    Ok(PlacementRates {
        executors: nodes.len(),
        index_per_s: pods.len() as f64 / index.as_secs_f64(),
        scan_per_s: pods.len() as f64 / scan.as_secs_f64(),
        identical: by_index == by_scan,
    })
}

const NODES: &str = "openb_node_list_all_node.csv";
const PODS: &str = "openb_pod_list_default.csv";

/// Pods that run at the same time.
const RUNNING: usize = 7_000;

trait Choose {
    fn choose(&self, job: &JobFacts) -> Option<usize>;
    fn set_free(&mut self, executor: usize, free: Resources);
}

struct Indexed(FreeIndex);

impl Choose for Indexed {
    fn choose(&self, job: &JobFacts) -> Option<usize> {
        self.0.choose(job, FitRule::Balanced)
    }

    fn set_free(&mut self, executor: usize, free: Resources) {
        self.0.set_free(executor, free);
    }
}

struct Scanned(Vec<ExecutorFacts>);

impl Choose for Scanned {
    fn choose(&self, job: &JobFacts) -> Option<usize> {
        FitRule::Balanced.choose(job, &self.0)
    }

    fn set_free(&mut self, executor: usize, free: Resources) {
        self.0[executor].free = free;
    }
}

/// Where each pod goes.
fn stream(nodes: &[ExecutorFacts], pods: &[JobFacts], by: &mut impl Choose) -> Vec<Option<usize>> {
    let mut free: Vec<Resources> = nodes.iter().map(|node| node.free).collect();
    let mut running: VecDeque<(usize, Resources)> = VecDeque::new();
    let mut places = Vec::with_capacity(pods.len());
    for pod in pods {
        let place = by.choose(pod);
        if let Some(node) = place {
            free[node] = free[node].saturating_sub(&pod.demand);
            by.set_free(node, free[node]);
            running.push_back((node, pod.demand));
        }
        if running.len() > RUNNING
            && let Some((node, demand)) = running.pop_front()
        {
            free[node] = free[node].saturating_add(&demand);
            by.set_free(node, free[node]);
        }
        places.push(place);
    }
    places
}

/// `sn,cpu_milli,memory_mib,gpu,model`; nodes with graphics processors are tagged so.
fn nodes(path: &Path) -> Result<Vec<ExecutorFacts>> {
    lines(path, |fields| {
        let capacity = Resources::new(fields(1)?, fields(2)?, fields(3)? * 1_000);
        Some(executor(capacity))
    })
}

/// `name,cpu_milli,memory_mib,num_gpu,gpu_milli,…`
fn pods(path: &Path) -> Result<Vec<JobFacts>> {
    let demands = lines(path, |fields| Some(Resources::new(fields(1)?, fields(2)?, fields(3)? * fields(4)?)))?;
    Ok(demands.into_iter().zip(1..).map(|(demand, number)| pod(number, demand)).collect())
}

fn lines<T>(path: &Path, read: impl Fn(&dyn Fn(usize) -> Option<u64>) -> Option<T>) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = text.lines().zip(1..).skip(1).filter(|(line, _)| !line.trim().is_empty());
    rows.map(|(line, number)| {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |index: usize| fields.get(index)?.trim().parse().ok();
        read(&field).with_context(|| format!("line {number} of {} is not of the trace's format", path.display()))
    })
    .collect()
}

fn executor(capacity: Resources) -> ExecutorFacts {
    let tags = if capacity.gpu_milli > 0 { BTreeSet::from(["gpu".to_owned()]) } else { BTreeSet::new() };
    ExecutorFacts { capacity, free: capacity, tags }
}

fn pod(number: u64, demand: Resources) -> JobFacts {
    let requires = if demand.gpu_milli > 0 { BTreeSet::from(["gpu".to_owned()]) } else { BTreeSet::new() };
    JobFacts { demand, requires, ..JobFacts::new(CandidateId::new(1, number), Hlc::default()) }
}

/// As many nodes and pods as the trace has, of a few kinds.
fn made_up() -> (Vec<ExecutorFacts>, Vec<JobFacts>) {
    const KINDS: [[u64; 3]; 5] = [
        [32_000, 262_144, 0],
        [64_000, 262_144, 2_000],
        [96_000, 393_216, 8_000],
        [96_000, 786_432, 8_000],
        [128_000, 786_432, 8_000],
    ];
    let kinds = numbers(3).take(1_523).map(|random| KINDS[(random % 5) as usize]);
    let nodes = kinds.map(|[cpu, memory, gpu]| executor(Resources::new(cpu, memory, gpu))).collect();
    let pods = numbers(4).take(8_152).zip(1..).map(|(random, number)| {
        let cpu = 2_000 + random % 20 * 1_000;
        let gpu = [0, 500, 1_000, 1_000, 2_000][(random >> 32) as usize % 5];
        pod(number, Resources::new(cpu, cpu * (2 + (random >> 20) % 4), gpu))
    });
    (nodes, pods.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_chooses_as_the_scan_on_a_stream_of_pods() {
        let (nodes, mut pods) = made_up();
        pods.truncate(1_500);
        let by_index = stream(&nodes[..200], &pods, &mut Indexed(FreeIndex::new(&nodes[..200])));
        let by_scan = stream(&nodes[..200], &pods, &mut Scanned(nodes[..200].to_vec()));
        assert_eq!(by_index, by_scan);
        assert!(by_index.iter().flatten().count() > 500, "the cluster fills");
        assert!(by_index.contains(&None), "and is full");
    }
}
