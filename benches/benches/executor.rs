//! What every heartbeat costs an executor and its broker: encoding, decoding, and the agent's own work.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use reconvene_benches::replica;
use reconvene_clock::Hlc;
use reconvene_executor::codec::{decode_to_broker, encode_to_broker};
use reconvene_executor::{
    AttemptId, FencingToken, Heartbeat, HeldAttempt, JobId, OwnershipEpoch, SessionEpoch, ToBroker,
};

fn heartbeat(attempts: u64) -> ToBroker {
    let running = (1..=attempts)
        .map(|sequence| {
            let (epoch, owner) = (OwnershipEpoch(1), replica(7));
            let job = JobId { admitted_by: owner, sequence };
            let token = FencingToken { epoch, tie: sequence, owner, number: 1 };
            HeldAttempt { attempt: AttemptId { job, epoch, owner, number: 1 }, token, progress_bp: 5_000 }
        })
        .collect();
    ToBroker::Heartbeat(Heartbeat {
        session: SessionEpoch::new(Hlc::from_u64(1), 2),
        registration: 1,
        sequence: 1,
        running,
        kept: Vec::new(),
        refused: Vec::new(),
    })
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("executor/heartbeat");
    for attempts in [1, 64] {
        let message = heartbeat(attempts);
        let frame = encode_to_broker(&message).expect("within the limits of a frame");
        group.bench_with_input(BenchmarkId::new("encode/attempts", attempts), &attempts, |b, _| {
            b.iter(|| encode_to_broker(black_box(&message)));
        });
        group.bench_with_input(BenchmarkId::new("decode/attempts", attempts), &attempts, |b, _| {
            b.iter(|| decode_to_broker(black_box(&frame)));
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
