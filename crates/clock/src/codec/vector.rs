//! Vector clocks in their three forms.

use alloc::vec::Vec;

use super::writer::{put_count, put_ids, put_numbers};
use super::{DELTA, FULL, ROSTER, base_digest};
use crate::replica::number_of;
use crate::{ClockError, Counter, Dot, ReplicaId, ReplicaKey, Roster, RosterClock, VectorClock};

impl<R: ReplicaKey> VectorClock<R> {
    /// Appends the full form, which needs no knowledge of its reader: 1 byte, the count, the ids, and 1 to 9 bytes for
    /// each counter. Equal clocks have equal bytes. O(n).
    ///
    /// ```
    /// use reconvene_clock::{Decoder, ReplicaId, VectorClock};
    ///
    /// let mut clock = VectorClock::new();
    /// clock.increment(ReplicaId::new(0xab).expect("not zero"))?;
    /// let mut bytes = Vec::new();
    /// clock.encode(&mut bytes);
    /// assert_eq!(bytes, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0xab, 0]);
    /// assert_eq!(Decoder::default().clock(&bytes), Ok(clock));
    /// # Ok::<(), reconvene_clock::ClockError>(())
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        let entries = self.entries();
        // One byte for the form, five for the count, and two for most counters.
        out.reserve(entries.len().saturating_mul(R::WIDTH.saturating_add(2)).saturating_add(6));
        out.push(FULL);
        put_count(out, entries.len());
        put_entries(out, entries);
    }

    /// Appends the roster form, for a reader that knows `roster`: 9 bytes and a number for each member. O(n).
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if an entry's replica is no member; nothing is appended.
    pub fn encode_in(&self, roster: &Roster<R>, out: &mut Vec<u8>) -> Result<(), ClockError> {
        let outsider = self.iter().find(|entry| roster.position(entry.replica).is_none());
        if let Some(entry) = outsider {
            return Err(ClockError::UnknownReplica { replica: number_of(entry.replica) });
        }
        let mut entries = self.iter().peekable();
        let counters = roster.ids().iter().map(|id| {
            let entry = entries.next_if(|entry| entry.replica == *id);
            entry.map_or(0, |entry| entry.counter.get())
        });
        put_roster(out, roster.digest(), counters);
        Ok(())
    }

    /// Appends the delta form, for a reader that knows `base`: 11 bytes, about 2 for each entry that grew and 9 or more
    /// for each that is new. Returns `false`, and appends nothing, if this clock does not dominate the base. O(n + m).
    #[must_use = "nothing is appended if this clock does not dominate the base"]
    pub fn encode_delta(&self, base: &Base<R>, out: &mut Vec<u8>) -> bool {
        if !self.dominates(&base.clock) {
            return false;
        }
        let mut changes = Vec::new();
        let mut changed = 0_usize;
        let mut new: Vec<Dot<R>> = Vec::new();
        let (mut old, mut unchanged) = (base.clock.iter().peekable(), 0_u64);
        for entry in self.iter() {
            let Some(before) = old.next_if(|before| before.replica == entry.replica) else {
                new.push(entry);
                continue;
            };
            match entry.counter.get().checked_sub(before.counter.get()).and_then(Counter::new) {
                None => unchanged = unchanged.saturating_add(1),
                Some(increment) => {
                    put_numbers(&mut changes, [unchanged, less_one(increment)].into_iter());
                    changed = changed.saturating_add(1);
                    unchanged = 0;
                }
            }
        }
        out.push(DELTA);
        out.extend_from_slice(&base.digest.to_be_bytes());
        put_count(out, changed);
        out.append(&mut changes);
        put_count(out, new.len());
        put_entries(out, &new);
        true
    }
}

impl<R: ReplicaKey> RosterClock<R> {
    /// Appends the roster form: 9 bytes and a number for each member. O(n).
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_roster(out, self.roster().digest(), self.counters().iter().copied());
    }
}

/// A clock that the other side is known to hold, and the digest that names it there.
///
/// ```
/// use reconvene_clock::{Base, Decoder, ReplicaId, VectorClock};
///
/// let [a, b] = [1, 2].map(|id| ReplicaId::new(id).expect("not zero"));
/// let mut clock = VectorClock::new();
/// clock.increment(a)?;
/// let bases = [Base::new(clock.clone())];
/// clock.increment(a)?;
/// clock.increment(b)?;
///
/// let mut bytes = Vec::new();
/// assert!(clock.encode_delta(&bases[0], &mut bytes));
/// assert_eq!(Decoder::default().with_bases(&bases).clock(&bytes), Ok(clock));
/// # Ok::<(), reconvene_clock::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Base<R: ReplicaKey = ReplicaId> {
    clock: VectorClock<R>,
    digest: u64,
}

impl<R: ReplicaKey> Base<R> {
    /// This clock as a base. Computes its digest: O(n).
    #[must_use]
    pub fn new(clock: VectorClock<R>) -> Self {
        Self { digest: base_digest(&clock), clock }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &VectorClock<R> {
        &self.clock
    }

    /// The name of this base on the wire: 64 bits of SipHash-2-4 over the full form. An address and no proof.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

/// A column of ids and a column of counters.
fn put_entries<R: ReplicaKey>(out: &mut Vec<u8>, entries: &[Dot<R>]) {
    put_ids(out, entries.iter().map(|entry| entry.replica));
    put_numbers(out, entries.iter().map(|entry| less_one(entry.counter)));
}

fn put_roster(out: &mut Vec<u8>, digest: u64, counters: impl ExactSizeIterator<Item = u64>) {
    out.reserve(counters.len().saturating_mul(2).saturating_add(9));
    out.push(ROSTER);
    out.extend_from_slice(&digest.to_be_bytes());
    put_numbers(out, counters);
}

/// Counters start at one, so that a byte more of them is short.
pub(super) const fn less_one(counter: Counter) -> u64 {
    counter.get().saturating_sub(1)
}
