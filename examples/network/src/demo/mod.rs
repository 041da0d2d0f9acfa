//! The demo: a whole network in one process, what breaks it, and the record against which its promises are checked.

use std::{io::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use reconvene_store::{Identity, Limits, MemoryStore};
use reconvene_store_redb::RedbStore;

use crate::{exit::Failure, signals};

mod checks;
mod evidence;
mod memory;
mod network;
mod options;
mod play;
mod progress;
mod quic;
mod report;
mod script;
mod settings;
mod timeline;
mod workload;

pub(crate) use self::options::{Options, StoreKind, TransportKind};

use self::{
    network::Network,
    play::Story,
    progress::Progress,
    report::{BrokerName, Report},
    script::Script,
    workload::Workload,
};

/// Runs the demo and reports.
///
/// # Errors
/// [`Failure`] if a file cannot be read or written, the network stops, or a check did not hold.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let workload = Workload::load(options)?;
    let started = stopwatch();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    let story = runtime.block_on(async {
        tokio::select! {
            story = tell(options, &workload) => story,
            interrupted = signals::interrupted() => {
                interrupted.context("cannot listen for Ctrl-C")?;
                Err(anyhow::anyhow!("interrupted before the end; nothing was checked"))
            }
        }
    })?;
    // Whatever still waits for a socket is of no interest any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let elapsed_ms = u64::try_from(started().as_millis()).unwrap_or(u64::MAX);
    let report = report(options, &story, elapsed_ms);

    if let Some(path) = &options.timeline {
        write_file(path, story.timeline.html(&report, &story.evidence).as_bytes(), "the timeline")?;
    }
    match &options.json {
        None => print(report.for_people().as_bytes())?,
        Some(path) => {
            let mut json = serde_json::to_vec_pretty(&report).context("cannot write the report as JSON")?;
            json.push(b'\n');
            if path == Path::new("-") {
                print(&json)?;
            } else {
                write_file(path, &json, "the report")?;
                print(report.for_people().as_bytes())?;
            }
        }
    }
    let broken: Vec<&str> = report.checks.iter().filter(|check| !check.held).map(|check| check.name).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("{} of {} checks did not hold: {}", broken.len(), report.checks.len(), broken.join(", "))
            .into())
    }
}

async fn tell(options: &Options, workload: &Workload) -> Result<Story> {
    let script = Script::new(options, workload.last_ms(), workload.typical_run_ms());
    let mut progress = Progress::start(workload.jobs.len(), options.quiet);
    let story = match options.transport {
        TransportKind::Memory => {
            let network = memory::MemoryNetwork::start(options, workload.slots)?;
            play_on(network, options, workload, &script, &mut progress).await
        }
        TransportKind::Quic => play_on_sockets(options, workload, &script, &mut progress).await,
    };
    progress.finish();
    story
}

async fn play_on_sockets(
    options: &Options,
    workload: &Workload,
    script: &Script,
    progress: &mut Progress,
) -> Result<Story> {
    let network = settings::network();
    match &options.store {
        StoreKind::Memory => {
            let make = |_, identity| Ok(MemoryStore::for_network(identity, network, Limits::default()));
            let network = quic::QuicNetwork::start(options, workload.slots, make).await?;
            play_on(network, options, workload, script, progress).await
        }
        StoreKind::Redb { data } => {
            // Removed at the end, unless the user named another.
            let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
            let dir = data.as_deref().unwrap_or_else(|| temporary.path());
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
            let make = |broker, identity: Identity| {
                let path = dir.join(format!("{}.redb", BrokerName(broker)));
                let mut settings = reconvene_store_redb::Settings::new(network, identity.node);
                settings.replica = Some(identity.replica);
                RedbStore::create(&path, &settings).context("cannot create a store")
            };
            let network = quic::QuicNetwork::start(options, workload.slots, make).await?;
            play_on(network, options, workload, script, progress).await
        }
    }
}

async fn play_on<N: Network>(
    mut network: N,
    options: &Options,
    workload: &Workload,
    script: &Script,
    progress: &mut Progress,
) -> Result<Story> {
    let story = play::play(&mut network, options, workload, script, progress).await?;
    network.finish().await?;
    Ok(story)
}

fn report(options: &Options, story: &Story, elapsed_ms: u64) -> Report {
    let evidence = &story.evidence;
    let sum = |count: fn(&reconvene_broker::Statistics) -> u64| {
        story.statistics.iter().map(count).fold(0_u64, u64::saturating_add)
    };
    let sum_sync =
        |count: fn(&reconvene_sync::Stats) -> u64| story.sync.iter().map(count).fold(0_u64, u64::saturating_add);
    let submitted = evidence.submitted.len();
    let everywhere = |good: &dyn Fn(&evidence::JobEnd) -> bool| {
        let all = |job: &&evidence::Submitted| evidence.ends.iter().all(|end| end.jobs.get(&job.job).is_some_and(good));
        evidence.submitted.iter().filter(all).count()
    };
    let known = everywhere(&|job| job.spec.is_some());
    let redeployed: std::collections::BTreeSet<_> =
        evidence.seen.iter().filter(|seen| seen.what == evidence::Announced::Redeployed).map(|seen| seen.job).collect();
    let last_known = evidence.emergency.as_ref().and_then(|emergency| {
        let known: Option<Vec<u64>> = emergency.known_ms.iter().copied().collect();
        Some(known?.into_iter().max()?.saturating_sub(emergency.declared_ms))
    });
    Report {
        version: Report::VERSION,
        seed: options.seed,
        strategy: options.strategy_name.to_owned(),
        transport: options.transport.name().to_owned(),
        store: options.store.name().to_owned(),
        brokers: options.brokers,
        executors: options.executors,
        elapsed_ms,
        jobs: report::Jobs {
            submitted: count(submitted),
            completed: count(everywhere(&|job| job.result().is_some())),
            failed: count(everywhere(&|job| job.failed)),
            lost: count(submitted.saturating_sub(known)),
            redeployed: count(redeployed.len()),
            preempted: sum(|statistics| statistics.preempted),
        },
        results: report::Results {
            accepted: sum(|statistics| statistics.accepted),
            superseded: sum(|statistics| statistics.superseded),
            duplicates: report::Duplicates {
                retransmission: sum(|statistics| statistics.retransmission),
                equivalent: sum(|statistics| statistics.equivalent),
                divergent: sum(|statistics| statistics.divergent),
                late: sum(|statistics| statistics.late),
                parked: sum(|statistics| statistics.parked),
            },
        },
        sync: report::Sync {
            rounds: sum_sync(|stats| stats.rounds),
            sessions: sum_sync(|stats| stats.sessions),
            bytes_sent: sum_sync(|stats| stats.bytes_sent),
            records_sent: sum_sync(|stats| stats.records_sent),
            converged_exchange_bytes: story.sync.iter().map(|stats| stats.converged_exchange_bytes).max().unwrap_or(0),
            heal_to_converged_ms: story.heal_to_converged_ms,
        },
        emergency: report::Emergency {
            declared: sum(|statistics| statistics.emergencies_declared),
            reached_all_ms: last_known.unwrap_or(0),
        },
        digests: evidence
            .ends
            .iter()
            .enumerate()
            .map(|(broker, end)| (BrokerName(broker), end.digest.clone()))
            .collect(),
        checks: checks::all(evidence),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn write_file(path: &Path, bytes: &[u8], what: &str) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {what} to {}", path.display()))
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// Measures real time from now on.
#[expect(clippy::disallowed_methods, reason = "what a run took is real time, also where its own time is virtual")]
fn stopwatch() -> impl Fn() -> Duration {
    let started = std::time::Instant::now();
    move || started.elapsed()
}

#[cfg(test)]
pub(crate) mod tests {
    use reconvene_resolve::StrategyKind;

    use super::*;

    /// The options of a plain `reconvene demo`.
    pub(crate) fn options() -> Options {
        Options {
            brokers: 3,
            executors: 6,
            jobs: 300,
            workload: None,
            strategy: StrategyKind::EmergencyFirst,
            strategy_name: "emergency",
            sync_interval_ms: 1_000,
            seed: 7,
            transport: TransportKind::Memory,
            store: StoreKind::Memory,
            time_scale: 1_000,
            faults: true,
            json: None,
            timeline: None,
            quiet: true,
        }
    }
}
