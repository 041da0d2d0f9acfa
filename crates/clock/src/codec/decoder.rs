//! Reading clocks and contexts from bytes that nobody vouches for.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::reader::Reader;
use super::{Base, CHANGED, DELTA, ENTRIES, FULL, RANGED, RANGES, RANGES_OF_ONE, ROSTER};
use crate::{
    CausalContext, Counter, DecodeError, DecodeKind, Dot, DotRange, Limits, ReplicaId, ReplicaKey, Roster, RosterClock,
    VectorClock,
};

/// Reads clocks and contexts: within limits, and with the rosters and bases that the bytes may refer to.
///
/// What it accepts is canonical: encoding it again in the same form gives the same bytes. Every declared count is held
/// against its limit and against what is left of the input before anything is allocated for it, so that no input makes
/// it allocate more than the limits allow, or (but for a base or roster that the caller gave) more than a small multiple
/// of the input. Nothing here panics.
///
/// ```
/// use reconvene_clock::{DecodeKind, Decoder, Limits, ReplicaId};
///
/// let mut limits = Limits::default();
/// limits.max_entries = 100;
/// let decoder = Decoder::<ReplicaId>::new(limits);
/// assert!(decoder.clock(&[1, 0]).expect("the empty clock").is_empty());
///
/// // 101 entries are declared, where the third byte says that one follows.
/// let error = decoder.clock(&[1, 101, 1]).expect_err("too many");
/// assert_eq!(error.kind, DecodeKind::LimitExceeded { what: "clock entries", limit: 100 });
/// assert_eq!(error.offset, 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a, R: ReplicaKey = ReplicaId> {
    limits: Limits,
    rosters: &'a [Arc<Roster<R>>],
    bases: &'a [Base<R>],
}

impl<R: ReplicaKey> Default for Decoder<'_, R> {
    /// With [`Limits::default`], and without rosters or bases.
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl<'a, R: ReplicaKey> Decoder<'a, R> {
    /// A decoder that knows neither rosters nor bases.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, rosters: &[], bases: &[] }
    }

    /// This decoder, with the rosters that the roster form may name.
    #[must_use]
    pub const fn with_rosters(self, rosters: &'a [Arc<Roster<R>>]) -> Self {
        Self { rosters, ..self }
    }

    /// This decoder, with the bases that the delta form may name.
    #[must_use]
    pub const fn with_bases(self, bases: &'a [Base<R>]) -> Self {
        Self { bases, ..self }
    }

    /// The clock that is exactly these bytes, in any form.
    ///
    /// # Errors
    /// [`UnknownRoster`](DecodeKind::UnknownRoster) or [`UnknownBase`](DecodeKind::UnknownBase) if the bytes refer to
    /// one that this decoder was not given: ask the peer for another form. Any other [`DecodeError`] means that no
    /// encoder wrote these bytes, or that they are beyond the limits.
    pub fn clock(&self, bytes: &[u8]) -> Result<VectorClock<R>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let clock = self.any_clock(&mut reader)?;
        reader.end()?;
        Ok(clock)
    }

    /// The clock over a roster that is exactly these bytes, in the roster form.
    ///
    /// # Errors
    /// As for [`clock`](Self::clock); [`UnknownForm`](DecodeKind::UnknownForm) for the other forms.
    pub fn roster_clock(&self, bytes: &[u8]) -> Result<RosterClock<R>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != ROSTER {
            return Err(DecodeError::new(DecodeKind::UnknownForm, 0));
        }
        let clock = self.over_roster(&mut reader)?;
        reader.end()?;
        Ok(clock)
    }

    /// The context that is exactly these bytes, its vector in any form.
    ///
    /// # Errors
    /// As for [`clock`](Self::clock).
    pub fn context(&self, bytes: &[u8]) -> Result<CausalContext<R>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let vector = self.any_clock(&mut reader)?;
        let ranges = self.ranges(&mut reader, &vector)?;
        reader.end()?;
        Ok(CausalContext::of_canonical(vector, ranges))
    }

    fn any_clock(&self, reader: &mut Reader<'_>) -> Result<VectorClock<R>, DecodeError> {
        let offset = reader.offset();
        match reader.byte()? {
            FULL => {
                let count = reader.count(ENTRIES, self.limits.max_entries, entry_bytes::<R>())?;
                entries(reader, count, |_| false)
            }
            ROSTER => self.over_roster(reader).map(VectorClock::from),
            DELTA => self.above_base(reader),
            _ => Err(DecodeError::new(DecodeKind::UnknownForm, offset)),
        }
    }

    fn over_roster(&self, reader: &mut Reader<'_>) -> Result<RosterClock<R>, DecodeError> {
        let offset = reader.offset();
        let digest = reader.word()?;
        let known = self.rosters.iter().find(|roster| roster.digest() == digest);
        let roster = known.ok_or_else(|| DecodeError::new(DecodeKind::UnknownRoster { digest }, offset))?;
        self.check_entries(roster.len(), offset)?;
        if roster.len() > reader.remaining() {
            return Err(DecodeError::new(DecodeKind::Truncated, reader.offset().saturating_add(reader.remaining())));
        }
        let mut counters = Vec::with_capacity(roster.len());
        for _ in roster.ids() {
            counters.push(reader.number()?);
        }
        Ok(RosterClock::from_counters(roster.clone(), counters))
    }

    fn above_base(&self, reader: &mut Reader<'_>) -> Result<VectorClock<R>, DecodeError> {
        let offset = reader.offset();
        let digest = reader.word()?;
        let known = self.bases.iter().find(|base| base.digest() == digest);
        let base = known.ok_or_else(|| DecodeError::new(DecodeKind::UnknownBase { digest }, offset))?.clock();
        self.check_entries(base.len(), offset)?;

        let changed = reader.count(CHANGED, base.len(), 2)?;
        let mut clock = base.clone();
        let mut rest = clock.entries_mut();
        for _ in 0..changed {
            let offset = reader.offset();
            let gap = usize::try_from(reader.number()?).ok();
            let after = gap.and_then(|gap| rest.get_mut(gap..)).and_then(<[_]>::split_first_mut);
            let (entry, after) = after.ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))?;
            let offset = reader.offset();
            let increment = reader.counter()?.get();
            let counter = Counter::new(entry.counter.get().saturating_add(increment));
            entry.counter = counter.ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))?;
            rest = after;
        }
        let offset = reader.offset();
        let new = reader.count(ENTRIES, self.limits.max_entries, entry_bytes::<R>())?;
        self.check_entries(base.len().saturating_add(new), offset)?;
        // The new ones ascend among themselves; an old one among them would be a second spelling.
        clock.merge(&entries(reader, new, |id| base.get(id).is_some())?);
        Ok(clock)
    }

    fn ranges(&self, reader: &mut Reader<'_>, vector: &VectorClock<R>) -> Result<Vec<DotRange<R>>, DecodeError> {
        let limits = &self.limits;
        let replicas = reader.count(RANGED, limits.max_ranges, R::WIDTH.saturating_add(3))?;
        let mut ranges = Vec::new();
        for id in reader.ids::<R>(replicas)? {
            let (replica, _) = id?;
            let offset = reader.offset();
            let count = reader.count_above(1, RANGES_OF_ONE, limits.max_ranges_per_replica, 2)?;
            if count > limits.max_ranges.saturating_sub(ranges.len()) {
                let kind = DecodeKind::LimitExceeded { what: RANGES, limit: limits.max_ranges };
                return Err(DecodeError::new(kind, offset));
            }
            ranges.reserve(count);
            let mut end = vector.get(replica).map_or(0, Counter::get);
            for _ in 0..count {
                let offset = reader.offset();
                // Neither sum wraps: each number is below 2^63.
                let first = Counter::new(end.saturating_add(2).saturating_add(reader.number()?));
                let first = first.ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))?;
                let offset = reader.offset();
                let last = Counter::new(first.get().saturating_add(reader.number()?));
                let range = last.and_then(|last| DotRange::new(replica, first, last));
                let range = range.ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))?;
                end = range.last().get();
                ranges.push(range);
            }
        }
        Ok(ranges)
    }

    fn check_entries(&self, count: usize, offset: usize) -> Result<(), DecodeError> {
        let limit = self.limits.max_entries;
        if count > limit {
            return Err(DecodeError::new(DecodeKind::LimitExceeded { what: ENTRIES, limit }, offset));
        }
        Ok(())
    }
}

/// The least that an entry takes: its id, and one byte of counter.
const fn entry_bytes<R: ReplicaKey>() -> usize {
    R::WIDTH.saturating_add(1)
}

/// A column of `count` ids, none of them `taken`, and a column of counters.
fn entries<R: ReplicaKey>(
    reader: &mut Reader<'_>,
    count: usize,
    taken: impl Fn(R) -> bool,
) -> Result<VectorClock<R>, DecodeError> {
    let mut clock = VectorClock::with_room(count);
    for id in reader.ids(count)? {
        let (replica, offset) = id?;
        if taken(replica) {
            return Err(DecodeError::new(DecodeKind::NotAscending, offset));
        }
        clock.push(Dot { replica, counter: reader.counter()? });
    }
    Ok(clock)
}
