//! Contexts: a clock in any form, and the ranges above it.

use alloc::vec::Vec;

use super::Base;
use super::vector::less_one;
use super::writer::{put_count, put_ids, put_numbers};
use crate::{CausalContext, ClockError, Counter, DotRange, ReplicaKey, Roster};

impl<R: ReplicaKey> CausalContext<R> {
    /// Appends the vector in its full form and the ranges. Equal contexts have equal bytes. O(n).
    ///
    /// ```
    /// use reconvene_clock::{CausalContext, Counter, Decoder, Dot, ReplicaId};
    ///
    /// let replica = ReplicaId::new(0xab).expect("not zero");
    /// let context: CausalContext =
    ///     [1, 3, 4].map(|number| Dot::new(replica, Counter::new(number).expect("in range"))).into_iter().collect();
    /// let mut bytes = Vec::new();
    /// context.encode(&mut bytes);
    /// assert_eq!(Decoder::default().context(&bytes), Ok(context));
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.vector().encode(out);
        self.put_ranges(out);
    }

    /// Appends the vector in the roster form, for a reader that knows `roster`, and the ranges.
    ///
    /// # Errors
    /// [`UnknownReplica`](ClockError::UnknownReplica) if the vector names a replica that is no member; nothing is
    /// appended. Ranges carry their ids and may name others.
    pub fn encode_in(&self, roster: &Roster<R>, out: &mut Vec<u8>) -> Result<(), ClockError> {
        self.vector().encode_in(roster, out)?;
        self.put_ranges(out);
        Ok(())
    }

    /// Appends the vector in the delta form, for a reader that knows `base`, and the ranges. Returns `false`, and appends
    /// nothing, if the vector does not dominate the base.
    #[must_use = "nothing is appended if the vector does not dominate the base"]
    pub fn encode_delta(&self, base: &Base<R>, out: &mut Vec<u8>) -> bool {
        let possible = self.vector().encode_delta(base, out);
        if possible {
            self.put_ranges(out);
        }
        possible
    }

    fn put_ranges(&self, out: &mut Vec<u8>) {
        let groups = || self.ranges().chunk_by(|left, right| left.replica() == right.replica());
        let ids: Vec<R> = groups().filter_map(|group| group.first()).map(DotRange::replica).collect();
        put_count(out, ids.len());
        put_ids(out, ids.into_iter());
        for group in groups() {
            put_count(out, group.len().saturating_sub(1));
            let mut end = group.first().and_then(|range| self.vector().get(range.replica())).map_or(0, Counter::get);
            for range in group {
                let (first, last) = (range.first().get(), range.last().get());
                // A range starts at least two above what precedes it, or it would be part of that.
                let gap = less_one(range.first()).saturating_sub(end).saturating_sub(1);
                put_numbers(out, [gap, last.saturating_sub(first)].into_iter());
                end = last;
            }
        }
    }
}
