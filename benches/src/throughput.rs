//! Jobs a second, from their submission to their canonical result, in one broker: with the store in memory and with redb,
//! beside the commits that this takes alone.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use comfy_table::Table;
use reconvene_broker::{Command, Config, Node, NodeConfig, NodeInput, NodeOutput, StrategyKind, read_all};
use reconvene_clock::{Hlc, NodeId, Now, Timestamp, WallTime};
use reconvene_executor::codec::{decode_to_executor, encode_to_broker};
use reconvene_executor::message::{Heartbeat, Order, Register, Submit, ToBroker, ToExecutor};
use reconvene_executor::{AttemptId, JobSpec, Outcome, Resources, ResultDigest, SessionEpoch};
use reconvene_sim::suite::block_on;
use reconvene_store::{Batch, Identity, Limits, MemoryStore, MetadataStore};
use reconvene_store_redb::{RedbStore, Settings};
use reconvene_sync::{Config as SyncConfig, NetworkId, Output, Performed, StoreDriver, Ticket};
use serde::Serialize;

#[derive(Args)]
pub(crate) struct Options {
    /// Jobs in the run with the store in memory; the growth is shown at each power of ten up to it
    #[arg(long, default_value_t = 100_000)]
    jobs: u64,
    /// Jobs in the run with redb
    #[arg(long, default_value_t = 2_000)]
    durable_jobs: u64,
    /// Where the redb files go; they are removed afterwards
    #[arg(long, default_value = "target/throughput")]
    dir: PathBuf,
    /// Where to write the figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Row {
    store: &'static str,
    jobs: u64,
    commits: usize,
    jobs_per_s: u64,
    /// By the processor time of the thread, so that what else runs on the machine does not count. Where Linux tells it.
    jobs_per_cpu_s: Option<u64>,
    /// The same batches committed to a store of the same kind, and nothing else.
    raw_jobs_per_s: u64,
    /// Time of the broker over time of its commits.
    ratio: f64,
    growth: Vec<Growth>,
}

/// How it was at one size.
#[derive(Clone, Debug, Serialize)]
struct Growth {
    jobs_held: u64,
    /// Over the last tenth before that.
    jobs_per_s: u64,
    jobs_per_cpu_s: Option<u64>,
    /// Memory of the whole process, over the jobs: broker, replica and store. Where Linux tells it.
    bytes_per_job: Option<u64>,
}

/// Measures and prints.
///
/// # Errors
/// A job without a result, or a store that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rows = [memory(options.jobs)?, durable(options.durable_jobs, &options.dir)?];
    let mut table = Table::new();
    table.set_header([
        "STORE",
        "JOBS",
        "COMMITS",
        "JOBS/S",
        "JOBS/S OF PROCESSOR TIME",
        "RAW COMMITS, AS JOBS/S",
        "BROKER / RAW",
    ]);
    for row in &rows {
        table.add_row([
            row.store.to_owned(),
            row.jobs.to_string(),
            row.commits.to_string(),
            row.jobs_per_s.to_string(),
            row.jobs_per_cpu_s.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
            row.raw_jobs_per_s.to_string(),
            format!("{:.2}", row.ratio),
        ]);
    }
    println!("{table}");
    let shown = |figure: &Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    for growth in rows.iter().flat_map(|row| &row.growth) {
        let Growth { jobs_held, jobs_per_s, jobs_per_cpu_s, bytes_per_job } = growth;
        let (cpu, bytes) = (shown(jobs_per_cpu_s), shown(bytes_per_job));
        println!(
            "up to {jobs_held} jobs held: {jobs_per_s} jobs/s, {cpu} jobs/s of processor time, {bytes} bytes a job"
        );
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&rows).context("the figures do not fit JSON")?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn memory(jobs: u64) -> Result<Row> {
    let store = || MemoryStore::for_network(identity(), network(), Limits::default());
    let timed = Site::open(store(), false)?.run(jobs)?;
    // The same inputs make the same batches.
    let raw_jobs = jobs.min(RAW_JOBS);
    let batches = Site::open(store(), true)?.run(raw_jobs)?.batches;
    let raw = commit(&store(), &batches)?;
    Ok(row("memory", jobs, &timed, raw_jobs, raw))
}

fn durable(jobs: u64, dir: &Path) -> Result<Row> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let create = |name: &str| {
        let path = dir.join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let mut witness = path.clone().into_os_string();
        witness.push(".witness");
        if Path::new(&witness).exists() {
            fs::remove_file(&witness)?;
        }
        let mut settings = Settings::new(network(), identity().node);
        settings.replica = Some(identity().replica);
        RedbStore::create(&path, &settings).with_context(|| format!("cannot create {}", path.display()))
    };
    let timed = Site::open(create("broker.redb")?, true)?.run(jobs)?;
    let raw = commit(&create("raw.redb")?, &timed.batches)?;
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(row("redb", jobs, &timed, jobs, raw))
}

fn row(store: &'static str, jobs: u64, timed: &Timed, raw_jobs: u64, raw_s: f64) -> Row {
    let (ours, raw) = (jobs as f64 / timed.seconds, raw_jobs as f64 / raw_s);
    Row {
        store,
        jobs,
        commits: timed.commits,
        jobs_per_s: ours as u64,
        jobs_per_cpu_s: timed.jobs_per_cpu_s,
        raw_jobs_per_s: raw as u64,
        ratio: raw / ours,
        growth: timed.growth.clone(),
    }
}

/// How long these commits take alone, in seconds.
fn commit<S: MetadataStore>(store: &S, batches: &[Batch]) -> Result<f64> {
    let start = Instant::now();
    for batch in batches {
        block_on(store.commit(batch)).context("a batch of the same history was not taken")?;
    }
    Ok(start.elapsed().as_secs_f64())
}

struct Timed {
    seconds: f64,
    jobs_per_cpu_s: Option<u64>,
    commits: usize,
    batches: Vec<Batch>,
    growth: Vec<Growth>,
}

/// One broker and one executor that has every result at once.
struct Site<S: MetadataStore> {
    node: Node,
    driver: StoreDriver<S>,
    now_ms: u64,
    records: bool,
    batches: Vec<Batch>,
    commits: usize,
    orders: VecDeque<(AttemptId, JobSpec)>,
    sequence: u64,
}

impl<S: MetadataStore> Site<S> {
    fn open(store: S, records: bool) -> Result<Self> {
        let snapshot = block_on(store.snapshot()).context("no snapshot")?;
        let (head, rows) = block_on(read_all(&snapshot)).context("cannot read the store")?;
        let mut config = Config::new(StrategyKind::FirstComeFirstServed);
        config.max_jobs = usize::MAX;
        let config = NodeConfig::new(SyncConfig::new(network(), 1), config);
        let node = Node::open(config, head, rows, now(0)).context("cannot open the broker")?;
        let driver = StoreDriver::new(store);
        let (batches, orders) = (Vec::new(), VecDeque::new());
        let mut site = Self { node, driver, now_ms: 0, records, batches, commits: 0, orders, sequence: 0 };
        site.perform()?;
        site.says(&ToBroker::Register(Register {
            session: session(),
            registration: 1,
            capacity: Resources::new(64_000, 65_536, 0),
            slots: 64,
            tags: [].into(),
            held: Vec::new(),
            kept: Vec::new(),
            heir: None,
        }))?;
        Ok(site)
    }

    fn run(mut self, jobs: u64) -> Result<Timed> {
        let mut growth = Vec::new();
        let (start, cpu_start, bytes_start) = (Instant::now(), cpu_seconds(), memory_bytes());
        let (mut mark, mut since) = (1_000, (0, start, cpu_start));
        for number in 1..=jobs {
            let spec = JobSpec::new(number.to_be_bytes().to_vec()).with_client("throughput", number);
            self.feed(NodeInput::Command { ticket: Ticket(number), command: Command::Submit { spec } })?;
            while let Some((attempt, spec)) = self.orders.pop_front() {
                self.submit(attempt, &spec)?;
            }
            if number % 10 == 0 {
                self.pass()?;
            }
            if number == mark / 10 * 9 {
                since = (number, Instant::now(), cpu_seconds());
            }
            if number == mark {
                let last = (number - since.0) as f64;
                let bytes = memory_bytes().zip(bytes_start).map(|(end, start)| end.saturating_sub(start) / number);
                growth.push(Growth {
                    jobs_held: number,
                    jobs_per_s: (last / since.1.elapsed().as_secs_f64()) as u64,
                    jobs_per_cpu_s: jobs_per_cpu_s(last, since.2),
                    bytes_per_job: bytes,
                });
                mark *= 10;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let jobs_per_cpu_s = jobs_per_cpu_s(jobs as f64, cpu_start);
        let statistics = self.node.coordinator().statistics();
        ensure!(statistics.accepted == jobs && statistics.jobs_open == 0, "not every job has a result: {statistics:?}");
        Ok(Timed { seconds, jobs_per_cpu_s, commits: self.commits, batches: self.batches, growth })
    }

    /// A millisecond passes.
    fn pass(&mut self) -> Result<()> {
        self.now_ms += 1;
        if self.now_ms.is_multiple_of(HEARTBEAT_MS) {
            let sequence = self.now_ms;
            let (session, registration) = (session(), 1);
            let (running, kept, refused) = (Vec::new(), Vec::new(), Vec::new());
            self.says(&ToBroker::Heartbeat(Heartbeat { session, registration, sequence, running, kept, refused }))?;
        }
        if self.node.next_deadline().is_some_and(|due| due.as_millis() <= self.now_ms) {
            self.feed(NodeInput::Tick)?;
        }
        Ok(())
    }

    fn submit(&mut self, attempt: AttemptId, spec: &JobSpec) -> Result<()> {
        self.sequence += 1;
        let output = spec.payload.clone();
        self.says(&ToBroker::Submit(Submit {
            attempt,
            session: session(),
            sequence: self.sequence,
            spec_digest: spec.digest(),
            digest: ResultDigest::of(&output),
            outcome: Outcome::Success { output },
            cost_resource_ms: 1,
            quality_bp: 10_000,
        }))
    }

    fn says(&mut self, message: &ToBroker) -> Result<()> {
        let frame = encode_to_broker(message).context("a message breaks a limit")?;
        self.feed(NodeInput::ExecutorFrame { from: EXECUTOR, frame })
    }

    fn feed(&mut self, input: NodeInput) -> Result<()> {
        self.node.handle(now(self.now_ms), input);
        self.perform()
    }

    fn perform(&mut self) -> Result<()> {
        while let Some(output) = self.node.poll_output() {
            match output {
                NodeOutput::Store(output) => self.store(output)?,
                NodeOutput::SendExecutor { frame, .. } => {
                    let message = decode_to_executor(&frame).context("the broker's frame does not decode")?;
                    if let ToExecutor::HeartbeatAnswer { orders, .. } = message {
                        self.orders.extend(orders.into_iter().filter_map(|order| match order {
                            Order::Start { attempt, spec, .. } => Some((attempt, spec)),
                            Order::Stop { .. } => None,
                        }));
                    }
                }
                NodeOutput::Reply { reply, .. } => {
                    reply.map_err(|error| anyhow!("a job was refused: {error}"))?;
                }
                NodeOutput::SendPeer { .. }
                | NodeOutput::Connect { .. }
                | NodeOutput::DisconnectPeer { .. }
                | NodeOutput::Bundle { .. }
                | NodeOutput::Notify(_) => {}
            }
        }
        Ok(())
    }

    fn store(&mut self, output: Output) -> Result<()> {
        if let Output::Persist(batch) = &output {
            self.commits += 1;
            if self.records {
                self.batches.push(batch.clone());
            }
        }
        match block_on(self.driver.perform(output)).context("the store failed")? {
            Performed::Done => Ok(()),
            Performed::Input(input) => {
                self.node.handle(now(self.now_ms), NodeInput::Store(input));
                Ok(())
            }
            Performed::Other(other) => bail!("no effect of the store: {other:?}"),
        }
    }
}

/// Jobs a second of processor time since `start`. The kernel counts it in steps of some milliseconds, so that few of them say
/// nothing.
fn jobs_per_cpu_s(jobs: f64, start: Option<f64>) -> Option<u64> {
    let seconds = cpu_seconds()? - start?;
    (seconds >= MEASURED_S).then_some((jobs / seconds) as u64)
}

/// Time that this thread was on a processor.
fn cpu_seconds() -> Option<f64> {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = schedule.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

/// Memory of this process that is in use.
fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn now(ms: u64) -> Now {
    Now { mono: Timestamp::from_millis(ms), wall: WallTime::from_millis(1_000_000_000 + ms) }
}

fn network() -> NetworkId {
    NetworkId::of_name("benches")
}

fn session() -> SessionEpoch {
    SessionEpoch::new(Hlc::from_u64(1), 1)
}

fn identity() -> Identity {
    Identity { node: NodeId::new([1; 16]), replica: reconvene_benches::replica(7), incarnation: 1 }
}

const EXECUTOR: NodeId = NodeId::new([2; 16]);
const HEARTBEAT_MS: u64 = 5_000;
/// Processor time in which a rate can be told.
const MEASURED_S: f64 = 0.1;
/// Jobs whose batches are kept for the raw commits in memory.
const RAW_JOBS: u64 = 20_000;
