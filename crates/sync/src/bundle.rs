//! Bundles: what a store holds, as files that nothing answers.

use std::fmt::{self, Debug, Display};

use reconvene_clock::{Counter, Dot, ReplicaId, VectorClock};
use reconvene_store::{Key, Version, crc32c};
use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, CodecProblem, List};
use crate::columns::{pack, unpack};
use crate::ranges::Ranges;
use crate::wire::{join, split};

/// The name of a bundle, drawn by its maker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId([u8; 16]);

impl BundleId {
    pub(crate) const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleId({self})")
    }
}

/// How far a bundle has come at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleProgress {
    /// Which bundle.
    pub bundle: BundleId,
    /// Its fragments that were applied and are durable.
    pub applied: u32,
    /// Its fragments.
    pub fragments: u32,
    /// Whether this replica now knows all that the maker knew. `false` while a fragment is missing, while a bundle that
    /// this one builds on has not come, behind a collected tombstone, and for a bundle that its budget cut short.
    pub claimed: bool,
}

/// Why a bundle was not made, or a fragment not taken in. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bytes are no fragment, or damaged.
    #[error("not a fragment of a bundle: {0}")]
    Malformed(#[from] CodecError),
    /// It was made in another network.
    #[error("the bundle was made in another network")]
    OtherNetwork,
    /// Fragments of one name that cannot be of one bundle.
    #[error("the fragment contradicts an earlier one of bundle {bundle}")]
    Contradiction {
        /// The name.
        bundle: BundleId,
    },
    /// One bundle is made at a time.
    #[error("another bundle is being made: wait for it")]
    Busy,
    /// The store could not be read on.
    #[error("the store did not give all that it listed: try again")]
    Unreadable,
}

/// One fragment, as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) network: u64,
    pub(crate) from: ReplicaId,
    pub(crate) bundle: BundleId,
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(crate) ttl_s: u32,
    /// In the first fragment.
    pub(crate) promise: Option<Promise>,
    pub(crate) versions: Vec<(Key, Version)>,
}

/// What a whole bundle teaches beyond its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// What the receiver must know already: live versions of these dots were left out.
    pub(crate) base: Ranges,
    /// What the view knew on top of that. `None` if not all of it was put in, so that nothing is claimed.
    pub(crate) claim: Option<Ranges>,
    /// The view's floor of collected tombstones.
    pub(crate) floor: VectorClock,
}

/// What every fragment begins with: a name and the format.
const MAGIC: [u8; 5] = *b"RCVB\x01";
const MAX_FLOOR: usize = 65_536;
/// Room for the proof of later formats.
const MAX_PROOF: usize = 0;

#[derive(Serialize, Deserialize)]
struct WireFragment {
    network: [u8; 8],
    from: [u8; 8],
    bundle: [u8; 16],
    index: u32,
    count: u32,
    ttl_s: u32,
    promise: Option<WirePromise>,
    /// Empty in this format.
    proof: List<u8, MAX_PROOF>,
}

#[derive(Serialize, Deserialize)]
struct WirePromise {
    base: Ranges,
    claim: Option<Ranges>,
    /// Replica and counter minus one, strictly ascending.
    floor: List<([u8; 8], u64), MAX_FLOOR>,
}

impl WirePromise {
    fn new(promise: &Promise) -> Self {
        let entry = |end: Dot| (end.replica.get().to_be_bytes(), end.counter.get().saturating_sub(1));
        Self {
            base: promise.base.clone(),
            claim: promise.claim.clone(),
            floor: List(promise.floor.iter().map(entry).collect()),
        }
    }

    fn read(self) -> Result<Promise, CodecError> {
        let entry = |(replica, counter): &([u8; 8], u64)| {
            let replica = ReplicaId::new(u64::from_be_bytes(*replica));
            let counter = counter.checked_add(1).and_then(Counter::new);
            replica
                .zip(counter)
                .map(|(replica, counter)| Dot::new(replica, counter))
                .ok_or(CodecProblem::Range("floor"))
        };
        let floor = self.floor.0.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        if !floor.is_sorted_by(|left, right| left.replica < right.replica) {
            return Err(CodecProblem::NotCanonical.into());
        }
        Ok(Promise { base: self.base, claim: self.claim, floor: floor.into_iter().collect() })
    }
}

/// The bytes of a fragment.
///
/// # Errors
///
/// [`CodecError`] if they would be more than `limit`.
pub(crate) fn encode_fragment(fragment: &Fragment, limit: usize) -> Result<Vec<u8>, CodecError> {
    let head = WireFragment {
        network: fragment.network.to_be_bytes(),
        from: fragment.from.get().to_be_bytes(),
        bundle: fragment.bundle.0,
        index: fragment.index,
        count: fragment.count,
        ttl_s: fragment.ttl_s,
        promise: fragment.promise.as_ref().map(WirePromise::new),
        proof: List(Vec::new()),
    };
    let bytes = seal_fragment(&join(&head, &pack(&fragment.versions)?)?);
    if bytes.len() > limit {
        return Err(CodecProblem::TooLarge { bytes: bytes.len(), limit }.into());
    }
    Ok(bytes)
}

/// The fragment in `bytes`, of which there must be at most `limit`. Only what [`encode_fragment`] writes is
/// accepted.
///
/// # Errors
///
/// [`CodecError`] for anything else.
pub(crate) fn decode_fragment(bytes: &[u8], limit: usize) -> Result<Fragment, CodecError> {
    if bytes.len() > limit {
        return Err(CodecProblem::TooLarge { bytes: bytes.len(), limit }.into());
    }
    let (head, columns): (WireFragment, _) = split(fragment_content(bytes)?)?;
    if head.index >= head.count || head.promise.is_some() != (head.index == 0) {
        return Err(CodecProblem::NotCanonical.into());
    }
    Ok(Fragment {
        network: u64::from_be_bytes(head.network),
        from: ReplicaId::new(u64::from_be_bytes(head.from)).ok_or(CodecProblem::Range("replica"))?,
        bundle: BundleId(head.bundle),
        index: head.index,
        count: head.count,
        ttl_s: head.ttl_s,
        promise: head.promise.map(WirePromise::read).transpose()?,
        versions: unpack(columns)?,
    })
}

/// What every fragment has around its body.
pub(crate) fn seal_fragment(body: &[u8]) -> Vec<u8> {
    let mut bytes = [&MAGIC, body].concat();
    bytes.extend(crc32c(&bytes).to_be_bytes());
    bytes
}

/// The body of a fragment that is whole.
///
/// # Errors
///
/// [`CodecError`] if it is not.
pub(crate) fn fragment_content(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or(CodecProblem::Truncated)?;
    let body = content.strip_prefix(&MAGIC).ok_or(CodecProblem::NotABundle)?;
    if u32::from_be_bytes(*crc) == crc32c(content) { Ok(body) } else { Err(CodecProblem::Checksum.into()) }
}

#[cfg(test)]
mod tests;
