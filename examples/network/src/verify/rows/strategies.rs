//! The five strategies, and switches between them: BB4 to BB9.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reconvene_broker::StrategyKind;
use reconvene_executor::{Answer, JobSpec, Resources};

use super::{partitions::has_attempt, results::expect};
use crate::{
    run_log::What,
    verify::{
        broker::{Broker, agree},
        executor::ExecutorProcess,
        puppet::Claim,
        row::Row,
        site::{BrokerSettings, Site, job},
        wait::{SOON, until},
    },
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "BB4",
        requirement: "first come first served as in the original",
        given: "a broker under `fcfs` and an executor with one slot, busy",
        when: "four jobs of different priorities are submitted, one after another",
        then: "they run in the order in which they came",
        proof: "the order is that of the executor's own log of runs",
        run: |site| Box::pin(bb4(site)),
    },
    Row {
        id: "BB5",
        requirement: "priority based",
        given: "a broker under `priority` and an executor with one slot, busy",
        when: "jobs of priorities 10, 250, 100 and 250 are submitted, one after another",
        then: "they run by priority, and equal ones in the order in which they came",
        proof: "the order is that of the executor's own log of runs",
        run: |site| Box::pin(bb5(site)),
    },
    Row {
        id: "BB6",
        requirement: "emergency first",
        given: "a broker under `emergency` and an executor with one slot, busy; an emergency is declared for `north`",
        when: "three jobs come: one of priority 250 that names the emergency but lies in the `south`, one of priority 1 that \
               names it and lies in `north/harbour`, and one of priority 100",
        then: "the job in the region of the emergency runs first, the others by priority",
        proof: "the order is that of the executor's own log of runs; without the emergency that job would be the last, and \
                with one without a region the second",
        run: |site| Box::pin(bb6(site)),
    },
    Row {
        id: "BB7",
        requirement: "resource optimal",
        given: "a broker under `resource` and an executor with one slot, busy",
        when: "jobs worth 1, 100, 10, and 10 for half of the room are submitted, one after another",
        then: "they run by what they are worth for the room they take",
        proof: "the order is that of the executor's own log of runs",
        run: |site| Box::pin(bb7(site)),
    },
    Row {
        id: "BB8",
        requirement: "causal, by vector clocks",
        given: "brokers `a` and `b` under `causal`, a job that runs at both because they are cut off from each other; many \
                other things have happened at `a` since",
        when: "`a` accepts its result, later by the clock `b` accepts its own, and the cut heals",
        then: "the job's result is the one that fewer events came before, that of `b`, though it is the later one by the \
               clock; both brokers say so, and the client of `a` is told once",
        proof: "both executors are in the observer's hands and note the order; under `fcfs` the same story ends with the \
                other result (SC1)",
        run: |site| Box::pin(bb8(site)),
    },
    Row {
        id: "BB9",
        requirement: "strategy switched at run time on all brokers",
        given: "three brokers under `fcfs`, and an executor with one slot at the last of them",
        when: "jobs of priorities 10, 250 and 100 are submitted there while it is busy; the policy is switched to \
               `priority` at the first broker; and such jobs are submitted once more",
        then: "all brokers follow the switch, and the jobs run first as they came, then by priority",
        proof: "both orders are those of the executor's own log of runs, and its broker was not the one that was told",
        run: |site| Box::pin(bb9(site)),
    },
];

async fn bb4(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let queue = Queue::start(site, &a).await?;
    let began = queue.order_of(&a, by_priority(&[10, 250, 100, 200])?).await?;
    ensure!(began == [0, 1, 2, 3], "the jobs ran in the order {began:?} of their submission");
    Ok("4 jobs of priorities 10, 250, 100, 200 ran in the order in which they came".to_owned())
}

async fn bb5(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::PriorityBased)).await?;
    let queue = Queue::start(site, &a).await?;
    let began = queue.order_of(&a, by_priority(&[10, 250, 100, 250])?).await?;
    ensure!(began == [1, 3, 2, 0], "the jobs ran in the order {began:?} of their submission");
    Ok("4 jobs of priorities 10, 250, 100, 250 ran as 250, 250, 100, 10".to_owned())
}

async fn bb6(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::EmergencyFirst)).await?;
    let queue = Queue::start(site, &a).await?;
    let emergency = a.declare(150, "north").await?;
    let specs = vec![
        job(30, "south")?.with_priority(250).with_region("south").with_emergency(emergency),
        job(30, "north")?.with_priority(1).with_region("north/harbour").with_emergency(emergency),
        job(30, "nowhere")?.with_priority(100),
    ];
    let began = queue.order_of(&a, specs).await?;
    ensure!(began == [1, 0, 2], "the jobs ran in the order {began:?} of their submission");
    Ok("the job of priority 1 in the region of the emergency ran before those of 250 and 100; one of another region did not".to_owned())
}

async fn bb7(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::ResourceOptimal)).await?;
    let queue = Queue::start(site, &a).await?;
    let demand = |spec: JobSpec, cpu| spec.with_demand(Resources::new(cpu, 16, 0));
    let specs = vec![
        demand(job(30, "1")?.with_value(1), 1_000),
        demand(job(30, "100")?.with_value(100), 1_000),
        demand(job(30, "10")?.with_value(10), 1_000),
        demand(job(30, "10 for half")?.with_value(10), 500),
    ];
    let began = queue.order_of(&a, specs).await?;
    ensure!(began == [1, 3, 2, 0], "the jobs ran in the order {began:?} of their submission");
    Ok("jobs worth 1, 100, 10, 10 for half ran as 100, 10 for half, 10, 1".to_owned())
}

async fn bb8(site: &Site) -> Result<String> {
    let [a, b] = site.brokers::<2>(StrategyKind::VectorClockCausal).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(600_000, "both")?).await?;
    let first = x.is_given(id).await?;
    b.job_when(id, "the attempt is known", has_attempt).await?;
    let z = site.puppet(&b).await?;
    site.cut(&a, &b);
    for _ in 0..40 {
        a.submit(job(50, "since")?).await?;
    }
    let second = z.is_given(id).await?;
    let at_a = x.submit(&a, first, &Claim::new(1, "from x")).await?;
    expect("the result at a", at_a, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let told = a.result(id).await?.result.context("no result at a")?.submission;
    let at_b = z.submit(&b, second, &Claim::new(1, "from z")).await?;
    expect("the result at b", at_b, |answer| matches!(answer, Answer::Accepted { .. }))?;
    site.heal();
    for broker in [&a, &b] {
        let view = broker.job_when(id, "both results are known", |view| view.submissions.len() == 2).await?;
        let result = view.result.context("a job with two results has none")?;
        let output = String::from_utf8_lossy(result.output.as_deref().unwrap_or_default());
        ensure!(output == "from z", "at {} it is the one {output}", broker.name());
        ensure!(result.submission != told, "two results have one name");
    }
    agree(&[&a, &b]).await?;
    let notices = (a.notices().len(), b.notices().len());
    ensure!(notices == (1, 0), "notices at a and b: {notices:?}");
    Ok("the result accepted later by the clock, with 40 events fewer before it, is the job's on both; one notice at a"
        .to_owned())
}

async fn bb9(site: &Site) -> Result<String> {
    let [a, b, c] = site.brokers::<3>(StrategyKind::FirstComeFirstServed).await?;
    let queue = Queue::start(site, &c).await?;
    let before = queue.order_of(&c, by_priority(&[10, 250, 100])?).await?;
    a.switch(StrategyKind::PriorityBased, 1).await?;
    for broker in [&a, &b, &c] {
        broker.follows(StrategyKind::PriorityBased).await?;
    }
    let after = queue.order_of(&c, by_priority(&[10, 250, 100])?).await?;
    ensure!(before == [0, 1, 2] && after == [1, 2, 0], "before the switch {before:?}, after it {after:?}");
    Ok("priorities 10, 250, 100 ran as they came before the switch at another broker, and as 250, 100, 10 after it"
        .to_owned())
}

/// A broker's only executor, busy while jobs are submitted.
struct Queue {
    executor: ExecutorProcess,
}

impl Queue {
    async fn start(site: &Site, a: &Broker) -> Result<Self> {
        Ok(Self { executor: site.executor(a, &[]).await? })
    }

    /// Submits the jobs one after another while the executor is busy, and says in which order they ran.
    async fn order_of(&self, a: &Broker, specs: Vec<JobSpec>) -> Result<Vec<usize>> {
        let busy = a.submit(job(u64::try_from(BUSY.as_millis())?, "busy")?).await?;
        self.executor.has(busy, What::Began).await?;
        let mut jobs = Vec::new();
        for spec in specs {
            jobs.push(a.submit(spec).await?.to_string());
        }
        let over = self.executor.count(busy, What::Ended) > 0;
        ensure!(!over, "the machine is too slow: the job that keeps the executor busy was over before all waited");
        until("all jobs have run", SOON, async || {
            let began = self.executor.began();
            let order: Vec<usize> = began.iter().filter_map(|job| jobs.iter().position(|other| other == job)).collect();
            Ok((order.len() == jobs.len()).then_some(order))
        })
        .await
    }
}

fn by_priority(priorities: &[u8]) -> Result<Vec<JobSpec>> {
    priorities.iter().map(|priority| Ok(job(30, "next")?.with_priority(*priority))).collect()
}

/// For how long the executor is busy: time for a slow machine to submit a handful of jobs.
const BUSY: Duration = Duration::from_secs(3);
