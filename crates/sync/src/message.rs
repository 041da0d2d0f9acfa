//! What replicas say to each other, as domain values. `wire.rs` has the bytes.

use reconvene_clock::{Dot, NodeId, ReplicaId, VectorClock};
use reconvene_store::{Digest, Key, Version};

use crate::RejectReason;
use crate::ranges::Ranges;
use crate::sketch::Cell;

/// The highest wire version of this crate.
pub(crate) const WIRE_VERSION: u8 = 1;
/// The lowest wire version that it still speaks.
pub(crate) const LOWEST_VERSION: u8 = 1;
/// What this crate can do beyond its wire version. Bit 0 compression, if the configuration has one, 1 coded-symbol repair,
/// 2 bundles, 3 origin proofs, 4 datagrams, 5 notes.
pub(crate) const fn capabilities(compresses: bool) -> u16 {
    if compresses { CODED_REPAIR | NOTES | COMPRESSION } else { CODED_REPAIR | NOTES }
}

/// Bodies of frames may be compressed.
pub(crate) const COMPRESSION: u16 = 1;
/// Repairs may send a sketch of a list instead of the list.
pub(crate) const CODED_REPAIR: u16 = 1 << 1;
/// What the program around a replica says to that of a peer is carried.
pub(crate) const NOTES: u16 = 1 << 5;

/// The highest wire version that a peer which speaks these, lowest and highest, has in common with us.
pub(crate) fn common_version((lowest, highest): (u8, u8)) -> Option<u8> {
    let common = highest.min(WIRE_VERSION);
    (lowest <= highest && common >= lowest.max(LOWEST_VERSION)).then_some(common)
}

/// Random bits that name a session, drawn by its initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u64);

impl SessionId {
    /// The name of a session of one opening of the initiator's store: 32 bits of each.
    pub(crate) const fn new(opening: u32, random: u64) -> Self {
        Self((opening as u64) << 32 | random >> 32)
    }

    /// Which opening of the initiator's store it belongs to.
    pub(crate) const fn opening(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What a replica knows, as far as the receiver cannot tell already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Summary {
    /// The same as when both were last equal; the hash is the one beside the summary.
    Unchanged,
    /// What came on top of the knowledge with this hash.
    Since { base: u64, added: Ranges },
    /// All of it.
    Full(Ranges),
}

/// What the answering replica knows. It builds on what the hello said it remembers, or on nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackSummary {
    /// The same as when both were last equal.
    Unchanged,
    /// What came on top of that.
    Since(Ranges),
    /// All of it.
    Full(Ranges),
}

impl From<Summary> for BackSummary {
    fn from(summary: Summary) -> Self {
        match summary {
            Summary::Unchanged => Self::Unchanged,
            Summary::Since { added, .. } => Self::Since(added),
            Summary::Full(ranges) => Self::Full(ranges),
        }
    }
}

impl BackSummary {
    /// The summary, where the hello remembered the knowledge with this hash.
    ///
    /// `None` if it builds on what the hello did not speak of.
    pub(crate) fn on_top_of(self, remembered: Option<u64>) -> Option<Summary> {
        Some(match self {
            Self::Unchanged => Summary::Unchanged,
            Self::Since(added) => Summary::Since { base: remembered?, added },
            Self::Full(ranges) => Summary::Full(ranges),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) network: u64,
    pub(crate) from: ReplicaId,
    pub(crate) session: SessionId,
    pub(crate) versions: (u8, u8),
    pub(crate) capabilities: u16,
    pub(crate) digest: Digest,
    pub(crate) window_bytes: u64,
    pub(crate) summary: Summary,
}

impl Hello {
    /// The hash of the knowledge that the sender remembers for the receiver, so that the answer may build on it.
    pub(crate) const fn remembered(&self) -> Option<u64> {
        match self.summary {
            Summary::Unchanged => Some(self.digest.knowledge),
            Summary::Since { base, .. } => Some(base),
            Summary::Full(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelloBack {
    pub(crate) session: SessionId,
    /// `None` if both are called what they were called when they were last equal, as the hello remembers it.
    pub(crate) from: Option<ReplicaId>,
    pub(crate) version: u8,
    pub(crate) capabilities: u16,
    pub(crate) digest: Digest,
    pub(crate) window_bytes: u64,
    /// The summary in the hello built on something unknown here: say hello again with a full one.
    pub(crate) need_full: bool,
    pub(crate) summary: BackSummary,
}

/// Versions of one direction of a session, as (key, version) ascending by dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) session: SessionId,
    pub(crate) chunk: u32,
    pub(crate) versions: Vec<(Key, Version)>,
}

/// The last word of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) session: SessionId,
    /// How many chunks came before.
    pub(crate) chunks: u32,
    /// Whether `knowledge` and `digest` speak of the whole view, or chunks were left out and nothing is claimed.
    pub(crate) whole: bool,
    /// What the sender's view knows beyond the receiver's summary; `None` if it is what its own summary said.
    pub(crate) knowledge: Option<Ranges>,
    /// `None` if it is that of its hello.
    pub(crate) digest: Option<Digest>,
    /// The greatest collected counters, as far as they are above the receiver's summary: with them the sender knows of
    /// deletes that no tombstone tells of any more.
    pub(crate) floor: VectorClock,
}

impl Claim {
    /// Whether it says no more than a [`Whole`] can.
    pub(crate) fn is_plain(&self) -> bool {
        self.whole && self.floor.is_empty()
    }
}

/// A whole direction in one frame: its only chunk, or none, and its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) session: SessionId,
    /// As in a [`Claim`].
    pub(crate) knowledge: Option<Ranges>,
    /// As in a [`Claim`].
    pub(crate) digest: Option<Digest>,
    pub(crate) versions: Vec<(Key, Version)>,
}

impl Whole {
    /// The chunk, if there is one, and the claim, as they would have come one by one.
    pub(crate) fn into_parts(self) -> (Option<Delta>, Claim) {
        let Self { session, knowledge, digest, versions } = self;
        let delta = (!versions.is_empty()).then_some(Delta { session, chunk: 0, versions });
        let chunks = delta.is_some().into();
        (delta, Claim { session, chunks, whole: true, knowledge, digest, floor: VectorClock::new() })
    }
}

/// A piece of a chunk that is a single large version. The others of the same chunk have the same `size` and `total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) session: SessionId,
    pub(crate) chunk: u32,
    /// Its place among the pieces, from 0.
    pub(crate) number: u32,
    /// Bytes of every piece but the last, which may be shorter. At least [`MIN_PART_BYTES`].
    pub(crate) size: u32,
    /// Bytes of all pieces together: of the columns that a [`Delta`] would hold.
    pub(crate) total: u32,
    pub(crate) piece: Vec<u8>,
}

/// The smallest piece that is not the last one: what it takes to keep a piece is in proportion to it.
pub(crate) const MIN_PART_BYTES: u32 = 64;

impl Part {
    /// The pieces of `columns`, of `size` bytes each; `None` if there would be one only, or their sizes do not fit the wire.
    pub(crate) fn split(session: SessionId, chunk: u32, columns: &[u8], size: usize) -> Option<Vec<Self>> {
        let total = u32::try_from(columns.len()).ok()?;
        let size = u32::try_from(size).ok()?.max(MIN_PART_BYTES);
        let pieces = (0..).zip(columns.chunks(usize::try_from(size).ok()?));
        let part = |(number, piece): (u32, &[u8])| Self { session, chunk, number, size, total, piece: piece.to_vec() };
        (size < total).then(|| pieces.map(part).collect())
    }

    /// How many pieces there are.
    pub(crate) const fn count(&self) -> u32 {
        if self.size == 0 { 0 } else { self.total.div_ceil(self.size) }
    }

    /// Whether number and length of the piece are what size and total make them.
    pub(crate) fn fits(&self) -> bool {
        let before = u64::from(self.number).saturating_mul(self.size.into());
        let expected = u64::from(self.total).saturating_sub(before).min(self.size.into());
        let length = u64::try_from(self.piece.len()).unwrap_or(u64::MAX);
        (MIN_PART_BYTES..self.total).contains(&self.size) && length > 0 && length == expected
    }
}

/// Why two replicas compare what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// They know the same, and hold different values, or each wants to be sure that they do not.
    Divergence,
    /// One knows of deletes whose tombstones are gone, and the other may hold what they deleted.
    BehindFloor,
}

impl Scope {
    /// What is said of the print of a bucket. Of values that differ half of it is enough: if it is equal by chance, the
    /// roots still differ, and the next comparison has other prints. What is dead would not show again.
    pub(crate) const fn told_of(self, print: u64) -> u64 {
        match self {
            Self::Divergence => print >> 32,
            Self::BehindFloor => print,
        }
    }
}

/// Parts of the key space that are compared one by one.
pub(crate) const BUCKETS: usize = 256;
/// Dots, and keys, that one frame asks for.
pub(crate) const MAX_ASKED: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) session: SessionId,
    pub(crate) step: RepairStep,
}

/// One question or answer of a repair. The side that sent `Buckets` asks, the other answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RepairStep {
    /// What the asking side holds: one print for each bucket, [as far as the scope wants it](Scope::told_of). `knowledge`
    /// is the hash of what it knows. `coded` says that a sketch will do for a list.
    Buckets { scope: Scope, coded: bool, knowledge: u64, prints: Vec<u64> },
    /// All live dots of some buckets that differ, and part of the print of each in their order; whether more buckets differ.
    Dots { buckets: Vec<u8>, dots: Ranges, prints: Vec<[u8; 4]>, more: bool },
    /// The same, as cells of a sketch of the whole prints, behind the first `before` of them: what differs can be told
    /// from enough of them.
    Sketch { buckets: Vec<u8>, before: u16, cells: Vec<Cell>, more: bool },
    /// They were too few: further ones, please, or the list of these buckets.
    List,
    /// The next buckets, please.
    Next,
    /// Versions that are lacking, by dot, print or key, and versions that the other side lacks.
    Ask { number: u32, dots: Vec<Dot>, prints: Vec<u64>, keys: Vec<Key>, given: Vec<(Key, Version)> },
    /// What was asked for, as far as it is there: all live versions of the first `covered` keys, dots and prints, in
    /// this order. What did not fit is to be asked for again.
    Answer { number: u32, covered: u32, versions: Vec<(Key, Version)> },
    /// Nothing is left that differs.
    Done,
}

impl Repair {
    fn versions(&self) -> &[(Key, Version)] {
        match &self.step {
            RepairStep::Ask { given: versions, .. } | RepairStep::Answer { versions, .. } => versions,
            RepairStep::Buckets { .. }
            | RepairStep::Dots { .. }
            | RepairStep::Sketch { .. }
            | RepairStep::List
            | RepairStep::Next
            | RepairStep::Done => &[],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    HelloBack(HelloBack),
    /// `check` proves that the sender's root and knowledge are those of the hello; see `Replica::in_sync_check`.
    InSync {
        session: SessionId,
        check: u64,
    },
    Delta(Delta),
    Claim(Claim),
    /// All bytes of chunk frames of this session that are applied by now.
    Credit {
        session: SessionId,
        applied_bytes: u64,
    },
    /// `digest` is `None` if it is that of the claim, as joined.
    Ack {
        session: SessionId,
        digest: Option<Digest>,
    },
    Busy {
        session: SessionId,
        retry_after_ms: u64,
    },
    Reject {
        session: SessionId,
        why: RejectReason,
    },
    Push {
        hops: u8,
        versions: Vec<(Key, Version)>,
    },
    Probe {
        target: NodeId,
    },
    /// `age_ms`: how long ago the sender last heard of the target, if ever.
    ProbeBack {
        target: NodeId,
        age_ms: Option<u64>,
    },
    Leave,
    Repair(Repair),
    /// The answer to a hello by who is as it was when both were last equal, and has nothing that the initiator lacks: a
    /// hello back and a claim in one.
    AsBefore {
        session: SessionId,
    },
    Whole(Whole),
    /// A hello back, and the direction that follows it.
    WholeBack(HelloBack, Whole),
    Part(Part),
    /// What the program around the sender says to that around the receiver. Never stored, relayed or repeated.
    Note(Vec<u8>),
}

impl Message {
    /// The versions at its end, if it carries any.
    pub(crate) fn versions(&self) -> &[(Key, Version)] {
        match self {
            Self::Delta(Delta { versions, .. }) | Self::Push { versions, .. } => versions,
            Self::Whole(whole) | Self::WholeBack(_, whole) => &whole.versions,
            Self::Repair(repair) => repair.versions(),
            Self::Hello(_)
            | Self::HelloBack(_)
            | Self::InSync { .. }
            | Self::Claim(_)
            | Self::Credit { .. }
            | Self::Ack { .. }
            | Self::Busy { .. }
            | Self::Reject { .. }
            | Self::Probe { .. }
            | Self::ProbeBack { .. }
            | Self::Leave
            | Self::AsBefore { .. }
            | Self::Part(_)
            | Self::Note(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_used() {
        assert_eq!(common_version((0, 1)), Some(1));
        assert_eq!(common_version((1, 9)), Some(1));
        assert_eq!(common_version((2, 9)), None);
        assert_eq!(common_version((0, 0)), None);
        assert_eq!(common_version((1, 0)), None, "the wrong way round");
        assert_eq!((capabilities(false), capabilities(true)), (34, 35));
    }
}
