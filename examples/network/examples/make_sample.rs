//! Writes the sample workload that the demo runs when it is given no other:
//!
//! ```text
//! cargo run -p reconvene-network --example make_sample > examples/network/workloads/sample.swf
//! ```
//!
//! The workload is of the project's own making and free to use under the project's licence; no trace was copied. It has
//! the shape that makes a network of brokers interesting: a dozen sites of very different size, users that submit in
//! bursts, many short jobs and a few long ones. The same program always writes the same bytes.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

fn main() -> io::Result<()> {
    io::stdout().lock().write_all(generate().as_bytes())
}

/// The whole file.
#[must_use]
pub fn generate() -> String {
    let mut text = String::from(HEADER);
    let mut draw = SplitMix64(0x05ee_d0fa_5a3b_1e00);
    let mut submit = 0_u64;
    let mut left_in_burst = 0_u64;
    let (mut site, mut user) = (1_u64, 1_u64);
    for job in 1..=JOBS {
        if left_in_burst == 0 {
            // Small site numbers are the busy ones: the least of two draws.
            site = draw.below(12).min(draw.below(12)).saturating_add(1);
            user = site.saturating_mul(4).saturating_add(draw.below(4));
            left_in_burst = draw.below(6).saturating_add(1);
            submit = submit.saturating_add(draw.below(240));
        }
        left_in_burst = left_in_burst.saturating_sub(1);
        submit = submit.saturating_add(draw.below(20));
        let run = match draw.below(10) {
            0..=3 => draw.below(300).saturating_add(60),
            4..=7 => draw.below(900).saturating_add(300),
            8 => draw.below(1_500).saturating_add(1_200),
            _ => draw.below(2_000).saturating_add(2_500),
        };
        let requested = run.saturating_mul(draw.below(3).saturating_add(1)).saturating_add(600);
        let group = user % 8;
        // id submit wait run procs cpu mem | asked: procs time mem | status user group app queue partition prev think
        writeln!(text, "{job} {submit} -1 {run} 1 -1 -1 1 {requested} -1 1 {user} {group} -1 -1 {site} -1 -1")
            .unwrap_or_else(|never| unreachable!("writing to a string failed: {never}"));
    }
    text
}

const JOBS: u64 = 360;

const HEADER: &str = "\
; Version: 2.2
; Computer: none; a synthetic workload
; Installation: made by the Reconvene project for its demo
; Acknowledge: nobody; free to use under the project's licence
; Information: written by examples/network/examples/make_sample.rs, not recorded anywhere
; MaxJobs: 360
; MaxRecords: 360
; UnixStartTime: 0
; MaxPartitions: 12
; Note: 12 sites, 4 users each, 8 groups; times in seconds
;
";

/// Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators".
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The bias of a remainder does not matter for a workload.
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }
}
