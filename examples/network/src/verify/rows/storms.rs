//! The storm guard: SC10.

use anyhow::{Context as _, Result, ensure};
use reconvene_broker::StrategyKind;

use reconvene_executor::JobId;
use tokio::time::Instant;

use crate::verify::{
    broker::Broker,
    puppet::Puppet,
    row::Row,
    site::{BrokerSettings, Site, job},
    wait::{SOON, until},
};

pub(super) const ROWS: &[Row] = &[Row {
    id: "SC10",
    requirement: "storm guard",
    given: "a broker with five executors in the observer's hands, three of which run a job each",
    when: "those three fall silent together, and later one of them comes back; at another broker like it nobody does",
    then: "while three of five are silent nothing is placed again, long past the detection bound; when one is back the \
           other two jobs are placed again, and its own is not; where nobody comes back, once `storm_hold` is over",
    proof: "the idle executors are in the observer's hands: they were given nothing while the guard was on, and the two \
            jobs afterwards",
    run: |site| Box::pin(sc10(site)),
}];

async fn sc10(site: &Site) -> Result<String> {
    let (returns, nobody) = tokio::join!(one_returns(site), nobody_returns(site));
    let (silent, held) = (returns?, nobody?);
    Ok(format!(
        "nothing placed in {silent} ms of silence of 3 of 5, then the 2 jobs of those that stayed away; where nobody came \
         back, after {held} ms"
    ))
}

/// A broker five of whose executors have been there for a while; those with a job, all jobs, and the idle ones.
struct Storm {
    broker: Broker,
    busy: Vec<Puppet>,
    idle: Vec<Puppet>,
    jobs: Vec<JobId>,
}

impl Storm {
    async fn brew(site: &Site, name: &str) -> Result<Self> {
        let broker = site.broker(name, BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
        let mut puppets = Vec::new();
        for _ in 0..5 {
            puppets.push(site.puppet(&broker).await?);
        }
        let mut jobs = Vec::new();
        for input in ["one", "two", "three"] {
            jobs.push(broker.submit(job(600_000, input)?).await?);
        }
        let has_one = |puppet: &Puppet| jobs.iter().any(|job| puppet.holds(*job).is_some());
        until("the jobs run", SOON, async || {
            Ok((puppets.iter().filter(|puppet| has_one(puppet)).count() == 3).then_some(()))
        })
        .await?;
        // Enough of them that the broker knows what is usual.
        until("heartbeats are usual", SOON, async || {
            Ok(puppets.iter().all(|puppet| puppet.heartbeats_answered() >= 8).then_some(()))
        })
        .await?;
        let (busy, idle) = puppets.into_iter().partition(has_one);
        Ok(Self { broker, busy, idle, jobs })
    }

    /// The jobs that were placed on executors which had none.
    fn placed_again(&self) -> Vec<JobId> {
        let on_idle = |job: &JobId| self.idle.iter().any(|puppet| puppet.holds(*job).is_some());
        self.jobs.iter().copied().filter(on_idle).collect()
    }

    fn guard_went_on(&self) -> Result<()> {
        let on = self.broker.reported("StormGuardOn");
        ensure!(on == 1, "the guard went on {on} times");
        Ok(())
    }
}

async fn one_returns(site: &Site) -> Result<u128> {
    let storm = Storm::brew(site, "a").await?;
    storm.busy.iter().for_each(Puppet::fall_silent);
    let long = site.scaled(42).saturating_mul(3);
    tokio::time::sleep(long).await;
    ensure!(storm.placed_again().is_empty(), "a job was placed again while three of five were silent");
    storm.guard_went_on()?;

    let back = storm.busy.first().context("three executors are silent")?;
    let kept = storm.jobs.iter().copied().find(|job| back.holds(*job).is_some()).context("it has a job")?;
    back.register(&storm.broker).await?;
    until("the other jobs are placed again", SOON, async || Ok((storm.placed_again().len() == 2).then_some(())))
        .await?;
    ensure!(!storm.placed_again().contains(&kept), "the job of the executor that came back was given to another");
    let attempts = storm.broker.knows(kept).await?.attempts.len();
    ensure!(attempts == 1, "the job of the executor that came back has {attempts} attempts");
    Ok(long.as_millis())
}

async fn nobody_returns(site: &Site) -> Result<u128> {
    let storm = Storm::brew(site, "b").await?;
    storm.busy.iter().for_each(Puppet::fall_silent);
    let silent = Instant::now();
    let hold = site.scaled(600);
    // Two are idle, so two of the three are placed again.
    let within = hold.saturating_add(SOON);
    until("jobs are placed again after all", within, async || Ok((storm.placed_again().len() == 2).then_some(())))
        .await?;
    let held = silent.elapsed();
    storm.guard_went_on()?;
    ensure!(held >= hold, "jobs were placed again after {} ms, before the hold was over", held.as_millis());
    Ok(held.as_millis())
}
