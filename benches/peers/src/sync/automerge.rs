//! automerge: a document of changes that name their predecessors; a Bloom filter of what was changed since.
//!
//! One map, and one commit for each record. What both remember of each other goes through its encoded form, as after a
//! lost connection.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use automerge::sync::{Message, State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT, ReadDoc};

use super::Outcome;
use super::cpu::CpuTime;
use super::workload::{Change, Contents, Start, Workload, key, value};

pub(super) fn run(workload: &Workload, runs: usize) -> Result<Vec<Outcome>> {
    let mut base = AutoCommit::new();
    for origin in 0..workload.origins {
        let mut document = AutoCommit::new().with_actor(actor(origin));
        for (key, value) in workload.records_of(origin) {
            document.put(ROOT, key, value)?;
            document.commit();
        }
        base.merge(&mut document)?;
    }
    (0..runs).map(|_| run_once(workload, &base)).collect()
}

fn run_once(workload: &Workload, base: &AutoCommit) -> Result<Outcome> {
    let a = base.clone().with_actor(actor(0));
    let b = if workload.start == Start::Empty { AutoCommit::new() } else { base.clone().with_actor(actor(1)) };
    let mut sides = [Side { document: a, state: State::new() }, Side { document: b, state: State::new() }];
    if workload.start == Start::Known {
        exchange(&mut sides)?;
        for side in &mut sides {
            side.state = State::decode(&side.state.encode()).context("its own encoding")?;
        }
    }
    for ((side, changes), open) in (0..).zip(&workload.changes).zip(&mut sides) {
        for change in changes {
            match *change {
                Change::Set(index) => open.document.put(ROOT, key(side, index), value(side, index, 2))?,
                Change::Delete(index) => open.document.delete(ROOT, key(side, index))?,
            }
            open.document.commit();
        }
    }
    exchange(&mut sides)
}

struct Side {
    document: AutoCommit,
    state: State,
}

/// Messages to and fro until neither side has another.
fn exchange(sides: &mut [Side; 2]) -> Result<Outcome> {
    let (mut bytes, mut flights, mut until_equal, mut cpu) = (0, 0, None, [Duration::ZERO; 2]);
    let mut silent = 0;
    for from in [0, 1].into_iter().cycle().take(MAX_TURNS) {
        let Side { document, state } = &mut sides[from];
        let begin = CpuTime::now();
        let message = document.sync().generate_sync_message(state).map(Message::encode);
        cpu[from] += begin.elapsed();
        let Some(message) = message else {
            silent += 1;
            if silent == 2 {
                break;
            }
            continue;
        };
        silent = 0;
        flights += 1;
        bytes += message.len() as u64;
        let Side { document, state } = &mut sides[1 - from];
        let begin = CpuTime::now();
        document.sync().receive_sync_message(state, Message::decode(&message)?)?;
        cpu[1 - from] += begin.elapsed();
        let [a, b] = &mut *sides;
        if until_equal.is_none() && a.document.get_heads() == b.document.get_heads() {
            until_equal = Some(flights);
        }
    }
    ensure!(silent == 2, "two documents never stopped to exchange messages");
    let Some(flights) = until_equal else { bail!("two documents never became equal") };
    let contents = [contents(&sides[0].document)?, contents(&sides[1].document)?];
    Ok(Outcome { bytes, flights, cpu, contents })
}

fn contents(document: &AutoCommit) -> Result<Contents> {
    let text = |key: String| {
        let value = document.get(ROOT, &key)?.and_then(|(value, _)| value.as_str().map(str::to_owned));
        Ok((key, value.context("every value is text")?))
    };
    document.keys(ROOT).map(text).collect()
}

fn actor(origin: u64) -> ActorId {
    ActorId::from([origin as u8 + 1; 16])
}

const MAX_TURNS: usize = 10_000;
