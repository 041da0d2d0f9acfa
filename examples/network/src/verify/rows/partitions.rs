//! The scenarios with brokers that lose each other, and with executors that come back: SC1 to SC4, SC8, SC9.

use anyhow::{Context as _, Result, ensure};
use reconvene_broker::{JobView, StrategyKind};
use reconvene_executor::{Answer, AttemptId, Finality, JobId, Rejection, SubmissionId};

use super::results::{expect, given_to_one};
use crate::{
    run_log::What,
    verify::{
        broker::{Broker, a_moment, agree},
        puppet::{Claim, Puppet},
        row::Row,
        site::{BrokerSettings, Site, job},
    },
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "SC1",
        requirement: "two accepted results",
        given: "brokers `a` and `b` under `fcfs`; a job of `a` runs on an executor of `a`; the brokers are cut off from \
                each other",
        when: "`b` takes the job over and gives it to an executor of its own, both executors submit, `a` hears its result \
               first, and the cut heals; later it is cut and heals once more",
        then: "both results were accepted and are kept on both sides, the earlier is the job's on both, the client of `b` \
               is told of the change once and the client of `a` never, and it is `Stable` at last; of a second job with \
               equal results both agree, and `b` says so once",
        proof: "both executors are in the observer's hands and were answered `Accepted`; clients of both brokers are asked \
                before and after; the notices are counted in the logs of both brokers",
        run: |site| Box::pin(sc1(site)),
    },
    Row {
        id: "SC2",
        requirement: "executor reappears",
        given: "a broker and two executors in the observer's hands; one is given a job and falls silent until the other \
                is given it",
        when: "it comes back and submits: (a) first; (b) after the other, under `fcfs` and, with better quality, under \
               `priority`; (c) after the result was settled; (d) the same content",
        then: "(a) `Accepted`, and the other is told to stop; (b) `AlreadyAccepted`; `Accepted` with one notice of the \
               change; (c) `Settled`; (d) `Equivalent` with two that agree",
        proof: "the executors themselves heard the answers and the order to stop; results are those that a client is told",
        run: |site| Box::pin(sc2(site)),
    },
    Row {
        id: "SC3",
        requirement: "orphans adopted",
        given: "brokers `a` and `b`; a job of `a` runs on an executor process of `a`",
        when: "`a` is killed for good",
        then: "the executor goes on under `b`, `b` takes the job over, takes its result, and nothing runs twice",
        proof: "the executor's own log has one run of the job, from before the death of `a` to its end; the client of `b` \
                is told that output",
        run: |site| Box::pin(sc3(site)),
    },
    Row {
        id: "SC4",
        requirement: "broker returns after the timeout",
        given: "as SC3, but the executor dies with `a`, and `b` runs the job again on an executor of its own",
        when: "`a` starts again on its files, with a new executor beside it",
        then: "`a` is the same replica, starts nothing, and tells its clients the same as `b`",
        proof: "the executors' own logs: one run at `b`, none at the new executor of `a`; clients of both are asked",
        run: |site| Box::pin(sc4(site)),
    },
    Row {
        id: "SC7",
        requirement: "switch during a partition",
        given: "brokers `a` and `b` under `fcfs`, a job of `a`, and then a cut between them",
        when: "`a` is switched to `priority` with rank 1, `b` to `emergency` with rank 2, a second job comes to `a`, and the \
               cut heals; then each job gets two results, the later of better quality",
        then: "both brokers follow `emergency`; the first job is judged by `fcfs`, so that its first result stands, the \
               second by `priority`, so that the better one wins, and both brokers say so",
        proof: "what judges shows in the answers to executors in the observer's hands; clients of both brokers are asked",
        run: |site| Box::pin(sc7(site)),
    },
    Row {
        id: "SC8",
        requirement: "retransmission",
        given: "brokers `a` and `b`; an executor in the observer's hands with a job of `a`",
        when: "it submits number 4, and again three times, the last time to `b`; then something else as number 4",
        then: "four identical answers, one result kept, three counted, nothing superseded; then `Fault`",
        proof: "the executor compares the four answers itself; clients of both brokers are told of one result",
        run: |site| Box::pin(sc8(site)),
    },
    Row {
        id: "SC9",
        requirement: "unknown job",
        given: "brokers `a` and `c`, cut off from each other before a job comes to `a`",
        when: "its executor moves to `c`, which has never heard of the job, submits there, and the cut heals; then the same \
               with a restart of `c` before the heal, after which the executor submits again what it kept",
        then: "`c` keeps the result (`Parked`) and accepts it when it hears of the job; the executor is told without \
               asking, and both brokers name the result",
        proof: "the executor in the observer's hands heard both answers; clients of both brokers are asked",
        run: |site| Box::pin(sc9(site)),
    },
];

const FIRST: StrategyKind = StrategyKind::FirstComeFirstServed;

async fn sc1(site: &Site) -> Result<String> {
    let [a, b] = site.brokers::<2>(FIRST).await?;
    let (x, z) = (Puppet::new(site, 2, &[])?, Puppet::new(site, 2, &[])?);
    x.register(&a).await?;
    let id = a.submit(job(600_000, "twice")?).await?;
    let equal = a.submit(job(600_000, "twice the same")?).await?;
    let (first, first_equal) = (x.is_given(id).await?, x.is_given(equal).await?);
    for job in [id, equal] {
        b.job_when(job, "the attempt is known", has_attempt).await?;
    }
    z.register(&b).await?;
    site.cut(&a, &b);
    let (second, second_equal) = (z.is_given(id).await?, z.is_given(equal).await?);
    ensure!(second.epoch > first.epoch && second.owner != first.owner, "{second} is not an attempt of another owner");
    let at_a = x.submit(&a, first, &Claim::new(1, "from x")).await?;
    expect("the result at a", at_a, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let told_at_a = told(&a, id).await?;
    let at_b = z.submit(&b, second, &Claim::new(1, "from z")).await?;
    expect("the result at b", at_b, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let told_at_b = told(&b, id).await?;
    ensure!(told_at_a != told_at_b, "two sides of a cut know one result");
    for (executor, broker, attempt) in [(&x, &a, first_equal), (&z, &b, second_equal)] {
        let answer = executor.submit(broker, attempt, &Claim::new(2, "the same")).await?;
        expect("an equal result", answer, |answer| matches!(answer, Answer::Accepted { .. }))?;
        told(broker, equal).await?;
    }

    site.heal();
    let two = |view: &JobView| view.submissions.iter().filter(|submission| submission.accepted).count() == 2;
    for broker in [&a, &b] {
        let view = broker.job_when(id, "both results are known", two).await?;
        let canonical = view.result.context("a job with two results has none")?;
        ensure!(canonical.submission == told_at_a, "at {} the job's is {:?}", broker.name(), canonical.submission);
        ensure!(canonical.output.as_deref() == Some(b"from x"), "its bytes are {:?}", canonical.output);
    }
    agree(&[&a, &b]).await?;
    site.cut(&a, &b);
    a.sees(&b, "suspect").await?;
    site.heal();
    a.sees(&b, "alive").await?;
    agree(&[&a, &b]).await?;
    tokio::time::sleep(a_moment()).await;
    let notices = (a.reported("ResultSuperseded"), b.reported("ResultSuperseded"));
    ensure!(notices == (0, 1), "notices at a and b: {notices:?}, expected none and one");
    let confirmed = (a.reported("ResultConfirmed"), b.reported("ResultConfirmed"));
    ensure!(confirmed == (0, 1), "confirmations at a and b: {confirmed:?}, expected none and one");
    for broker in [&a, &b] {
        let agreement = broker.result(equal).await?.result.map(|result| result.agreement);
        ensure!(agreement == Some(2), "{} counts {agreement:?} attempts that agree", broker.name());
    }
    for broker in [&a, &b] {
        ensure!(told(broker, id).await? == told_at_a, "{} has changed its mind", broker.name());
        broker.job_when(id, "the result is stable", is_stable).await?;
    }
    Ok("b told its client its own result, and after the heal that of a, with one notice, stable; a none; two equal results: one \
        confirmation"
        .to_owned())
}

/// Whether the broker says that no member can bring a better one any more.
pub(super) fn is_stable(view: &JobView) -> bool {
    view.result.as_ref().is_some_and(|result| result.finality == Finality::Stable)
}

async fn sc2(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(FIRST)).await?;
    let p = site.broker("b", BrokerSettings::new(StrategyKind::PriorityBased)).await?;
    let of_a = [site.puppet(&a).await?, site.puppet(&a).await?];
    let of_p = [site.puppet(&p).await?, site.puppet(&p).await?];
    let (first_come, judged) = tokio::join!(sc2_first_come(&a, &of_a), sc2_judged(&p, &of_p));
    first_come?;
    judged?;
    Ok("(a) Accepted, and Stop for the other; (b) AlreadyAccepted, and Accepted with one notice; (c) Settled; (d) \
        Equivalent, 2 agree"
        .to_owned())
}

async fn sc2_first_come(a: &Broker, [x, y]: &[Puppet; 2]) -> Result<()> {
    let again = vanish(a, x, y, "(a)").await?;
    let accepted = again.back.submit(a, again.original, &Claim::new(1, "original")).await?;
    expect("(a)", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    again.other.is_stopped(again.replacement).await?;

    let again = vanish(a, x, y, "(b)").await?;
    let accepted = again.other.submit(a, again.replacement, &Claim::new(2, "replacement")).await?;
    expect("the replacement of (b)", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let canonical = told(a, again.id).await?;
    let late = again.back.submit(a, again.original, &Claim::new(2, "original")).await?;
    expect(
        "(b)",
        late,
        |answer| matches!(answer, Answer::Rejected(Rejection::AlreadyAccepted { by }) if *by == canonical),
    )?;

    let again = vanish(a, x, y, "(d)").await?;
    let accepted = again.other.submit(a, again.replacement, &Claim::new(3, "the same")).await?;
    expect("the replacement of (d)", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let same = again.back.submit(a, again.original, &Claim::new(3, "the same")).await?;
    expect("(d)", same, |answer| matches!(answer, Answer::Rejected(Rejection::Equivalent { agreement: 2, .. })))
}

async fn sc2_judged(p: &Broker, [x, y]: &[Puppet; 2]) -> Result<()> {
    let again = vanish(p, x, y, "(b)").await?;
    let claim = Claim { quality_bp: 9_000, ..Claim::new(1, "good") };
    let accepted = again.other.submit(p, again.replacement, &claim).await?;
    expect("the replacement of (b)", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let before = told(p, again.id).await?;
    let claim = Claim { quality_bp: 9_500, ..Claim::new(1, "better") };
    let wins = again.back.submit(p, again.original, &claim).await?;
    expect("(b) with better quality", wins, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let view = p.result(again.id).await?;
    let result = view.result.context("a job without its result")?;
    ensure!(
        result.submission != before && result.output.as_deref() == Some(b"better"),
        "the better result is not the job's"
    );
    ensure!(view.submissions.len() == 2, "{} results are kept", view.submissions.len());

    let again = vanish(p, x, y, "(c)").await?;
    let claim = Claim { quality_bp: 9_000, ..Claim::new(2, "good") };
    let accepted = again.other.submit(p, again.replacement, &claim).await?;
    expect("the replacement of (c)", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    p.job_when(again.id, "the result is settled", |view| view.settled).await?;
    let claim = Claim { quality_bp: 9_500, ..Claim::new(2, "better") };
    let late = again.back.submit(p, again.original, &claim).await?;
    expect("(c)", late, |answer| matches!(answer, Answer::Rejected(Rejection::Settled { .. })))?;
    let notices = p.notices().len();
    ensure!(notices == 1, "{notices} notices of one change");
    Ok(())
}

/// A job that was given to an executor, which fell silent, and then to another, and then the first came back.
struct Vanished<'a> {
    id: JobId,
    original: AttemptId,
    replacement: AttemptId,
    back: &'a Puppet,
    other: &'a Puppet,
}

async fn vanish<'a>(broker: &Broker, x: &'a Puppet, y: &'a Puppet, input: &str) -> Result<Vanished<'a>> {
    let id = broker.submit(job(600_000, input)?).await?;
    let (original, back, other) = given_to_one(x, y, id).await?;
    back.fall_silent();
    let replacement = other.is_given(id).await?;
    back.register(broker).await?;
    Ok(Vanished { id, original, replacement, back, other })
}

async fn sc3(site: &Site) -> Result<String> {
    let [mut a, b] = site.brokers::<2>(FIRST).await?;
    let x = site.executor(&a, &[]).await?;
    // Longer than it takes until the owner counts as gone.
    let id = a.submit(job(site.scaled_ms(220_000), "orphan")?).await?;
    let began = x.has(id, What::Began).await?;
    b.job_when(id, "the attempt is known", has_attempt).await?;
    a.kill().await?;
    let taken = b.job_when(id, "the job is taken over", |view| view.epoch.0 > 1).await?;
    ensure!(taken.result.is_none(), "the job was over before it was taken over");
    let done = b.result(id).await?;
    let ended = x.has(id, What::Ended).await?;
    let result = done.result.context("a job without its result")?;
    ensure!(result.output.as_deref() == Some(b"orphan"), "the client was told {:?}", result.output);
    ensure!(done.attempts.len() == 1, "{} attempts", done.attempts.len());
    ensure!(x.count(id, What::Began) == 1 && x.count(id, What::Ended) == 1, "it did not run once");
    ensure!(began.attempt == ended.attempt, "another attempt ended than began");
    Ok(format!(
        "one run of {} ms, across the death of its home; b owned the job in epoch {}",
        ended.at_ms.saturating_sub(began.at_ms),
        done.epoch.0
    ))
}

async fn sc4(site: &Site) -> Result<String> {
    let [mut a, b] = site.brokers::<2>(FIRST).await?;
    let before = a.status().await?.replica;
    let mut x = site.executor(&a, &[]).await?;
    let id = a.submit(job(site.scaled_ms(60_000), "again")?).await?;
    x.has(id, What::Began).await?;
    b.job_when(id, "the attempt is known", has_attempt).await?;
    a.kill().await?;
    x.process().kill()?;
    ensure!(x.count(id, What::Ended) == 0, "the machine is too slow: the job was over before its executor was killed");
    let z = site.executor(&b, &[]).await?;
    z.has(id, What::Began).await?;
    a.restart(site, BrokerSettings { peers: &[&b], ..BrokerSettings::new(FIRST) }).await?;
    let w = site.executor(&a, &[]).await?;
    let at_b = b.result(id).await?;
    agree(&[&a, &b]).await?;
    ensure!(a.status().await?.replica == before, "the returned broker is another replica");
    let at_a = a.result(id).await?;
    let same = (at_a.owner, at_a.epoch, &at_a.attempts, &at_a.result)
        == (at_b.owner, at_b.epoch, &at_b.attempts, &at_b.result);
    ensure!(same, "a and b tell their clients different things");
    tokio::time::sleep(a_moment()).await;
    ensure!(w.began().is_empty(), "the returned broker started something");
    ensure!(z.count(id, What::Began) == 1 && z.count(id, What::Ended) == 1, "it did not run once at b");
    Ok(format!(
        "{} attempts, the last at b in epoch {}; the returned broker started nothing",
        at_a.attempts.len(),
        at_a.epoch.0
    ))
}

async fn sc7(site: &Site) -> Result<String> {
    let [a, b] = site.brokers::<2>(FIRST).await?;
    let x = site.puppet(&a).await?;
    let first = a.submit(job(600_000, "under the old")?).await?;
    let of_first = x.is_given(first).await?;
    b.knows(first).await?;
    site.cut(&a, &b);
    a.switch(StrategyKind::PriorityBased, 1).await?;
    b.switch(StrategyKind::EmergencyFirst, 2).await?;
    a.follows(StrategyKind::PriorityBased).await?;
    let second = a.submit(job(600_000, "under the new")?).await?;
    let y = site.puppet(&a).await?;
    let of_second = y.is_given(second).await?;
    site.heal();
    for broker in [&a, &b] {
        broker.follows(StrategyKind::EmergencyFirst).await?;
    }

    let z = site.puppet(&a).await?;
    x.fall_silent();
    let again = z.is_given(first).await?;
    x.register(&a).await?;
    let good = Claim { quality_bp: 9_000, ..Claim::new(1, "good") };
    let better = Claim { quality_bp: 9_500, ..Claim::new(1, "better") };
    expect("the first job", z.submit(&a, again, &good).await?, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let late = x.submit(&a, of_first, &better).await?;
    expect("a better result of the first job", late, |answer| {
        matches!(answer, Answer::Rejected(Rejection::AlreadyAccepted { .. }))
    })?;

    y.fall_silent();
    let (again, other, _) = given_to_one(&x, &z, second).await?;
    y.register(&a).await?;
    let good = Claim { sequence: 2, ..good };
    let better = Claim { sequence: 2, ..better };
    expect("the second job", other.submit(&a, again, &good).await?, |answer| {
        matches!(answer, Answer::Accepted { .. })
    })?;
    let wins = y.submit(&a, of_second, &better).await?;
    expect("a better result of the second job", wins, |answer| matches!(answer, Answer::Accepted { .. }))?;
    agree(&[&a, &b]).await?;
    for broker in [&a, &b] {
        for (id, output, kind) in [(first, "good", FIRST), (second, "better", StrategyKind::PriorityBased)] {
            let view = broker.result(id).await?;
            let result = view.result.context("a job without its result")?;
            ensure!(result.output.as_deref() == Some(output.as_bytes()), "at {} {:?}", broker.name(), result.output);
            ensure!(view.strategy == Some(kind), "at {} {id} is judged by {:?}", broker.name(), view.strategy);
        }
    }
    Ok("both follow emergency; the job from before the cut kept its first result, the one from within has the better"
        .to_owned())
}

async fn sc8(site: &Site) -> Result<String> {
    let [a, b] = site.brokers::<2>(FIRST).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(600_000, "once")?).await?;
    let attempt = x.is_given(id).await?;
    let claim = Claim::new(4, "once");
    let accepted = x.submit(&a, attempt, &claim).await?;
    expect("the first", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    b.result(id).await?;
    for (broker, which) in [(&a, "the second"), (&a, "the third"), (&b, "the fourth, at another broker")] {
        let again = x.submit(broker, attempt, &claim).await?;
        expect(which, again, |answer| *answer == accepted)?;
    }
    agree(&[&a, &b]).await?;
    let mut counted = 0_u64;
    for broker in [&a, &b] {
        let view = broker.result(id).await?;
        ensure!(view.submissions.len() == 1, "{} results are kept at {}", view.submissions.len(), broker.name());
        let statistics = broker.statistics().await?;
        counted = counted.saturating_add(statistics.retransmission);
        ensure!(statistics.superseded == 0 && broker.reported("ResultSuperseded") == 0, "something was superseded");
    }
    ensure!(counted == 3, "{counted} repetitions were counted");
    let other = x.submit(&a, attempt, &Claim::new(4, "something else")).await?;
    expect("something else under the same number", other, |answer| matches!(answer, Answer::Fault(_)))?;
    Ok("4 identical answers, 1 result, 3 repetitions counted; then Fault".to_owned())
}

async fn sc9(site: &Site) -> Result<String> {
    let [a, mut c] = site.brokers::<2>(FIRST).await?;
    site.cut(&a, &c);
    let x = site.puppet(&a).await?;
    let id = a.submit(job(600_000, "moved")?).await?;
    let attempt = x.is_given(id).await?;
    x.register(&c).await?;
    let parked = x.submit(&c, attempt, &Claim::new(1, "moved")).await?;
    expect("a result of an unknown job", parked, |answer| matches!(answer, Answer::Parked { .. }))?;
    ensure!(c.job(id).await?.is_none_or(|view| view.spec.is_none()), "c has heard of the job across the cut");
    site.heal();
    let answer = x.final_answer(attempt, 1).await?;
    expect("the parked result", answer, |answer| matches!(answer, Answer::Accepted { .. }))?;
    agree(&[&a, &c]).await?;
    let results = (told(&a, id).await?, told(&c, id).await?);
    ensure!(results.0 == results.1, "a and c name different results");
    let reported = (c.reported("ResultParked"), c.reported("ResultAccepted"));
    ensure!(reported == (1, 1), "c reported {reported:?} times parked and accepted");

    // Once more, and the broker that keeps the result dies meanwhile.
    site.cut(&a, &c);
    x.register(&a).await?;
    let id = a.submit(job(600_000, "moved again")?).await?;
    let attempt = x.is_given(id).await?;
    x.register(&c).await?;
    let claim = Claim::new(2, "moved again");
    let parked = x.submit(&c, attempt, &claim).await?;
    expect("a result of another unknown job", parked, |answer| matches!(answer, Answer::Parked { .. }))?;
    c.kill().await?;
    c.restart(site, BrokerSettings { peers: &[&a], ..BrokerSettings::new(FIRST) }).await?;
    // The answer was not final, so the executor has kept the result.
    x.register(&c).await?;
    let again = x.submit(&c, attempt, &claim).await?;
    expect("the same after a restart", again, |answer| matches!(answer, Answer::Parked { .. }))?;
    site.heal();
    let answer = x.final_answer(attempt, 2).await?;
    expect("the result parked again", answer, |answer| matches!(answer, Answer::Accepted { .. }))?;
    ensure!(told(&a, id).await? == told(&c, id).await?, "a and c name different results of the second job");
    Ok("Parked, then Accepted without asking again, also across a restart; both brokers name the result".to_owned())
}

/// Whether it is known which executor has the job.
pub(super) fn has_attempt(view: &JobView) -> bool {
    view.attempts.iter().any(|attempt| attempt.executor.is_some())
}

/// The result that a client of this broker is told.
async fn told(broker: &Broker, id: JobId) -> Result<SubmissionId> {
    let view = broker.result(id).await?;
    Ok(view.result.context("a result that was there is gone")?.submission)
}
