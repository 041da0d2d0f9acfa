//! The vector clocks that are compared, behind one interface.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use bincode::config::standard;
use bincode::serde::{decode_from_slice, encode_to_vec};
use crdts::{CmRDT, CvRDT};
use loro_internal::VersionVector;
use reconvene_clock::{Causality, Counter, Decoder, Dot, ReplicaId, VectorClock};

/// A vector clock over 64-bit ids.
pub trait Subject: Clone + 'static {
    /// Its name in the result.
    const NAME: &'static str;

    /// The clock with these entries.
    fn build(entries: &[(u64, u64)]) -> Self;
    /// Its entries.
    fn entries(&self) -> BTreeMap<u64, u64>;
    /// How it relates to another.
    fn relation(&self, other: &Self) -> Option<Ordering>;
    /// Compares and does nothing with the result.
    fn compare(&self, other: &Self);
    /// Takes in what another has. The other is ours to use up.
    fn merge(&mut self, other: &mut Self);
    /// Counts one event.
    fn increment(&mut self, id: u64);
    /// Its bytes.
    fn encode(&self) -> Vec<u8>;
    /// The clock with these bytes.
    fn decode(bytes: &[u8]) -> Self;
}

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).expect("ids are not zero")
}

impl Subject for VectorClock {
    const NAME: &'static str = "ours";

    fn build(entries: &[(u64, u64)]) -> Self {
        let dot = |(replica, counter): &(u64, u64)| Dot::new(id(*replica), Counter::new(*counter).expect("small"));
        entries.iter().map(dot).collect()
    }

    fn entries(&self) -> BTreeMap<u64, u64> {
        self.iter().map(|dot| (dot.replica.get(), dot.counter.get())).collect()
    }

    fn relation(&self, other: &Self) -> Option<Ordering> {
        match Self::compare(self, other) {
            Causality::Equal => Some(Ordering::Equal),
            Causality::Before => Some(Ordering::Less),
            Causality::After => Some(Ordering::Greater),
            Causality::Concurrent => None,
        }
    }

    #[inline(always)]
    fn compare(&self, other: &Self) {
        black_box(Self::compare(self, other));
    }

    #[inline(always)]
    fn merge(&mut self, other: &mut Self) {
        black_box(Self::merge(self, other));
    }

    #[inline(always)]
    fn increment(&mut self, number: u64) {
        black_box(Self::increment(self, id(number))).expect("far from the end");
    }

    #[inline(always)]
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::encode(self, &mut bytes);
        bytes
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Self {
        Decoder::default().clock(bytes).expect("canonical")
    }
}

impl Subject for crdts::VClock<u64> {
    const NAME: &'static str = "crdts";

    fn build(entries: &[(u64, u64)]) -> Self {
        Self { dots: entries.iter().copied().collect() }
    }

    fn entries(&self) -> BTreeMap<u64, u64> {
        self.dots.clone()
    }

    fn relation(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }

    #[inline(always)]
    fn compare(&self, other: &Self) {
        black_box(self.partial_cmp(other));
    }

    #[inline(always)]
    fn merge(&mut self, other: &mut Self) {
        CvRDT::merge(self, std::mem::take(other));
    }

    #[inline(always)]
    fn increment(&mut self, id: u64) {
        let dot = self.inc(id);
        self.apply(dot);
    }

    #[inline(always)]
    fn encode(&self) -> Vec<u8> {
        encode_to_vec(self, standard()).expect("encodes")
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Self {
        decode_from_slice(bytes, standard()).expect("decodes").0
    }
}

impl Subject for vclock::VClock<u64, u64> {
    const NAME: &'static str = "vclock";

    fn build(entries: &[(u64, u64)]) -> Self {
        entries.iter().copied().collect::<HashMap<_, _>>().into()
    }

    fn entries(&self) -> BTreeMap<u64, u64> {
        HashMap::from(self.clone()).into_iter().collect()
    }

    fn relation(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }

    #[inline(always)]
    fn compare(&self, other: &Self) {
        black_box(self.partial_cmp(other));
    }

    #[inline(always)]
    fn merge(&mut self, other: &mut Self) {
        Self::merge(self, other);
    }

    #[inline(always)]
    fn increment(&mut self, id: u64) {
        self.incr(&id);
    }

    #[inline(always)]
    fn encode(&self) -> Vec<u8> {
        encode_to_vec(self, standard()).expect("encodes")
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Self {
        decode_from_slice(bytes, standard()).expect("decodes").0
    }
}

impl Subject for VersionVector {
    const NAME: &'static str = "loro";

    fn build(entries: &[(u64, u64)]) -> Self {
        entries.iter().map(|(id, counter)| (*id, i32::try_from(*counter).expect("small"))).collect()
    }

    fn entries(&self) -> BTreeMap<u64, u64> {
        self.iter().map(|(id, counter)| (*id, u64::try_from(*counter).expect("positive"))).collect()
    }

    fn relation(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }

    #[inline(always)]
    fn compare(&self, other: &Self) {
        black_box(self.partial_cmp(other));
    }

    #[inline(always)]
    fn merge(&mut self, other: &mut Self) {
        Self::merge(self, other);
    }

    #[inline(always)]
    fn increment(&mut self, id: u64) {
        *self.entry(id).or_insert(0) += 1;
    }

    #[inline(always)]
    fn encode(&self) -> Vec<u8> {
        encode_to_vec(self, standard()).expect("encodes")
    }

    #[inline(always)]
    fn decode(bytes: &[u8]) -> Self {
        decode_from_slice(bytes, standard()).expect("decodes").0
    }
}
