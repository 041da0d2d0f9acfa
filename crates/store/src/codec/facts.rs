//! Rows of the table of facts.

use reconvene_clock::{Decoder, Limits, NodeId, ReplicaId};

use super::reader::{Reader, checked, put_checksum, put_number};
use super::{CodecError, CodecProblem};
use crate::{Fact, FactKind, MemberState};

const FACT: &str = "fact";
const FORM: u8 = 1;

/// Appends the row of a fact; its key is [`encode_fact_id`](super::encode_fact_id).
pub fn encode_fact(fact: &Fact, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORM);
    match fact {
        Fact::Member { node, incarnation, state, .. } => {
            out.extend_from_slice(node.as_bytes());
            put_number(out, *incarnation);
            out.push(match state {
                MemberState::Active => 0,
                MemberState::Retired => 1,
            });
        }
        Fact::Ack { prefix, .. } => prefix.encode(out),
    }
    put_checksum(out, start);
}

/// The fact of this kind and replica whose row is exactly these bytes.
///
/// # Errors
///
/// [`CodecError`] for anything that [`encode_fact`] would not write.
pub fn decode_fact(kind: FactKind, replica: ReplicaId, bytes: &[u8]) -> Result<Fact, CodecError> {
    let mut reader = Reader::new(FACT, checked(FACT, bytes)?);
    let form = reader.byte()?;
    if form != FORM {
        return Err(reader.error(CodecProblem::Form(form)));
    }
    let fact = match kind {
        FactKind::Member => {
            let node = NodeId::from_bytes(reader.array()?);
            let incarnation = reader.number()?;
            let state = match reader.byte()? {
                0 => MemberState::Active,
                1 => MemberState::Retired,
                other => return Err(reader.meaning(format!("there is no state {other}"))),
            };
            Fact::Member { replica, node, incarnation, state }
        }
        FactKind::Ack => {
            let rest = reader.take(reader.remaining())?;
            let prefix = Decoder::new(own()).clock(rest).map_err(|error| reader.meaning(error))?;
            Fact::Ack { member: replica, prefix }
        }
    };
    reader.end()?;
    Ok(fact)
}

/// What is in a store was accepted before: only the bytes that are there bound it.
pub(super) fn own() -> Limits {
    let mut limits = Limits::default();
    (limits.max_entries, limits.max_ranges, limits.max_ranges_per_replica) = (usize::MAX, usize::MAX, usize::MAX);
    limits
}
