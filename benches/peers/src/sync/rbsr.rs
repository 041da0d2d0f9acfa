//! rbsr over rsos: ranges of keys, each with the sum of its fingerprints, split where they differ.
//!
//! Messages are sized with postcard: the ranges, and all records of ranges that are not split further.

use std::time::Duration;

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rbsr::{RangeAggregate, initial_ranges, protocol_round};
use rsos::{FingerprintTreeMap, Rsos};

use super::Outcome;
use super::cpu::CpuTime;
use super::records::{contents, parted, take};
use super::workload::Workload;

type Store = FingerprintTreeMap<String, (u64, String)>;
type Entry = (String, (u64, String));

pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    (0..runs).map(|_| run_once(workload)).collect()
}

fn run_once(workload: &Workload) -> Result<Outcome> {
    let mut versions = parted(workload)?;
    let stores = versions.each_ref().map(|versions| Store::from_sorted_iter(versions.clone()));
    let mut random = StdRng::seed_from_u64(42);
    let (mut flights, mut cpu) = (1, [Duration::ZERO; 2]);
    let begin = CpuTime::now();
    let mut message = postcard::to_stdvec(&initial_ranges(&stores[0]))?;
    cpu[0] += begin.elapsed();
    let mut bytes = message.len() as u64;
    for to in [1, 0].into_iter().cycle().take(MAX_ROUNDS) {
        let begin = CpuTime::now();
        let active: Vec<RangeAggregate<String>> = postcard::from_bytes(&message)?;
        let (mut children, mut listed) = (Vec::new(), Vec::new());
        protocol_round(&stores[to], active, &mut children, &mut listed, &mut random);
        let ranges = listed.into_iter();
        let records: Vec<Entry> = ranges
            .flat_map(|range| stores[to].enumerate(range).map(|(key, version)| (key.clone(), version.clone())))
            .collect();
        message = postcard::to_stdvec(&children)?;
        let payload = postcard::to_stdvec(&records)?;
        cpu[to] += begin.elapsed();
        if children.is_empty() && records.is_empty() {
            return Ok(Outcome { bytes, flights, cpu, contents: versions.map(contents) });
        }
        flights += 1;
        bytes += (message.len() + payload.len()) as u64;
        let begin = CpuTime::now();
        for (key, version) in postcard::from_bytes::<Vec<Entry>>(&payload)? {
            take(&mut versions[1 - to], &key, &version);
        }
        cpu[1 - to] += begin.elapsed();
    }
    bail!("ranges were never all compared")
}

const MAX_ROUNDS: usize = 1_000;
