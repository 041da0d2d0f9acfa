//! Sums of keyed hashes that tell whether two replicas hold the same values.

use core::fmt::{self, Display};
use reconvene_clock::digest::{sha256, sip24_64, sip24_128};
use reconvene_clock::{Dot, ReplicaId};

use crate::{Body, Key, Record, Version, sabotage};

/// The network that replicas belong to: what keys their fingerprints, so that those of different networks differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 16]);

impl NetworkId {
    /// The network with this id.
    #[must_use]
    pub const fn new(id: [u8; 16]) -> Self {
        Self(id)
    }

    /// The network with this name: the first 16 bytes of its SHA-256.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(first_half(sha256(name.as_bytes())))
    }

    /// The bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A sum mod 2^128 of one keyed SipHash-2-4-128 of (key, dot, body) for each live value. Zero for no value.
///
/// Sums, so that one value is added or removed without reading the others, in any order. Equal sums mean equal sets of
/// live values, but for accidents of probability 2^-128 and for members who search for a collision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of no value.
    pub const EMPTY: Self = Self(0);

    /// The fingerprint with this number.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The fingerprint as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    const fn plus(self, term: Self) -> Self {
        Self(self.0.wrapping_add(term.0))
    }

    const fn minus(self, term: Self) -> Self {
        Self(self.0.wrapping_sub(term.0))
    }
}

impl Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The fingerprints of all live values, of 256 buckets of keys, and of each replica's values.
///
/// Tombstones do not count: replicas may collect one at different moments, which must not look like divergence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    hash_key: [u8; 16],
    root: Fingerprint,
    buckets: Box<[Fingerprint; 256]>,
    /// Without entries for [`Fingerprint::EMPTY`], so that equal sets of values have equal prints.
    /// Ascending; a list, since it is copied as a whole more often than it grows.
    origins: Vec<(ReplicaId, Fingerprint)>,
}

/// One of the fingerprints that a store keeps beside the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every backend keeps every print")]
pub enum PrintId {
    /// That of the values whose keys fall into this bucket.
    Bucket(u8),
    /// That of the values that this replica wrote.
    Origin(ReplicaId),
}

/// Why fingerprints read from a store are not those of any set of values: a sum does not agree with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the prints of the buckets add up to {buckets}, those of the origins to {origins}")]
#[non_exhaustive]
pub struct PrintsError {
    /// The sum over the buckets.
    pub buckets: Fingerprint,
    /// The sum over the origins.
    pub origins: Fingerprint,
}

impl Fingerprints {
    /// The fingerprints of an empty store of `network`.
    #[must_use]
    pub fn empty(network: NetworkId) -> Self {
        let seed = [b"reconvene fingerprint 1 ".as_slice(), network.as_bytes()].concat();
        Self {
            hash_key: first_half(sha256(&seed)),
            root: Fingerprint::EMPTY,
            buckets: Box::new([Fingerprint::EMPTY; 256]),
            origins: Vec::new(),
        }
    }

    /// The fingerprints of these records, worked out from scratch. O(bytes).
    #[must_use]
    pub fn of_records<'a>(network: NetworkId, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let (mut prints, mut printer) = (Self::empty(network), Printer::default());
        for record in records {
            let mut of_key = printer.of_key(&mut prints, record.key());
            record.siblings().iter().for_each(|version| of_key.insert(version));
        }
        prints
    }

    /// The fingerprints that are made of these, each of which comes once; what is left out is
    /// [`EMPTY`](Fingerprint::EMPTY). For backends, which keep them in a table.
    ///
    /// # Errors
    ///
    /// [`PrintsError`] if buckets and origins do not add up to the same root: something was damaged.
    pub fn from_parts(
        network: NetworkId,
        parts: impl IntoIterator<Item = (PrintId, Fingerprint)>,
    ) -> Result<Self, PrintsError> {
        let mut prints = Self::empty(network);
        let (mut buckets, mut origins) = (Fingerprint::EMPTY, Fingerprint::EMPTY);
        for (id, print) in parts {
            match id {
                PrintId::Bucket(bucket) => {
                    buckets = buckets.plus(print);
                    if let Some(held) = prints.buckets.get_mut(usize::from(bucket)) {
                        *held = print;
                    }
                }
                PrintId::Origin(origin) => {
                    origins = origins.plus(print);
                    prints.change_origin(origin, |_| print);
                }
            }
        }
        if buckets != origins {
            return Err(PrintsError { buckets, origins });
        }
        prints.root = buckets;
        Ok(prints)
    }

    /// Every print but the root that is not [`EMPTY`](Fingerprint::EMPTY): the buckets, then the origins, ascending.
    pub fn parts(&self) -> impl Iterator<Item = (PrintId, Fingerprint)> {
        let buckets = (0..=u8::MAX).map(|bucket| (PrintId::Bucket(bucket), self.bucket(bucket)));
        let origins = self.origins().map(|(origin, print)| (PrintId::Origin(origin), print));
        buckets.filter(|(_, print)| *print != Fingerprint::EMPTY).chain(origins)
    }

    /// One of the prints beside the root.
    #[must_use]
    pub fn part(&self, id: PrintId) -> Fingerprint {
        match id {
            PrintId::Bucket(bucket) => self.bucket(bucket),
            PrintId::Origin(origin) => self.origin(origin),
        }
    }

    /// The fingerprint of every live value.
    #[must_use]
    pub fn root(&self) -> Fingerprint {
        self.root
    }

    /// The fingerprint of the live values whose keys fall into this bucket.
    #[must_use]
    pub fn bucket(&self, bucket: u8) -> Fingerprint {
        self.buckets.get(usize::from(bucket)).copied().unwrap_or_default()
    }

    /// The bucket that `key` falls into.
    #[must_use]
    pub fn bucket_of(&self, key: &Key) -> u8 {
        let [bucket, ..] = sip24_64(&self.hash_key, key.as_bytes()).to_le_bytes();
        bucket
    }

    /// The fingerprint of the live values that `origin` wrote.
    #[must_use]
    pub fn origin(&self, origin: ReplicaId) -> Fingerprint {
        let place = self.origins.binary_search_by_key(&origin, |(held, _)| *held);
        place.ok().and_then(|place| self.origins.get(place)).map_or(Fingerprint::EMPTY, |(_, print)| *print)
    }

    /// The replicas that wrote live values, ascending, each with its fingerprint.
    pub fn origins(&self) -> impl Iterator<Item = (ReplicaId, Fingerprint)> {
        self.origins.iter().copied()
    }

    /// A keyed hash of anything else that replicas of the network compare.
    pub(crate) fn keyed_hash(&self, bytes: &[u8]) -> u64 {
        sip24_64(&self.hash_key, bytes)
    }

    fn change_origin(&mut self, origin: ReplicaId, change: impl FnOnce(Fingerprint) -> Fingerprint) {
        let place = self.origins.binary_search_by_key(&origin, |(held, _)| *held);
        let print = change(self.origin(origin));
        match place {
            Ok(place) if print == Fingerprint::EMPTY => drop(self.origins.remove(place)),
            Ok(place) => {
                if let Some((_, held)) = self.origins.get_mut(place) {
                    *held = print;
                }
            }
            Err(_) if print == Fingerprint::EMPTY => {}
            Err(place) => self.origins.insert(place, (origin, print)),
        }
    }
}

/// Changes fingerprints, and remembers which.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    /// A bit for each bucket that was changed.
    buckets: [u64; 4],
    origins: Vec<ReplicaId>,
    /// What is hashed, kept for its room.
    bytes: Vec<u8>,
}

impl Printer {
    /// Changes what a key contributes to `prints`.
    pub(crate) fn of_key<'a>(&'a mut self, prints: &'a mut Fingerprints, key: &'a Key) -> KeyPrinter<'a> {
        KeyPrinter { bucket: prints.bucket_of(key), printer: self, prints, key }
    }

    /// The prints that were changed, the root excepted: each once, ascending.
    pub(crate) fn touched(mut self) -> Vec<PrintId> {
        self.origins.sort_unstable();
        self.origins.dedup();
        let mut touched = Vec::new();
        for (mut word, first) in self.buckets.into_iter().zip([0_u8, 64, 128, 192]) {
            while word != 0 {
                let bit = u8::try_from(word.trailing_zeros()).unwrap_or_default();
                touched.push(PrintId::Bucket(first | bit));
                word &= word.wrapping_sub(1);
            }
        }
        touched.extend(self.origins.into_iter().map(PrintId::Origin));
        touched
    }
}

/// What one key contributes to fingerprints.
#[derive(Debug)]
pub(crate) struct KeyPrinter<'a> {
    printer: &'a mut Printer,
    prints: &'a mut Fingerprints,
    key: &'a Key,
    bucket: u8,
}

impl KeyPrinter<'_> {
    /// Counts a version that became live.
    pub(crate) fn insert(&mut self, version: &Version) {
        self.change(version, Fingerprint::plus);
    }

    /// No longer counts a version that is not live any more.
    pub(crate) fn remove(&mut self, version: &Version) {
        if !sabotage::on(10) {
            self.change(version, Fingerprint::minus);
        }
    }

    fn change(&mut self, version: &Version, change: impl Fn(Fingerprint, Fingerprint) -> Fingerprint) {
        let Body::Value(value) = &version.body else {
            return;
        };
        let term = self.term(version.dot, value);
        let Self { prints, printer, bucket, .. } = self;
        prints.root = change(prints.root, term);
        if let Some(held) = prints.buckets.get_mut(usize::from(*bucket)) {
            *held = change(*held, term);
        }
        if let Some(word) = printer.buckets.get_mut(usize::from(*bucket >> 6)) {
            *word |= 1 << (*bucket & 63);
        }
        let origin = version.dot.replica;
        prints.change_origin(origin, |print| change(print, term));
        if printer.origins.last() != Some(&origin) {
            printer.origins.push(origin);
        }
    }

    /// The hash of one value. The key is preceded by its length and the body comes last, so that no two triples give
    /// the same bytes.
    fn term(&mut self, dot: Dot, value: &[u8]) -> Fingerprint {
        let (key, bytes) = (self.key.as_bytes(), &mut self.printer.bytes);
        bytes.clear();
        bytes.extend_from_slice(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&dot.replica.get().to_be_bytes());
        bytes.extend_from_slice(&dot.counter.get().to_be_bytes());
        bytes.extend_from_slice(value);
        Fingerprint(sip24_128(&self.prints.hash_key, bytes))
    }
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(digest) {
        *to = from;
    }
    half
}
