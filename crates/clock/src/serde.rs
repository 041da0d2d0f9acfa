//! Serialisation: every value in its canonical parts, validated on the way in.
//!
//! Sequences are read element by element, so that nothing is allocated for a claimed length.

use core::fmt;
use core::marker::PhantomData;

use ::serde::de::{Error, SeqAccess, Visitor};
use ::serde::{Deserialize, Deserializer, Serialize, Serializer};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{CausalContext, Counter, Dot, DotRange, Limits, NodeId, ReplicaKey, VectorClock};

impl Serialize for NodeId {
    /// 32 hexadecimal digits if human-readable, else 16 bytes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_string())
        } else {
            self.as_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
        }
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| D::Error::custom(format_args!("counter {number} is not in 1 ..= 2^63 - 1")))
    }
}

impl<R: ReplicaKey + Serialize> Serialize for DotRange<R> {
    /// Replica, first counter, last counter.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.replica(), self.first(), self.last()).serialize(serializer)
    }
}

impl<'de, R: ReplicaKey + Deserialize<'de>> Deserialize<'de> for DotRange<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (replica, first, last) = Deserialize::deserialize(deserializer)?;
        Self::new(replica, first, last)
            .ok_or_else(|| D::Error::custom(format_args!("range ends at {last}, before its first counter {first}")))
    }
}

impl<R: ReplicaKey + Serialize> Serialize for VectorClock<R> {
    /// The entries, ascending by replica.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, R: ReplicaKey + Deserialize<'de>> Deserialize<'de> for VectorClock<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = Limits::default().max_entries;
        let entries: Vec<Dot<R>> = deserializer.deserialize_seq(AtMost { limit, item: PhantomData })?;
        Self::try_from_entries(entries).map_err(D::Error::custom)
    }
}

impl<R: ReplicaKey + Serialize> Serialize for CausalContext<R> {
    /// The vector, then the ranges above it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.vector(), self.ranges()).serialize(serializer)
    }
}

impl<'de, R: ReplicaKey + Deserialize<'de>> Deserialize<'de> for CausalContext<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (vector, Ranges(ranges)) = Deserialize::deserialize(deserializer)?;
        Self::from_parts(vector, ranges).map_err(D::Error::custom)
    }
}

/// The ranges of a context, bounded while they are read.
struct Ranges<R>(Vec<DotRange<R>>);

impl<'de, R: ReplicaKey + Deserialize<'de>> Deserialize<'de> for Ranges<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = Limits::default().max_ranges;
        deserializer.deserialize_seq(AtMost { limit, item: PhantomData }).map(Self)
    }
}

/// Reads a sequence of at most `limit` elements, growing as they arrive.
struct AtMost<T> {
    limit: usize,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} elements", self.limit)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut vec = Vec::new();
        while let Some(element) = elements.next_element()? {
            if vec.len() >= self.limit {
                return Err(A::Error::invalid_length(vec.len().saturating_add(1), &self));
            }
            vec.push(element);
        }
        Ok(vec)
    }
}
