//! negentropy: ranges of ids sorted by time, each with a fingerprint.
//!
//! It tells which ids each side has alone. Counted are its messages and the changed records once each; that it does not
//! know which of two versions is newer, and asks for both, is not counted.

use std::time::Duration;

use anyhow::Result;
use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::Outcome;
use super::cpu::CpuTime;
use super::records::{Versions, by_id, contents, id, parted, take};
use super::workload::Workload;

/// All ids at one time, so that they are sorted by themselves.
pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    (0..runs).map(|_| run_once(workload, |_, _| 0)).collect()
}

/// Ids at the time of writing: a second from each record to the next, and all changes at the end.
pub(super) fn run_by_time(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    (0..runs).map(|_| run_once(workload, |index, version| FIRST_TIME + version * A_MONTH + index)).collect()
}

fn run_once(workload: &Workload, time: impl Fn(u64, u64) -> u64) -> Result<Outcome> {
    let [mut a, mut b] = parted(workload)?;
    let (ours, theirs) = (storage(&a, &time)?, storage(&b, &time)?);
    let (mut client, mut server) = (Negentropy::borrowed(&ours, 0)?, Negentropy::borrowed(&theirs, 0)?);
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut bytes, mut flights, mut cpu) = (0, 0, [Duration::ZERO; 2]);
    let begin = CpuTime::now();
    let mut query = Some(client.initiate()?);
    cpu[0] += begin.elapsed();
    while let Some(message) = query {
        let begin = CpuTime::now();
        let answer = server.reconcile(&message)?;
        cpu[1] += begin.elapsed();
        let begin = CpuTime::now();
        query = client.reconcile_with_ids(&answer, &mut have, &mut need)?;
        cpu[0] += begin.elapsed();
        bytes += (message.len() + answer.len()) as u64;
        flights += 2;
    }
    // What A has alone goes to B together with what A wants; the answer brings it.
    flights += 2 * u64::from(!have.is_empty() || !need.is_empty());
    let (names_a, names_b) = (by_id(&a, id), by_id(&b, id));
    let (before_a, before_b) = (a.clone(), b.clone());
    for key in have.iter().filter_map(|id| names_a.get(id.as_bytes())) {
        take(&mut b, key, &before_a[key]);
    }
    for key in need.iter().filter_map(|id| names_b.get(id.as_bytes())) {
        take(&mut a, key, &before_b[key]);
    }
    Ok(Outcome { bytes: bytes + workload.raw_bytes(), flights, cpu, contents: [contents(a), contents(b)] })
}

fn storage(versions: &Versions, time: impl Fn(u64, u64) -> u64) -> Result<NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::with_capacity(versions.len());
    for (index, (key, version)) in (0..).zip(versions) {
        storage.insert(time(index, version.0), Id::from_byte_array(id(key, version)))?;
    }
    storage.seal()?;
    Ok(storage)
}

const FIRST_TIME: u64 = 1_700_000_000;
const A_MONTH: u64 = 30 * 86_400;
