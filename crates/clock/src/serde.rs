//! Serialisation: what people read is a map, what machines read is one byte string in the full form of the codec; both
//! are validated in the same way.

use core::fmt;
use core::marker::PhantomData;

use ::serde::de::{Error, MapAccess, SeqAccess, Visitor};
use ::serde::ser::SerializeMap;
use ::serde::{Deserialize, Deserializer, Serialize, Serializer};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::replica::fmt_key;
use crate::{CausalContext, Counter, DecodeError, Decoder, Dot, DotRange, Limits, NodeId, ReplicaKey, VectorClock};

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

impl<R: ReplicaKey> Serialize for VectorClock<R> {
    /// A map from ids, as hexadecimal digits, to counters if human-readable; else the bytes of
    /// [`encode`](VectorClock::encode).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_map(self.iter().map(|entry| (Digits(entry.replica), entry.counter)));
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de, R: ReplicaKey> Deserialize<'de> for VectorClock<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let limit = Limits::default().max_entries;
            let entries = deserializer.deserialize_map(Pairs::<R, Counter>::at_most(limit))?;
            let entries = entries.into_iter().map(|(Digits(replica), counter)| Dot { replica, counter });
            Self::try_from_entries(entries).map_err(D::Error::custom)
        } else {
            deserializer.deserialize_bytes(Exactly::new(|bytes| Decoder::default().clock(bytes)))
        }
    }
}

impl<R: ReplicaKey> Serialize for CausalContext<R> {
    /// A map of `vector`, and of `ranges`: for each id the first and last counters of its ranges, if human-readable; else
    /// the bytes of [`encode`](CausalContext::encode).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            let mut bytes = Vec::new();
            self.encode(&mut bytes);
            return serializer.serialize_bytes(&bytes);
        }
        let ends = |group: &[DotRange<R>]| Ends(group.iter().map(|range| (range.first(), range.last())).collect());
        let groups = self.ranges().chunk_by(|left, right| left.replica() == right.replica());
        let ranges = groups.filter_map(|group| Some((Digits(group.first()?.replica()), ends(group))));
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("vector", self.vector())?;
        map.serialize_entry("ranges", &Collected(ranges.collect()))?;
        map.end()
    }
}

impl<'de, R: ReplicaKey> Deserialize<'de> for CausalContext<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return deserializer.deserialize_bytes(Exactly::new(|bytes| Decoder::default().context(bytes)));
        }
        let Parts { vector, ranges: Collected(ranges) } = Parts::deserialize(deserializer)?;
        let mut flat = Vec::new();
        for (Digits(replica), Ends(ends)) in ranges {
            for (first, last) in ends {
                let range = DotRange::new(replica, first, last);
                flat.push(range.ok_or_else(|| D::Error::custom(format_args!("range from {first} to {last}")))?);
            }
        }
        Self::from_parts(vector, flat).map_err(D::Error::custom)
    }
}

/// The human-readable parts of a context.
#[derive(::serde::Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
struct Parts<R: ReplicaKey> {
    vector: VectorClock<R>,
    ranges: Collected<R>,
}

/// The ranges of each replica, ascending.
struct Collected<R>(Vec<(Digits<R>, Ends)>);

impl<R: ReplicaKey> Serialize for Collected<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, ends)| (id, ends)))
    }
}

impl<'de, R: ReplicaKey> Deserialize<'de> for Collected<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = deserializer.deserialize_map(Pairs::<R, Ends>::at_most(Limits::default().max_ranges))?;
        if !pairs.is_sorted_by(|(left, _), (right, _)| left.0 < right.0)
            || pairs.iter().any(|(_, ends)| ends.0.is_empty())
        {
            return Err(D::Error::custom("replicas with ranges do not ascend strictly, or one has no range"));
        }
        Ok(Self(pairs))
    }
}

/// First and last counters of the ranges of one replica, bounded while they are read.
#[derive(::serde::Serialize)]
#[serde(transparent)]
struct Ends(Vec<(Counter, Counter)>);

impl<'de> Deserialize<'de> for Ends {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = Limits::default().max_ranges_per_replica;
        deserializer.deserialize_seq(AtMost { limit, item: PhantomData }).map(Self)
    }
}

/// An id as hexadecimal digits of its full width, which order as ids do.
#[derive(Clone, Copy)]
struct Digits<R>(R);

impl<R: ReplicaKey> fmt::Display for Digits<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_key(self.0, f)
    }
}

impl<R: ReplicaKey> Serialize for Digits<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, R: ReplicaKey> Deserialize<'de> for Digits<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0_u8; 16];
        let width = bytes.get_mut(..R::WIDTH).unwrap_or_default();
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
            b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
            _ => None,
        };
        let mut valid = rest.is_empty() && pairs.len() == R::WIDTH;
        for (place, [high, low]) in width.iter_mut().zip(pairs) {
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => *place = high << 4 | low,
                _ => valid = false,
            }
        }
        let id = R::read(width).filter(|_| valid);
        id.map(Self).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no id of {} bytes", R::WIDTH)))
    }
}

/// Reads a byte string that is decoded as a whole.
struct Exactly<F>(F);

impl<T, F: FnOnce(&[u8]) -> Result<T, DecodeError>> Exactly<F> {
    const fn new(decode: F) -> Self {
        Self(decode)
    }
}

impl<'de, T, F: FnOnce(&[u8]) -> Result<T, DecodeError>> Visitor<'de> for Exactly<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a clock or context in its full form")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(bytes).map_err(E::custom)
    }

    /// For formats without byte strings.
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = elements.next_element::<u8>()? {
            if bytes.len() == MOST_BYTES {
                return Err(A::Error::invalid_length(bytes.len().saturating_add(1), &self));
            }
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}

/// No canonical context within the default limits is longer: 65,536 entries of 25 bytes, 16,384 ranges of 36.
const MOST_BYTES: usize = 4 << 20;

/// Reads a map of at most `limit` entries in the order in which they come, growing as they arrive.
struct Pairs<R, V> {
    limit: usize,
    entry: PhantomData<(R, V)>,
}

impl<R, V> Pairs<R, V> {
    const fn at_most(limit: usize) -> Self {
        Self { limit, entry: PhantomData }
    }
}

impl<'de, R: ReplicaKey, V: Deserialize<'de>> Visitor<'de> for Pairs<R, V> {
    type Value = Vec<(Digits<R>, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {} replicas", self.limit)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            if pairs.len() >= self.limit {
                return Err(A::Error::invalid_length(pairs.len().saturating_add(1), &self));
            }
            pairs.push(entry);
        }
        Ok(pairs)
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
