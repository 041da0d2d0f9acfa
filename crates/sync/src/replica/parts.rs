//! Pieces of large versions, until all of a version are there.

use std::collections::BTreeMap;

use crate::codec::{CodecError, CodecProblem};
use crate::message::Part;

/// The pieces of each chunk that is not complete. What they occupy is what was received: nothing is reserved for a
/// length that a peer only says.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(BTreeMap<u32, Pieces>);

#[derive(Clone, Debug)]
struct Pieces {
    size: u32,
    total: u32,
    count: u32,
    /// Bytes of the frames they came in.
    frame_bytes: u64,
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Parts {
    /// Whether just this piece is here already.
    pub(super) fn has(&self, part: &Part) -> bool {
        self.0.get(&part.chunk).and_then(|chunk| chunk.pieces.get(&part.number)) == Some(&part.piece)
    }

    /// Takes a piece that [fits](Part::fits), which came in a frame of so many bytes. Gives the whole and the bytes of all
    /// its frames, once it is complete.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is a piece of something else than the others of its chunk. They are forgotten then.
    pub(super) fn add(&mut self, part: Part, frame_bytes: u64) -> Result<Option<(Vec<u8>, u64)>, CodecError> {
        let (chunk, size, total, count) = (part.chunk, part.size, part.total, part.count());
        let open = self.0.entry(chunk).or_insert_with(|| Pieces {
            size,
            total,
            count,
            frame_bytes: 0,
            pieces: BTreeMap::new(),
        });
        let differs = open.pieces.get(&part.number).is_some_and(|known| *known != part.piece);
        if (open.size, open.total) != (size, total) || differs {
            self.0.remove(&chunk);
            return Err(CodecProblem::Range("piece of this version").into());
        }
        open.frame_bytes = open.frame_bytes.saturating_add(frame_bytes);
        open.pieces.insert(part.number, part.piece);
        if u32::try_from(open.pieces.len()).unwrap_or(u32::MAX) < open.count {
            return Ok(None);
        }
        let complete = self.0.remove(&chunk);
        Ok(complete.map(|open| (open.pieces.into_values().flatten().collect(), open.frame_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SessionId;

    fn pieces(chunk: u32, length: usize, size: usize) -> Vec<Part> {
        let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
        Part::split(SessionId(1), chunk, &bytes, size).unwrap()
    }

    #[test]
    fn pieces_make_the_whole_in_any_order() {
        let all = pieces(3, 1_000, 300);
        assert_eq!(all.iter().map(|part| part.piece.len()).collect::<Vec<_>>(), [300, 300, 300, 100]);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut parts = Parts::default();
            for place in &order[..3] {
                assert!(!parts.has(&all[*place]));
                assert_eq!(parts.add(all[*place].clone(), 10), Ok(None));
                assert!(parts.has(&all[*place]));
            }
            let (whole, frame_bytes) = parts.add(all[order[3]].clone(), 10).unwrap().unwrap();
            assert_eq!(whole, (0..1_000).map(|at| at as u8).collect::<Vec<u8>>());
            assert_eq!(frame_bytes, 40);
            assert!(parts.0.is_empty());
        }
        assert_eq!(Part::split(SessionId(1), 0, &[0; 300], 300), None, "one piece is no part");
    }

    #[test]
    fn a_piece_of_another_version_is_refused() {
        let mut parts = Parts::default();
        parts.add(pieces(3, 1_000, 300).remove(0), 10).unwrap();
        parts.add(pieces(4, 1_000, 250).remove(0), 10).unwrap();
        assert!(parts.add(pieces(3, 1_001, 300).remove(1), 10).is_err(), "of another length");
        parts.add(pieces(3, 1_000, 300).remove(0), 10).unwrap();
        assert!(parts.add(pieces(3, 1_000, 200).remove(1), 10).is_err(), "of another size");
        let mut other = pieces(4, 1_000, 250).remove(0);
        other.piece[7] ^= 1;
        assert!(parts.add(other, 10).is_err(), "the same piece with other bytes");
        assert!(parts.0.is_empty());
    }

    #[test]
    fn a_piece_says_its_own_length() {
        let part = pieces(3, 1_000, 300).remove(3);
        assert!(part.fits());
        for wrong in [
            Part { number: 2, ..part.clone() },
            Part { number: 4, ..part.clone() },
            Part { number: u32::MAX, ..part.clone() },
            Part { size: 0, ..part.clone() },
            Part { size: 1_000, number: 0, ..part.clone() },
            Part { size: 1, number: 900, ..part.clone() },
            Part { total: 999, ..part.clone() },
            Part { total: u32::MAX, ..part.clone() },
            Part { piece: Vec::new(), ..part.clone() },
            Part { piece: vec![0; 101], ..part.clone() },
        ] {
            assert!(!wrong.fits(), "{wrong:?}");
        }
    }
}
