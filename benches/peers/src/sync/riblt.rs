//! riblt: a stream of coded symbols over ids of 16 bytes, until the difference can be read from it.
//!
//! Counted are symbols of 25 bytes (an id, a hash, and a count in the one byte that the paper needs) and the changed
//! records once each. How many symbols it takes is found beforehand; the time is of one attempt with as many.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use riblt::{RatelessIBLT, Symbol, UnmanagedRatelessIBLT};

use super::Outcome;
use super::cpu::CpuTime;
use super::records::{Versions, contents, id, parted, take};
use super::workload::Workload;

/// The name of a version of a record.
#[derive(Clone, Debug)]
struct Name([u8; 16]);

impl Symbol for Name {
    const BYTE_ARRAY_LENGTH: usize = 16;

    fn encode_to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode_from_bytes(bytes: &Vec<u8>) -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(bytes);
        Self(name)
    }
}

pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    (0..runs).map(|_| run_once(workload)).collect()
}

fn run_once(workload: &Workload) -> Result<Outcome> {
    let [mut a, mut b] = parted(workload)?;
    let (names_a, names_b) = (names(&a), names(&b));
    let begin = CpuTime::now();
    let mut local = RatelessIBLT::new(names_a.iter().cloned());
    let encoded_a = begin.elapsed();
    let begin = CpuTime::now();
    let mut remote = RatelessIBLT::new(names_b.iter().cloned());
    let encoded_b = begin.elapsed();

    let mut stream = UnmanagedRatelessIBLT::new();
    let mut symbols = 0;
    let (peeled, decoded) = loop {
        stream.add_coded_symbol(&remote.get_coded_symbol(symbols));
        symbols += 1;
        let begin = CpuTime::now();
        let mut difference = local.collapse(&stream);
        let peeled = difference.peel_all_symbols();
        if difference.is_empty() {
            break (peeled, begin.elapsed());
        }
        let most = 4 * workload.changed() as usize + 100;
        (symbols < most).then_some(()).context("the difference was not decoded")?;
    };
    // Its type of results has no public name.
    let peeled: BTreeSet<String> = peeled.iter().map(|result| format!("{result:?}")).collect();
    let (before_a, before_b) = (a.clone(), b.clone());
    for ((key, version), name) in before_a.iter().zip(&names_a) {
        if peeled.contains(&format!("Local({name:?})")) {
            take(&mut b, key, version);
        }
    }
    for ((key, version), name) in before_b.iter().zip(&names_b) {
        if peeled.contains(&format!("Remote({name:?})")) {
            take(&mut a, key, version);
        }
    }
    let bytes = symbols as u64 * SYMBOL_BYTES + workload.raw_bytes();
    // Symbols, then records and what is wanted, then the rest.
    let flights = 1 + 2 * u64::from(!peeled.is_empty());
    let cpu: [Duration; 2] = [encoded_a + decoded, encoded_b];
    Ok(Outcome { bytes, flights, cpu, contents: [contents(a), contents(b)] })
}

fn names(versions: &Versions) -> Vec<Name> {
    let name = |(key, version): (&String, &(u64, String))| {
        let mut name = [0; 16];
        name.copy_from_slice(&id(key, version)[..16]);
        Name(name)
    };
    versions.iter().map(name).collect()
}

const SYMBOL_BYTES: u64 = 25;
