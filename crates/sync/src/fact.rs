//! Facts about the network itself: records under `sys/` that replicas write and every replica folds.

use reconvene_clock::{Counter, Decoder, ReplicaId, VectorClock};
use reconvene_store::{Body, Class, Key, Record};
use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, CodecProblem, decode, encode};
use crate::{Member, NewWrite};

/// Somebody decided that a replica no longer counts, as that member wrote it down under
/// `sys/retire/<replica>/<author>`.
///
/// The replica no longer holds back what is collected, and its sessions are refused. Its versions stay valid for ever,
/// whoever passes them on: retirement never refuses or drops data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Retirement {
    /// The replica that no longer counts.
    pub replica: ReplicaId,
    /// Who says so.
    pub author: ReplicaId,
    /// The greatest counter of the replica that the author held; `None` if it held nothing of it. What counts is the
    /// greatest of all authors' (see [`Replica::cut_of`](crate::Replica::cut_of)).
    pub cut: Option<Counter>,
}

impl Retirement {
    /// What the keys of all retirements begin with.
    pub const PREFIX: &'static str = "sys/retire/";

    /// The retirement that a record tells of.
    ///
    /// `None` if it is none, or none of its live values was written by the author it names: nobody decides in the name
    /// of another.
    ///
    /// # Errors
    ///
    /// Inside: [`CodecError`] if the author's value does not decode.
    #[must_use]
    pub fn from_record(record: &Record) -> Option<Result<Self, CodecError>> {
        let (replica, author) = Self::named_by(record.key())?;
        let value = own_value(record, author)?;
        Some(Self::decode(replica, author, value))
    }

    /// Whom a key retires, and who says so; `None` if it is no key of a retirement.
    pub(crate) fn named_by(key: &Key) -> Option<(ReplicaId, ReplicaId)> {
        let named = key.as_bytes().strip_prefix(Self::PREFIX.as_bytes())?;
        let (replica, author) = str::from_utf8(named).ok()?.split_once('/')?;
        let (replica, author) = (replica_of(replica)?, replica_of(author)?);
        (*key == Self::key_of(replica, author)?).then_some((replica, author))
    }

    /// The key under which `author` retires `replica`.
    pub(crate) fn key_of(replica: ReplicaId, author: ReplicaId) -> Option<Key> {
        Key::new(format!("{}{replica}/{author}", Self::PREFIX)).ok()
    }

    /// The write that tells others.
    pub(crate) fn to_write(self) -> Option<NewWrite> {
        let mut value = vec![VALUE_VERSION];
        value.extend(encode(&WireRetirement { cut: self.cut.map(Counter::get) }).ok()?);
        Some(NewWrite::new(Self::key_of(self.replica, self.author)?, Class::CONTROL, Body::of(value)))
    }

    pub(crate) fn decode(replica: ReplicaId, author: ReplicaId, value: &[u8]) -> Result<Self, CodecError> {
        let wire: WireRetirement = decode(body_of(value, "version of a retirement")?)?;
        let cut = match wire.cut {
            None => None,
            Some(cut) => Some(Counter::new(cut).ok_or(CodecProblem::Range("counter"))?),
        };
        Ok(Self { replica, author, cut })
    }
}

/// What a replica said it has made durable, under `sys/ack/<replica>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) replica: ReplicaId,
    /// For each origin the last counter up to which it has everything.
    pub(crate) prefix: VectorClock,
}

impl Acknowledgement {
    const PREFIX: &'static str = "sys/ack/";

    /// The acknowledgement that a record tells of; `None` as for a [`Retirement`].
    pub(crate) fn from_record(record: &Record) -> Option<Result<Self, CodecError>> {
        let replica = replica_of(record.key().as_str()?.strip_prefix(Self::PREFIX)?)?;
        let value = own_value(record, replica)?;
        if *record.key() != Self::key_of(replica)? {
            return None;
        }
        Some(Self::decode(replica, value))
    }

    /// The write that tells others.
    pub(crate) fn to_write(&self) -> Option<NewWrite> {
        let mut value = vec![VALUE_VERSION];
        self.prefix.encode(&mut value);
        Some(NewWrite::new(Self::key_of(self.replica)?, Class::CONTROL, Body::of(value)))
    }

    /// The key under which a replica acknowledges.
    pub(crate) fn key_of(replica: ReplicaId) -> Option<Key> {
        Key::new(format!("{}{replica}", Self::PREFIX)).ok()
    }

    fn decode(replica: ReplicaId, value: &[u8]) -> Result<Self, CodecError> {
        let body = body_of(value, "version of an acknowledgement")?;
        let prefix = Decoder::default().clock(body).map_err(|error| CodecProblem::Body(error.to_string()))?;
        Ok(Self { replica, prefix })
    }
}

/// One fact about the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Member(Member),
    Retirement(Retirement),
    Acknowledgement(Acknowledgement),
}

impl Fact {
    /// What the keys of all facts begin with.
    pub(crate) const PREFIX: &'static str = "sys/";

    /// The fact that a record tells of, if it is one that this version knows and can read.
    pub(crate) fn from_record(record: &Record) -> Option<Self> {
        if !record.key().as_bytes().starts_with(Self::PREFIX.as_bytes()) {
            return None;
        }
        let member = Member::from_record(record).map(|read| read.map(Self::Member));
        let retirement = || Retirement::from_record(record).map(|read| read.map(Self::Retirement));
        let ack = || Acknowledgement::from_record(record).map(|read| read.map(Self::Acknowledgement));
        member.or_else(retirement).or_else(ack)?.ok()
    }
}

/// The last live value of a record that `author` wrote.
pub(crate) fn own_value(record: &Record, author: ReplicaId) -> Option<&[u8]> {
    let own = record.values().filter(|(version, _)| version.dot.replica == author);
    own.last().map(|(_, value)| value)
}

/// The replica that a part of a key names.
pub(crate) fn replica_of(digits: &str) -> Option<ReplicaId> {
    ReplicaId::new(u64::from_str_radix(digits, 16).ok()?)
}

fn body_of<'a>(value: &'a [u8], what: &'static str) -> Result<&'a [u8], CodecError> {
    let (&version, body) = value.split_first().ok_or(CodecProblem::Truncated)?;
    if version == VALUE_VERSION { Ok(body) } else { Err(CodecProblem::Range(what).into()) }
}

const VALUE_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct WireRetirement {
    cut: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconvene_clock::{Dot, Height, Hlc};
    use reconvene_store::{KeyContext, Version};

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn record(writer: u64, write: NewWrite) -> Record {
        let version = Version {
            dot: Dot::new(replica(writer), Counter::MIN),
            context: KeyContext::new(),
            height: Height::MIN,
            hlc: Hlc::default(),
            class: write.class,
            body: write.body,
        };
        Record::new(write.key, [version]).unwrap()
    }

    #[test]
    fn facts_are_read_back_from_their_authors_alone() {
        for cut in [None, Counter::new(77)] {
            let retirement = Retirement { replica: replica(5), author: replica(6), cut };
            let written = retirement.to_write().unwrap();
            assert_eq!(Fact::from_record(&record(6, written.clone())), Some(Fact::Retirement(retirement)));
            assert_eq!(Fact::from_record(&record(5, written)), None);
        }
        let prefix = VectorClock::from_iter([Dot::new(replica(9), Counter::MIN)]);
        let ack = Acknowledgement { replica: replica(7), prefix };
        let written = ack.to_write().unwrap();
        assert_eq!(Fact::from_record(&record(7, written.clone())), Some(Fact::Acknowledgement(ack)));
        assert_eq!(Fact::from_record(&record(8, written)), None);
    }

    #[test]
    fn other_spellings_of_a_key_are_no_facts() {
        let write = Retirement { replica: replica(5), author: replica(6), cut: None }.to_write().unwrap();
        for key in ["sys/retire/5/6", "sys/retire/0000000000000005", "sys/retire/0000000000000005/0000000000000006/"] {
            let write = NewWrite { key: Key::new(key).unwrap(), ..write.clone() };
            assert_eq!(Fact::from_record(&record(6, write)), None);
        }
    }
}
