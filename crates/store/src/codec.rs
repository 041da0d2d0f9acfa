//! Records, heads and facts as bytes: what every backend that survives its process keeps in its tables.
//!
//! Canonical or refused: equal values have equal bytes, and bytes that the encoder would not write are an error that says
//! where. Each row ends with a CRC-32C of all before it. Nothing is allocated for a declared count that the rest of the
//! input cannot hold, and no input panics. `docs/store-format.md` has the layout to the byte.
//!
//! ```
//! use reconvene_store::{Key, RowCodec, Record};
//! # use reconvene_clock::{Counter, Dot, Height, Hlc, ReplicaId};
//! # use reconvene_store::{Body, Class, KeyContext, Version};
//! # let dot = Dot::new(ReplicaId::new(7).expect("not zero"), Counter::MIN);
//! # let (context, hlc, class) = (KeyContext::new(), Hlc::default(), Class::NORMAL);
//! # let version = Version { dot, context, height: Height::MIN, hlc, class, body: Body::of("hello") };
//! let key = Key::new("greeting")?;
//! let record = Record::new(key.clone(), [version])?;
//!
//! let codec = RowCodec::new();
//! let mut bytes = Vec::new();
//! codec.encode_record(&record, &mut bytes)?;
//! assert_eq!(codec.decode_record(&key, &bytes)?, record);
//!
//! bytes[9] ^= 1;
//! assert!(codec.decode_record(&key, &bytes).unwrap_err().to_string().contains("checksum"));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod facts;
mod head;
mod opening;
mod reader;
mod row;
mod seal;
mod table;
mod versions;

pub use self::facts::{decode_fact, encode_fact};
pub use self::head::{decode_head, encode_head};
pub use self::opening::{
    LAST_COMMIT_BYTES, decode_last_commit, decode_lineage, decode_witness, encode_last_commit, encode_lineage,
    encode_witness,
};
use self::reader::Reader;
pub use self::row::RowCodec;
pub use self::seal::{KeyId, Seal, SealError};
pub use self::table::{decode_dot, decode_fact_id, decode_print_id, encode_dot, encode_fact_id, encode_print_id};

/// The version of the stored form that this code writes: (major, minor). A minor version adds what older code may
/// ignore; a major one is read by newer code alone.
pub const STORE_FORMAT: (u16, u16) = (1, 0);

/// Why stored bytes were not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem} at byte {offset}")]
#[non_exhaustive]
pub struct CodecError {
    /// What was read.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: CodecProblem,
    /// Where.
    pub offset: usize,
}

/// What is wrong with stored bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecProblem {
    /// They end too early.
    #[error("the bytes end")]
    Truncated,
    /// They go on behind the end.
    #[error("more bytes than belong there")]
    Trailing,
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
    /// A later version wrote them.
    #[error("form {0} is not known")]
    Form(u8),
    /// A number is out of its range, or longer than it need be.
    #[error("a number is out of range or overlong")]
    Number,
    /// A list does not ascend, or names something twice.
    #[error("a list does not ascend")]
    Order,
    /// A table names something that nothing refers to.
    #[error("a table names more than is used")]
    Unused,
    /// They mean something that makes no sense.
    #[error("{0}")]
    Meaning(String),
    /// They are sealed, and there is nothing to open them with.
    #[error("the value is sealed, and no seal was given")]
    Sealed,
    /// The seal was not opened.
    #[error("the value was not unsealed: {0}")]
    Unsealed(String),
}
