//! The envelope of every message: kind, codec, length, body, checksum.

use reconvene_store::crc32c;

use crate::codec::{CodecError, CodecProblem};

/// What a frame is. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Hello = 1,
    HelloBack = 2,
    InSync = 3,
    Delta = 4,
    Claim = 5,
    Credit = 6,
    Ack = 7,
    Busy = 8,
    Reject = 9,
    Push = 10,
    Probe = 11,
    ProbeBack = 12,
    Leave = 13,
    Repair = 14,
    AsBefore = 15,
    Whole = 16,
    WholeBack = 17,
    Part = 18,
    Note = 19,
}

impl Kind {
    pub(crate) const ALL: [Self; 19] = [
        Self::Hello,
        Self::HelloBack,
        Self::InSync,
        Self::Delta,
        Self::Claim,
        Self::Credit,
        Self::Ack,
        Self::Busy,
        Self::Reject,
        Self::Push,
        Self::Probe,
        Self::ProbeBack,
        Self::Leave,
        Self::Repair,
        Self::AsBefore,
        Self::Whole,
        Self::WholeBack,
        Self::Part,
        Self::Note,
    ];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// How a transport should queue a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an adapter has one stream for each")]
pub enum Lane {
    /// Small; before all bulk.
    Urgent,
    /// May be large; never in the way of an urgent frame.
    Bulk,
}

/// The lane of a frame, from its first byte. Frames of one session may travel in different lanes and overtake.
///
/// ```
/// use reconvene_sync::{Lane, frame_lane};
///
/// assert_eq!(frame_lane(&[4, 1, 0]), Lane::Bulk); // a chunk of a session
/// assert_eq!(frame_lane(&[1, 1, 0]), Lane::Urgent); // a hello
/// ```
#[must_use]
pub fn frame_lane(frame: &[u8]) -> Lane {
    let bulk = [Kind::Delta, Kind::Part, Kind::Repair, Kind::Whole, Kind::WholeBack].map(|kind| kind as u8);
    if reconvene_store::sabotage::on(24) && frame.first() == Some(&(Kind::Push as u8)) {
        return Lane::Bulk;
    }
    if frame.first().is_some_and(|kind| bulk.contains(kind)) { Lane::Bulk } else { Lane::Urgent }
}

/// The body codec of this version: bincode 2, `standard()`.
pub(crate) const CODEC: u8 = 1;

/// The most that an envelope adds to a body.
pub(crate) const ENVELOPE_BYTES: usize = 2 + MAX_LENGTH_BYTES + 4;
const MAX_LENGTH_BYTES: usize = 4;

/// Puts `body` into a frame.
pub(crate) fn seal(kind: Kind, body: &[u8]) -> Vec<u8> {
    seal_as(kind, CODEC, body)
}

/// Puts `body` into a frame that says how it is written.
pub(crate) fn seal_as(kind: Kind, codec: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len().saturating_add(ENVELOPE_BYTES));
    frame.extend([kind as u8, codec]);
    put_length(&mut frame, body.len());
    frame.extend_from_slice(body);
    let crc = crc32c(&frame);
    frame.extend_from_slice(&crc.to_be_bytes());
    frame
}

/// How long the frame of a body of so many bytes is.
pub(crate) const fn frame_bytes(body: usize) -> usize {
    body.saturating_add(length_bytes(body)).saturating_add(2 + 4)
}

/// How many bytes a length takes.
pub(crate) const fn length_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => MAX_LENGTH_BYTES,
    }
}

/// A length in LEB128, shortest form.
pub(crate) fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a plain frame apart without copying. The whole frame must be used, and at most `limit` bytes long.
pub(crate) fn open(frame: &[u8], limit: usize) -> Result<(Kind, &[u8]), CodecError> {
    match open_any(frame, limit)? {
        (kind, CODEC, body) => Ok((kind, body)),
        (_, codec, _) => Err(CodecProblem::UnknownCodec { codec }.into()),
    }
}

/// Takes a frame of any codec apart, likewise.
pub(crate) fn open_any(frame: &[u8], limit: usize) -> Result<(Kind, u8, &[u8]), CodecError> {
    if frame.len() > limit {
        return Err(CodecProblem::TooLarge { bytes: frame.len(), limit }.into());
    }
    let (content, crc) = frame.split_last_chunk::<4>().ok_or(CodecProblem::Truncated)?;
    let (&[kind, codec], rest) = content.split_first_chunk::<2>().ok_or(CodecProblem::Truncated)?;
    let (length, body) = read_length(rest)?;
    if length != body.len() {
        return Err(CodecProblem::Length { declared: length, found: body.len() }.into());
    }
    if u32::from_be_bytes(*crc) != crc32c(content) {
        return Err(CodecProblem::Checksum.into());
    }
    let kind = Kind::from_byte(kind).ok_or(CodecProblem::UnknownKind { kind })?;
    Ok((kind, codec, body))
}

/// A length in LEB128, shortest form, at most four bytes.
pub(crate) fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), CodecError> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().enumerate().take(MAX_LENGTH_BYTES) {
        let shift = u32::try_from(index).unwrap_or(0).saturating_mul(7);
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if index > 0 && *byte == 0 {
                return Err(CodecProblem::NotCanonical.into());
            }
            return Ok((length, bytes.get(index.saturating_add(1)..).unwrap_or_default()));
        }
    }
    Err(CodecProblem::Truncated.into())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lane, frame_bytes, frame_lane, open, seal};

    #[test]
    fn what_is_sealed_opens() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000, 99_900] {
            let body = vec![7; length];
            let frame = seal(Kind::Push, &body);
            assert_eq!(open(&frame, 100_000).unwrap(), (Kind::Push, body.as_slice()));
            assert_eq!(frame_bytes(length), frame.len());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let frame = seal(Kind::Credit, b"some body");
        for index in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[index] ^= 1 << bit;
                assert!(open(&damaged, 1_000).is_err(), "byte {index}, bit {bit}");
            }
            assert!(open(&frame[..index], 1_000).is_err());
        }
        assert!(open(&frame, frame.len()).is_ok());
        assert!(open(&frame, frame.len() - 1).is_err());
    }

    #[test]
    fn an_overlong_length_is_refused() {
        let mut frame = vec![Kind::Credit as u8, super::CODEC, 0x81, 0x00, 9];
        let crc = reconvene_store::crc32c(&frame);
        frame.extend(crc.to_be_bytes());
        assert!(open(&frame, 1_000).unwrap_err().to_string().contains("canonical"));
    }

    #[test]
    fn only_chunks_and_repairs_are_bulk() {
        let bulk = [Kind::Delta, Kind::Part, Kind::Repair, Kind::Whole, Kind::WholeBack];
        for kind in Kind::ALL {
            let expected = if bulk.contains(&kind) { Lane::Bulk } else { Lane::Urgent };
            assert_eq!(frame_lane(&seal(kind, b"")), expected);
        }
        assert_eq!(frame_lane(&[]), Lane::Urgent);
    }
}
