//! A million jobs in order, beside what else one would use; and the winner of four versions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use priority_queue::PriorityQueue;
use reconvene_clock::{Height, Hlc, WallTime};
use reconvene_resolve::{
    AlgorithmId, BasisPoints, CandidateId, Chain, ContentionStrategy, Factor, FactorValue, JobFacts, JobValue, Level,
    Link, Priority, RankKey, Resources, RoundFacts, StrategyKind, SubjectId, Term, VersionFacts, job, rank, resolve,
    top,
};
use serde::Serialize;

use crate::numbers;

/// Milliseconds for the full order, each the median of several runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Rank {
    pub(crate) n: usize,
    pub(crate) ours_ms: f64,
    pub(crate) binary_heap_ms: f64,
    pub(crate) f64_sort_ms: f64,
    pub(crate) priority_queue_ms: f64,
    /// The f64 sort with each score computed once, for comparison.
    pub(crate) f64_cached_sort_ms: f64,
    /// The first thousand alone.
    pub(crate) top_1000_ms: f64,
    /// The first thousand of jobs that were all submitted within the head start, where none can be passed over.
    pub(crate) top_1000_burst_ms: f64,
}

/// Ranks `n` jobs submitted over 11 days by a head start of six factors.
///
/// # Errors
/// If any of the ways comes to another order.
pub(crate) fn run(n: usize) -> Result<Rank> {
    let (jobs, round) = (jobs(n, 950_400_000), RoundFacts::new(1, RoundFacts::REFERENCE));
    let strategy: &dyn ContentionStrategy = &six_factors()?;
    let expected = rank(strategy, &jobs, &round);
    ensure!(heap(strategy, &jobs, &round) == expected, "the heap comes to another order");
    ensure!(queue(strategy, &jobs, &round) == expected, "the priority queue comes to another order");
    ensure!(top(strategy, &jobs, &round, 1_000) == expected[..n.min(1_000)], "the first are not those of the order");
    // Scores in floating point tie and round differently; how many stand elsewhere is not ours to promise.
    ensure!(f64_sort(&jobs).len() == expected.len(), "the f64 sort lost jobs");
    let burst = self::jobs(n, 3_600_000);
    let measured = [
        median(5, || rank(strategy, &jobs, &round)),
        median(3, || heap(strategy, &jobs, &round)),
        median(3, || f64_sort(&jobs)),
        median(3, || queue(strategy, &jobs, &round)),
        median(3, || f64_cached_sort(&jobs)),
        median(5, || top(strategy, &jobs, &round, 1_000)),
        median(5, || top(strategy, &burst, &round, 1_000)),
    ];
    let [ours_ms, binary_heap_ms, f64_sort_ms, priority_queue_ms, f64_cached_sort_ms, top_1000_ms, top_1000_burst_ms] =
        measured.map(|time| time.as_secs_f64() * 1_000.0);
    Ok(Rank {
        n,
        ours_ms,
        binary_heap_ms,
        f64_sort_ms,
        priority_queue_ms,
        f64_cached_sort_ms,
        top_1000_ms,
        top_1000_burst_ms,
    })
}

/// Canonical versions of four found in a second, by the slowest of the five strategies.
pub(crate) fn picks() -> u64 {
    const SETS: u64 = 4_096;
    let sets: Vec<[VersionFacts; 4]> = (0..SETS)
        .map(|subject| {
            let mut random = numbers(subject);
            core::array::from_fn(|writer| {
                let number = random.next().unwrap_or(0);
                VersionFacts {
                    cost_resource_ms: number % 100_000,
                    quality: BasisPoints::from_ratio(number % 4, 3),
                    height: Height::new(number % 30 + 1).expect("at least one"),
                    attempt_number: 1 + writer as u32,
                    ..VersionFacts::new(
                        SubjectId::new(1, subject),
                        CandidateId::new(number, 1),
                        Hlc::from_parts(WallTime::from_millis(number % 1_000), 0).expect("a time"),
                    )
                }
            })
        })
        .collect();
    let rates = StrategyKind::ALL.map(|kind| {
        let strategy = kind.reconcile();
        let time = median(5, || {
            for versions in &sets {
                black_box(resolve(strategy, black_box(versions)));
            }
        });
        (SETS as f64 / time.as_secs_f64()) as u64
    });
    rates.into_iter().min().unwrap_or(0)
}

/// Five factors of the crate and one of one's own.
fn six_factors() -> Result<Chain<JobFacts>> {
    const VALUE: Factor<JobFacts> = Factor::new("value", |job, _| {
        let value = u64::from(job.value.get());
        FactorValue::new(value, BasisPoints::from_ratio(value, 1_000_000))
    });
    let factors = [job::PRIORITY, job::DEADLINE, job::LIGHTNESS, job::SMALLNESS, job::EMERGENCY, VALUE];
    let terms = factors.into_iter().zip(MINUTES).map(|(factor, minutes)| Term::new(factor, minutes));
    let links = [Link::head_start("virtual start", terms.collect()), job::submitted(), Link::id()];
    Ok(Chain::new(AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 1), links)?)
}

const MINUTES: [u32; 6] = [60, 30, 15, 15, 120, 20];

fn jobs(count: usize, span_ms: u64) -> Vec<JobFacts> {
    let random = numbers(11).zip(numbers(12)).take(count).zip(1..);
    random
        .map(|((random, more), number)| {
            let submitted = random % span_ms;
            JobFacts {
                priority: Priority(more.to_le_bytes()[7]),
                deadline: (more % 4 == 0).then(|| WallTime::from_millis(submitted + 1_000_000 + more % 5_000_000)),
                estimate_ms: more % 3_000_000,
                work_core_ms: Some(more % 40_000_000),
                demand: Resources::new(more % 16_000, random % 65_536, 0),
                value: JobValue::new((more % 1_000_000) as u32 + 1).unwrap_or_default(),
                level: if random % 33 == 0 { Level::LIFE_SAFETY } else { Level::ROUTINE },
                ..JobFacts::new(
                    CandidateId::new(1, number),
                    Hlc::from_parts(WallTime::from_millis(submitted), 0).expect("a time within days"),
                )
            }
        })
        .collect()
}

fn heap(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Vec<CandidateId> {
    let keys: Vec<Reverse<RankKey>> = jobs.iter().map(|job| Reverse(strategy.key(job, round))).collect();
    let mut heap = BinaryHeap::from(keys);
    let mut order = Vec::with_capacity(jobs.len());
    while let Some(Reverse(key)) = heap.pop() {
        order.push(key.id());
    }
    order
}

fn queue(strategy: &dyn ContentionStrategy, jobs: &[JobFacts], round: &RoundFacts) -> Vec<CandidateId> {
    let mut queue = PriorityQueue::with_capacity(jobs.len());
    for job in jobs {
        queue.push(job.id, Reverse(strategy.key(job, round)));
    }
    queue.into_sorted_vec()
}

/// As such queues are often ordered: by a comparator that computes both scores.
fn f64_sort(jobs: &[JobFacts]) -> Vec<CandidateId> {
    let mut order: Vec<&JobFacts> = jobs.iter().collect();
    order.sort_by(|a, b| score(a).total_cmp(&score(b)));
    order.iter().map(|job| job.id).collect()
}

fn f64_cached_sort(jobs: &[JobFacts]) -> Vec<CandidateId> {
    let mut order: Vec<(f64, CandidateId)> = jobs.iter().map(|job| (score(job), job.id)).collect();
    order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    order.into_iter().map(|(_, id)| id).collect()
}

/// The six factors in floating point.
fn score(job: &JobFacts) -> f64 {
    let reference = RoundFacts::REFERENCE;
    let urgency = job.slack_ms().map_or(0.0, |slack| 1.0 - (slack as f64 / 3_600_000.0).min(1.0));
    let lightness = job.work_core_ms.map_or(0.0, |work| 1.0 - (work as f64 / 28_800_000.0).min(1.0));
    let cpu = job.demand.cpu_milli as f64 / reference.cpu_milli as f64;
    let memory = job.demand.memory_mib as f64 / reference.memory_mib as f64;
    let gpu = job.demand.gpu_milli as f64 / reference.gpu_milli as f64;
    let shares = [
        f64::from(job.priority.0) / 255.0,
        urgency,
        lightness,
        1.0 - cpu.max(memory).max(gpu).min(1.0),
        f64::from(job.level.get()) / 200.0,
        f64::from(job.value.get()) / 1_000_000.0,
    ];
    let head_start: f64 = shares.iter().zip(MINUTES).map(|(share, minutes)| share * f64::from(minutes)).sum();
    job.submitted.millis() as f64 - head_start * 60_000.0
}

/// The median time for one turn of `work`, of an odd number of samples with as many turns as fill a tenth of a second.
pub(crate) fn median<T>(samples: usize, mut work: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..samples)
        .map(|_| {
            let (start, mut turns) = (now(), 0);
            loop {
                black_box(work());
                turns += 1;
                let spent = now().saturating_sub(start);
                if spent >= Duration::from_millis(100) {
                    break spent / turns;
                }
            }
        })
        .collect();
    times.sort_unstable();
    times.get(samples / 2).copied().unwrap_or_default()
}

/// Time that this thread has spent on a processor where the kernel tells, to a few milliseconds, so that other work on the
/// machine does not count; else time on the wall.
fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let counted = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let counted = counted.and_then(|counted| counted.split_ascii_whitespace().next()?.parse().ok());
    counted.map_or_else(|| START.elapsed(), Duration::from_nanos)
}
