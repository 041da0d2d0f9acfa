//! merkle-search-tree: a tree of pages with hashes, compared by lists of the pages' ranges.
//!
//! Counted is one root, and one list of pages if roots differ: both bounds and 16 bytes of hash for each. The records of
//! ranges that differ are not counted, since the ranges cover nearly everything here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use merkle_search_tree::MerkleSearchTree;
use merkle_search_tree::diff::diff;

use super::Outcome;
use super::cpu::CpuTime;
use super::records::{Versions, contents, parted, take};
use super::workload::Workload;

pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    (0..runs).map(|_| run_once(workload)).collect()
}

fn run_once(workload: &Workload) -> Result<Outcome> {
    let mut versions = parted(workload)?;
    let trees = versions.each_ref().map(tree);
    let begin = CpuTime::now();
    let equal = trees[0].root_hash_cached() == trees[1].root_hash_cached();
    let mut cpu = [begin.elapsed(), Duration::ZERO];
    if equal {
        return Ok(Outcome { bytes: HASH_BYTES, flights: 1, cpu, contents: versions.map(contents) });
    }
    let (mut bytes, mut wanted) = (HASH_BYTES, Vec::new());
    // B learns what to fetch from A, and A from B; one list is counted.
    for (to, from) in [(1, 0), (0, 1)] {
        let begin = CpuTime::now();
        let pages = trees[from].serialise_page_ranges().context("roots are up to date")?;
        let own = trees[to].serialise_page_ranges().context("roots are up to date")?;
        if from == 0 {
            bytes += pages.iter().map(|page| (page.start().len() + page.end().len()) as u64 + HASH_BYTES).sum::<u64>();
        }
        let ranges = diff(own, pages);
        cpu[to] += begin.elapsed();
        for range in ranges {
            let records = versions[from].range(range.start().clone()..=range.end().clone());
            wanted.extend(records.map(|(key, version)| (to, key.clone(), version.clone())));
        }
    }
    for (to, key, version) in wanted {
        take(&mut versions[to], &key, &version);
    }
    let after = versions.each_ref().map(tree);
    ensure!(after[0].root_hash_cached() == after[1].root_hash_cached(), "roots differ after what differed was fetched");
    Ok(Outcome { bytes, flights: 4, cpu, contents: versions.map(contents) })
}

/// The tree of what one side holds, hashed.
fn tree(versions: &Versions) -> MerkleSearchTree<String, (u64, String)> {
    let mut tree = MerkleSearchTree::default();
    for (key, version) in versions {
        tree.upsert(key.clone(), version);
    }
    let _: &merkle_search_tree::digest::RootHash = tree.root_hash();
    tree
}

const HASH_BYTES: u64 = 16;
