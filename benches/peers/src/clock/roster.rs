//! Clocks over a roster beside bare slices.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use reconvene_clock::{Causality, Limits, Roster, RosterClock, VectorClock};

use super::inputs::{above, entries};
use super::subject::Subject;
use crate::measure::Race;
use crate::row::Row;

pub(super) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for n in [128, 1_024] {
        let (older, newer) = clocks(n)?;
        let (floor_older, floor_newer) = counters(n);
        ensure!(
            older.counters() == floor_older && newer.counters() == floor_newer,
            "the floor is of the same counters"
        );
        ensure!(newer.compare(&older) == Causality::After && compare(&floor_newer, &floor_older) == (true, false));
        let mut merged = older.clone();
        let mut floor_merged = floor_older.clone();
        ensure!(merged.merge(&newer)? && merge(&mut floor_merged, &floor_newer) && merged.counters() == floor_merged);

        let mut race = Race::new();
        race.repeated("floor", || _ = black_box(compare(black_box(&floor_newer), black_box(&floor_older))));
        race.repeated("ours", || _ = black_box(black_box(&newer).compare(black_box(&older))));
        let row = Row::new("roster compare", n).with_times(race.run());
        rows.push(if n == 1_024 { row.times("floor", 1.2) } else { row });

        let mut race = Race::new();
        race.batched("floor", 6, || floor_older.clone(), |own| _ = black_box(merge(own, black_box(&floor_newer))));
        race.batched("ours", 6, || older.clone(), |own| _ = black_box(own.merge(black_box(&newer))));
        let row = Row::new("roster merge", n).with_times(race.run());
        rows.push(if n == 1_024 { row.times("floor", 1.1) } else { row });
    }
    Ok(rows)
}

fn clocks(n: usize) -> Result<(RosterClock, RosterClock)> {
    let base = entries(n);
    let (older, newer) = (VectorClock::build(&base), VectorClock::build(&above(&base)));
    let ids = older.iter().map(|entry| entry.replica);
    let roster = Arc::new(Roster::new(1, ids, &Limits::default())?);
    Ok((RosterClock::from_clock(roster.clone(), &older)?, RosterClock::from_clock(roster, &newer)?))
}

/// The counters of an older and a newer clock, by id.
pub(super) fn counters(n: usize) -> (Vec<u64>, Vec<u64>) {
    let base = entries(n);
    let values = |entries: &[(u64, u64)]| VectorClock::build(entries).entries().into_values().collect();
    (values(&base), values(&above(&base)))
}

/// The least that comparing takes: whether any number on the left is greater, and any smaller.
pub(super) fn compare(left: &[u64], right: &[u64]) -> (bool, bool) {
    let (mut more, mut less) = (0, 0);
    for (left, right) in left.iter().zip(right) {
        more |= right.wrapping_sub(*left);
        less |= left.wrapping_sub(*right);
    }
    (more >> 63 != 0, less >> 63 != 0)
}

/// The least that merging takes: the maximum of each pair, and whether any is new. By signs, since without further
/// instructions of the processor `max` of unsigned words takes half as long again.
pub(super) fn merge(own: &mut [u64], theirs: &[u64]) -> bool {
    let mut grew = 0;
    for (own, theirs) in own.iter_mut().zip(theirs) {
        let excess = own.wrapping_sub(*theirs);
        grew |= excess;
        *own = if excess >> 63 == 0 { *own } else { *theirs };
    }
    grew >> 63 != 0
}
