//! Keys of the other tables. Their order is that of what they name.

use reconvene_clock::{Counter, Dot, ReplicaId};

use super::{CodecError, Reader};
use crate::{FactKind, PrintId};

/// The key of a dot in the tables of live dots and tombstones: origin and counter, 8 bytes each, big-endian.
#[must_use]
pub fn encode_dot(dot: Dot) -> [u8; 16] {
    let mut out = [0; 16];
    let numbers = [dot.replica.get().to_be_bytes(), dot.counter.get().to_be_bytes()];
    for (to, from) in out.iter_mut().zip(numbers.as_flattened()) {
        *to = *from;
    }
    out
}

/// The dot of such a key.
///
/// # Errors
///
/// [`CodecError`] unless it is one.
pub fn decode_dot(bytes: &[u8]) -> Result<Dot, CodecError> {
    let mut reader = Reader::new("key of a dot", bytes);
    let replica = reader.replica()?;
    let counter = Counter::new(reader.word()?).ok_or_else(|| reader.meaning("a counter is out of range"))?;
    reader.end()?;
    Ok(Dot::new(replica, counter))
}

/// The key of a fingerprint: 0 and the bucket, or 1 and the origin, big-endian.
#[must_use]
pub fn encode_print_id(id: PrintId) -> Vec<u8> {
    match id {
        PrintId::Bucket(bucket) => vec![0, bucket],
        PrintId::Origin(origin) => with_replica(1, origin),
    }
}

/// The name of such a key.
///
/// # Errors
///
/// [`CodecError`] unless it is one.
pub fn decode_print_id(bytes: &[u8]) -> Result<PrintId, CodecError> {
    let mut reader = Reader::new("key of a fingerprint", bytes);
    let id = match reader.byte()? {
        0 => PrintId::Bucket(reader.byte()?),
        1 => PrintId::Origin(reader.replica()?),
        other => return Err(reader.meaning(format!("there is no kind {other}"))),
    };
    reader.end()?;
    Ok(id)
}

/// The key of a fact: its kind, and the replica it is about, big-endian.
#[must_use]
pub fn encode_fact_id(kind: FactKind, replica: ReplicaId) -> Vec<u8> {
    let kind = match kind {
        FactKind::Member => 0,
        FactKind::Ack => 1,
    };
    with_replica(kind, replica)
}

/// The kind and replica of such a key.
///
/// # Errors
///
/// [`CodecError`] unless it is one.
pub fn decode_fact_id(bytes: &[u8]) -> Result<(FactKind, ReplicaId), CodecError> {
    let mut reader = Reader::new("key of a fact", bytes);
    let kind = match reader.byte()? {
        0 => FactKind::Member,
        1 => FactKind::Ack,
        other => return Err(reader.meaning(format!("there is no kind {other}"))),
    };
    let replica = reader.replica()?;
    reader.end()?;
    Ok((kind, replica))
}

fn with_replica(kind: u8, replica: ReplicaId) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&replica.get().to_be_bytes());
    out
}
