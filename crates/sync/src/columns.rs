//! Versions as columns: what neighbours share is written once.
//!
//! A chunk holds versions ascending by dot, so most of what describes them repeats or grows evenly: origins, counters,
//! stamps, heights, what they replaced. Each such number is a column of steps from one version to the next, equal steps
//! counted, and keys are written as what differs from the key before. `docs/wire-format.md` has the bytes.

mod number;

use reconvene_clock::{Counter, Dot, Height, Hlc, ReplicaId, VectorClock};
use reconvene_store::{Body, Class, Key, KeyContext, Version};

use self::number::{Column, Reader, put_column, put_number};
use crate::codec::{CodecError, CodecProblem};

/// What versions may occupy in memory beyond the bytes of their bodies: a fixed part, and three times the bytes they
/// came in. A few bytes can say that ten thousand versions are alike; this is what keeps them from being believed.
const FREE_MEMORY: usize = 48 << 10;
const MEMORY_PER_BYTE: usize = 3;
/// A version and its key with their allocations, and each entry of its context.
const VERSION_MEMORY: usize = 256;
const ENTRY_MEMORY: usize = 24;

/// Keeps account of what the versions of one frame will occupy, for the side that fills it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    used: usize,
    paid: usize,
}

impl Memory {
    /// Counts `version`, and says whether a receiver would still take all that was counted.
    pub(crate) fn admit(&mut self, key: &Key, version: &Version) -> bool {
        self.used = self.used.saturating_add(memory(1, key.as_bytes().len(), entries_of(version)));
        self.paid = self.paid.saturating_add(version.body.byte_len());
        self.used <= allowance(self.paid)
    }
}

/// Whether a receiver would take this version in a frame of its own. Contexts of thousands of dots may be too much.
pub(crate) fn travels_alone(entry: &(Key, Version)) -> bool {
    Memory::default().admit(&entry.0, &entry.1) || pack(core::slice::from_ref(entry)).is_ok()
}

fn memory(versions: usize, key_bytes: usize, entries: usize) -> usize {
    let versions = versions.saturating_mul(VERSION_MEMORY);
    versions.saturating_add(key_bytes).saturating_add(entries.saturating_mul(ENTRY_MEMORY))
}

fn allowance(bytes: usize) -> usize {
    bytes.saturating_mul(MEMORY_PER_BYTE).saturating_add(FREE_MEMORY)
}

/// The columns of `versions`, which ascend strictly by dot.
///
/// # Errors
///
/// [`CodecError`] if they are more than a receiver would take: see [`Memory`].
pub(crate) fn pack(versions: &[(Key, Version)]) -> Result<Vec<u8>, CodecError> {
    let table = table_of(versions);
    let values = versions.iter().map(|(_, version)| version.body.byte_len()).fold(0, usize::saturating_add);
    // Columns are short where versions are alike.
    let mut out = Vec::with_capacity(values.saturating_add(versions.len().saturating_mul(4)));
    put_number(&mut out, count(versions.len()));
    if versions.is_empty() {
        return Ok(out);
    }
    put_number(&mut out, count(table.len()));
    for replica in &table {
        out.extend_from_slice(&replica.get().to_be_bytes());
    }
    let each = || versions.iter().map(|(_, version)| version);
    put_dots(&mut out, &table, || each().map(|version| version.dot));
    put_keys(&mut out, versions);
    put_column(&mut out, each().map(|version| version.class.get().into()));
    put_column(&mut out, each().map(|version| version.hlc.as_u64()));
    put_column(&mut out, each().map(|version| version.height.get().saturating_sub(1)));
    put_column(&mut out, each().map(|version| count(version.context.dots().len())));
    put_dots(&mut out, &table, || each().flat_map(|version| version.context.dots().iter().copied()));
    put_column(&mut out, each().map(|version| count(version.context.upto().len())));
    put_dots(&mut out, &table, || each().flat_map(|version| version.context.upto().iter()));
    put_column(
        &mut out,
        each().map(|version| version.body.value().map_or(0, |value| count(value.len()).saturating_add(1))),
    );
    for value in each().filter_map(|version| version.body.value()) {
        out.extend_from_slice(value);
    }
    let keys = versions.iter().map(|(key, _)| key.as_bytes().len()).fold(0, usize::saturating_add);
    let entries = each().map(entries_of).fold(0, usize::saturating_add);
    check_memory(versions.len(), keys, entries, out.len())?;
    Ok(out)
}

/// Places in the table, then counters.
fn put_dots<I: Iterator<Item = Dot>>(out: &mut Vec<u8>, table: &[ReplicaId], dots: impl Fn() -> I) {
    let mut last = None;
    let place = |dot: Dot| match last {
        Some((replica, place)) if replica == dot.replica => place,
        _ => {
            let place = count(table.binary_search(&dot.replica).unwrap_or_default());
            last = Some((dot.replica, place));
            place
        }
    };
    put_column(out, dots().map(place));
    put_column(out, dots().map(|dot| dot.counter.get().saturating_sub(1)));
}

fn entries_of(version: &Version) -> usize {
    version.context.dots().len().saturating_add(version.context.upto().len())
}

/// All replicas that the versions name, ascending.
fn table_of(versions: &[(Key, Version)]) -> Vec<ReplicaId> {
    let mut replicas: Vec<ReplicaId> = Vec::new();
    for (_, version) in versions {
        let context = &version.context;
        for dot in [version.dot].into_iter().chain(context.dots().iter().copied()).chain(context.upto().iter()) {
            // Neighbours name the same few.
            if replicas.last() != Some(&dot.replica) {
                replicas.push(dot.replica);
            }
        }
    }
    replicas.sort_unstable();
    replicas.dedup();
    replicas
}

/// The length of each key, or 0 where it is the key before but for the number at its end; the numbers of those; of the
/// others the length of what each shares with the key before; and then what is new in them.
fn put_keys(out: &mut Vec<u8>, versions: &[(Key, Version)]) {
    let keys = || versions.iter().map(|(key, _)| key.as_bytes());
    let before = core::iter::once(&b""[..]).chain(keys());
    let parts: Vec<KeyPart<'_>> = before.zip(keys()).map(|(before, key)| KeyPart::new(before, key)).collect();
    let length = |part: &KeyPart<'_>| if let KeyPart::Spelt { key, .. } = part { count(key.len()) } else { 0 };
    put_column(out, parts.iter().map(length));
    let number = |part: &KeyPart<'_>| if let KeyPart::Numbered(number) = part { Some(*number) } else { None };
    put_column(out, parts.iter().filter_map(number));
    let spelt = || {
        parts
            .iter()
            .filter_map(|part| if let KeyPart::Spelt { shared, key } = part { Some((*shared, *key)) } else { None })
    };
    put_column(out, spelt().map(|(shared, _)| count(shared)));
    for (shared, key) in spelt() {
        out.extend_from_slice(key.get(shared..).unwrap_or_default());
    }
}

/// A key as what is new to it after the key before.
enum KeyPart<'a> {
    /// The key before with another number, or the same, at its end.
    Numbered(u64),
    /// Any other: how many bytes are those of the key before.
    Spelt { shared: usize, key: &'a [u8] },
}

impl<'a> KeyPart<'a> {
    fn new(before: &[u8], key: &'a [u8]) -> Self {
        let (stem, digits) = split_number(key);
        let (stem_before, digits_before) = split_number(before);
        match number_of(digits) {
            Some(number) if (stem, digits.len()) == (stem_before, digits_before.len()) => Self::Numbered(number),
            _ => Self::Spelt { shared: shared(before, key), key },
        }
    }
}

/// The decimal digits at the end of a key, as many as fit a number, and what is before them.
fn split_number(key: &[u8]) -> (&[u8], &[u8]) {
    let digits = key.iter().rev().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    key.split_at_checked(key.len().saturating_sub(digits)).unwrap_or((key, &[]))
}

/// The number that digits spell; `None` if there are none.
fn number_of(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Any number of so many digits fits 64 bits.
const MAX_DIGITS: usize = 18;

fn shared(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The versions in `bytes`, all of which they must use. Only what [`pack`] writes is accepted.
///
/// # Errors
///
/// [`CodecError`] for anything else. Nothing is allocated for versions that the bytes have not paid for.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<(Key, Version)>, CodecError> {
    let mut reader = Reader::new(bytes);
    let total = reader.count()?;
    if total == 0 {
        return if reader.is_empty() { Ok(Vec::new()) } else { Err(CodecProblem::NotCanonical.into()) };
    }
    check_memory(total, 0, 0, bytes.len())?;
    let table = read_table(&mut reader)?;
    let mut places = reader.column(total)?;
    let mut counters = reader.column(total)?;
    let mut keys = Keys::read(&mut reader, total)?;
    let mut classes = reader.column(total)?;
    let mut stamps = reader.column(total)?;
    let mut heights = reader.column(total)?;
    let mut exact = Entries::read(&mut reader, total, bytes.len())?;
    let mut upto = Entries::read(&mut reader, total, bytes.len())?;
    let lengths = reader.column(total)?;
    check_memory(total, keys.total(), exact.total.saturating_add(upto.total), bytes.len())?;

    let mut used = vec![false; table.len()];
    let mut versions: Vec<(Key, Version)> = Vec::with_capacity(total);
    let (mut dots, mut ends) = (Vec::new(), Vec::new());
    for length in lengths {
        let key = keys.next_key()?;
        let dot = dot_of(&table, places.next(), counters.next(), &mut used)?;
        if versions.last().is_some_and(|(_, previous)| previous.dot >= dot) {
            return Err(CodecProblem::NotCanonical.into());
        }
        exact.next_dots(&table, &mut used, &mut dots)?;
        upto.next_dots(&table, &mut used, &mut ends)?;
        let context = context_of(&dots, &ends)?;
        let class = classes.next().and_then(|class| u8::try_from(class).ok()).ok_or(CodecProblem::Range("class"))?;
        let height = heights.next().and_then(|height| height.checked_add(1)).and_then(Height::new);
        let body = match length.checked_sub(1) {
            None => Body::Tombstone,
            Some(length) => Body::of(reader.take(length)?),
        };
        let version = Version {
            dot,
            context,
            height: height.ok_or(CodecProblem::Range("height"))?,
            hlc: Hlc::from_u64(stamps.next().ok_or(CodecProblem::Range("stamp"))?),
            class: Class::new(class),
            body,
        };
        versions.push((key, version));
    }
    if !reader.is_empty() || used.contains(&false) {
        return Err(CodecProblem::NotCanonical.into());
    }
    Ok(versions)
}

fn check_memory(versions: usize, key_bytes: usize, entries: usize, bytes: usize) -> Result<(), CodecError> {
    let (used, limit) = (memory(versions, key_bytes, entries), allowance(bytes));
    if used > limit { Err(CodecProblem::Memory { used, limit }.into()) } else { Ok(()) }
}

fn read_table(reader: &mut Reader<'_>) -> Result<Vec<ReplicaId>, CodecError> {
    let replicas = reader.count()?;
    let mut table: Vec<ReplicaId> = Vec::new();
    for _ in 0..replicas {
        let id = reader.array().map(u64::from_be_bytes)?;
        let replica = ReplicaId::new(id).ok_or(CodecProblem::Range("replica"))?;
        if table.last().is_some_and(|last| *last >= replica) {
            return Err(CodecProblem::NotCanonical.into());
        }
        table.push(replica);
    }
    Ok(table)
}

/// The dot at a place of the table, which counts as used.
fn dot_of(table: &[ReplicaId], place: Option<u64>, counter: Option<u64>, used: &mut [bool]) -> Result<Dot, CodecError> {
    let place = place.and_then(|place| usize::try_from(place).ok()).ok_or(CodecProblem::Range("replica"))?;
    let replica = table.get(place).ok_or(CodecProblem::Range("replica"))?;
    let counter = counter.and_then(|counter| counter.checked_add(1)).and_then(Counter::new);
    if let Some(used) = used.get_mut(place) {
        *used = true;
    }
    Ok(Dot::new(*replica, counter.ok_or(CodecProblem::Range("counter"))?))
}

/// The context of these parts in their one form: ascending strictly, no dot covered by the other part.
fn context_of(exact: &[Dot], upto: &[Dot]) -> Result<KeyContext, CodecError> {
    if exact.is_empty() && upto.is_empty() {
        return Ok(KeyContext::new());
    }
    let ascends = exact.is_sorted_by(|left, right| left < right);
    let upto = VectorClock::try_from_entries(upto.iter().copied()).map_err(|_| CodecProblem::NotCanonical)?;
    let context = KeyContext::from_parts(exact.iter().copied(), upto);
    // What is covered was left out.
    let complete = context.dots().len() == exact.len();
    if ascends && complete { Ok(context) } else { Err(CodecProblem::NotCanonical.into()) }
}

/// The column of keys.
struct Keys<'a> {
    lengths: Column<'a>,
    numbers: Column<'a>,
    shared: Column<'a>,
    bytes: Reader<'a>,
    before: Vec<u8>,
}

impl<'a> Keys<'a> {
    fn read(reader: &mut Reader<'a>, total: usize) -> Result<Self, CodecError> {
        let lengths = reader.column(total)?;
        let numbered = lengths.clone().filter(|length| *length == 0).count();
        let numbers = reader.column(numbered)?;
        let shared = reader.column(total.saturating_sub(numbered))?;
        let both = shared.clone().zip(lengths.clone().filter(|length| *length > 0));
        let new = both.map(|(shared, length)| length.saturating_sub(shared)).fold(0, u64::saturating_add);
        Ok(Self { lengths, numbers, shared, bytes: Reader::new(reader.take(new)?), before: Vec::new() })
    }

    /// How long all keys together say they are.
    fn total(&self) -> usize {
        let mut last = 0;
        let lengths = self.lengths.clone().map(|length| {
            last = if length == 0 { last } else { length };
            last
        });
        usize::try_from(lengths.fold(0, u64::saturating_add)).unwrap_or(usize::MAX)
    }

    fn next_key(&mut self) -> Result<Key, CodecError> {
        match self.lengths.next().ok_or(CodecProblem::Range("key"))? {
            0 => self.next_numbered()?,
            length => self.next_spelt(length)?,
        }
        Ok(Key::new(&self.before).map_err(|_| CodecProblem::Range("key"))?)
    }

    fn next_numbered(&mut self) -> Result<(), CodecError> {
        let mut left = self.numbers.next().ok_or(CodecProblem::Range("number of a key"))?;
        let digits = split_number(&self.before).1.len();
        for digit in self.before.iter_mut().rev().take(digits) {
            *digit = b'0'.saturating_add(u8::try_from(left % 10).unwrap_or(0));
            left /= 10;
        }
        if digits == 0 || left > 0 { Err(CodecProblem::Range("number of a key").into()) } else { Ok(()) }
    }

    fn next_spelt(&mut self, length: u64) -> Result<(), CodecError> {
        let shared = self.shared.next().ok_or(CodecProblem::Range("key"))?;
        let new = self.bytes.take(length.checked_sub(shared).ok_or(CodecProblem::Range("key"))?)?;
        let shared = usize::try_from(shared).unwrap_or(usize::MAX);
        let next = self.before.get(shared);
        if shared > self.before.len() || (next.is_some() && next == new.first()) {
            return Err(CodecProblem::NotCanonical.into());
        }
        // One that differs in its number alone would have been written as a number; both are as long then.
        let as_long = usize::try_from(length) == Ok(self.before.len());
        if as_long
            && matches!(
                KeyPart::new(&self.before, &[self.before.get(..shared).unwrap_or_default(), new].concat()),
                KeyPart::Numbered(_)
            )
        {
            return Err(CodecProblem::NotCanonical.into());
        }
        self.before.truncate(shared);
        self.before.extend_from_slice(new);
        Ok(())
    }
}

/// The entries of one half of all contexts.
struct Entries<'a> {
    counts: Column<'a>,
    places: Column<'a>,
    counters: Column<'a>,
    total: usize,
}

impl<'a> Entries<'a> {
    fn read(reader: &mut Reader<'a>, versions: usize, bytes: usize) -> Result<Self, CodecError> {
        let counts = reader.column(versions)?;
        let total = usize::try_from(counts.clone().fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
        check_memory(versions, 0, total, bytes)?;
        Ok(Self { counts, places: reader.column(total)?, counters: reader.column(total)?, total })
    }

    /// Puts the entries of the next context in place of those of another.
    fn next_dots(&mut self, table: &[ReplicaId], used: &mut [bool], dots: &mut Vec<Dot>) -> Result<(), CodecError> {
        dots.clear();
        for _ in 0..self.counts.next().unwrap_or_default() {
            dots.push(dot_of(table, self.places.next(), self.counters.next(), used)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
