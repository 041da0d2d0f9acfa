//! Jobs from submission to canonical result: a whole broker and its executors, without sockets.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconvene_broker::{Command, Config, NodeConfig, Reply, StrategyKind};
use reconvene_clock::{Hlc, Timestamp};
use reconvene_executor::{AgentConfig, JobSpec, Resources, SessionEpoch, TraceJob};
use reconvene_sim::world::{World, WorldConfig};
use reconvene_sync::{Config as SyncConfig, NetworkId};

/// One broker with four executors of 16 slots each.
fn world() -> World {
    let mut world = World::new(WorldConfig::new(1));
    let sync = SyncConfig::new(NetworkId::of_name("benches"), 1).scaled(1_000);
    let lifecycle = Config::new(StrategyKind::EmergencyFirst).scaled(1_000);
    let broker = world.add_broker(NodeConfig::new(sync, lifecycle)).expect("settings that fit each other");
    for _ in 0..4 {
        let mut agent = AgentConfig::new(SessionEpoch::new(Hlc::from_u64(1), 1), 1).scaled(1_000);
        agent.slots = 16;
        agent.capacity = Resources { cpu_milli: 64_000, memory_mib: 65_536, gpu_milli: 0 };
        world.add_executor(agent, &[broker]).expect("settings that fit each other");
    }
    world.run_until(Timestamp::from_millis(1_000)).expect("nothing fails in memory");
    world
}

fn submit(world: &mut World, key: u64) {
    let trace = TraceJob { run_ms: 5, input: key.to_be_bytes().to_vec(), varies: false };
    let spec = JobSpec::new(trace.encode().expect("a small payload")).with_client("benches", key);
    let reply = world.command(0, Command::Submit { spec }).expect("nothing fails in memory").expect("a valid job");
    assert!(matches!(reply, Reply::Submitted { .. }), "{reply:?}");
}

fn jobs(c: &mut Criterion) {
    let mut group = c.benchmark_group("broker/submit_to_result");
    for count in [100_u64, 1_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::new("jobs", count), &count, |b, count| {
            b.iter_batched_ref(
                world,
                |world| {
                    for key in 0..*count {
                        submit(world, key);
                    }
                    let open = |world: &World| {
                        world.broker(0).is_some_and(|broker| broker.coordinator().statistics().jobs_open > 0)
                    };
                    while open(world) {
                        let soon = world.now().saturating_add(10);
                        world.run_until(soon).expect("nothing fails in memory");
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = jobs
}
criterion_main!(benches);
