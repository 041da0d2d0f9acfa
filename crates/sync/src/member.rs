//! Who belongs to the network: facts that every replica writes about itself.

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_store::{Body, Class, Key, Record};
use serde::{Deserialize, Serialize};

use crate::NewWrite;
use crate::codec::{CodecError, CodecProblem, decode, encode};
use crate::fact::{own_value, replica_of};

/// A replica and the node it belongs to, as that replica wrote it down under `sys/member/<replica>`.
///
/// It says how to reach a node, not whether to believe it: who a peer is, the transport says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Member {
    /// The replica.
    pub replica: ReplicaId,
    /// The node it belongs to.
    pub node: NodeId,
    /// How many stores the node had before, plus one.
    pub incarnation: u64,
    /// Where the node listens, if it does.
    pub address: Option<String>,
}

impl Member {
    /// What the keys of all member facts begin with.
    pub const PREFIX: &'static str = "sys/member/";

    /// The member that a record tells of.
    ///
    /// `None` if it is no member fact, or none of its live values was written by the replica it speaks of: nobody
    /// introduces another.
    ///
    /// # Errors
    ///
    /// Inside: [`CodecError`] if the replica's value does not decode.
    #[must_use]
    pub fn from_record(record: &Record) -> Option<Result<Self, CodecError>> {
        let replica = replica_of(record.key().as_str()?.strip_prefix(Self::PREFIX)?)?;
        if record.key() != &Self::key_of(replica)? {
            return None;
        }
        Some(Self::decode(replica, own_value(record, replica)?))
    }

    /// The write that tells others of this member.
    pub(crate) fn to_write(&self) -> Option<NewWrite> {
        let wire =
            WireMember { node: *self.node.as_bytes(), incarnation: self.incarnation, address: self.address.as_deref() };
        let mut value = vec![VALUE_VERSION];
        value.extend(encode(&wire).ok()?);
        Some(NewWrite::new(Self::key_of(self.replica)?, Class::CONTROL, Body::of(value)))
    }

    fn key_of(replica: ReplicaId) -> Option<Key> {
        Key::new(format!("{}{replica}", Self::PREFIX)).ok()
    }

    fn decode(replica: ReplicaId, value: &[u8]) -> Result<Self, CodecError> {
        let (&version, body) = value.split_first().ok_or(CodecProblem::Truncated)?;
        if version != VALUE_VERSION {
            return Err(CodecProblem::Range("version of a member fact").into());
        }
        let wire: WireMember<'_> = decode(body)?;
        if wire.address.is_some_and(|address| address.len() > MAX_ADDRESS_BYTES) {
            return Err(CodecProblem::Range("length of an address").into());
        }
        let node = NodeId::from_bytes(wire.node);
        Ok(Self { replica, node, incarnation: wire.incarnation, address: wire.address.map(str::to_owned) })
    }
}

/// The longest address that is dialled or published.
pub(crate) const MAX_ADDRESS_BYTES: usize = 256;

const VALUE_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct WireMember<'a> {
    node: [u8; 16],
    incarnation: u64,
    address: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::Member;
    use reconvene_clock::{Counter, Dot, Height, Hlc, NodeId, ReplicaId};
    use reconvene_store::{Key, KeyContext, Record, Version};

    fn member() -> Member {
        Member {
            replica: ReplicaId::new(0xabc).unwrap(),
            node: NodeId::from_bytes([9; 16]),
            incarnation: 3,
            address: Some("10.0.0.1:7000".into()),
        }
    }

    fn record(writer: u64, key: Option<&str>) -> Record {
        let write = member().to_write().unwrap();
        let version = Version {
            dot: Dot::new(ReplicaId::new(writer).unwrap(), Counter::MIN),
            context: KeyContext::new(),
            height: Height::MIN,
            hlc: Hlc::default(),
            class: write.class,
            body: write.body,
        };
        let key = key.map_or(write.key, |key| Key::new(key).unwrap());
        Record::new(key, [version]).unwrap()
    }

    #[test]
    fn a_member_is_read_back() {
        assert_eq!(Member::from_record(&record(0xabc, None)), Some(Ok(member())));
    }

    #[test]
    fn nobody_introduces_another() {
        assert_eq!(Member::from_record(&record(0xdef, None)), None);
        assert_eq!(Member::from_record(&record(0xabc, Some("sys/member/0000000000000def"))), None);
        assert_eq!(Member::from_record(&record(0xabc, Some("sys/member/abc"))), None);
        assert_eq!(Member::from_record(&record(0xabc, Some("app/other"))), None);
    }
}
