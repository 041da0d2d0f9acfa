//! Embeds a broker in a small service, beside one executor: `cargo run -p reconvene-network --example embed`
#![expect(clippy::print_stdout, reason = "an example shows what it computed")]
use std::time::Duration;

use anyhow::{Context as _, Result};
use reconvene_broker::Broker;
use reconvene_clock::ReplicaId;
use reconvene_executor::{Executor, JobSpec, TraceJob, TraceRunner};
use reconvene_store::{Identity, Limits, MemoryStore, NetworkId};
use reconvene_transport_quic::{Authority, Endpoint, EndpointConfig, Protocol};

#[tokio::main]
async fn main() -> Result<()> {
    let (network, authority) = (NetworkId::of_name("embedded"), Authority::generate()?);
    let quic = || EndpointConfig::default().with_network(network);
    let site = Endpoint::bind("127.0.0.1:0".parse()?, &authority.issue()?, quic())?;
    // A store in memory is a new incarnation at each start: draw its number at random in a real service.
    let replica = ReplicaId::new(u64::from(std::process::id())).context("a process has a number")?;
    let identity = Identity { node: site.node_id(), replica, incarnation: 1 };
    let store = MemoryStore::for_network(identity, network, Limits::default());
    let broker = Broker::builder(store, reconvene_sync::Config::new(network, 7));
    let broker = broker.transport(site.links(Protocol::Sync).context("taken once")?);
    let broker = broker.executors(site.links(Protocol::Executor).context("taken once")?).start().await?;

    let worker = Endpoint::bind("127.0.0.1:0".parse()?, &authority.issue()?, quic())?;
    let executor = Executor::builder().link(worker.links(Protocol::Executor).context("taken once")?);
    let executor = executor.runner(TraceRunner::new(worker.node_id())).broker(site.local_addr().to_string());
    let executor = executor.start().await?;

    let payload = TraceJob { run_ms: 200, input: b"hello".to_vec(), varies: false }.encode()?;
    let job = broker.submit(JobSpec::new(payload)).await?;
    while broker.job(job).await?.and_then(|view| view.result).is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{}", broker.explain(reconvene_broker::Subject::Job(job)).await?);
    executor.shutdown(Duration::from_secs(5)).await?;
    Ok(broker.shutdown(Duration::from_secs(5)).await?)
}
