//! Random strategies made of combinators.

use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::laws::{Claims, Random};
use crate::{
    AlgorithmId, CausalOrder, Chain, ChainError, Factor, JobFacts, Link, MAX_FACTORS, MAX_WORDS, Term, Unit,
    VersionFacts, job, version,
};

const TREE: AlgorithmId = AlgorithmId::new(u16::MAX, 1);

/// A random rule for results that puts successes first, and what it may claim.
///
/// # Errors
/// Never, unless the kit itself is broken: every tree drawn is valid.
pub fn random_reconcile(random: &mut Random) -> Result<(Chain<VersionFacts>, Claims), ChainError> {
    let mut links = Vec::from([version::outcome()]);
    let mut claims = Claims::default();
    match random.below(4) {
        0 => {
            claims.causal = Some(CausalOrder::Earliest);
            links.push(version::height());
        }
        1 => {
            claims.causal = Some(CausalOrder::Latest);
            links.push(version::height().reversed());
        }
        2 => {
            claims.tiers = true;
            links.push(version::tier());
        }
        _ => {}
    }
    for _ in 0..random.place(MAX_WORDS.saturating_sub(links.len()).saturating_add(1)) {
        links.push(version_link(random));
    }
    links.push(Link::id());
    Ok((Chain::new(TREE, links)?, claims))
}

/// A random rule for jobs, and what it may claim.
///
/// # Errors
/// Never, unless the kit itself is broken: every tree drawn is valid.
pub fn random_contention(random: &mut Random) -> Result<(Chain<JobFacts>, Claims), ChainError> {
    let (mut links, mut claims) = (Vec::new(), Claims::default());
    if random.once_in(2) {
        claims.tiers = true;
        links.push(job::tier());
    }
    if random.once_in(4) {
        claims.late_tier = true;
        links.push(job::late());
    }
    match random.below(3) {
        0 => {
            let terms = job_terms(random, 4_000);
            let minutes = terms.iter().fold(0, |sum: u64, term| sum.saturating_add(term.weight().into()));
            claims.overtake_bound_ms = Some(minutes.saturating_mul(60_000));
            links.extend([Link::head_start("virtual start", terms), job::submitted()]);
        }
        1 if links.is_empty() => {
            claims.causal = Some(CausalOrder::Earliest);
            links.push(job::height());
        }
        _ => {}
    }
    for _ in 0..random.place(MAX_WORDS.saturating_sub(links.len()).saturating_add(1)) {
        links.push(job_link(random));
    }
    links.push(Link::id());
    Ok((Chain::new(TREE, links)?, claims))
}

fn version_link(random: &mut Random) -> Link<VersionFacts> {
    const QUALITY: Factor<VersionFacts> = version::QUALITY;
    let link = match random.below(9) {
        0 => version::accepted(),
        1 => version::attempt(),
        2 => version::quality(),
        3 => version::placement(),
        4 => version::tier(),
        5 => version::cost(),
        6 => version::height(),
        7 => {
            let terms =
                (0..random.place(MAX_FACTORS.saturating_add(1))).map(|_| Term::new(QUALITY, weight(random, 65_536)));
            return bucketed(Link::weighted("merit", terms.collect()), random).reversed();
        }
        _ => Link::tie_hash(),
    };
    turned(bucketed(link, random), random)
}

/// Larger is better in sums, and head starts go back in time: turned round, being late would move a job forward.
fn job_link(random: &mut Random) -> Link<JobFacts> {
    let link = match random.below(10) {
        0 => job::submitted(),
        1 => job::tier(),
        2 => job::height(),
        3 => job::density(),
        4 => Link::tie_hash(),
        5 => Link::word("preempted", Unit::Count, |job: &JobFacts, _| job.preempted.into()),
        6 => return bucketed(job::late(), random),
        7 | 8 => {
            let terms = job_terms(random, 65_536);
            return bucketed(Link::weighted("merit", terms), random).reversed();
        }
        _ => {
            let terms = job_terms(random, 4_000);
            return bucketed(Link::head_start("start", terms), random);
        }
    };
    turned(bucketed(link, random), random)
}

fn job_terms(random: &mut Random, limit: u64) -> Vec<Term<JobFacts>> {
    const FACTORS: [Factor<JobFacts>; 5] =
        [job::PRIORITY, job::DEADLINE, job::LIGHTNESS, job::SMALLNESS, job::EMERGENCY];
    let count = random.place(MAX_FACTORS.saturating_add(1));
    let draw = |_| {
        let factor = FACTORS.get(random.place(FACTORS.len())).copied().unwrap_or(job::PRIORITY);
        Term::new(factor, weight(random, limit))
    };
    (0..count).map(draw).collect()
}

/// Below the limit, and often at it.
fn weight(random: &mut Random, limit: u64) -> u32 {
    let largest = limit.saturating_sub(1);
    let weight = if random.once_in(4) { largest } else { random.below(limit) };
    u32::try_from(weight).unwrap_or(0)
}

fn bucketed<F: crate::Facts>(link: Link<F>, random: &mut Random) -> Link<F> {
    match NonZeroU64::new(random.below(20_000)) {
        Some(size) if random.once_in(3) => link.bucketed(size),
        _ => link,
    }
}

fn turned<F: crate::Facts>(link: Link<F>, random: &mut Random) -> Link<F> {
    if random.once_in(2) { link.reversed() } else { link }
}
