//! The storm guard: SC10.

use anyhow::{Context as _, Result, ensure};
use reconvene_broker::StrategyKind;

use crate::verify::{
    puppet::Puppet,
    row::Row,
    site::{BrokerSettings, Site, job},
    wait::{SOON, until},
};

pub(super) const ROWS: &[Row] = &[Row {
    id: "SC10",
    requirement: "storm guard",
    given: "a broker with five executors in the observer's hands, three of which run a job each",
    when: "those three fall silent together, and later one of them comes back",
    then: "while three of five are silent nothing is placed again, long past the detection bound; when one is back the \
           other two jobs are placed again, and its own is not",
    proof: "the idle executors are in the observer's hands: they were given nothing while the guard was on, and the two \
            jobs afterwards",
    run: |site| Box::pin(sc10(site)),
}];

async fn sc10(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let mut puppets = Vec::new();
    for _ in 0..5 {
        puppets.push(site.puppet(&a).await?);
    }
    let mut jobs = Vec::new();
    for input in ["one", "two", "three"] {
        jobs.push(a.submit(job(600_000, input)?).await?);
    }
    let holds = |puppet: &Puppet| jobs.iter().copied().find(|job| puppet.holds(*job).is_some());
    until("the jobs run", SOON, async || {
        Ok((puppets.iter().filter(|puppet| holds(puppet).is_some()).count() == 3).then_some(()))
    })
    .await?;
    // Enough of them that the broker knows what is usual.
    until("heartbeats are usual", SOON, async || {
        Ok(puppets.iter().all(|puppet| puppet.heartbeats_answered() >= 8).then_some(()))
    })
    .await?;
    let (silent, idle): (Vec<Puppet>, Vec<Puppet>) = puppets.into_iter().partition(|puppet| holds(puppet).is_some());
    silent.iter().for_each(Puppet::fall_silent);
    let long = site.scaled(42).saturating_mul(3);
    tokio::time::sleep(long).await;
    for puppet in &idle {
        ensure!(holds(puppet).is_none(), "a job was placed again while three of five were silent");
    }
    let on = a.reported("StormGuardOn");
    ensure!(on == 1, "the guard went on {on} times");

    let back = silent.first().context("three executors are silent")?;
    let kept = holds(back).context("a silent executor has its job")?;
    back.register(&a).await?;
    let others: Vec<_> = jobs.iter().copied().filter(|job| *job != kept).collect();
    until("the other jobs are placed again", SOON, async || {
        let given = |job: &reconvene_executor::JobId| idle.iter().any(|puppet| puppet.holds(*job).is_some());
        Ok(others.iter().all(given).then_some(()))
    })
    .await?;
    let view = a.knows(kept).await?;
    ensure!(view.attempts.len() == 1, "the job of the executor that came back was placed again");
    ensure!(idle.iter().all(|puppet| puppet.holds(kept).is_none()), "and given to another");
    Ok(format!(
        "nothing placed in {} ms of silence of 3 of 5; then the 2 jobs of those that stayed away",
        long.as_millis()
    ))
}
