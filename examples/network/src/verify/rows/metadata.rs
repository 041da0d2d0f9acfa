//! What brokers know of each other's: BA1 to BA7 and SC5.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use reconvene_broker::{ContentHash, DataContent, DataView, JobStatus, StrategyKind};
use reconvene_executor::Tag;
use tokio::time::Instant;

use crate::{
    run_log::What,
    verify::{
        broker::{Broker, agree},
        row::Row,
        site::{BrokerSettings, Site, job},
        wait::{SOON, until},
    },
};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "BA1",
        requirement: "periodic sync, 60 s by default, retried with backoff",
        given: "two brokers that exchange by their period alone: nothing is sent because something was written",
        when: "jobs are submitted at one of them, three while both are connected, one while they are cut off",
        then: "each job is known at the other within two periods; the one of the cut after the heal, though nobody asks \
               for it",
        proof: "the client asks the broker where the job was not submitted; the proxy between them counts what was lost \
                during the cut, so that there was one, and that it was tried again and again (how the gaps between the tries grow is not measured)",
        run: |site| Box::pin(ba1(site)),
    },
    Row {
        id: "BA2",
        requirement: "brokers found, joining and leaving at run time",
        given: "broker `b` told of `a` alone, broker `c` told of `b` alone",
        when: "`b` is killed, `d` joins, and `c` is asked to end",
        then: "jobs pass between `a` and `c`, which were never told of each other, and to `d`; `c` ends in good order and \
               the others know that it has left",
        proof: "the broker that could have passed the jobs on is dead when they pass; the end of `c` is its exit status",
        run: |site| Box::pin(ba2(site)),
    },
    Row {
        id: "BA3",
        requirement: "peer health: silent, unreachable, back again",
        given: "two brokers",
        when: "one process is frozen, and thaws",
        then: "the other tells its clients that it is suspect, then unreachable, then alive, and what was submitted \
               meanwhile is known there",
        proof: "the observer froze the process itself and compares what the other broker says of it with that",
        run: |site| Box::pin(ba3(site)),
    },
    Row {
        id: "BA4",
        requirement: "jobs, executors, data found at every broker, home lost",
        given: "three brokers, an executor at the first, a job that it has done and one that nobody can do; data published \
                at the first, and data of one name and different content at the first and the second",
        when: "the first broker is killed",
        then: "the other two name both jobs, the result with its bytes, the executor with its tags, and who held which data: \
               both contents of the one name, and, once the first broker counts as gone, that its data was last known there",
        proof: "what clients were told by the first broker before it died is compared with what the others tell after \
                it; the bytes are those in the executor's own log",
        run: |site| Box::pin(ba4(site)),
    },
    Row {
        id: "BA5",
        requirement: "emergencies reach every broker at once",
        given: "three brokers in a line, `a`, `b`, `c`, at the periods of 60 s; links from `a` to `c` are cut",
        when: "an emergency is declared at `a`, and revoked there",
        then: "a client of `c` is told of both long before any period is over",
        proof: "nothing but a push can bring it within the first period, and nothing but `b` can pass it on: the proxy \
                lost what was sent between `a` and `c`",
        run: |site| Box::pin(ba5(site)),
    },
    Row {
        id: "BA6",
        requirement: "vector clocks agree and never go back",
        given: "three brokers",
        when: "jobs are submitted in turn, each where the one before is already known, while one broker is killed and \
               starts again on its files",
        then: "each job's stamp is later than that of the one before, no name is given twice, and in the end all brokers \
               hold the same",
        proof: "the client notes names and stamps as it is told them, and compares the fingerprints of all brokers",
        run: |site| Box::pin(ba6(site)),
    },
    Row {
        id: "BA7",
        requirement: "restart and restored backup lose, revive nothing",
        given: "a broker with jobs that nobody else knows, a copy of its files, and jobs and a cancel after that",
        when: "it is killed and starts again on its files; then is killed and starts on the copy, beside a peer",
        then: "after the restart everything acknowledged is there; after the return from the copy too, and the cancelled \
               job stays cancelled",
        proof: "the client compares with what it was acknowledged; the observer itself exchanged the files",
        run: |site| Box::pin(ba7(site)),
    },
    Row {
        id: "SC5",
        requirement: "restored backup",
        given: "brokers `a` and `b`, and a copy of the files of `a` from before the last jobs and a cancel",
        when: "`a` starts again on the copy",
        then: "it is a new replica of the same node, old facts arrive by sync, names are not given twice, the cancelled \
               job stays so, and neither broker finds facts that contradict each other",
        proof: "names and replicas are those that clients were told before and after; the contradictions would be in the \
                logs of the brokers, which are read whole",
        run: |site| Box::pin(sc5(site)),
    },
];

const FIRST: StrategyKind = StrategyKind::FirstComeFirstServed;

async fn ba1(site: &Site) -> Result<String> {
    let sync = [("cascade_on_local_writes", "false")];
    let settings = BrokerSettings { sync: &sync, ..BrokerSettings::new(FIRST) };
    let a = site.broker("a", settings).await?;
    let b = site.broker("b", BrokerSettings { peers: &[&a], ..settings }).await?;
    a.sees(&b, "alive").await?;
    b.sees(&a, "alive").await?;
    agree(&[&a, &b]).await?;
    let period = site.scaled(60);
    let mut took = Vec::new();
    for input in ["one", "two", "three"] {
        let start = Instant::now();
        let id = a.submit(job(50, input)?).await?;
        b.knows(id).await?;
        took.push(start.elapsed());
        // Not in step with the period.
        tokio::time::sleep(period.mul_f64(0.3)).await;
    }
    let longest = took.iter().max().copied().unwrap_or_default();
    // A fifth of jitter on each, and time for a slow machine.
    ensure!(longest <= period.saturating_mul(2).saturating_add(Duration::from_secs(4)), "a job took {longest:?}");

    site.cut(&a, &b);
    let during = a.submit(job(50, "cut")?).await?;
    a.sees(&b, "unreachable").await?;
    let lost = || {
        let (there, back) = (site.proxy.traffic("a", "b").lost, site.proxy.traffic("b", "a").lost);
        there.saturating_add(back)
    };
    let first = lost();
    until("brokers that are cut off try again", SOON, async || Ok((lost() > first.saturating_add(2)).then_some(())))
        .await?;
    ensure!(b.job(during).await?.is_none(), "a job passed a cut");
    let tried = lost();
    site.heal();
    let healed = Instant::now();
    b.knows(during).await?;
    agree(&[&a, &b]).await?;
    Ok(format!(
        "period {} ms; jobs known after {} ms at most; {tried} datagrams lost in the cut, the job of the cut known {} ms \
         after the heal",
        period.as_millis(),
        longest.as_millis(),
        healed.elapsed().as_millis()
    ))
}

async fn ba2(site: &Site) -> Result<String> {
    let settings = BrokerSettings::new(FIRST);
    let a = site.broker("a", settings).await?;
    let mut b = site.broker("b", BrokerSettings { peers: &[&a], ..settings }).await?;
    let mut c = site.broker("c", BrokerSettings { peers: &[&b], ..settings }).await?;
    a.sees(&c, "alive").await?;
    c.sees(&a, "alive").await?;
    b.kill().await?;
    let at_c = c.submit(job(50, "from c")?).await?;
    a.knows(at_c).await?;
    let d = site.broker("d", BrokerSettings { peers: &[&c], ..settings }).await?;
    a.sees(&d, "alive").await?;
    let at_a = a.submit(job(50, "from a")?).await?;
    d.knows(at_a).await?;
    d.knows(at_c).await?;
    c.process().signal("INT")?;
    let status = c.process().ends(SOON).await?;
    ensure!(status.success(), "the broker that was asked to end ended with {status}");
    a.sees(&c, "left").await?;
    d.sees(&c, "left").await?;
    let after = d.submit(job(50, "from d")?).await?;
    a.knows(after).await?;
    Ok("4 brokers, each told of one: jobs passed after the first link was killed; one left with status 0".to_owned())
}

async fn ba3(site: &Site) -> Result<String> {
    let [a, mut b] = site.brokers::<2>(FIRST).await?;
    b.process().signal("STOP")?;
    let frozen = Instant::now();
    a.sees(&b, "suspect").await?;
    let suspect = frozen.elapsed();
    a.sees(&b, "unreachable").await?;
    let unreachable = frozen.elapsed();
    let meanwhile = a.submit(job(50, "meanwhile")?).await?;
    b.process().signal("CONT")?;
    a.sees(&b, "alive").await?;
    b.sees(&a, "alive").await?;
    b.knows(meanwhile).await?;
    Ok(format!(
        "suspect after {} ms, unreachable after {} ms, alive again after the thaw",
        suspect.as_millis(),
        unreachable.as_millis()
    ))
}

async fn ba4(site: &Site) -> Result<String> {
    let [mut a, b, c] = site.brokers::<3>(FIRST).await?;
    let executor = site.executor(&a, &["--tag", "x-ray"]).await?;
    let done = a.submit(job(50, "the bytes")?.with_tag(Tag::new("x-ray")?)).await?;
    let waits = a.submit(job(50, "nobody")?.with_tag(Tag::new("nobody-has-this")?)).await?;
    let told = a.result(done).await?;
    let log = executor.has(done, What::Ended).await?;
    let (map, other) = (ContentHash::of(b"map"), ContentHash::of(b"another map"));
    a.publish("map", map).await?;
    for (broker, hash) in [(&a, map), (&b, other)] {
        broker.publish("shared", hash).await?;
    }
    agree(&[&a, &b, &c]).await?;
    a.kill().await?;
    for broker in [&b, &c] {
        let found = broker.result(done).await?;
        let bytes = found.result.as_ref().and_then(|result| result.output.clone()).unwrap_or_default();
        ensure!(log.output.as_deref().map(str::as_bytes) == Some(bytes.as_slice()), "{} has {bytes:?}", broker.name());
        ensure!(found.submissions == told.submissions, "{} tells of other results", broker.name());
        let open = broker.knows(waits).await?;
        ensure!(
            open.attempts.is_empty() && open.status == JobStatus::Waiting,
            "{} says {:?}",
            broker.name(),
            open.status
        );
        let executors = broker.executors().await?;
        let view = executors.iter().find(|view| view.id == executor.node());
        let tagged = view.is_some_and(|view| view.tags.iter().any(|tag| tag.as_str() == "x-ray"));
        ensure!(tagged, "{} does not know the executor", broker.name());
        let holders = |view: &DataView| -> BTreeSet<_> {
            let holders = |content: &DataContent| content.holders.iter().map(|holder| holder.node).collect::<Vec<_>>();
            view.contents.iter().map(|content| (content.hash, holders(content))).collect()
        };
        let found = broker.locate("shared").await?;
        let both = BTreeSet::from([(map, vec![Some(a.node())]), (other, vec![Some(b.node())])]);
        ensure!(holders(&found) == both, "{} says of data under one name: {found:?}", broker.name());
        let what = "data whose holder is gone is named as last known";
        let view = until(what, SOON, async || {
            let view = broker.locate("map").await?;
            Ok(view.last_known.then_some(view))
        });
        let view = view.await?;
        ensure!(holders(&view) == BTreeSet::from([(map, vec![Some(a.node())])]), "{} says {view:?}", broker.name());
    }
    Ok("2 jobs, the bytes of a result, an executor with its tag and data under 2 names found at both brokers that are left".to_owned())
}

async fn ba5(site: &Site) -> Result<String> {
    let sync = [("cascade_on_local_writes", "false")];
    let settings = BrokerSettings { hurried: false, sync: &sync, ..BrokerSettings::new(StrategyKind::EmergencyFirst) };
    let a = site.broker("a", settings).await?;
    let b = site.broker("b", BrokerSettings { peers: &[&a], ..settings }).await?;
    a.sees(&b, "alive").await?;
    // Before there is a third that could find the first.
    let names = |from: &str, to: &str| reconvene_sim::proxy::Act::Cut(from.to_owned(), to.to_owned());
    site.proxy.apply(&names("a", "c"));
    // The port of the third is known to the proxy only once it is ready, and strangers pass.
    site.proxy.apply(&names("a", reconvene_sim::proxy::STRANGER));
    let c = site.broker("c", BrokerSettings { peers: &[&b], ..settings }).await?;
    b.sees(&c, "alive").await?;
    c.sees(&b, "alive").await?;

    let start = Instant::now();
    let id = a.declare(120, "north").await?;
    until("the emergency is known two hops away", PUSHED_WITHIN, async || {
        Ok(c.emergencies().await?.into_iter().find(|known| known.id == id && known.in_force))
    })
    .await?;
    let declared = start.elapsed();
    let start = Instant::now();
    a.revoke(id).await?;
    until("the revoke is known two hops away", PUSHED_WITHIN, async || {
        Ok(c.emergencies().await?.into_iter().find(|known| known.id == id && known.revoked))
    })
    .await?;
    let passed = site.proxy.traffic("a", "c").passed.saturating_add(site.proxy.traffic("c", "a").passed);
    ensure!(passed == 0, "{passed} datagrams passed between the ends of the line");
    Ok(format!(
        "two hops in {} ms, the revoke in {} ms, asking included; the period is 60 s",
        declared.as_millis(),
        start.elapsed().as_millis()
    ))
}

async fn ba6(site: &Site) -> Result<String> {
    let [a, mut b, c] = site.brokers::<3>(FIRST).await?;
    let mut names = BTreeSet::new();
    let mut last = None;
    for round in 0..3 {
        if round == 1 {
            b.kill().await?;
            b.restart(site, BrokerSettings { peers: &[&a], ..BrokerSettings::new(FIRST) }).await?;
        }
        for broker in [&a, &b, &c] {
            if let Some((known, _)) = last {
                broker.knows(known).await?;
            }
            let id = broker.submit(job(50, "next")?).await?;
            ensure!(names.insert(id), "the name {id} was given twice");
            let stamp = broker.knows(id).await?.submitted;
            if let Some((before, earlier)) = last {
                ensure!(stamp > earlier, "{id} is stamped {stamp:?}, and {before}, known before it, {earlier:?}");
            }
            last = Some((id, stamp));
        }
    }
    agree(&[&a, &b, &c]).await?;
    for broker in [&a, &b, &c] {
        for id in &names {
            broker.knows(*id).await?;
        }
    }
    Ok(format!("{} jobs in causal order over 3 brokers and a restart; all hold the same", names.len()))
}

async fn ba7(site: &Site) -> Result<String> {
    let settings = BrokerSettings::new(FIRST);
    let mut a = site.broker("a", settings).await?;
    let mut jobs = Vec::new();
    for input in ["one", "two", "three"] {
        jobs.push(a.submit(job(50, input)?).await?);
    }
    let before = a.status().await?;
    a.kill().await?;
    let copy = site.path("copy");
    copy_files(a.data(), &copy)?;
    a.restart(site, settings).await?;
    let again = a.status().await?;
    ensure!((again.node, again.replica) == (before.node, before.replica), "the restarted broker is another one");
    for id in &jobs {
        ensure!(a.job(*id).await?.is_some(), "{id} was acknowledged and is lost by a restart");
    }

    let b = site.broker("b", BrokerSettings { peers: &[&a], ..settings }).await?;
    let cancelled = jobs.first().copied().unwrap_or_else(|| unreachable!());
    a.cancel(cancelled).await?;
    jobs.push(a.submit(job(50, "four")?).await?);
    agree(&[&a, &b]).await?;
    restore(site, &mut a, &copy, BrokerSettings { peers: &[&b], ..settings }).await?;
    agree(&[&a, &b]).await?;
    for broker in [&a, &b] {
        for id in &jobs {
            let view = broker.knows(*id).await?;
            let is_cancelled = view.status == JobStatus::Cancelled;
            ensure!(is_cancelled == (*id == cancelled), "at {} {id} is {:?}", broker.name(), view.status);
        }
    }
    Ok(format!(
        "{} jobs there after a kill and after the return of an older copy; the cancelled one stays so",
        jobs.len()
    ))
}

async fn sc5(site: &Site) -> Result<String> {
    let settings = BrokerSettings::new(FIRST);
    let [mut a, b] = site.brokers::<2>(FIRST).await?;
    let old = a.submit(job(50, "old")?).await?;
    let cancelled = a.submit(job(50, "cancelled")?).await?;
    agree(&[&a, &b]).await?;
    let before = a.status().await?;
    a.kill().await?;
    let copy = site.path("copy");
    copy_files(a.data(), &copy)?;
    a.restart(site, BrokerSettings { peers: &[&b], ..settings }).await?;
    a.cancel(cancelled).await?;
    let newer = a.submit(job(50, "newer")?).await?;
    agree(&[&a, &b]).await?;

    restore(site, &mut a, &copy, BrokerSettings { peers: &[&b], ..settings }).await?;
    let after = a.status().await?;
    ensure!(after.node == before.node, "the node is another one");
    ensure!(after.replica != before.replica, "the replica of an old copy goes on as if it were the newest");
    a.knows(newer).await?;
    let view = a.job_when(cancelled, "the cancel is known", |view| view.status == JobStatus::Cancelled).await?;
    ensure!(view.status == JobStatus::Cancelled);
    // Whoever owns it by then has taken it over in an epoch of its own.
    let view = a.knows(old).await?;
    ensure!(view.owner != after.replica || view.epoch.0 > 1, "the new replica owns a job that it never took over");
    let next = a.submit(job(50, "next")?).await?;
    ensure!(![old, cancelled, newer].contains(&next), "{next} was given twice");
    ensure!(next.admitted_by == after.replica, "{next} is not a name of the new replica");
    b.knows(next).await?;
    agree(&[&a, &b]).await?;
    let faults = a.reported("FactFault").saturating_add(b.reported("FactFault"));
    ensure!(faults == 0, "{faults} facts contradict each other");
    Ok("the same node as a new replica, which pulled what it lacked and gave new names; no contradiction".to_owned())
}

/// Kills the broker and starts it on older files.
async fn restore(site: &Site, broker: &mut Broker, copy: &Path, settings: BrokerSettings<'_>) -> Result<()> {
    broker.kill().await?;
    fs::remove_dir_all(broker.data())?;
    copy_files(copy, broker.data())?;
    broker.restart(site, settings).await
}

/// Copies a directory and what is in it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Far below the period that would bring it anyway, far above what a slow machine takes for two hops.
const PUSHED_WITHIN: Duration = Duration::from_secs(15);
