//! Vector clocks beside those of other crates.

use std::fmt::Debug;
use std::hint::black_box;

use anyhow::{Result, ensure};
use loro_internal::VersionVector;
use reconvene_clock::{Base, Limits, ReplicaId, Roster, VectorClock};

use super::inputs::{above, entries, few_grown, half_new, picks};
use super::subject::Subject;
use crate::measure::Race;
use crate::row::Row;

type Crdts = crdts::VClock<u64>;
type Vclock = vclock::VClock<u64, u64>;

/// Runs the same generic function for ours and for every peer.
macro_rules! each_subject {
    ($call:ident($($argument:expr),*)) => {{
        $call::<VectorClock>($($argument),*);
        $call::<Crdts>($($argument),*);
        $call::<Vclock>($($argument),*);
        $call::<VersionVector>($($argument),*);
    }};
}

const SIZES: [usize; 3] = [3, 128, 1_024];

pub(super) fn rows() -> Result<Vec<Row>> {
    for n in SIZES {
        check(n)?;
    }
    let mut rows = Vec::new();
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(compare(&mut race, n));
        floor_compare(&mut race, n);
        let (loro, crdts) = by_size(n, [(0.25, 0.20), (0.12, 0.035), (0.11, 0.025)]);
        rows.push(Row::new("compare, dominated", n).with_times(race.run()).times("loro", loro).times("crdts", crdts));
    }
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(merge(&mut race, n));
        floor_merge(&mut race, n);
        let row = Row::new("merge, same ids", n).with_times(race.run());
        rows.push(if n == 128 { row.times("loro", 0.20).times("crdts", 0.045) } else { row });
    }
    let mut race = Race::new();
    each_subject!(clone_and_merge_new(&mut race, 128));
    let row = Row::new("clone and merge, half the ids new", 128).with_times(race.run());
    rows.push(row.times("loro", 0.35).times("crdts", 0.065));
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(clone(&mut race, n));
        let row = Row::new("clone", n).with_times(race.run());
        rows.push(match n {
            3 => row.times("loro", 0.25),
            128 => row.times("loro", 0.45),
            _ => row,
        });
    }
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(increment(&mut race, n));
        let row = Row::new("increment", n).with_times(race.run());
        rows.push(match n {
            3 => row.times("loro", 1.2),
            128 => row.times("crdts", 0.45),
            _ => row,
        });
    }
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(encode(&mut race, n));
        let row = Row::new("encode", n).with_times(race.run());
        rows.push(if n == 128 { row.times("vclock", 0.55) } else { row });
    }
    for n in SIZES {
        let mut race = Race::new();
        each_subject!(decode(&mut race, n));
        let row = Row::new("decode", n).with_times(race.run());
        rows.push(if n == 128 { row.times("loro", 0.45) } else { row });
    }
    rows.extend(SIZES.map(bytes));
    rows.push(roster_bytes(1_024)?);
    rows.push(delta_bytes(1_024)?);
    Ok(rows)
}

fn by_size<T>(n: usize, [small, middle, large]: [T; 3]) -> T {
    match n {
        3 => small,
        128 => middle,
        _ => large,
    }
}

/// Asserts that all peers compute the same, so that nobody is timed on doing less.
fn check(n: usize) -> Result<()> {
    check_one::<Crdts>(n)?;
    check_one::<Vclock>(n)?;
    check_one::<VersionVector>(n)
}

fn check_one<T: Subject>(n: usize) -> Result<()> {
    let base = entries(n);
    for other in [base.clone(), above(&base), half_new(&base), few_grown(&base)] {
        for (left, right) in [(&base, &other), (&other, &base)] {
            let (ours, our_other) = (VectorClock::build(left), VectorClock::build(right));
            let (theirs, their_other) = (T::build(left), T::build(right));
            same(T::NAME, "entries", &ours.entries(), &theirs.entries())?;
            same(T::NAME, "compare", &ours.relation(&our_other), &theirs.relation(&their_other))?;

            let (mut ours, mut theirs) = (ours, theirs);
            Subject::merge(&mut ours, &mut our_other.clone());
            theirs.merge(&mut their_other.clone());
            same(T::NAME, "merge", &ours.entries(), &theirs.entries())?;

            for id in picks(left) {
                Subject::increment(&mut ours, id);
                theirs.increment(id);
            }
            same(T::NAME, "increment", &ours.entries(), &theirs.entries())?;
            same(T::NAME, "clone", &Clone::clone(&ours).entries(), &Clone::clone(&theirs).entries())?;
            let decoded = <VectorClock as Subject>::decode(&Subject::encode(&ours));
            same(T::NAME, "decode", &decoded.entries(), &T::decode(&theirs.encode()).entries())?;
        }
    }
    Ok(())
}

fn same<V: PartialEq + Debug>(peer: &str, what: &str, ours: &V, theirs: &V) -> Result<()> {
    ensure!(ours == theirs, "{what} differs from {peer}: {ours:?} and {theirs:?}");
    Ok(())
}

/// An older clock against newer ones, each of which has one event more, of a replica that nobody can predict.
fn compare<T: Subject>(race: &mut Race<'_>, n: usize) {
    let base = entries(n);
    let older = T::build(&base);
    let newer = |id: u64| {
        let mut newer = older.clone();
        newer.increment(id);
        newer
    };
    let newer: Vec<T> = picks(&base).into_iter().take(8).map(newer).collect();
    let mut turn = 0;
    race.repeated(T::NAME, move || {
        turn = next(turn, newer.len());
        black_box(&older).compare(black_box(&newer[turn]));
    });
}

/// The turn after this one, without a division that would take longer than some of what is measured.
const fn next(turn: usize, turns: usize) -> usize {
    if turn + 1 == turns { 0 } else { turn + 1 }
}

/// Inputs of a batch: few enough for the first cache, as far as that goes.
const fn batch(n: usize) -> usize {
    if n < 16 { 128 } else { 6 }
}

fn merge<T: Subject>(race: &mut Race<'_>, n: usize) {
    let base = entries(n);
    let (older, newer) = (T::build(&base), T::build(&above(&base)));
    race.batched(
        T::NAME,
        batch(n),
        move || (older.clone(), newer.clone()),
        |(older, newer)| black_box(older).merge(black_box(newer)),
    );
}

fn clone_and_merge_new<T: Subject>(race: &mut Race<'_>, n: usize) {
    let base = entries(n);
    let (left, right) = (T::build(&base), T::build(&half_new(&base)));
    race.batched(
        T::NAME,
        batch(n),
        move || (right.clone(), None),
        move |(right, result)| {
            let mut merged = black_box(&left).clone();
            merged.merge(black_box(right));
            *result = Some(merged);
        },
    );
}

/// With the end of the copy, which whoever makes one pays for as well.
fn clone<T: Subject>(race: &mut Race<'_>, n: usize) {
    let clock = T::build(&entries(n));
    race.repeated(T::NAME, move || drop(black_box(black_box(&clock).clone())));
}

fn increment<T: Subject>(race: &mut Race<'_>, n: usize) {
    let base = entries(n);
    let (mut clock, picks, mut turn) = (T::build(&base), picks(&base), 0);
    race.repeated(T::NAME, move || {
        turn = next(turn, picks.len());
        black_box(&mut clock).increment(picks[turn]);
    });
}

fn encode<T: Subject>(race: &mut Race<'_>, n: usize) {
    let clock = T::build(&entries(n));
    race.repeated(T::NAME, move || drop(black_box(black_box(&clock).encode())));
}

fn decode<T: Subject>(race: &mut Race<'_>, n: usize) {
    let bytes = T::build(&entries(n)).encode();
    race.repeated(T::NAME, move || drop(black_box(T::decode(black_box(&bytes)))));
}

fn bytes(n: usize) -> Row {
    fn of<T: Subject>(n: usize) -> u64 {
        T::build(&entries(n)).encode().len() as u64
    }
    let mut row = Row::new("bytes, full form", n);
    row.ours_bytes = Some(of::<VectorClock>(n));
    row.peer_bytes = [("crdts", of::<Crdts>(n)), ("vclock", of::<Vclock>(n)), ("loro", of::<VersionVector>(n))].into();
    row.bytes(10.0 * n as f64 + 3.0)
}

fn roster_bytes(n: usize) -> Result<Row> {
    let clock = VectorClock::build(&entries(n));
    let ids: Vec<ReplicaId> = clock.iter().map(|entry| entry.replica).collect();
    let mut bytes = Vec::new();
    clock.encode_in(&Roster::new(1, ids, &Limits::default())?, &mut bytes)?;
    let mut row = Row::new("bytes, roster form", n);
    row.ours_bytes = Some(bytes.len() as u64);
    Ok(row.bytes(2.0 * n as f64 + 9.0))
}

fn delta_bytes(n: usize) -> Result<Row> {
    let base = entries(n);
    let mut bytes = Vec::new();
    let clock = VectorClock::build(&few_grown(&base));
    ensure!(clock.encode_delta(&Base::new(VectorClock::build(&base)), &mut bytes), "the base is below");
    let mut row = Row::new("bytes, delta of 5 %", n);
    row.ours_bytes = Some(bytes.len() as u64);
    Ok(row.bytes(120.0))
}

/// Two bare slices of counters that are known to be of the same ids.
fn floor_compare(race: &mut Race<'_>, n: usize) {
    let (older, newer) = super::roster::counters(n);
    race.repeated("floor", move || _ = black_box(super::roster::compare(black_box(&older), black_box(&newer))));
}

fn floor_merge(race: &mut Race<'_>, n: usize) {
    let (older, newer) = super::roster::counters(n);
    race.batched(
        "floor",
        batch(n),
        move || (older.clone(), newer.clone()),
        |(older, newer)| {
            black_box(super::roster::merge(black_box(older), black_box(newer)));
        },
    );
}
