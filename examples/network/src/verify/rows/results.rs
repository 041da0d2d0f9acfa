//! What becomes of results: BB10 to BB12.

use anyhow::{Result, ensure};
use reconvene_broker::{Ground, Obstacle, ResultRule, StrategyKind, Subject};
use reconvene_executor::{Answer, AttemptId, JobId, Rejection};

use crate::verify::{
    broker::{Broker, a_moment},
    puppet::{Claim, Puppet},
    row::Row,
    site::{BrokerSettings, Site, job},
    wait::{SOON, until},
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "BB10",
        requirement: "duplicates told apart (D0 to D8)",
        given: "a broker under `fcfs` and executors in the observer's hands",
        when: "they submit a result again (D0), something else under its name (D1), again under a new number (D2), of an \
           attempt that another replaced (D4: equal and other content), of a cancelled job (D5), of another \
           specification (D6), of an unknown job (D7) and of an attempt that they never had (D8)",
        then: "each gets the answer of its kind, and the job's result never changes",
        proof: "the answers are what the executors in the observer's hands received, compared one by one with the table of \
            the design; the broker's counters are compared with what was sent",
        run: |site| Box::pin(bb10(site)),
    },
    Row {
        id: "BB11",
        requirement: "superseded results kept, reported once",
        given: "a broker under `priority`; a job that two executors in the observer's hands run, because one was silent",
        when: "one submits a result of quality 9,000, the other one of 9,500; then the broker is killed and starts again \
               on its files",
        then: "both are accepted, the better one is the job's, both can be read before and after, and the change is \
               reported under one name only",
        proof: "the executors were answered `Accepted`, a client was told the one result and then the other, and the \
                notices in the broker's log are counted by their keys",
        run: |site| Box::pin(bb11(site)),
    },
    Row {
        id: "BB12",
        requirement: "statistics, explanations",
        given: "a broker and an executor in the observer's hands",
        when: "the observer submits jobs, one of them twice under one key, cancels one, declares and revokes an emergency, \
               the executor submits a result, the same once more and another one, and the observer asks why each is where it is",
        then: "each counter says how often that happened; the job that waits names the executor that is full, its place and the \
               job before it, the running one its executor, the cancelled one the broker that was told, and each result the row \
               of the table by which it was judged and what it would have needed to be the one that counts",
        proof: "the observer counts what it does itself and compares; what is said is compared with what it did to bring it about",
        run: |site| Box::pin(bb12(site)),
    },
];

async fn bb10(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::FirstComeFirstServed)).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(60_000, "x")?).await?;
    let first = x.is_given(id).await?;
    let y = site.puppet(&a).await?;
    x.fall_silent();
    let second = y.is_given(id).await?;
    x.register(&a).await?;

    // D6 and D8 come before anything is accepted, so that nothing else can be the reason.
    let stale = y.submit(&a, second, &Claim { stale: true, ..Claim::new(9, "r") }).await?;
    expect("D6", stale, |answer| matches!(answer, Answer::Rejected(Rejection::StaleSpec { .. })))?;
    let foreign = x.submit_of(&a, second, &job(60_000, "x")?, &Claim::new(8, "r")).await?;
    expect("D8", foreign, |answer| matches!(answer, Answer::Rejected(Rejection::NotAssigned)))?;
    let accepted = y.submit(&a, second, &Claim::new(1, "r")).await?;
    expect("the first", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let told = a.result(id).await?.result.map(|result| result.submission);
    let is_told = |submission| Some(submission) == told;

    let again = y.submit(&a, second, &Claim::new(1, "r")).await?;
    expect("D0", again, |answer| *answer == accepted)?;
    let other = y.submit(&a, second, &Claim::new(1, "something else")).await?;
    let (good, bad) = (Claim::new(1, "r").digest(), Claim::new(1, "something else").digest());
    expect("D1", other, |answer| matches!(answer, Answer::Fault(fault) if (fault.first, fault.second) == (good, bad)))?;
    let renamed = y.submit(&a, second, &Claim::new(2, "r")).await?;
    expect(
        "D2, equal",
        renamed,
        |answer| matches!(answer, Answer::Rejected(Rejection::Equivalent { canonical, agreement: 1 }) if is_told(*canonical)),
    )?;
    let changed = y.submit(&a, second, &Claim::new(3, "r changed")).await?;
    expect("D2, other", changed, |answer| matches!(answer, Answer::Rejected(Rejection::Divergent)))?;
    let equal = x.submit(&a, first, &Claim::new(1, "r")).await?;
    expect(
        "D4, equal",
        equal,
        |answer| matches!(answer, Answer::Rejected(Rejection::Equivalent { canonical, agreement: 2 }) if is_told(*canonical)),
    )?;
    d4_other(&a, &x, &y).await?;
    d5(&a, &x, &y).await?;

    let mut unknown = second;
    unknown.job.sequence = 4_000_000;
    let parked = y.submit_of(&a, unknown, &job(60_000, "x")?, &Claim::new(7, "r")).await?;
    expect("D7", parked, |answer| matches!(answer, Answer::Parked { .. }))?;

    let after = a.result(id).await?.result.map(|result| result.submission);
    ensure!(after == told, "the job's result was {told:?} and is {after:?}");
    let counted = a.statistics().await?;
    let kinds = [counted.retransmission, counted.fault, counted.stale, counted.foreign, counted.parked, counted.late];
    ensure!(kinds == [1; 6], "D0, D1, D6, D8, D7, D5 were sent once each and counted {kinds:?} times");
    ensure!((counted.equivalent, counted.divergent, counted.accepted) == (2, 2, 2), "counted {counted:?}");
    Ok("11 submissions: every kind answered as in the table and counted once, two results accepted, none replaced"
        .to_owned())
}

async fn bb11(site: &Site) -> Result<String> {
    let settings = BrokerSettings::new(StrategyKind::PriorityBased);
    let mut a = site.broker("a", settings).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(600_000, "twice")?).await?;
    let first = x.is_given(id).await?;
    let y = site.puppet(&a).await?;
    x.fall_silent();
    let second = y.is_given(id).await?;
    x.register(&a).await?;
    let good = Claim { quality_bp: 9_000, ..Claim::new(1, "good") };
    expect("the first", y.submit(&a, second, &good).await?, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let before = a.result(id).await?.result.map(|result| result.submission);
    let better = Claim { quality_bp: 9_500, ..Claim::new(1, "better") };
    expect("the better", x.submit(&a, first, &better).await?, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let view = a.result(id).await?;
    let canonical = view.result.as_ref().map(|result| result.submission);
    ensure!(canonical != before, "the better result is not the job's");
    until("the change is reported", SOON, async || Ok((!a.notices().is_empty()).then_some(()))).await?;

    a.kill().await?;
    a.restart(site, settings).await?;
    tokio::time::sleep(a_moment()).await;
    let after = a.result(id).await?;
    ensure!(after.result.as_ref().map(|result| result.submission) == canonical, "the restart changed the job's result");
    let kept: Vec<_> =
        after.submissions.iter().filter(|submission| submission.accepted).map(|kept| kept.digest).collect();
    ensure!(
        kept.len() == 2 && [good.digest(), better.digest()].iter().all(|digest| kept.contains(digest)),
        "{kept:?} kept"
    );
    let notices = a.notices().len();
    ensure!(notices == 1, "{notices} notices of one change");
    Ok("2 accepted results kept over a kill, the better one is the job's, 1 notice".to_owned())
}

async fn bb12(site: &Site) -> Result<String> {
    let a = site.broker("a", BrokerSettings::new(StrategyKind::EmergencyFirst)).await?;
    let x = site.puppet(&a).await?;
    let id = a.submit(job(600_000, "keyed")?.with_client("observer", 1)).await?;
    let attempt = x.is_given(id).await?;
    let again = a.submit(job(600_000, "keyed")?.with_client("observer", 1)).await?;
    ensure!(again == id, "one client and key became two jobs");
    let waits = a.submit(job(50, "waits")?).await?;
    let cancelled = a.submit(job(50, "cancelled")?).await?;
    why_waiting(&a, &x, [id, waits, cancelled]).await?;
    a.cancel(cancelled).await?;
    let emergency = a.declare(100, "north").await?;
    a.revoke(emergency).await?;
    let accepted = x.submit(&a, attempt, &Claim::new(1, "result")).await?;
    let repeated = x.submit(&a, attempt, &Claim::new(1, "result")).await?;
    ensure!(accepted == repeated, "the same result was answered {accepted:?} and {repeated:?}");
    let other = x.submit(&a, attempt, &Claim::new(2, "other")).await?;
    expect("the other", other, |answer| matches!(answer, Answer::Rejected(Rejection::Divergent)))?;
    why_ended(&a, id, cancelled).await?;
    x.is_given(waits).await?;
    let counted = a.statistics().await?;
    let shown = [
        ("submitted", counted.submitted, 3),
        ("repeated_submits", counted.repeated_submits, 1),
        ("cancelled", counted.cancelled, 1),
        ("placed", counted.placed, 2),
        ("accepted", counted.accepted, 1),
        ("retransmission", counted.retransmission, 1),
        ("divergent", counted.divergent, 1),
        ("registrations", counted.registrations, 1),
        ("emergencies_declared", counted.emergencies_declared, 1),
        ("emergencies_revoked", counted.emergencies_revoked, 1),
        ("redeployed", counted.redeployed, 0),
        ("lost", counted.lost, 0),
        ("superseded", counted.superseded, 0),
        ("jobs", counted.jobs, 3),
    ];
    for (name, found, expected) in shown {
        ensure!(found == expected, "{name} is {found}, and happened {expected} times");
    }
    Ok(format!("{} counters as counted outside; 5 explanations as brought about", shown.len()))
}

/// One job runs, and two wait behind it.
async fn why_waiting(a: &Broker, x: &Puppet, [runs, waits, last]: [JobId; 3]) -> Result<()> {
    let placed = |ground: &Ground| {
        matches!(ground, Ground::Attempt { executor, phase: Some(phase), .. }
            if *executor == Some(x.node()) && phase.is_live())
    };
    explains(a, runs, "the executor", placed).await?;
    let full = |ground: &Ground| {
        matches!(ground, Ground::WouldStartIf { executor, obstacle: Obstacle::NoFreeSlot { slots: 1 } }
            if *executor == x.node())
    };
    explains(a, waits, "the full executor", full).await?;
    explains(a, last, "its place", |ground| matches!(ground, Ground::Queued { place: 2, waiting: 2, .. })).await?;
    explains(a, last, "what is before it", |ground| matches!(ground, Ground::Behind { job, .. } if *job == waits)).await
}

/// One job has an accepted result and one that was refused; another is cancelled.
async fn why_ended(a: &Broker, ended: JobId, cancelled: JobId) -> Result<()> {
    let told = a.result(ended).await?.result.map(|result| result.submission);
    let decided = |ground: &Ground| matches!(ground, Ground::Decision { canonical, .. } if Some(*canonical) == told);
    explains(a, ended, "the decision", decided).await?;
    let refused = |ground: &Ground| {
        matches!(ground, Ground::Judged { rule: ResultRule::Resubmission, needs: Some(needs), .. }
            if needs.ends_with("earlier in accepted"))
    };
    explains(a, ended, "why the other result does not count", refused).await?;
    explains(a, cancelled, "the cancel", |ground| matches!(ground, Ground::Cancelled { too_late: false, .. })).await
}

async fn explains(a: &Broker, job: JobId, what: &str, good: impl Fn(&Ground) -> bool) -> Result<()> {
    let explanation = a.explain(Subject::Job(job)).await?;
    ensure!(explanation.grounds.iter().any(good), "{what} is not named: {explanation}");
    Ok(())
}

/// Another executor with another result, under a strategy where the first stands.
async fn d4_other(a: &Broker, x: &Puppet, y: &Puppet) -> Result<()> {
    let id = a.submit(job(60_000, "d4")?).await?;
    let (first, lost, by) = given_to_one(x, y, id).await?;
    lost.fall_silent();
    let second = by.is_given(id).await?;
    lost.register(a).await?;
    let accepted = by.submit(a, second, &Claim::new(20, "of the second")).await?;
    expect("the first of D4", accepted, |answer| matches!(answer, Answer::Accepted { .. }))?;
    let late = lost.submit(a, first, &Claim::new(20, "of the first")).await?;
    expect("D4, other", late, |answer| matches!(answer, Answer::Rejected(Rejection::AlreadyAccepted { .. })))
}

/// A job that is cancelled while it runs.
async fn d5(a: &Broker, x: &Puppet, y: &Puppet) -> Result<()> {
    let id = a.submit(job(60_000, "d5")?).await?;
    let (attempt, on, _) = given_to_one(x, y, id).await?;
    a.cancel(id).await?;
    on.is_stopped(attempt).await?;
    let late = on.submit(a, attempt, &Claim::new(30, "too late")).await?;
    expect("D5", late, |answer| matches!(answer, Answer::Rejected(Rejection::Late { canonical: None })))
}

/// The attempt of a job that one of the two is given; that one first.
pub(super) async fn given_to_one<'a>(
    x: &'a Puppet,
    y: &'a Puppet,
    id: JobId,
) -> Result<(AttemptId, &'a Puppet, &'a Puppet)> {
    until("one of two executors is given the job", SOON, async || {
        Ok(match (x.holds(id), y.holds(id)) {
            (Some(attempt), _) => Some((attempt, x, y)),
            (None, Some(attempt)) => Some((attempt, y, x)),
            (None, None) => None,
        })
    })
    .await
}

/// The answer must be one of its kind.
pub(super) fn expect(what: &str, answer: Answer, good: impl Fn(&Answer) -> bool) -> Result<()> {
    ensure!(good(&answer), "{what} was answered {answer:?}");
    Ok(())
}
