//! The bytes of messages: wire structures, and the way from and to domain values.

mod repair;

use reconvene_clock::{Counter, Dot, NodeId, ReplicaId, VectorClock};
use reconvene_store::{Digest, Fingerprint, Key, Version};
use serde::{Deserialize, Serialize};

use self::repair::{decode_repair, encode_repair};
use crate::RejectReason;
use crate::codec::{CodecError, CodecProblem, List, decode, decode_front, encode, encodes_to};
use crate::columns::{pack, unpack};
use crate::compression::{CODEC_COMPRESSED, Compressor};
use crate::frame::{CODEC, Kind, frame_bytes, open, open_any, seal};
use crate::message::{BackSummary, Claim, Delta, Hello, HelloBack, Message, Part, SessionId, Summary, Whole};
use crate::ranges::Ranges;

/// The frame of a message.
///
/// # Errors
///
/// [`CodecError`] if it would be longer than `limit`.
pub(crate) fn encode_message(message: &Message, limit: usize) -> Result<Vec<u8>, CodecError> {
    let (kind, body) = encode_body(message)?;
    within(&body, limit)?;
    Ok(seal(kind, &body))
}

/// The frame of a message, compressed if that helps, and how long it would be without.
///
/// # Errors
///
/// [`CodecError`] if it would be longer than `limit` without compression.
pub(crate) fn encode_for(
    message: &Message,
    limit: usize,
    compressor: Option<&Compressor>,
) -> Result<(Vec<u8>, u64), CodecError> {
    let (kind, body) = encode_body(message)?;
    let plain = within(&body, limit)?;
    let compressed = compressor.and_then(|compressor| compressor.seal(kind, &body, value_bytes(message)));
    Ok((compressed.unwrap_or_else(|| seal(kind, &body)), plain))
}

/// How many bytes at the end of a message's body are values.
fn value_bytes(message: &Message) -> usize {
    message.versions().iter().map(|(_, version)| version.body.byte_len()).fold(0, usize::saturating_add)
}

/// How long the plain frame of a body is, if that is within `limit`.
fn within(body: &[u8], limit: usize) -> Result<u64, CodecError> {
    let bytes = frame_bytes(body.len());
    if bytes > limit {
        return Err(CodecProblem::TooLarge { bytes, limit }.into());
    }
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn encode_body(message: &Message) -> Result<(Kind, Vec<u8>), CodecError> {
    Ok(match message {
        Message::Hello(hello) => (Kind::Hello, encode(&WireHello::new(hello))?),
        Message::HelloBack(back) => (Kind::HelloBack, encode(&WireHelloBack::new(back))?),
        Message::InSync { session, check } => {
            let body = WireInSync { session: session.into(), check: check.to_be_bytes() };
            (Kind::InSync, encode(&body)?)
        }
        Message::Delta(Delta { session, chunk, versions }) => {
            let head = WireDelta { session: session.into(), chunk: *chunk };
            (Kind::Delta, join(&head, &pack(versions)?)?)
        }
        Message::Claim(claim) => (Kind::Claim, encode(&WireClaim::new(claim))?),
        Message::Credit { session, applied_bytes } => {
            (Kind::Credit, encode(&WireCredit { session: session.into(), applied_bytes: *applied_bytes })?)
        }
        Message::Ack { session, digest } => {
            (Kind::Ack, encode(&WireAck { session: session.into(), digest: digest.as_ref().map(Into::into) })?)
        }
        Message::Busy { session, retry_after_ms } => {
            (Kind::Busy, encode(&WireBusy { session: session.into(), retry_after_ms: *retry_after_ms })?)
        }
        Message::Reject { session, why } => {
            (Kind::Reject, encode(&WireReject { session: session.into(), why: reason_number(*why) })?)
        }
        Message::Push { hops, versions } => (Kind::Push, join(&WirePush { hops: *hops }, &pack(versions)?)?),
        Message::Probe { target } => (Kind::Probe, encode(&WireProbe { target: *target.as_bytes() })?),
        Message::ProbeBack { target, age_ms } => {
            (Kind::ProbeBack, encode(&WireProbeBack { target: *target.as_bytes(), age_ms: *age_ms })?)
        }
        Message::Leave => (Kind::Leave, Vec::new()),
        Message::AsBefore { session } => (Kind::AsBefore, encode(&WireAsBefore { session: session.into() })?),
        Message::Repair(repair) => (Kind::Repair, encode_repair(repair)?),
        Message::Note(bytes) => (Kind::Note, bytes.clone()),
        Message::Part(part) => (Kind::Part, join(&WirePart::new(part), &part.piece)?),
        Message::Whole(whole) => (Kind::Whole, join(&WireWhole::new(whole), &pack(&whole.versions)?)?),
        Message::WholeBack(back, whole) => {
            // They are of one session, which the hello back names.
            let head = (WireHelloBack::new(back), WireWholeClaim::new(whole));
            (Kind::WholeBack, join(&head, &pack(&whole.versions)?)?)
        }
    })
}

/// The message in a frame. Only the canonical bytes of a message decode.
///
/// # Errors
///
/// [`CodecError`] for anything else, or a frame longer than `limit`.
pub(crate) fn decode_message(frame: &[u8], limit: usize) -> Result<Message, CodecError> {
    let (kind, body) = open(frame, limit)?;
    decode_body(kind, body)
}

/// The message in a frame that may be compressed, and how long the frame would be without.
///
/// # Errors
///
/// [`CodecError`] as for [`decode_message`], which goes for what was compressed as well.
pub(crate) fn decode_any(
    frame: &[u8],
    limit: usize,
    compressor: Option<&Compressor>,
) -> Result<(Message, u64), CodecError> {
    let (kind, codec, content) = open_any(frame, limit)?;
    let expanded = match (codec, compressor) {
        (CODEC, _) => None,
        (CODEC_COMPRESSED, Some(compressor)) => Some(compressor.open(content, limit)?),
        _ => return Err(CodecProblem::UnknownCodec { codec }.into()),
    };
    let body = expanded.as_deref().unwrap_or(content);
    let plain = within(body, limit)?;
    Ok((decode_body(kind, body)?, plain))
}

fn decode_body(kind: Kind, body: &[u8]) -> Result<Message, CodecError> {
    let message = match kind {
        Kind::Hello => return Ok(Message::Hello(whole::<WireHello>(body)?.read()?)),
        Kind::HelloBack => return Ok(Message::HelloBack(whole::<WireHelloBack>(body)?.read()?)),
        Kind::InSync => {
            let WireInSync { session, check } = decode(body)?;
            Message::InSync { session: session.into(), check: u64::from_be_bytes(check) }
        }
        Kind::Delta => {
            let (WireDelta { session, chunk }, columns) = split(body)?;
            return Ok(Message::Delta(Delta { session: session.into(), chunk, versions: unpack(columns)? }));
        }
        Kind::Claim => return Ok(Message::Claim(whole::<WireClaim>(body)?.read()?)),
        Kind::Credit => {
            let WireCredit { session, applied_bytes } = decode(body)?;
            Message::Credit { session: session.into(), applied_bytes }
        }
        Kind::Ack => {
            let WireAck { session, digest } = decode(body)?;
            Message::Ack { session: session.into(), digest: digest.map(Into::into) }
        }
        Kind::Busy => {
            let WireBusy { session, retry_after_ms } = decode(body)?;
            Message::Busy { session: session.into(), retry_after_ms }
        }
        Kind::Reject => {
            let WireReject { session, why } = decode(body)?;
            // Later versions may know more reasons, so an unknown number is no error and cannot be encoded again.
            let why = reason_of(why);
            if why == RejectReason::Unknown {
                return Ok(Message::Reject { session: session.into(), why });
            }
            Message::Reject { session: session.into(), why }
        }
        Kind::Push => {
            let (WirePush { hops }, columns) = split(body)?;
            return Ok(Message::Push { hops, versions: unpack(columns)? });
        }
        Kind::Probe => Message::Probe { target: NodeId::from_bytes(decode::<WireProbe>(body)?.target) },
        Kind::ProbeBack => {
            let WireProbeBack { target, age_ms } = decode(body)?;
            Message::ProbeBack { target: NodeId::from_bytes(target), age_ms }
        }
        Kind::Repair => return Ok(Message::Repair(decode_repair(body)?)),
        Kind::AsBefore => {
            let WireAsBefore { session } = decode(body)?;
            Message::AsBefore { session: session.into() }
        }
        Kind::Part => {
            let (part, piece) = split::<WirePart>(body)?;
            return Ok(Message::Part(part.read(piece)?));
        }
        Kind::Whole => {
            let (WireWhole { session, claim }, columns) = split(body)?;
            return Ok(Message::Whole(claim.read(session.into(), unpack(columns)?)));
        }
        Kind::WholeBack => {
            let ((back, claim), columns) = split::<(WireHelloBack, WireWholeClaim)>(body)?;
            let back = back.read()?;
            let whole = claim.read(back.session, unpack(columns)?);
            return Ok(Message::WholeBack(back, whole));
        }
        Kind::Note => return Ok(Message::Note(body.to_vec())),
        Kind::Leave if body.is_empty() => Message::Leave,
        Kind::Leave => return Err(CodecProblem::NotCanonical.into()),
    };
    // The serializer accepts overlong numbers; one value must have one spelling.
    let (_, canonical) = encode_body(&message)?;
    if canonical == body { Ok(message) } else { Err(CodecProblem::NotCanonical.into()) }
}

/// A structure and the columns behind it.
pub(crate) fn join<T: Serialize>(head: &T, columns: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut body = encode(head)?;
    body.extend_from_slice(columns);
    Ok(body)
}

/// A structure in its one spelling, and the bytes behind it.
pub(crate) fn split<'a, T: Serialize + Deserialize<'a>>(body: &'a [u8]) -> Result<(T, &'a [u8]), CodecError> {
    let (head, columns) = decode_front(body)?;
    let is_canonical = body.strip_suffix(columns).is_some_and(|front| encodes_to(&head, front));
    if is_canonical { Ok((head, columns)) } else { Err(CodecProblem::NotCanonical.into()) }
}

/// A structure in its one spelling, and nothing behind it.
fn whole<'a, T: Serialize + Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let value = decode(body)?;
    if encodes_to(&value, body) { Ok(value) } else { Err(CodecProblem::NotCanonical.into()) }
}

type Id = [u8; 8];

impl From<&SessionId> for Id {
    fn from(session: &SessionId) -> Self {
        session.0.to_be_bytes()
    }
}

impl From<Id> for SessionId {
    fn from(bytes: Id) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

fn replica_of(id: Id) -> Result<ReplicaId, CodecError> {
    Ok(ReplicaId::new(u64::from_be_bytes(id)).ok_or(CodecProblem::Range("replica"))?)
}

#[derive(Serialize, Deserialize)]
struct WireDigest {
    root: [u8; 16],
    knowledge: Id,
}

impl From<&Digest> for WireDigest {
    fn from(digest: &Digest) -> Self {
        Self { root: digest.root.as_u128().to_be_bytes(), knowledge: digest.knowledge.to_be_bytes() }
    }
}

impl From<WireDigest> for Digest {
    fn from(wire: WireDigest) -> Self {
        let root = Fingerprint::from_u128(u128::from_be_bytes(wire.root));
        Self { root, knowledge: u64::from_be_bytes(wire.knowledge) }
    }
}

#[derive(Serialize, Deserialize)]
enum WireSummary {
    Unchanged,
    Since { base: Id, added: Ranges },
    Full(Ranges),
}

impl WireSummary {
    fn new(summary: &Summary) -> Self {
        match summary {
            Summary::Unchanged => Self::Unchanged,
            Summary::Since { base, added } => Self::Since { base: base.to_be_bytes(), added: added.clone() },
            Summary::Full(ranges) => Self::Full(ranges.clone()),
        }
    }

    fn read(self) -> Summary {
        match self {
            Self::Unchanged => Summary::Unchanged,
            Self::Since { base, added } => Summary::Since { base: u64::from_be_bytes(base), added },
            Self::Full(ranges) => Summary::Full(ranges),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WireHello {
    network: Id,
    from: Id,
    session: Id,
    lowest_version: u8,
    highest_version: u8,
    capabilities: u16,
    digest: WireDigest,
    window: WireWindow,
    summary: WireSummary,
}

impl WireHello {
    fn new(hello: &Hello) -> Self {
        Self {
            network: hello.network.to_be_bytes(),
            from: hello.from.get().to_be_bytes(),
            session: (&hello.session).into(),
            lowest_version: hello.versions.0,
            highest_version: hello.versions.1,
            capabilities: hello.capabilities,
            digest: (&hello.digest).into(),
            window: WireWindow::new(hello.window_bytes),
            summary: WireSummary::new(&hello.summary),
        }
    }

    fn read(self) -> Result<Hello, CodecError> {
        Ok(Hello {
            network: u64::from_be_bytes(self.network),
            from: replica_of(self.from)?,
            session: self.session.into(),
            versions: (self.lowest_version, self.highest_version),
            capabilities: self.capabilities,
            digest: self.digest.into(),
            window_bytes: self.window.read()?,
            summary: self.summary.read(),
        })
    }
}

/// A window in bytes; 0 stands for the usual one.
#[derive(Serialize, Deserialize)]
struct WireWindow(u64);

/// The usual window.
const WINDOW_BYTES: u64 = 256 << 10;

impl WireWindow {
    const fn new(bytes: u64) -> Self {
        Self(if bytes == WINDOW_BYTES { 0 } else { bytes })
    }

    fn read(&self) -> Result<u64, CodecError> {
        match self.0 {
            0 => Ok(WINDOW_BYTES),
            WINDOW_BYTES => Err(CodecProblem::NotCanonical.into()),
            bytes => Ok(bytes),
        }
    }
}

#[derive(Serialize, Deserialize)]
enum WireBackSummary {
    Unchanged,
    Since(Ranges),
    Full(Ranges),
}

impl WireBackSummary {
    fn new(summary: &BackSummary) -> Self {
        match summary {
            BackSummary::Unchanged => Self::Unchanged,
            BackSummary::Since(added) => Self::Since(added.clone()),
            BackSummary::Full(ranges) => Self::Full(ranges.clone()),
        }
    }

    fn read(self) -> BackSummary {
        match self {
            Self::Unchanged => BackSummary::Unchanged,
            Self::Since(added) => BackSummary::Since(added),
            Self::Full(ranges) => BackSummary::Full(ranges),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WireHelloBack {
    session: Id,
    from: Option<Id>,
    version: u8,
    capabilities: u16,
    digest: WireDigest,
    window: WireWindow,
    need_full: bool,
    summary: WireBackSummary,
}

impl WireHelloBack {
    fn new(back: &HelloBack) -> Self {
        Self {
            session: (&back.session).into(),
            from: back.from.map(|from| from.get().to_be_bytes()),
            version: back.version,
            capabilities: back.capabilities,
            digest: (&back.digest).into(),
            window: WireWindow::new(back.window_bytes),
            need_full: back.need_full,
            summary: WireBackSummary::new(&back.summary),
        }
    }

    fn read(self) -> Result<HelloBack, CodecError> {
        Ok(HelloBack {
            session: self.session.into(),
            from: self.from.map(replica_of).transpose()?,
            version: self.version,
            capabilities: self.capabilities,
            digest: self.digest.into(),
            window_bytes: self.window.read()?,
            need_full: self.need_full,
            summary: self.summary.read(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireInSync {
    session: Id,
    check: Id,
}

#[derive(Serialize, Deserialize)]
struct WireDelta {
    session: Id,
    chunk: u32,
}

#[derive(Serialize, Deserialize)]
struct WireClaim {
    session: Id,
    chunks: u32,
    whole: bool,
    knowledge: Option<Ranges>,
    digest: Option<WireDigest>,
    floor: List<(Id, u64), MAX_FLOOR>,
}

/// Entries of a floor; the frame bounds them as well.
const MAX_FLOOR: usize = 65_536;

impl WireClaim {
    fn new(claim: &Claim) -> Self {
        Self {
            session: (&claim.session).into(),
            chunks: claim.chunks,
            whole: claim.whole,
            knowledge: claim.knowledge.clone(),
            digest: claim.digest.as_ref().map(Into::into),
            floor: List(claim.floor.iter().map(|end| (end.replica.get().to_be_bytes(), end.counter.get())).collect()),
        }
    }

    fn read(self) -> Result<Claim, CodecError> {
        let end = |(replica, counter): (Id, u64)| -> Result<Dot, CodecError> {
            Ok(Dot::new(replica_of(replica)?, Counter::new(counter).ok_or(CodecProblem::Range("counter"))?))
        };
        let floor: Vec<Dot> = self.floor.0.into_iter().map(end).collect::<Result<_, _>>()?;
        let floor = VectorClock::try_from_entries(floor).map_err(|_| CodecProblem::NotCanonical)?;
        Ok(Claim {
            floor,
            session: self.session.into(),
            chunks: self.chunks,
            whole: self.whole,
            knowledge: self.knowledge,
            digest: self.digest.map(Into::into),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WirePart {
    session: Id,
    chunk: u32,
    number: u32,
    size: u32,
    total: u32,
}

impl WirePart {
    fn new(part: &Part) -> Self {
        let Part { session, chunk, number, size, total, .. } = *part;
        Self { session: (&session).into(), chunk, number, size, total }
    }

    fn read(self, piece: &[u8]) -> Result<Part, CodecError> {
        let Self { session, chunk, number, size, total } = self;
        let part = Part { session: session.into(), chunk, number, size, total, piece: piece.to_vec() };
        if part.fits() { Ok(part) } else { Err(CodecProblem::Range("piece").into()) }
    }
}

#[derive(Serialize, Deserialize)]
struct WireWhole {
    session: Id,
    claim: WireWholeClaim,
}

impl WireWhole {
    fn new(whole: &Whole) -> Self {
        Self { session: (&whole.session).into(), claim: WireWholeClaim::new(whole) }
    }
}

/// A claim of all there is, without a floor; its chunk is behind it.
#[derive(Serialize, Deserialize)]
struct WireWholeClaim {
    knowledge: Option<Ranges>,
    digest: Option<WireDigest>,
}

impl WireWholeClaim {
    fn new(whole: &Whole) -> Self {
        Self { knowledge: whole.knowledge.clone(), digest: whole.digest.as_ref().map(Into::into) }
    }

    fn read(self, session: SessionId, versions: Vec<(Key, Version)>) -> Whole {
        Whole { session, knowledge: self.knowledge, digest: self.digest.map(Into::into), versions }
    }
}

#[derive(Serialize, Deserialize)]
struct WireCredit {
    session: Id,
    applied_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct WireAck {
    session: Id,
    digest: Option<WireDigest>,
}

#[derive(Serialize, Deserialize)]
struct WireAsBefore {
    session: Id,
}

#[derive(Serialize, Deserialize)]
struct WireBusy {
    session: Id,
    retry_after_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireReject {
    session: Id,
    why: u8,
}

#[derive(Serialize, Deserialize)]
struct WirePush {
    hops: u8,
}

#[derive(Serialize, Deserialize)]
struct WireProbe {
    target: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct WireProbeBack {
    target: [u8; 16],
    age_ms: Option<u64>,
}

const REASONS: [(u8, RejectReason); 9] = [
    (1, RejectReason::Network),
    (2, RejectReason::Version),
    (3, RejectReason::Identity),
    (4, RejectReason::Budget),
    (5, RejectReason::Silence),
    (6, RejectReason::Loop),
    (7, RejectReason::Retired),
    (8, RejectReason::Incarnation),
    (9, RejectReason::Damaged),
];

fn reason_number(why: RejectReason) -> u8 {
    REASONS.iter().find(|(_, reason)| *reason == why).map_or(0, |(number, _)| *number)
}

fn reason_of(number: u8) -> RejectReason {
    REASONS.iter().find(|(known, _)| *known == number).map_or(RejectReason::Unknown, |(_, reason)| *reason)
}

/// About how many bytes a version adds to a frame, never less.
pub(crate) fn encoded_bytes(key: &Key, version: &Version) -> usize {
    let entries = version.context.dots().len().saturating_add(version.context.upto().len());
    // An entry: 5 bytes of place, 9 of counter, 8 of table. The rest: lengths, dot, height, stamp, class, table.
    let fixed = 80_usize.saturating_add(entries.saturating_mul(22));
    fixed.saturating_add(key.as_bytes().len()).saturating_add(version.body.byte_len())
}

#[cfg(test)]
pub(crate) mod tests;
