//! Executors, and what they and their broker make of silence and nonsense: BB1 to BB3, BB13, BB14.

use anyhow::{Result, ensure};
use reconvene_broker::{CommandError, JobStatus, StrategyKind};
use reconvene_clock::{SystemTimeSource, TimeSource as _};
use reconvene_executor::{Answer, Rejection, Resources, Tag};

use super::partitions::is_stable;
use crate::{
    client::CallError,
    run_log::What,
    verify::{
        broker::a_moment,
        puppet::{Claim, Puppet},
        row::Row,
        site::{BrokerSettings, Site, job},
        wait::{SOON, until},
    },
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "BB1",
        requirement: "executors register, heartbeat, state capabilities",
        given: "a broker, an executor without tags, one tagged `x-ray`, and one in the observer's hands",
        when: "jobs ask for the tag, and for four cores that nobody has; later an executor with four cores comes",
        then: "the tagged job runs where the tag is, the large one waits for the large executor, and each heartbeat is \
               answered with its own number",
        proof: "what ran where is taken from the executors' own logs of runs, and answers to heartbeats are counted by \
                the executor that sent them",
        run: |site| Box::pin(bb1(site)),
    },
    Row {
        id: "BB2",
        requirement: "vanished executor: jobs redeployed",
        given: "a broker and two executors; a job that takes longer than the detection bound runs on one of them",
        when: "that executor's process is killed",
        then: "the job runs to its end on the other, not before the lease and the grace are over, and the client has \
               its result",
        proof: "both runs are in the executors' own logs, with their times; the killed one never ends its run",
        run: |site| Box::pin(bb2(site)),
    },
    Row {
        id: "BB3",
        requirement: "reappearing executor: result taken and judged",
        given: "a broker and two executors; a job runs on one of them",
        when: "that process is frozen for longer than the detection bound, so that the job is placed again, and thaws",
        then: "the thawed executor's result is judged, one result is the job's, and it is the one that clients are told \
               ever after",
        proof: "each executor's own log has one run of the job, and the frozen one's came to its end; what clients are \
                told names the executor that submitted",
        run: |site| Box::pin(bb3(site)),
    },
    Row {
        id: "BB13",
        requirement: "bad input answered",
        given: "a broker",
        when: "a client submits a job worth nothing and asks for one that does not exist, and an executor sends bytes \
               that are no message, and a result of a job that nobody submitted",
        then: "each gets its own answer, nothing is admitted, and the broker goes on to run a job",
        proof: "the answers are what the client and the executor in the observer's hands received; the job afterwards \
                is in an executor's own log",
        run: |site| Box::pin(bb13(site)),
    },
    Row {
        id: "BB14",
        requirement: "one broker alone as before",
        given: "one broker under `fcfs`, and two executors in the observer's hands",
        when: "one is given a job and falls silent, the other is given it anew and submits, and then the first comes \
               back with another result",
        then: "the first result in wins, the later one is answered `AlreadyAccepted` with its name, and the client is \
               told the first, which nobody can change: `Stable` at once",
        proof: "orders and answers are what the executors in the observer's hands received",
        run: |site| Box::pin(bb14(site)),
    },
];

async fn bb1(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let plain = site.executor(&a, &[]).await?;
    let tagged = site.executor(&a, &["--tag", "x-ray"]).await?;
    until("both executors are known", SOON, async || Ok((a.executors().await?.len() == 2).then_some(()))).await?;
    let wants_tag = a.submit(job(50, "tagged")?.with_tag(Tag::new("x-ray")?)).await?;
    let wants_cores = a.submit(job(50, "large")?.with_demand(Resources::new(4_000, 16, 0))).await?;
    a.result(wants_tag).await?;
    tagged.has(wants_tag, What::Ended).await?;
    ensure!(plain.count(wants_tag, What::Began) == 0, "a job ran where its tag is not");
    let waiting = a.knows(wants_cores).await?;
    ensure!(waiting.attempts.is_empty(), "a job of four cores was given to an executor of one");
    let large = site.executor(&a, &["--cpu", "4000"]).await?;
    large.has(wants_cores, What::Ended).await?;
    a.result(wants_cores).await?;
    ensure!(plain.began().is_empty(), "an executor ran what it cannot");

    let puppet = Puppet::new(site, 1, &["puppet"])?;
    puppet.register(&a).await?;
    let terms = puppet.terms().map(|terms| terms.heartbeat_ms);
    ensure!(terms == Some(site.scaled_ms(5_000)), "the broker told another period of heartbeats: {terms:?}");
    until("heartbeats are answered", SOON, async || Ok((puppet.heartbeats_answered() >= 3).then_some(()))).await?;
    let view = a.executors().await?.into_iter().find(|view| view.id == puppet.node());
    ensure!(view.is_some_and(|view| view.tags.contains(&Tag::new("puppet").unwrap_or_else(|_| unreachable!()))));
    Ok("each of 2 jobs ran only where its tag or its cores are; 3 heartbeats answered with their numbers".to_owned())
}

async fn bb2(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let mut executors = [site.executor(&a, &[]).await?, site.executor(&a, &[]).await?];
    let run_ms = site.scaled_ms(60_000);
    // The order, and with it the first lease, comes after this at the earliest.
    let submitted_ms = SystemTimeSource::new().now().as_millis();
    let id = a.submit(job(run_ms, "again")?).await?;
    let first = until("the job runs", SOON, async || {
        Ok(executors.iter().position(|executor| executor.count(id, What::Began) > 0))
    })
    .await?;
    executors.rotate_left(first);
    let [vanishes, stays] = &mut executors;
    let began = vanishes.has(id, What::Began).await?;
    vanishes.process().kill()?;
    let again = stays.has(id, What::Began).await?;
    let done = a.result(id).await?;
    let ended = stays.has(id, What::Ended).await?;
    let output = done.result.and_then(|result| result.output).unwrap_or_default();
    ensure!(output == b"again", "the client was given {output:?}");
    ensure!(vanishes.count(id, What::Ended) == 0 && stays.count(id, What::Began) == 1);
    ensure!(again.attempt != began.attempt, "the same attempt ran twice");
    let (gap, least) = (again.at_ms.saturating_sub(submitted_ms), site.scaled_ms(42_000));
    ensure!(gap >= least, "placed again {gap} ms after it was submitted, before the bound of {least} ms");
    Ok(format!(
        "began on the executor that was killed, and again on the other {gap} ms after it was submitted (bound {least} ms); it ended after \
         {} ms there",
        ended.at_ms.saturating_sub(again.at_ms)
    ))
}

async fn bb3(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let mut executors = [site.executor(&a, &[]).await?, site.executor(&a, &[]).await?];
    let id = a.submit(job(site.scaled_ms(40_000), "back")?).await?;
    let first = until("the job runs", SOON, async || {
        Ok(executors.iter().position(|executor| executor.count(id, What::Began) > 0))
    })
    .await?;
    executors.rotate_left(first);
    let [frozen, other] = &mut executors;
    frozen.process().signal("STOP")?;
    other.has(id, What::Began).await?;
    frozen.process().signal("CONT")?;
    let done = a.result(id).await?;
    until("both attempts are over", SOON, async || {
        let over = |executor: &&mut _| is_over(executor, id);
        Ok((over(&frozen) && over(&other)).then_some(()))
    })
    .await?;
    let result = done.result.map(|result| result.submission);
    let runs = frozen.count(id, What::Began).saturating_add(other.count(id, What::Began));
    ensure!(runs == 2, "{runs} runs of two attempts");
    tokio::time::sleep(a_moment()).await;
    let later = a.result(id).await?;
    ensure!(later.result.as_ref().map(|result| result.submission) == result, "the job's result has changed");
    ensure!(later.status == JobStatus::Completed && later.attempts.len() == 2, "{} attempts", later.attempts.len());
    let ended = frozen.count(id, What::Ended).saturating_add(other.count(id, What::Ended));
    ensure!(ended >= 1 && later.submissions.len() <= ended, "more results than runs that ended");
    ensure!(frozen.count(id, What::Ended) == 1, "the frozen run did not come to its end");
    let judged = later.submissions.iter().any(|submission| submission.executor == frozen.node());
    ensure!(judged, "the result of the executor that came back was not judged");
    Ok(format!(
        "2 attempts, {ended} came to their end and {} results were judged; the first stands",
        later.submissions.len()
    ))
}

fn is_over(executor: &crate::verify::executor::ExecutorProcess, id: reconvene_executor::JobId) -> bool {
    executor.count(id, What::Ended).saturating_add(executor.count(id, What::Stopped)) > 0
}

async fn bb13(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let refused = a.submit(job(50, "worthless")?.with_value(0)).await;
    let refused = refused.err().and_then(|error| error.downcast::<CallError>().ok());
    let field = match &refused {
        Some(CallError::Refused { source: CommandError::Spec { field, .. }, .. }) => field.clone(),
        other => anyhow::bail!("a job worth nothing was answered {other:?}"),
    };
    let puppet = site.puppet(&a).await?;
    let probe = a.submit(job(50, "probe")?).await?;
    let attempt = puppet.is_given(probe).await?;
    let mut foreign = attempt;
    foreign.job.sequence = 4_000_000;
    ensure!(a.job(foreign.job).await?.is_none(), "a job that nobody submitted is known");
    for bytes in [&b""[..], b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", &[0; 4_096]] {
        puppet.send_raw(&a, bytes).await?;
    }
    let parked = puppet.submit_of(&a, foreign, &job(50, "none")?, &Claim::new(9, "none")).await?;
    ensure!(matches!(parked, Answer::Parked { .. }), "a result of an unknown job was answered {parked:?}");
    let accepted = puppet.submit(&a, attempt, &Claim::new(1, "probe")).await?;
    ensure!(matches!(accepted, Answer::Accepted { .. }), "a good result was answered {accepted:?}");

    puppet.fall_silent();
    let executor = site.executor(&a, &[]).await?;
    let good = a.submit(job(50, "good")?.with_tag(Tag::new("none-yet")?)).await;
    ensure!(good.is_ok(), "a good job was refused");
    let tagged = site.executor(&a, &["--tag", "none-yet"]).await?;
    let good = good?;
    tagged.has(good, What::Ended).await?;
    a.result(good).await?;
    drop(executor);
    Ok(format!("a job with a bad `{field}` refused, bytes that are no message ignored, an unknown job's result parked"))
}

async fn bb14(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(60_000, "alone")?).await?;
    let first = x.is_given(id).await?;
    let y = site.puppet(&a).await?;
    x.fall_silent();
    let second = y.is_given(id).await?;
    ensure!(first != second, "the same attempt was given twice");
    let accepted = y.submit(&a, second, &Claim::new(1, "from y")).await?;
    ensure!(matches!(accepted, Answer::Accepted { .. }), "the first result was answered {accepted:?}");
    let told = a.result(id).await?;
    ensure!(is_stable(&told), "alone, a result is not stable at once: {:?}", told.result);
    x.register(&a).await?;
    let late = x.submit(&a, first, &Claim::new(1, "from x")).await?;
    let told = told.result.map(|result| result.submission);
    let told_the_first = matches!(late, Answer::Rejected(Rejection::AlreadyAccepted { by }) if Some(by) == told);
    ensure!(told_the_first, "the later result was answered {late:?}, and the job's is {told:?}");
    let after = a.result(id).await?.result;
    ensure!(after.as_ref().map(|result| result.submission) == told, "the client was told another result later");
    Ok("attempt 2 after the silence; first result accepted, the later one `AlreadyAccepted`".to_owned())
}
