//! An emergency that needs room at another broker: SC6.

use anyhow::{Context as _, Result, ensure};
use reconvene_broker::{JobStatus, JobView, Policy, PreemptionRules, StrategyKind};
use reconvene_executor::{AttemptId, EmergencyId, JobId, JobSpec, OwnershipEpoch, message::StopReason};

use crate::verify::{
    broker::{Broker, a_moment},
    puppet::Puppet,
    row::Row,
    site::{Site, job},
    wait::{SOON, until},
};

pub(super) const ROWS: &[Row] = &[Row {
    id: "SC6",
    requirement: "emergency across brokers",
    given: "brokers `a` and `b` under `emergency`, each with an executor of one slot in the observer's hands; that of `a` \
            is busy with life-safety work, that of `b` with a routine job",
    when: "another life-safety job comes to `a`, and waits there for `place_after`; once the routine job has run for 80 s by \
           then, once for 40 s",
    then: "after 80 s `a` makes `b` its owner, the executor of `b` is told to stop the routine job and is given the other one; \
           the routine job waits with the stamp it had, preempted once. After 40 s `b` refuses (`MinRun`), nobody is \
           stopped, and the job waits at `a`",
    proof: "orders are what the executors in the observer's hands received, in that order; clients of both brokers are told \
            the same owner",
    run: |site| Box::pin(sc6(site)),
}];

async fn sc6(site: &Site) -> Result<String> {
    let (after_80, after_40) = tokio::join!(given_room(site, ["a", "b"]), refused(site, ["c", "d"]));
    after_80?;
    after_40?;
    Ok("after 80 s the routine job was stopped and waits with its stamp, the emergency runs in its place; after 40 s: MinRun".to_owned())
}

/// The first broker is full with life-safety work; the second has an idle executor.
struct Stage {
    full: Broker,
    other: Broker,
    z: Puppet,
    _x: Puppet,
    emergency: EmergencyId,
}

impl Stage {
    async fn set(site: &Site, names: [&str; 2]) -> Result<Self> {
        let [full, other] = site.named_brokers(names, StrategyKind::EmergencyFirst).await?;
        full.set_policy(&hurried(site)?, 1).await?;
        let (x, z) = (site.puppet(&full).await?, site.puppet(&other).await?);
        let emergency = full.declare(LIFE_SAFETY, "north").await?;
        let first = full.submit(urgent(emergency)?).await?;
        x.is_given(first).await?;
        until("the other broker has heard of all that", SOON, async || {
            let heard = other.emergencies().await?.iter().any(|declared| declared.id == emergency);
            Ok((heard && other.job(first).await?.is_some()).then_some(()))
        })
        .await?;
        Ok(Self { full, other, z, _x: x, emergency })
    }

    /// A job that nobody declared anything for, at work at the other broker.
    async fn routine(&self) -> Result<(JobId, AttemptId)> {
        let id = self.other.submit(job(600_000, "routine")?.with_region("north")).await?;
        Ok((id, self.z.is_given(id).await?))
    }
}

async fn given_room(site: &Site, names: [&str; 2]) -> Result<()> {
    let stage = Stage::set(site, names).await?;
    let (victim, attempt) = stage.routine().await?;
    let stamp = stage.other.knows(victim).await?.submitted;
    tokio::time::sleep(site.scaled(20)).await;
    let graver = stage.full.submit(urgent(stage.emergency)?).await?;
    let reason = stage.z.is_stopped(attempt).await?;
    ensure!(reason == StopReason::Preempted, "the routine job was stopped for {reason:?}");
    stage.z.is_given(graver).await?;
    let (owner, waits) = (stage.other.status().await?.replica, |view: &JobView| view.preempted == 1);
    for broker in [&stage.full, &stage.other] {
        let view = broker.job_when(graver, "it has another owner", |view| view.owner == owner).await?;
        ensure!(view.epoch == OwnershipEpoch(2), "at {} it is the owner of epoch {}", broker.name(), view.epoch);
        let view = broker.job_when(victim, "it was preempted once", waits).await?;
        ensure!(view.submitted == stamp, "{} has given it another stamp", broker.name());
        ensure!(view.result.is_none() && view.attempts.len() == 1, "{} has {:?}", broker.name(), view.status);
    }
    let (asked, stopped) = (stage.full.statistics().await?.handed_over, stage.other.statistics().await?.preempted);
    ensure!((asked, stopped) == (1, 1), "{asked} jobs handed over, {stopped} preempted");
    Ok(())
}

async fn refused(site: &Site, names: [&str; 2]) -> Result<()> {
    let stage = Stage::set(site, names).await?;
    let graver = stage.full.submit(urgent(stage.emergency)?).await?;
    tokio::time::sleep(site.scaled(20)).await;
    let (victim, attempt) = stage.routine().await?;
    until("the other broker refuses", SOON, async || Ok((stage.full.reported("PlaceRefused") > 0).then_some(())))
        .await?;
    tokio::time::sleep(a_moment()).await;
    ensure!(stage.z.holds(victim) == Some(attempt), "the routine job was stopped before its time");
    ensure!(stage.z.holds(graver).is_none(), "two jobs in one slot");
    let view = stage.full.job(graver).await?.context("its own job is unknown")?;
    ensure!(view.status == JobStatus::Waiting && view.attempts.is_empty(), "it is {:?}", view.status);
    ensure!(view.owner == stage.full.status().await?.replica, "it was given away");
    let counted = stage.other.statistics().await?.preemptions_refused.min_run;
    ensure!(counted >= 1, "no refusal because of `MinRun` was counted");
    Ok(())
}

fn urgent(emergency: EmergencyId) -> Result<JobSpec> {
    Ok(job(600_000, "life safety")?.with_region("north").with_emergency(emergency))
}

/// `EMERGENCY_FIRST`, its durations divided by the speed of the site like all others.
fn hurried(site: &Site) -> Result<Policy> {
    let mut rules = PreemptionRules::default();
    for duration in [&mut rules.min_run_ms, &mut rules.cool_down_ms, &mut rules.grace_ms, &mut rules.reserve_ms] {
        *duration = site.scaled_ms(*duration);
    }
    Ok(Policy::builder(StrategyKind::EmergencyFirst).preemption(rules).build()?)
}

/// A level of life safety.
const LIFE_SAFETY: u8 = 200;
