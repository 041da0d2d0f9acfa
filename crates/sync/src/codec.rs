//! The one place that knows the serializer: bincode 2.0.1, `standard()`, with a limit.
//!
//! Wire structures live in `wire.rs` and borrow from the frame, so that no length a peer claims sizes an allocation.

use std::fmt;
use std::marker::PhantomData;

use bincode::config::{Configuration, Limit, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why bytes were refused, or a value could not be written. Nothing was built or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(#[from] CodecProblem);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecProblem {
    #[error("frame has {bytes} bytes, the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("frame ends too early")]
    Truncated,
    #[error("frame declares {declared} bytes, {found} are there")]
    Length { declared: usize, found: usize },
    #[error("it does not begin as bundles of this format do")]
    NotABundle,
    #[error("checksum does not match")]
    Checksum,
    #[error("unknown codec {codec}")]
    UnknownCodec { codec: u8 },
    #[error("unknown kind of frame {kind}")]
    UnknownKind { kind: u8 },
    #[error("body does not decode: {0}")]
    Body(String),
    #[error("versions would occupy {used} bytes of memory, their frame allows {limit}")]
    Memory { used: usize, limit: usize },
    #[error("{0} is out of range")]
    Range(&'static str),
    #[error("bytes are not canonical")]
    NotCanonical,
    #[error("value does not encode: {0}")]
    Encode(String),
}

/// The hard bound of what one body may hold; frames have a smaller one in the configuration.
const BODY_LIMIT: usize = 16 << 20;

const fn config() -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<BODY_LIMIT>> {
    standard().with_limit::<BODY_LIMIT>()
}

/// The bytes of a wire structure.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config()).map_err(|error| CodecProblem::Encode(error.to_string()).into())
}

/// Whether `bytes` are those of a wire structure. They are compared as they are written, so that nothing is allocated.
pub(crate) fn encodes_to<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    bincode::serde::encode_into_writer(value, Expected(&mut rest), config()).is_ok() && rest.is_empty()
}

/// What is still to be written.
struct Expected<'a, 'b>(&'b mut &'a [u8]);

impl Writer for Expected<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        *self.0 = self.0.strip_prefix(bytes).ok_or(EncodeError::Other("other bytes"))?;
        Ok(())
    }
}

/// A wire structure that borrows from `bytes`, all of which it must use.
///
/// Overlong numbers pass here: callers encode again and compare.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let (value, rest) = decode_front(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecProblem::Body("bytes are left over".into()).into()) }
}

/// A wire structure that borrows from the front of `bytes`, and the bytes behind it. Overlong numbers pass here too.
pub(crate) fn decode_front<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), CodecError> {
    let (value, used) = bincode::serde::borrow_decode_from_slice(bytes, config())
        .map_err(|error| CodecProblem::Body(error.to_string()))?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}

/// A list of at most `MAX` items that grows as items are read, never by its declared length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} items")));
                    }
                    list.push(item);
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Items::<T, MAX>(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{List, decode, encode};

    #[test]
    fn lists_come_back() {
        let list = List::<(u64, [u8; 2]), 3>(vec![(1, *b"ab"), (300, *b"cd"), (u64::MAX, *b"xy")]);
        let bytes = encode(&list).unwrap();
        assert_eq!(decode::<List<(u64, [u8; 2]), 3>>(&bytes).unwrap(), list);
        assert!(decode::<List<(u64, [u8; 2]), 2>>(&bytes).unwrap_err().to_string().contains("more than 2"));
        assert!(decode::<List<(u64, [u8; 2]), 3>>(&bytes[..bytes.len() - 1]).is_err());
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(decode::<List<(u64, [u8; 2]), 3>>(&longer).is_err());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // 2^61 items in nine bytes.
        let bytes = [253, 0, 0, 0, 0, 0, 0, 0, 0x20];
        assert!(decode::<List<u64, 10>>(&bytes).is_err());
    }
}
