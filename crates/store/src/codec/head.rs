//! The row of the head.

use std::collections::BTreeMap;
use std::sync::Arc;

use reconvene_clock::{Counter, Decoder, Dot, DotRange, Height, Hlc, NodeId, VectorClock};

use super::facts::own;
use super::reader::{Reader, checked, put_bytes, put_checksum, put_count, put_counter, put_dot, put_number};
use super::{CodecError, CodecProblem};
use crate::{
    Allowance, Fingerprint, Fingerprints, Frozen, Head, Identity, Key, KeyContext, Marks, NetworkId, Prefix, PrintId,
    PutAside, Quota, Revision, SessionNonce, Usage,
};

const HEAD: &str = "head";
const FORM: u8 = 1;

/// Appends the row of a head: everything but the fingerprints beside the root, which are rows of their own.
pub fn encode_head(head: &Head, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORM);
    put_number(out, head.revision.get());
    out.extend_from_slice(head.network.as_bytes());
    out.extend_from_slice(head.identity.node.as_bytes());
    out.extend_from_slice(&head.identity.replica.get().to_be_bytes());
    put_number(out, head.identity.incarnation);
    out.extend_from_slice(&head.session.get().to_be_bytes());
    put_marks(out, &head.marks);
    out.extend_from_slice(&head.fingerprints.root().as_u128().to_be_bytes());
    let mut clock = Vec::new();
    head.knowledge.encode(&mut clock);
    put_bytes(out, &clock);
    clock.clear();
    head.gc_floor.encode(&mut clock);
    put_bytes(out, &clock);
    put_count(out, head.put_aside.len());
    for (dot, aside) in head.put_aside.iter() {
        put_dot(out, *dot);
        put_bytes(out, aside.key.as_bytes());
        out.extend_from_slice(&aside.hash);
        put_number(out, aside.bytes);
        put_count(out, aside.context.dots().len());
        put_count(out, aside.context.upto().len());
        aside.context.dots().iter().copied().chain(aside.context.upto().iter()).for_each(|dot| put_dot(out, dot));
    }
    put_count(out, head.quotas.len());
    for (prefix, Allowance { quota, usage }) in head.quotas.iter() {
        put_bytes(out, prefix.as_bytes());
        [quota.rows, quota.bytes, usage.rows, usage.bytes].into_iter().for_each(|number| put_number(out, number));
    }
    put_checksum(out, start);
}

/// The head whose row is exactly these bytes, with the fingerprints that the other table has.
///
/// # Errors
///
/// [`CodecError`] for anything that [`encode_head`] would not write, and for fingerprints that do not add up to the root.
pub fn decode_head(bytes: &[u8], prints: impl IntoIterator<Item = (PrintId, Fingerprint)>) -> Result<Head, CodecError> {
    let mut reader = Reader::new(HEAD, checked(HEAD, bytes)?);
    let form = reader.byte()?;
    if form != FORM {
        return Err(reader.error(CodecProblem::Form(form)));
    }
    let revision = Revision::new(reader.number()?);
    let network = NetworkId::new(reader.array()?);
    let node = NodeId::from_bytes(reader.array()?);
    let identity = Identity { node, replica: reader.replica()?, incarnation: reader.number()? };
    let session = SessionNonce::new(reader.word()?);
    let marks = marks(&mut reader)?;
    let root = Fingerprint::from_u128(u128::from_be_bytes(reader.array()?));
    let fingerprints = Fingerprints::from_parts(network, prints).map_err(|error| reader.meaning(error))?;
    if fingerprints.root() != root {
        return Err(reader.meaning(format!("the prints add up to {}, and not to {root}", fingerprints.root())));
    }
    let decoder = Decoder::new(own());
    let knowledge = decoder.context(reader.bytes()?).map_err(|error| reader.meaning(error))?;
    let gc_floor = decoder.clock(reader.bytes()?).map_err(|error| reader.meaning(error))?;
    let put_aside = put_aside(&mut reader)?;
    let quotas = quotas(&mut reader)?;
    reader.end()?;
    Ok(Head {
        revision,
        identity,
        session,
        network,
        knowledge: Arc::new(knowledge),
        gc_floor: Arc::new(gc_floor),
        fingerprints: Arc::new(fingerprints),
        marks,
        put_aside: Arc::new(put_aside),
        quotas: Arc::new(quotas),
    })
}

/// Counters and heights as themselves, 0 for none; stamps behind a byte that says whether there is one.
fn put_marks(out: &mut Vec<u8>, marks: &Marks) {
    put_number(out, marks.issued.map_or(0, Counter::get));
    put_number(out, marks.reserved.map_or(0, Counter::get));
    put_number(out, marks.height.map_or(0, Height::get));
    for stamp in [marks.stamped, marks.stamp_bound] {
        out.push(u8::from(stamp.is_some()));
        if let Some(stamp) = stamp {
            out.extend_from_slice(&stamp.as_u64().to_be_bytes());
        }
    }
    out.push(match marks.frozen {
        None => 0,
        Some(Frozen::Amnesia) => 1,
        Some(Frozen::Cloned) => 2,
        Some(Frozen::Collision) => 3,
        Some(Frozen::Retired) => 4,
    });
    put_count(out, marks.unused.len());
    for range in marks.unused.iter() {
        put_dot(out, Dot::new(range.replica(), range.first()));
        put_counter(out, range.last());
    }
}

fn marks(reader: &mut Reader<'_>) -> Result<Marks, CodecError> {
    let (issued, reserved) = (reader.optional_counter()?, reader.optional_counter()?);
    let height = match reader.number()? {
        0 => None,
        number => Some(Height::new(number).ok_or_else(|| reader.error(CodecProblem::Number))?),
    };
    let (stamped, stamp_bound) = (stamp(reader)?, stamp(reader)?);
    let frozen = match reader.byte()? {
        0 => None,
        1 => Some(Frozen::Amnesia),
        2 => Some(Frozen::Cloned),
        3 => Some(Frozen::Collision),
        4 => Some(Frozen::Retired),
        other => return Err(reader.meaning(format!("there is no reason {other} to be frozen"))),
    };
    let count = reader.count(10)?;
    let mut unused: Vec<DotRange> = Vec::with_capacity(count);
    for _ in 0..count {
        let (first, last) = (reader.dot()?, reader.counter()?);
        let range = DotRange::new(first.replica, first.counter, last).filter(|range| unused.last() < Some(range));
        unused.push(range.ok_or_else(|| reader.error(CodecProblem::Order))?);
    }
    if issued > reserved || stamped > stamp_bound {
        return Err(reader.meaning("more was given out than was reserved"));
    }
    Ok(Marks { issued, reserved, stamped, stamp_bound, height, unused: Arc::new(unused), frozen })
}

fn stamp(reader: &mut Reader<'_>) -> Result<Option<Hlc>, CodecError> {
    match reader.byte()? {
        0 => Ok(None),
        1 => reader.hlc().map(Some),
        _ => Err(reader.error(CodecProblem::Number)),
    }
}

fn put_aside(reader: &mut Reader<'_>) -> Result<BTreeMap<Dot, PutAside>, CodecError> {
    let mut found: BTreeMap<Dot, PutAside> = BTreeMap::new();
    for _ in 0..reader.count(46)? {
        let dot = reader.dot()?;
        let key = Key::new(reader.bytes()?).map_err(|error| reader.meaning(error))?;
        let (hash, bytes) = (reader.array()?, reader.number()?);
        let (dots, ends) = (reader.count(9)?, reader.count(9)?);
        let at = *reader;
        let exact = (0..dots).map(|_| reader.dot()).collect::<Result<Vec<Dot>, _>>()?;
        let upto = (0..ends).map(|_| reader.dot()).collect::<Result<Vec<Dot>, _>>()?;
        let ascending = exact.is_sorted_by(|left, right| left < right)
            && upto.is_sorted_by(|left, right| left.replica < right.replica);
        let context = KeyContext::from_parts(exact, upto.into_iter().collect::<VectorClock>());
        let after = found.last_key_value().is_none_or(|(last, _)| *last < dot);
        if !ascending || context.dots().len() != dots || !after {
            return Err(at.error(CodecProblem::Order));
        }
        found.insert(dot, PutAside { key, hash, bytes, context });
    }
    Ok(found)
}

fn quotas(reader: &mut Reader<'_>) -> Result<BTreeMap<Prefix, Allowance>, CodecError> {
    let mut found: BTreeMap<Prefix, Allowance> = BTreeMap::new();
    for _ in 0..reader.count(5)? {
        let prefix = Prefix::new(reader.bytes()?).map_err(|error| reader.meaning(error))?;
        if found.last_key_value().is_some_and(|(last, _)| *last >= prefix) {
            return Err(reader.error(CodecProblem::Order));
        }
        let quota = Quota { rows: reader.number()?, bytes: reader.number()? };
        let usage = Usage { rows: reader.number()?, bytes: reader.number()? };
        found.insert(prefix, Allowance { quota, usage });
    }
    Ok(found)
}
