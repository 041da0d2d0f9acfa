//! chitchat: one state for each replica, versions counted by its writer, a digest of greatest versions.
//!
//! Two servers on one thread in virtual time. Its transport encodes and decodes each message, as a socket would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use chitchat::transport::ChannelTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, DeletionStatus, FailureDetectorConfig, ProtocolVersion, VersionedValue,
    spawn_chitchat,
};
use tokio::task::yield_now;
use tokio::time::advance;

use super::Outcome;
use super::cpu::CpuTime;
use super::workload::{Change, Contents, Start, Workload, key, value};

/// Its present wire format, which compresses.
pub(super) fn run_v1(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    run(workload, runs, ProtocolVersion::V1)
}

/// Its former one, which does not.
pub(super) fn run_v0(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    run(workload, runs, ProtocolVersion::V0)
}

fn run(workload: &Workload, runs: usize, version: ProtocolVersion) -> Result<Vec<Outcome>> {
    let once = |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(run_once(workload, version))
    };
    (0..runs).map(once).collect()
}

async fn run_once(workload: &Workload, version: ProtocolVersion) -> Result<Outcome> {
    let transport = ChannelTransport::default();
    let empty = workload.start == Start::Empty;
    let names = [id(0), id(if empty { workload.origins } else { 1 })];
    let addresses = names.each_ref().map(|name| name.gossip_advertise_addr);
    let sides = [spawn(&names[0], version, &transport).await?, spawn(&names[1], version, &transport).await?];
    let pair = Pair { transport, sides, addresses };
    pair.let_run().await;
    pair.seed(0, &names[0], workload).await;
    if !empty {
        pair.seed(1, &names[1], workload).await;
        pair.exchange().await?;
    }
    let parted = workload.name.contains("cut");
    if parted {
        pair.transport.remove_link(addresses[0], addresses[1]).await;
    }
    for (side, changes) in (0..).zip(&workload.changes) {
        let chitchat = pair.sides[side as usize].chitchat();
        let mut chitchat = chitchat.lock().await;
        for change in changes {
            match *change {
                Change::Set(index) => chitchat.self_node_state().set(key(side, index), value(side, index, 2)),
                Change::Delete(index) => chitchat.self_node_state().delete(&key(side, index)),
            }
        }
    }
    if parted {
        advance(2 * GOSSIP_INTERVAL).await;
        pair.let_run().await;
        pair.transport.add_link(addresses[0], addresses[1]).await;
    }
    let (mut flights, mut cpu) = (0, Duration::ZERO);
    let sent = pair.transport.statistics().num_bytes_total;
    loop {
        cpu += pair.exchange().await?;
        flights += MESSAGES;
        if pair.versions(0).await == pair.versions(1).await {
            break;
        }
        if flights > MAX_FLIGHTS {
            bail!("two nodes that gossip never became equal");
        }
    }
    let bytes = pair.transport.statistics().num_bytes_total - sent;
    let contents = [pair.contents(0).await, pair.contents(1).await];
    Ok(Outcome { bytes, flights, cpu: [cpu, Duration::ZERO], contents })
}

struct Pair {
    transport: ChannelTransport,
    sides: [ChitchatHandle; 2],
    addresses: [SocketAddr; 2],
}

impl Pair {
    /// Gives both servers the time they want, without any passing.
    async fn let_run(&self) {
        for _ in 0..YIELDS {
            yield_now().await;
        }
    }

    /// One exchange: syn, syn-ack, ack.
    async fn exchange(&self) -> Result<Duration> {
        let expected = self.transport.statistics().num_messages_total + MESSAGES;
        let begin = CpuTime::now();
        self.sides[0].gossip(self.addresses[1])?;
        let mut yields = 0;
        while self.transport.statistics().num_messages_total < expected {
            yields += 1;
            if yields > MAX_FLIGHTS {
                bail!("a message was not answered");
            }
            yield_now().await;
        }
        self.let_run().await;
        Ok(begin.elapsed())
    }

    /// Fills one side with all records.
    async fn seed(&self, side: usize, own: &ChitchatId, workload: &Workload) {
        let chitchat = self.sides[side].chitchat();
        let mut chitchat = chitchat.lock().await;
        for origin in 0..workload.origins {
            let name = id(origin);
            if name == *own {
                for (key, value) in workload.records_of(origin) {
                    chitchat.self_node_state().set(key, value);
                }
                continue;
            }
            let versioned = (1..)
                .zip(workload.records_of(origin))
                .map(|(version, (key, value))| (key, VersionedValue { value, version, status: DeletionStatus::Set }));
            chitchat.reset_node_state_if_update(&name, versioned, workload.each, 0);
        }
    }

    /// What decides whether one side has anything to tell the other.
    async fn versions(&self, side: usize) -> BTreeMap<ChitchatId, u64> {
        let chitchat = self.sides[side].chitchat();
        let chitchat = chitchat.lock().await;
        let states = chitchat.node_states().iter();
        states.map(|(name, state)| (name.clone(), state.max_version())).filter(|(_, version)| *version > 0).collect()
    }

    async fn contents(&self, side: usize) -> Contents {
        let chitchat = self.sides[side].chitchat();
        let chitchat = chitchat.lock().await;
        let values = chitchat.node_states().values().flat_map(|state| state.key_values());
        values.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

async fn spawn(name: &ChitchatId, version: ProtocolVersion, transport: &ChannelTransport) -> Result<ChitchatHandle> {
    let failure_detector_config =
        FailureDetectorConfig { dead_node_grace_period: 1_000 * GOSSIP_INTERVAL, ..FailureDetectorConfig::default() };
    let config = ChitchatConfig {
        chitchat_id: name.clone(),
        cluster_id: "measured".to_owned(),
        gossip_interval: GOSSIP_INTERVAL,
        listen_addr: name.gossip_advertise_addr,
        seed_nodes: Vec::new(),
        failure_detector_config,
        marked_for_deletion_grace_period: GOSSIP_INTERVAL / 2,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: version,
    };
    spawn_chitchat(config, Vec::new(), transport).await
}

fn id(origin: u64) -> ChitchatId {
    ChitchatId::new(format!("node-{origin:02}"), 0, ([10, 0, 0, origin as u8 + 1], 7_280).into())
}

/// Nothing is gossiped by itself while something is measured.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Messages of one exchange.
const MESSAGES: u64 = 3;
/// More than a server needs to take in what waits for it.
const YIELDS: u64 = 8;
const MAX_FLIGHTS: u64 = 100_000;
