//! What tells on opening whether a store is the newest copy.

use reconvene_clock::NodeId;

use super::reader::{Reader, checked, put_checksum, put_number};
use super::{CodecError, CodecProblem};
use crate::opening::{HostMarker, LastCommit, Lineage, Witness};
use crate::{Identity, NetworkId, Revision, SessionNonce};

const FORM: u8 = 1;

/// Appends the row `identity`.
pub fn encode_lineage(lineage: &Lineage, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORM);
    put_identity(out, &lineage.identity);
    put_number(out, lineage.opening);
    out.extend_from_slice(&lineage.session.get().to_be_bytes());
    out.push(u8::from(lineage.previous.is_some()));
    if let Some(previous) = lineage.previous {
        out.extend_from_slice(&previous.get().to_be_bytes());
    }
    out.extend_from_slice(lineage.host.as_bytes());
    out.push(u8::from(lineage.closed_at.is_some()));
    if let Some(revision) = lineage.closed_at {
        put_number(out, revision.get());
    }
    put_checksum(out, start);
}

/// What such a row says.
///
/// # Errors
///
/// [`CodecError`] for anything that [`encode_lineage`] would not write.
pub fn decode_lineage(bytes: &[u8]) -> Result<Lineage, CodecError> {
    let what = "identity";
    let mut reader = Reader::new(what, checked(what, bytes)?);
    form(&mut reader)?;
    let identity = identity(&mut reader)?;
    let (opening, session) = (reader.number()?, SessionNonce::new(reader.word()?));
    let previous = if flag(&mut reader)? { Some(SessionNonce::new(reader.word()?)) } else { None };
    let host = HostMarker::from_bytes(reader.array()?);
    let closed_at = if flag(&mut reader)? { Some(Revision::new(reader.number()?)) } else { None };
    reader.end()?;
    Ok(Lineage { identity, opening, session, previous, host, closed_at })
}

/// Appends the bytes of a witness.
pub fn encode_witness(witness: &Witness, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORM);
    out.extend_from_slice(witness.network.as_bytes());
    put_identity(out, &witness.identity);
    put_number(out, witness.opening);
    out.extend_from_slice(&witness.session.get().to_be_bytes());
    put_number(out, witness.reserved.map_or(0, reconvene_clock::Counter::get));
    put_checksum(out, start);
}

/// The witness that is exactly these bytes.
///
/// # Errors
///
/// [`CodecError`] for anything that [`encode_witness`] would not write. A witness that cannot be read is no witness.
pub fn decode_witness(bytes: &[u8]) -> Result<Witness, CodecError> {
    let what = "witness";
    let mut reader = Reader::new(what, checked(what, bytes)?);
    form(&mut reader)?;
    let network = NetworkId::new(reader.array()?);
    let identity = identity(&mut reader)?;
    let (opening, session) = (reader.number()?, SessionNonce::new(reader.word()?));
    let reserved = reader.optional_counter()?;
    reader.end()?;
    Ok(Witness { network, identity, opening, session, reserved })
}

/// Bytes of every note of a last commit.
pub const LAST_COMMIT_BYTES: usize = 21;

/// Appends the bytes of the note of a last commit: always [`LAST_COMMIT_BYTES`], so that one is written over another in
/// place.
pub fn encode_last_commit(last: LastCommit, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORM);
    out.extend_from_slice(&last.session.get().to_be_bytes());
    out.extend_from_slice(&last.revision.get().to_be_bytes());
    put_checksum(out, start);
}

/// The note that is exactly these bytes.
///
/// # Errors
///
/// [`CodecError`] for anything that [`encode_last_commit`] would not write. A note that cannot be read is no note.
pub fn decode_last_commit(bytes: &[u8]) -> Result<LastCommit, CodecError> {
    let what = "last commit";
    let mut reader = Reader::new(what, checked(what, bytes)?);
    form(&mut reader)?;
    let (session, revision) = (SessionNonce::new(reader.word()?), Revision::new(reader.word()?));
    reader.end()?;
    Ok(LastCommit { session, revision })
}

fn form(reader: &mut Reader<'_>) -> Result<(), CodecError> {
    match reader.byte()? {
        FORM => Ok(()),
        other => Err(reader.error(CodecProblem::Form(other))),
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, CodecError> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.error(CodecProblem::Number)),
    }
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    out.extend_from_slice(identity.node.as_bytes());
    out.extend_from_slice(&identity.replica.get().to_be_bytes());
    put_number(out, identity.incarnation);
}

fn identity(reader: &mut Reader<'_>) -> Result<Identity, CodecError> {
    let node = NodeId::from_bytes(reader.array()?);
    Ok(Identity { node, replica: reader.replica()?, incarnation: reader.number()? })
}
