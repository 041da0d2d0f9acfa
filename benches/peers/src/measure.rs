//! Medians of many samples, taken in turns.
//!
//! Machines are noisy and their speed drifts, so candidates are sampled one after the other, round by round: what slows
//! one slows the others as well, and ratios stay.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of samples.
const ROUNDS: usize = 1_001;
/// How long one sample takes at least, so that reading the time costs nothing.
const SAMPLE: Duration = Duration::from_micros(20);

/// Something that is measured: each call is one sample, in nanoseconds per operation.
type Sample<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Candidates that do the same work.
#[derive(Default)]
pub struct Race<'a> {
    candidates: Vec<(&'static str, Sample<'a>)>,
}

impl<'a> Race<'a> {
    /// A race without candidates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation that can be repeated as it is.
    pub fn repeated(&mut self, name: &'static str, mut operation: impl FnMut() + 'a) {
        let mut repeats = 1_u32;
        while time(repeats, &mut operation) < SAMPLE && repeats < 1 << 24 {
            repeats *= 2;
        }
        self.add(name, move || time(repeats, &mut operation).as_nanos() as f64 / f64::from(repeats));
    }

    /// Adds an operation that consumes its input. Inputs are made outside of the time that counts, `batch` at a time;
    /// what is left of them is dropped outside of it as well.
    pub fn batched<T: 'a>(
        &mut self,
        name: &'static str,
        batch: usize,
        mut input: impl FnMut() -> T + 'a,
        mut operation: impl FnMut(&mut T) + 'a,
    ) {
        let (mut inputs, reading) = (Vec::with_capacity(batch), reading());
        self.add(name, move || {
            inputs.clear();
            inputs.extend(std::iter::repeat_with(&mut input).take(batch));
            let begin = Instant::now();
            for input in black_box(&mut inputs) {
                operation(input);
            }
            begin.elapsed().saturating_sub(reading).as_nanos() as f64 / batch as f64
        });
    }

    fn add(&mut self, name: &'static str, sample: impl FnMut() -> f64 + 'a) {
        self.candidates.push((name, Box::new(sample)));
    }

    /// The median of each candidate, in nanoseconds per operation.
    pub fn run(mut self) -> BTreeMap<&'static str, f64> {
        let mut samples = vec![Vec::with_capacity(ROUNDS); self.candidates.len()];
        for _ in 0..ROUNDS {
            for ((_, sample), taken) in self.candidates.iter_mut().zip(&mut samples) {
                taken.push(sample());
            }
        }
        self.candidates.iter().map(|(name, _)| *name).zip(samples.into_iter().map(median)).collect()
    }
}

fn time(repeats: u32, operation: &mut impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..repeats {
        operation();
    }
    begin.elapsed()
}

/// What reading the time takes by itself: the median, as for everything else.
fn reading() -> Duration {
    let once = |_| Instant::now().elapsed().as_nanos() as f64;
    Duration::from_nanos(median((0..ROUNDS).map(once).collect()) as u64)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
