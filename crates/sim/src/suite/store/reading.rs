//! Reading a whole snapshot through pages, and whether what was read makes sense.

use std::collections::BTreeMap;

use reconvene_clock::{Counter, Dot, DotRange};
use reconvene_store::{Cursor, Fingerprints, Key, Page, Prefix, Range, Record, Snapshot, StoreError};

use super::peer::{Peer, identity, keys};
use crate::suite::block_on::block_on;
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Report};

/// Reads everything in every way, in pages of random size, and checks that the ways agree with each other.
pub(super) fn read_all(snapshot: &impl Snapshot, random: &mut Random, report: &mut Report) -> Result<Peer, Broken> {
    let head = snapshot.head().clone();
    let mut rows = BTreeMap::new();
    for record in by_prefix(snapshot, Prefix::all(), random, report)? {
        rows.insert(record.key().clone(), record);
    }
    for prefix in ["a/", "a/2", "b", "d"] {
        let found = by_prefix(snapshot, Prefix::new(prefix).blame(Check::Pages)?, random, report)?;
        let expected = rows.values().filter(|row| row.key().as_bytes().starts_with(prefix.as_bytes()));
        report.look(Check::Pages, found.iter().eq(expected), || {
            format!("the records under {prefix} are not those among all records")
        })?;
    }
    for key in keys() {
        let record = block_on(snapshot.record(&key)).blame(Check::Pages)?;
        let same = record.as_ref() == rows.get(&key);
        report.look(Check::Pages, same, || format!("record({key}) is not what by_prefix says"))?;
    }
    let mut asked = keys();
    random.shuffle(&mut asked);
    asked.extend(asked.first().cloned());
    let found = block_on(snapshot.records(&asked)).blame(Check::Pages)?;
    report.look(Check::Pages, found.iter().eq(asked.iter().filter_map(|key| rows.get(key))), || {
        "records() of many keys are not what by_prefix says, or in another order".to_owned()
    })?;
    let mut live: Vec<(Dot, Key)> = Vec::new();
    for row in rows.values() {
        live.extend(row.siblings().iter().map(|version| (version.dot, row.key().clone())));
    }
    live.sort();
    for number in 0..4 {
        let origin = identity(number).replica;
        let whole = DotRange::new(origin, Counter::MIN, Counter::MAX);
        let first = random.below(12);
        let part = DotRange::new(origin, counter(first), counter(first.saturating_add(random.below(12))));
        for range in [whole, part].into_iter().flatten() {
            let found = by_origin(snapshot, range, random, report)?;
            report.look(Check::Index, found.iter().eq(live.iter().filter(|(dot, _)| range.contains(*dot))), || {
                format!("the index of {range} says {found:?}, and live is {live:?}")
            })?;
        }
    }
    let worked_out = Fingerprints::of_records(head.network(), rows.values());
    report.look(Check::Fingerprints, *head.fingerprints() == worked_out, || {
        "the fingerprints are not those of the records".to_owned()
    })?;
    let unknown = live.iter().find(|(dot, _)| !head.knowledge().contains(*dot));
    report.look(Check::KnowledgeNotAhead, unknown.is_none(), || format!("{unknown:?} is live and not known"))?;
    Ok(Peer { rows, ..Peer::empty(head) })
}

/// Rows and head, read in one go.
pub(super) fn read_quickly(snapshot: &impl Snapshot) -> Result<Peer, StoreError> {
    let mut rows = BTreeMap::new();
    let mut cursor = Cursor::new(Prefix::all());
    loop {
        let page = block_on(snapshot.by_prefix(&cursor))?;
        rows.extend(page.items.into_iter().map(|record| (record.key().clone(), record)));
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(Peer { rows, ..Peer::empty(snapshot.head().clone()) }),
        }
    }
}

fn by_prefix(
    snapshot: &impl Snapshot,
    prefix: Prefix,
    random: &mut Random,
    report: &mut Report,
) -> Result<Vec<Record>, Broken> {
    let mut cursor = sized(Cursor::new(prefix), random);
    let mut all: Vec<Record> = Vec::new();
    loop {
        let page = block_on(snapshot.by_prefix(&cursor)).blame(Check::Pages)?;
        report.saw("pages");
        check_page(&cursor, &page, Record::byte_len, report)?;
        all.extend(page.items);
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    report.look(Check::Pages, all.is_sorted_by(|left, right| left.key() < right.key()), || {
        format!("by_prefix does not ascend: {:?}", all.iter().map(Record::key).collect::<Vec<_>>())
    })?;
    Ok(all)
}

fn by_origin(
    snapshot: &impl Snapshot,
    range: DotRange,
    random: &mut Random,
    report: &mut Report,
) -> Result<Vec<(Dot, Key)>, Broken> {
    let mut cursor = sized(Cursor::new(range), random);
    let mut all: Vec<(Dot, Key)> = Vec::new();
    loop {
        let page = block_on(snapshot.by_origin(&cursor)).blame(Check::Pages)?;
        report.saw("pages");
        check_page(&cursor, &page, |(_, key)| key.as_bytes().len(), report)?;
        all.extend(page.items);
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    report.look(Check::Pages, all.is_sorted_by(|left, right| left.0 < right.0), || {
        format!("by_origin does not ascend: {all:?}")
    })?;
    Ok(all)
}

fn sized<R: Range>(cursor: Cursor<R>, random: &mut Random) -> Cursor<R> {
    let cursor = if random.one_in(2) { cursor.with_rows(random.below(4)) } else { cursor };
    if random.one_in(3) { cursor.with_bytes(random.below(200)) } else { cursor }
}

/// Checks the bounds of a page, and that there is something in it if it is not the last.
fn check_page<T, R: Range>(
    cursor: &Cursor<R>,
    page: &Page<T, R>,
    bytes: impl Fn(&T) -> usize,
    report: &mut Report,
) -> Result<(), Broken> {
    let (items, total) = (page.items.len(), page.items.iter().map(bytes).fold(0, usize::saturating_add));
    let fits = items <= cursor.max_rows() && (items <= 1 || total <= cursor.max_bytes());
    report.look(Check::Pages, fits, || format!("a page of {items} items and {total} bytes answers {cursor:?}"))?;
    let stuck = page.next.as_ref().is_some_and(|next| items == 0 || next.after() == cursor.after());
    report.look(Check::Pages, !stuck, || format!("a page gets no further than {cursor:?}"))
}

fn counter(below: usize) -> Counter {
    Counter::new(u64::try_from(below).unwrap_or_default().saturating_add(1)).unwrap_or(Counter::MAX)
}
