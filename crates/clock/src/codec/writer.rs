//! Columns of ids and numbers.

use alloc::vec::Vec;

use crate::ReplicaKey;

/// The most bytes that a number of 63 bits takes.
const LONGEST: usize = 9;
/// Numbers gathered before they are appended at once.
const CHUNK: usize = 16;

pub(super) fn put_ids<R: ReplicaKey>(out: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = R>) {
    let start = out.len();
    out.resize(start.saturating_add(ids.len().saturating_mul(R::WIDTH)), 0);
    let column = out.get_mut(start..).unwrap_or_default();
    for (place, id) in column.chunks_exact_mut(R::WIDTH).zip(ids) {
        id.write(place);
    }
}

/// Appends numbers below 2^63.
pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    let mut chunk = Chunk { bytes: [0; CHUNK * LONGEST], len: 0 };
    let mut room = CHUNK;
    for number in numbers {
        if room == 0 {
            chunk.flush(out);
            room = CHUNK;
        }
        chunk.put(number);
        room = room.saturating_sub(1);
    }
    chunk.flush(out);
}

pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    put_numbers(out, core::iter::once(number));
}

/// A count of things in memory.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    // Nothing in memory has more than 2^63 parts.
    put_number(out, u64::try_from(count).unwrap_or(u64::MAX));
}

struct Chunk {
    bytes: [u8; CHUNK * LONGEST],
    len: usize,
}

impl Chunk {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a byte holds the seven bits that are taken")]
    fn put(&mut self, number: u64) {
        let Some([first, second, more @ ..]) = self.bytes.get_mut(self.len..) else {
            return;
        };
        // Nearly all numbers take one or two bytes. Both are written in any case: which it is, nobody could predict.
        let long = number > 0x7f;
        *first = number as u8 & 0x7f | u8::from(long) << 7;
        *second = (number >> 7) as u8;
        self.len = self.len.saturating_add(1).saturating_add(long.into());
        if number > 0x3fff {
            *second |= 0x80;
            let mut rest = number >> 14;
            for place in more {
                *place = rest as u8 & 0x7f | u8::from(rest > 0x7f) << 7;
                self.len = self.len.saturating_add(1);
                rest >>= 7;
                if rest == 0 {
                    break;
                }
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}
