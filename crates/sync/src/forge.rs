//! Frames as a faulty sender would make them, for the test kit alone: nothing here changes what a replica does.

use reconvene_clock::{Counter, DotRange, VectorClock};

use crate::bundle::{decode_fragment, encode_fragment, fragment_content, seal_fragment};
use crate::frame::{Kind, open, seal};
use crate::message::{Claim, Delta, Message, SessionId};
use crate::wire::{decode_message, encode_message};

const ANY_SIZE: usize = 16 << 20;

/// The claim in `frame` as of a sender that claims before its chunks: it says that there are none to wait for.
/// `None` if the frame is no claim.
#[must_use]
pub fn claim_without_chunks(frame: &[u8]) -> Option<Vec<u8>> {
    let Ok(Message::Claim(mut claim)) = decode_message(frame, ANY_SIZE) else { return None };
    claim.chunks = 0;
    encode_message(&Message::Claim(claim), ANY_SIZE).ok()
}

/// A claim in the session of the chunk in `frame`, of everything up to each of its versions, as of somebody who read the
/// chunk on its way and sent none of it. `None` if the frame is no chunk.
#[must_use]
pub fn claim_for_chunk(frame: &[u8]) -> Option<Vec<u8>> {
    let message = decode_message(frame, ANY_SIZE).ok()?;
    let (session, versions) = if let Message::Delta(delta) = message {
        (delta.session, delta.versions)
    } else if let Message::Whole(whole) | Message::WholeBack(_, whole) = message {
        (whole.session, whole.versions)
    } else {
        return None;
    };
    let last: VectorClock = versions.iter().map(|(_, version)| version.dot).collect();
    let ranges = last.iter().filter_map(|dot| DotRange::new(dot.replica, Counter::MIN, dot.counter));
    let claim = Claim {
        session,
        chunks: 0,
        whole: true,
        knowledge: Some(ranges.collect()),
        digest: None,
        floor: VectorClock::new(),
    };
    encode_message(&Message::Claim(claim), ANY_SIZE).ok()
}

/// The chunk in `frame` with `edit` done to each of its versions; `None` if the frame is no chunk.
#[must_use]
pub fn edit_chunk(
    frame: &[u8],
    mut edit: impl FnMut(&mut reconvene_store::Key, &mut reconvene_store::Version),
) -> Option<Vec<u8>> {
    let mut message = decode_message(frame, ANY_SIZE).ok()?;
    let versions = if let Message::Delta(delta) = &mut message {
        &mut delta.versions
    } else if let Message::Whole(whole) | Message::WholeBack(_, whole) = &mut message {
        &mut whole.versions
    } else {
        return None;
    };
    for (key, version) in versions {
        edit(key, version);
    }
    encode_message(&message, ANY_SIZE).ok()
}

/// The hello in `frame` as of a replica with another id; `None` if the frame is no hello.
#[must_use]
pub fn hello_from(frame: &[u8], replica: reconvene_clock::ReplicaId) -> Option<Vec<u8>> {
    let Ok(Message::Hello(mut hello)) = decode_message(frame, ANY_SIZE) else { return None };
    hello.from = replica;
    encode_message(&Message::Hello(hello), ANY_SIZE).ok()
}

/// The root in a hello turned into another, as of a damaged store; `None` if the frame is no hello.
#[must_use]
pub fn hello_with_damage(frame: &[u8]) -> Option<Vec<u8>> {
    let Ok(Message::Hello(mut hello)) = decode_message(frame, ANY_SIZE) else { return None };
    hello.digest.root = reconvene_store::Fingerprint::from_u128(!hello.digest.root.as_u128());
    encode_message(&Message::Hello(hello), ANY_SIZE).ok()
}

/// A chunk of these versions, which ascend by dot; `None` if no receiver would take it.
#[must_use]
pub fn chunk(versions: Vec<(reconvene_store::Key, reconvene_store::Version)>) -> Option<Vec<u8>> {
    let delta = Delta { session: SessionId(1), chunk: 0, versions };
    encode_message(&Message::Delta(delta), ANY_SIZE).ok()
}

/// What a piece of a large version is made to say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "for the test kit alone")]
pub struct PartClaims {
    /// Which chunk it belongs to.
    pub chunk: u32,
    /// Its place.
    pub number: u32,
    /// Bytes of each piece.
    pub size: u32,
    /// Bytes of all pieces.
    pub total: u32,
}

/// The piece in `frame` with `edit` done to what it says of itself; `None` if the frame is no piece. Nothing checks whether
/// it still makes sense.
#[must_use]
pub fn edit_part(frame: &[u8], edit: impl FnOnce(&mut PartClaims)) -> Option<Vec<u8>> {
    let Ok(Message::Part(mut part)) = decode_message(frame, ANY_SIZE) else { return None };
    let mut claims = PartClaims { chunk: part.chunk, number: part.number, size: part.size, total: part.total };
    edit(&mut claims);
    (part.chunk, part.number, part.size, part.total) = (claims.chunk, claims.number, claims.size, claims.total);
    encode_message(&Message::Part(part), ANY_SIZE).ok()
}

/// A frame of this kind around a body that may be anything.
#[must_use]
pub fn frame_around(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    Some(seal(Kind::from_byte(kind)?, body))
}

/// The body of a frame; `None` if it is no frame.
#[must_use]
pub fn body_of(frame: &[u8]) -> Option<&[u8]> {
    open(frame, ANY_SIZE).ok().map(|(_, body)| body)
}

/// What a receiver makes of a frame: the frame it would write for the same message, or `None` if it refuses it.
#[must_use]
pub fn read_and_write(frame: &[u8], limit: usize) -> Option<Vec<u8>> {
    encode_message(&decode_message(frame, limit).ok()?, limit).ok()
}

/// A fragment of a bundle around a body that may be anything.
#[must_use]
pub fn fragment_around(body: &[u8]) -> Vec<u8> {
    seal_fragment(body)
}

/// The body of a fragment; `None` if it is no fragment.
#[must_use]
pub fn fragment_body(bytes: &[u8]) -> Option<&[u8]> {
    fragment_content(bytes).ok()
}

/// What a receiver makes of a fragment: that which it would write for the same, or `None` if it refuses it.
#[must_use]
pub fn read_and_write_fragment(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    encode_fragment(&decode_fragment(bytes, limit).ok()?, limit).ok()
}

/// Whether a receiver would read this frame.
#[must_use]
pub fn decodes(frame: &[u8], limit: usize) -> bool {
    decode_message(frame, limit).is_ok()
}

/// What a frame says, in words; or that it does not decode.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    match decode_message(frame, ANY_SIZE) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("a broken frame of {} bytes: {error}", frame.len()),
    }
}

/// What a frame says of the flow of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for the test kit alone")]
pub enum Flow {
    /// A chunk of the session with this name, and whether it is its first.
    Chunk(u64, bool),
    /// A piece of a chunk of the session with this name, which is larger than a frame of its session should be; and whether
    /// it is the first of all.
    Part(u64, bool),
    /// So many bytes of chunks of the session with this name are applied.
    Credit(u64, u64),
}

/// What a frame says of the flow of a session; `None` if that is nothing.
#[must_use]
pub fn flow(frame: &[u8]) -> Option<Flow> {
    let message = decode_message(frame, ANY_SIZE).ok()?;
    if let Message::Credit { session, applied_bytes } = message {
        return Some(Flow::Credit(session.0, applied_bytes));
    }
    if let Message::Part(part) = message {
        return Some(Flow::Part(part.session.0, part.chunk == 0 && part.number == 0));
    }
    if let Message::Delta(delta) = message { Some(Flow::Chunk(delta.session.0, delta.chunk == 0)) } else { None }
}

/// The root in a hello turned into `root`, as of a member who found values with the same print; `None` if the frame is no
/// hello.
#[must_use]
pub fn hello_with_root(frame: &[u8], root: reconvene_store::Fingerprint) -> Option<Vec<u8>> {
    let Ok(Message::Hello(mut hello)) = decode_message(frame, ANY_SIZE) else { return None };
    hello.digest.root = root;
    encode_message(&Message::Hello(hello), ANY_SIZE).ok()
}

/// The answer that all is equal, made to fit `digest`, as of such a member; `None` if the frame is no such answer.
#[must_use]
pub fn in_sync_with(
    frame: &[u8],
    network: reconvene_store::NetworkId,
    digest: &reconvene_store::Digest,
) -> Option<Vec<u8>> {
    let Ok(Message::InSync { session, .. }) = decode_message(frame, ANY_SIZE) else { return None };
    let check = crate::replica::in_sync_check(network, session, digest);
    encode_message(&Message::InSync { session, check }, ANY_SIZE).ok()
}
