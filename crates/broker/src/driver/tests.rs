//! Brokers, executors and a client as tasks over links in memory, in tokio's paused time.

use std::time::Duration;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{BrokerLink, Executor, ExecutorHandle, JobId, JobSpec, LinkEvent, TraceJob, TraceRunner};
use reconvene_resolve::StrategyKind;
use reconvene_store::{Identity, Limits, MemoryStore, NetworkId};
use reconvene_sync::memory::{MemoryHub, MemoryTransport, MemoryTransportError};
use reconvene_sync::{Config as SyncConfig, Incoming, Transport};

use crate::client::{Call, ClientReply, ClientRequest, Outcome, decode_reply, encode_request};
use crate::{
    Broker, BrokerError, Clock, Command, CommandError, Config, EventsError, JobStatus, NodeEvent, Reply, SystemClock,
};

const INTERVAL_MS: u64 = 1_000;

/// The executors' trait over the brokers' links in memory.
struct MemoryLink(MemoryTransport);

impl BrokerLink for MemoryLink {
    type Error = MemoryTransportError;

    async fn connect(&self, address: &str) -> Result<NodeId, Self::Error> {
        Transport::connect(&self.0, address).await
    }

    async fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), Self::Error> {
        Transport::send(&self.0, to, frame).await
    }

    async fn recv(&self) -> Result<LinkEvent, Self::Error> {
        Ok(match Transport::recv(&self.0).await? {
            Incoming::Frame { from, frame } => LinkEvent::Frame { from, frame },
            Incoming::LinkUp { peer, address } => LinkEvent::LinkUp { peer, address },
            Incoming::LinkDown { peer } => LinkEvent::LinkDown { peer },
        })
    }

    fn disconnect(&self, broker: NodeId) {
        Transport::disconnect(&self.0, broker);
    }
}

struct World {
    peers: MemoryHub,
    executors: MemoryHub,
    clients: MemoryHub,
}

impl World {
    fn new() -> Self {
        Self { peers: MemoryHub::new(1), executors: MemoryHub::new(2), clients: MemoryHub::new(3) }
    }

    async fn broker(&self, number: u8, seed_peer: Option<&str>) -> Broker {
        let replica = ReplicaId::new(u64::from(number)).expect("not zero");
        let identity = Identity { node: NodeId::new([number; 16]), replica, incarnation: 1 };
        self.broker_at(identity, format!("broker-{number}"), seed_peer).await
    }

    async fn broker_at(&self, identity: Identity, address: String, seed_peer: Option<&str>) -> Broker {
        let node = identity.node;
        let number = identity.replica.get();
        let network = NetworkId::of_name("driver tests");
        let store = MemoryStore::for_network(identity, network, Limits::default());
        let sync = SyncConfig::new(network, number).scaled(INTERVAL_MS);
        let mut builder = Broker::builder(store, sync)
            .transport(self.peers.attach(node, &address))
            .executors(self.executors.attach(node, &address))
            .clients(self.clients.attach(node, &address))
            .lifecycle(Config::new(StrategyKind::FirstComeFirstServed).scaled(INTERVAL_MS))
            .advertise(address);
        if let Some(seed_peer) = seed_peer {
            builder = builder.seed_peer(seed_peer);
        }
        builder.start().await.expect("settings that fit each other")
    }

    async fn executor(&self, number: u8, broker: &str) -> ExecutorHandle {
        let link = MemoryLink(self.executors.attach(NodeId::new([number; 16]), &format!("executor-{number}")));
        Executor::builder()
            .link(link)
            .runner(TraceRunner::new(NodeId::new([number; 16])))
            .slots(2)
            .broker(broker)
            .sync_interval(Duration::from_millis(INTERVAL_MS))
            .start()
            .await
            .expect("settings that fit each other")
    }
}

fn job(run_ms: u64, key: u64) -> JobSpec {
    let trace = TraceJob { run_ms, input: key.to_be_bytes().to_vec(), varies: false };
    JobSpec::new(trace.encode().unwrap()).with_client("tests", key)
}

/// Waits in virtual time until the broker names a result for the job.
async fn completed(broker: &Broker, job: JobId) {
    let done = async {
        loop {
            if broker.job(job).await.unwrap().is_some_and(|job| job.status == JobStatus::Completed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("a result within a minute");
}

#[tokio::test(start_paused = true)]
async fn the_clock_goes_by_the_time_that_the_timers_go_by() {
    let clock = SystemClock::start();
    let before = clock.now().mono;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(clock.now().mono.saturating_since(before), 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_and_every_broker_names_its_result() {
    let world = World::new();
    let first = world.broker(1, None).await;
    let second = world.broker(2, Some("broker-1")).await;
    let executor = world.executor(11, "broker-1").await;

    let id = first.submit(job(300, 1)).await.unwrap();
    completed(&first, id).await;
    completed(&second, id).await;
    let results = [first.job(id).await.unwrap().unwrap().result, second.job(id).await.unwrap().unwrap().result];
    assert_eq!(results[0].as_ref().map(|result| result.digest), results[1].as_ref().map(|result| result.digest));

    executor.shutdown(Duration::from_secs(5)).await.unwrap();
    first.shutdown(Duration::from_secs(5)).await.unwrap();
    second.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_where_an_executor_is() {
    let world = World::new();
    let first = world.broker(1, None).await;
    let second = world.broker(2, Some("broker-1")).await;
    let _executor = world.executor(12, "broker-2").await;

    // Nobody is at the first broker, so the second runs it.
    let id = first.submit(job(300, 1)).await.unwrap();
    completed(&first, id).await;
    assert_eq!(second.status().await.unwrap().executors, [NodeId::new([12; 16])]);
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_cut_go_on_and_agree_after_it() {
    let world = World::new();
    let (a, b) = (NodeId::new([1; 16]), NodeId::new([2; 16]));
    let first = world.broker(1, None).await;
    let second = world.broker(2, Some("broker-1")).await;
    let _executors = [world.executor(11, "broker-1").await, world.executor(12, "broker-2").await];
    let before = first.submit(job(10, 0)).await.unwrap();
    completed(&second, before).await;

    world.peers.cut(a, b);
    let here = first.submit(job(100, 1)).await.unwrap();
    let there = second.submit(job(100, 2)).await.unwrap();
    completed(&first, here).await;
    completed(&second, there).await;
    assert_eq!(first.job(there).await.unwrap(), None, "nothing crosses a cut");

    world.peers.heal(a, b);
    completed(&first, there).await;
    completed(&second, here).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(first.status().await.unwrap().digest, second.status().await.unwrap().digest);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lost_its_store_and_came_back_is_one_peer() {
    let world = World::new();
    let first = world.broker(1, None).await;
    let second = world.broker(2, Some("broker-1")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let node = second.node_id();
    second.shutdown(Duration::from_secs(5)).await.unwrap();

    // The replica's number says nothing about which store is the later one.
    let replica = ReplicaId::new(1_000).expect("not zero");
    let identity = Identity { node, replica, incarnation: 2 };
    let again = world.broker_at(identity, "elsewhere".to_owned(), Some("broker-1")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let peers = first.status().await.unwrap().peers;
    let addresses: Vec<_> = peers.iter().map(|peer| (peer.node, peer.address.as_deref())).collect();
    assert_eq!(addresses, [(node, Some("elsewhere"))]);

    let identity = Identity { node, replica: ReplicaId::new(3).expect("not zero"), incarnation: 3 };
    again.shutdown(Duration::from_secs(5)).await.unwrap();
    let _third = world.broker_at(identity, "back".to_owned(), Some("broker-1")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let peers = first.status().await.unwrap().peers;
    let addresses: Vec<_> = peers.iter().map(|peer| (peer.node, peer.address.as_deref())).collect();
    assert_eq!(addresses, [(node, Some("back"))]);
}

#[tokio::test(start_paused = true)]
async fn a_client_gives_commands_over_a_link() {
    let world = World::new();
    let broker = world.broker(1, None).await;
    let client = world.clients.attach(NodeId::new([99; 16]), "client");
    let to = client.connect("broker-1").await.unwrap();

    let ask = |request, call| encode_request(&ClientRequest { request, call }).unwrap();
    let submit = Call::Command(Box::new(Command::Submit { spec: job(10, 1) }));
    client.send(to, &ask(7, submit)).await.unwrap();
    let ClientReply { request: 7, outcome: Outcome::Done(reply) } = answer(&client).await else {
        panic!("an answer to request 7");
    };
    assert!(matches!(*reply, Reply::Submitted { .. }));

    let invalid = Call::Command(Box::new(Command::Submit { spec: job(10, 2).with_value(0) }));
    client.send(to, &ask(8, invalid)).await.unwrap();
    let refused = answer(&client).await;
    assert!(
        matches!(&refused.outcome, Outcome::Refused(CommandError::Spec { field, .. }) if field == "value"),
        "{refused:?}"
    );

    client.send(to, &ask(9, Call::Status)).await.unwrap();
    let Outcome::Status(status) = answer(&client).await.outcome else { panic!("a status") };
    assert_eq!((status.jobs, status.completed), (1, 0));

    // What does not decode ends the link, and nobody else's.
    client.send(to, b"\xffnonsense").await.unwrap();
    loop {
        if Transport::recv(&client).await.unwrap() == (Incoming::LinkDown { peer: to }) {
            break;
        }
    }
    assert_eq!(broker.status().await.unwrap().jobs, 1);
}

async fn answer(client: &MemoryTransport) -> ClientReply {
    loop {
        if let Incoming::Frame { frame, .. } = Transport::recv(client).await.unwrap() {
            return decode_reply(&frame).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_events_is_told_what_it_missed() {
    let world = World::new();
    let broker = world.broker(1, None).await;
    let mut events = broker.events();
    for key in 0..600 {
        broker.submit(job(10, key)).await.unwrap();
    }
    let mut lagged = 0;
    let mut read = 0;
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
        match next {
            Ok(NodeEvent::Job(_) | NodeEvent::Sync(_)) => read += 1,
            Err(EventsError::Lagged { missed }) => lagged += missed,
            Err(EventsError::Closed) => break,
        }
    }
    assert!(lagged > 0 && read > 0, "{lagged} missed, {read} read");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_broker_says_so() {
    let world = World::new();
    let broker = world.broker(1, None).await;
    let other_handle = broker.clone();
    broker.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(other_handle.submit(job(1, 1)).await, Err(BrokerError::Stopped)));
    assert!(matches!(other_handle.shutdown(Duration::from_secs(5)).await, Err(BrokerError::Stopped)));
}
