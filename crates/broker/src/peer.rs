//! What brokers say to each other beside the facts: one asks whether another has room for a job.
//!
//! Nothing starts because of such a message, and nothing is lost with it: only the fact that names a new owner moves a
//! job. A message travels as a note of the sync protocol, between brokers that have a link.

use std::collections::BTreeSet;

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use reconvene_clock::ReplicaId;
use reconvene_executor::{EmergencyId, JobId, OwnershipEpoch, Resources, Tag, limits};
use reconvene_resolve::PreemptionRefusal;

/// The most bytes that a message has. One with every tag and name at its limit stays below.
pub const PEER_MESSAGE_BYTES: usize = 8 * 1024;

/// A message between two brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a new message is a new wire version and must break every match")]
pub enum PeerMessage {
    /// The owner of a job asks for room.
    PlaceRequest(PlaceRequest),
    /// The answer.
    PlaceAnswer(PlaceAnswer),
}

/// A request for room for one job. It says what decides; the receiver may not know the job yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct PlaceRequest {
    /// The job.
    pub job: JobId,
    /// The epoch of the sender's ownership. A place is good for the next one.
    pub epoch: OwnershipEpoch,
    /// What the job demands of an executor.
    pub demand: Resources,
    /// The tags that it requires.
    pub requires: BTreeSet<Tag>,
    /// The emergency that it names. Its level is what the receiver knows of that.
    pub emergency: Option<EmergencyId>,
    /// Where it belongs.
    pub region: String,
    /// Who submitted it: each client has a budget of preemptions.
    pub client: String,
}

/// What a broker answers to a [`PlaceRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct PlaceAnswer {
    /// As in the request.
    pub job: JobId,
    /// As in the request.
    pub epoch: OwnershipEpoch,
    /// The incarnation that answers, and would own the job.
    pub by: ReplicaId,
    /// What it says.
    pub verdict: PlaceVerdict,
}

/// Whether a place is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new verdict is a new version")]
pub enum PlaceVerdict {
    /// A place is kept for so many milliseconds.
    Reserved {
        /// How many.
        for_ms: u64,
    },
    /// None is.
    Refused(PlaceRefusal),
}

/// Why no place is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new reason is a new version")]
pub enum PlaceRefusal {
    /// Executors there could run it, and have no room.
    Busy,
    /// No executor there could run it even when idle.
    Unable,
    /// Executors there have no room, and nobody is stopped for it.
    Preemption(PreemptionRefusal),
    /// The broker takes itself for cut off from its executors.
    StormGuard,
    /// The broker has come back and does not know yet what happened meanwhile.
    Learning,
    /// The sender is not the owner, as far as the broker knows, or the job is over.
    NotOwner,
    /// It keeps as many places as it may.
    TooMany,
}

impl PlaceRefusal {
    /// Whether executors there could run the job when idle.
    pub(crate) const fn is_able(self) -> bool {
        match self {
            Self::Busy | Self::Preemption(_) | Self::StormGuard => true,
            Self::Unable | Self::Learning | Self::NotOwner | Self::TooMany => false,
        }
    }
}

/// A message did not decode, or is too large to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message of {bytes} bytes between brokers is not one of version {VERSION} within its limits")]
pub struct PeerMessageError {
    bytes: usize,
}

impl PeerMessage {
    /// The bytes of the message: a version, then its fields in bincode's standard form.
    ///
    /// # Errors
    /// If a name is longer than it may be.
    pub fn encode(&self) -> Result<Vec<u8>, PeerMessageError> {
        let mut bytes = vec![VERSION];
        let written = bincode::serde::encode_into_std_write(self, &mut bytes, CONFIGURATION);
        if written.is_ok() && self.is_within_limits() && bytes.len() <= PEER_MESSAGE_BYTES {
            Ok(bytes)
        } else {
            Err(PeerMessageError { bytes: bytes.len() })
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If it is anything else; nothing is allocated beyond the limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerMessageError> {
        let error = PeerMessageError { bytes: bytes.len() };
        let fields = bytes.strip_prefix(&[VERSION]).filter(|_| bytes.len() <= PEER_MESSAGE_BYTES).ok_or(error)?;
        match bincode::serde::decode_from_slice::<Self, _>(fields, CONFIGURATION) {
            Ok((message, read)) if read == fields.len() && message.is_within_limits() => Ok(message),
            Ok(_) | Err(_) => Err(error),
        }
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::PlaceRequest(request) => {
                request.requires.len() <= limits::TAGS
                    && request.region.len() <= limits::REGION_BYTES
                    && request.client.len() <= limits::CLIENT_BYTES
            }
            Self::PlaceAnswer(_) => true,
        }
    }
}

const VERSION: u8 = 1;

const CONFIGURATION: Configuration<LittleEndian, Varint, Limit<PEER_MESSAGE_BYTES>> =
    config::standard().with_limit::<PEER_MESSAGE_BYTES>();

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(id: u64) -> ReplicaId {
        ReplicaId::new(id).unwrap()
    }

    fn request() -> PlaceRequest {
        PlaceRequest {
            job: JobId::new(replica(10), 12),
            epoch: OwnershipEpoch(2),
            demand: Resources::new(1, 2, 3),
            requires: [Tag::new("gpu").unwrap()].into(),
            emergency: Some(EmergencyId { declared_by: replica(11), number: 4 }),
            region: "n".to_owned(),
            client: "c".to_owned(),
        }
    }

    fn answer(verdict: PlaceVerdict) -> PeerMessage {
        let (job, epoch, by) = (JobId::new(replica(10), 12), OwnershipEpoch(2), replica(13));
        PeerMessage::PlaceAnswer(PlaceAnswer { job, epoch, by, verdict })
    }

    /// The bytes that other versions of this crate have sent.
    #[test]
    fn golden_bytes() {
        let refused = PlaceVerdict::Refused(PlaceRefusal::Preemption(PreemptionRefusal::MinRun));
        for (message, bytes) in [
            (
                PeerMessage::PlaceRequest(request()),
                &[1, 0, 10, 12, 2, 1, 2, 3, 1, 3, b'g', b'p', b'u', 1, 11, 4, 1, b'n', 1, b'c'][..],
            ),
            (answer(PlaceVerdict::Reserved { for_ms: 250 }), &[1, 1, 10, 12, 2, 13, 0, 250]),
            (answer(refused), &[1, 1, 10, 12, 2, 13, 1, 2, 1]),
        ] {
            assert_eq!(message.encode().unwrap(), bytes, "{message:?}");
            assert_eq!(PeerMessage::decode(bytes).unwrap(), message);
            for cut in 0..bytes.len() {
                assert!(PeerMessage::decode(&bytes[..cut]).is_err());
            }
            assert!(PeerMessage::decode(&[bytes, &[0]].concat()).is_err());
        }
    }

    #[test]
    fn names_at_their_limits_fit_and_longer_ones_are_refused() {
        let tag = |number: usize| Tag::new(format!("{number:0>64}")).unwrap();
        let mut request = PlaceRequest {
            requires: (0..limits::TAGS).map(tag).collect(),
            region: "r".repeat(limits::REGION_BYTES),
            client: "c".repeat(limits::CLIENT_BYTES),
            ..request()
        };
        let bytes = PeerMessage::PlaceRequest(request.clone()).encode().unwrap();
        assert!(PeerMessage::decode(&bytes).is_ok());
        request.region.push('r');
        assert!(PeerMessage::PlaceRequest(request).encode().is_err());
    }
}
