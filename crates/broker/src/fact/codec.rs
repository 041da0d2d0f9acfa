//! The bytes of facts: a version byte, then the fields in bincode's standard form.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes that a fact's value may have. A specification with the longest payload stays far below.
pub const FACT_BYTES: usize = 1024 * 1024;

/// A fact's value did not decode, or is too large to encode.
#[derive(Debug, thiserror::Error)]
#[error("fact of {bytes} bytes: {reason}")]
pub struct CodecError {
    bytes: usize,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("no version byte")]
    Empty,
    #[error("version {0} is not known here")]
    Version(u8),
    #[error("bytes left over after the last field")]
    LeftOver,
    #[error("{0}")]
    Fields(String),
}

const VERSION: u8 = 1;
/// More bytes than most facts have.
const MOSTLY: usize = 256;

pub(super) fn encode<T: Serialize>(fact: &T) -> Result<Vec<u8>, CodecError> {
    // Most facts fit; without room they would be moved again and again as they grow.
    let mut bytes = Vec::with_capacity(MOSTLY);
    bytes.push(VERSION);
    match bincode::serde::encode_into_std_write(fact, &mut bytes, configuration()) {
        Ok(_) if bytes.len() <= FACT_BYTES => Ok(bytes),
        Ok(_) => Err(error(&bytes, Reason::Fields(format!("the limit is {FACT_BYTES}")))),
        Err(cause) => Err(error(&bytes, Reason::Fields(cause.to_string()))),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (version, fields) = bytes.split_first().ok_or_else(|| error(bytes, Reason::Empty))?;
    if *version != VERSION {
        return Err(error(bytes, Reason::Version(*version)));
    }
    match bincode::serde::decode_from_slice(fields, configuration()) {
        Ok((fact, read)) if read == fields.len() => Ok(fact),
        Ok(_) => Err(error(bytes, Reason::LeftOver)),
        Err(cause) => Err(error(bytes, Reason::Fields(cause.to_string()))),
    }
}

const fn error(bytes: &[u8], reason: Reason) -> CodecError {
    CodecError { bytes: bytes.len(), reason }
}

const fn configuration() -> Configuration<LittleEndian, Varint, Limit<FACT_BYTES>> {
    config::standard().with_limit::<FACT_BYTES>()
}
