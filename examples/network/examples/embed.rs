//! Embeds a broker in a small service: QUIC links, a store in memory, one executor, one job.
//!
//! `cargo run -p reconvene-network --example embed`
#![expect(clippy::print_stdout, reason = "an example shows what it computed")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use reconvene_broker::{Broker, StrategyKind};
use reconvene_clock::ReplicaId;
use reconvene_executor::{Executor, JobSpec, TraceJob, TraceRunner};
use reconvene_store::{Identity, Limits, MemoryStore, NetworkId};
use reconvene_sync::Config;
use reconvene_transport_quic::{Authority, Endpoint, EndpointConfig, Protocol};

#[tokio::main]
async fn main() -> Result<()> {
    // An authority for this run. A network of several machines loads one from a directory they share.
    let authority = Authority::generate()?;
    let network = NetworkId::of_name("embedded");
    let quic = || EndpointConfig::default().with_network(network);

    let endpoint = Endpoint::bind("127.0.0.1:0".parse()?, &authority.issue()?, quic())?;
    let address = endpoint.local_addr();
    // A store in memory is a new incarnation at each start: draw its number at random in a real service.
    let replica = ReplicaId::new(u64::from(std::process::id())).context("a process has a number")?;
    let identity = Identity { node: endpoint.node_id(), replica, incarnation: 1 };
    let broker =
        Broker::builder(MemoryStore::for_network(identity, network, Limits::default()), Config::new(network, 7))
            .transport(endpoint.links(Protocol::Sync).context("taken once")?)
            .executors(endpoint.links(Protocol::Executor).context("taken once")?)
            .strategy(StrategyKind::EmergencyFirst)
            .sync_interval(Duration::from_secs(60))
            .advertise(address.to_string())
            .start()
            .await?;

    let worker = Endpoint::bind("127.0.0.1:0".parse()?, &authority.issue()?, quic())?;
    let executor = Executor::builder()
        .link(worker.links(Protocol::Executor).context("taken once")?)
        .runner(TraceRunner::new(worker.node_id()))
        .broker(address.to_string())
        .start()
        .await?;

    let payload = TraceJob { run_ms: 200, input: b"hello".to_vec(), varies: false }.encode()?;
    let job = broker.submit(JobSpec::new(payload)).await?;
    let result = loop {
        if let Some(result) = broker.job(job).await?.and_then(|view| view.result) {
            break result;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!("job {job} has result {}", result.digest);

    executor.shutdown(Duration::from_secs(5)).await?;
    broker.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
