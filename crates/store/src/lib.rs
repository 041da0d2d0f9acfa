#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::unwrap_used,
        reason = "tests index and add freely, and fail by panicking"
    )
)]

mod allowance;
mod batch;
mod check;
pub mod codec;
mod context;
mod crc;
mod error;
mod fact;
mod feed;
mod fingerprint;
mod head;
mod key;
mod limits;
mod marks;
mod memory;
pub mod opening;
mod page;
mod plan;
mod ready;
mod record;
mod store;
mod version;
mod view;

pub use reconvene_clock::Knowledge;
#[doc(hidden)]
pub use reconvene_clock::sabotage;

pub use self::allowance::{Allowance, ContentHash, PutAside, Quota, Usage};
pub use self::batch::{Batch, IndexChange, RowChange};
pub use self::check::{CheckReport, Checker, Damage};
pub use self::codec::{CodecError, CodecProblem, KeyId, RowCodec, STORE_FORMAT, Seal, SealError};
pub use self::context::KeyContext;
pub use self::crc::crc32c;
pub use self::error::{CommitError, KeyError, OpenError, PlanError, RecordError, Source, StoreError};
pub use self::fact::{Fact, FactKind, MemberState};
pub use self::feed::{ChangeFeed, Changes};
pub use self::fingerprint::{Fingerprint, Fingerprints, NetworkId, PrintId, PrintsError};
pub use self::head::{Digest, Head, Identity, Revision, SessionNonce};
pub use self::key::{Key, MAX_KEY_BYTES, Prefix};
pub use self::limits::Limits;
pub use self::marks::{BLOCK, Frozen, Marks};
pub use self::memory::{MemorySnapshot, MemoryStore};
pub use self::page::{Cursor, Page, PageLimit, Range, Tombstones};
pub use self::plan::{Applied, LocalWrite, MAX_EVIDENCE, MAX_QUOTAS, Plan, Replaces};
pub use self::ready::ready;
pub use self::record::Record;
pub use self::store::{Capabilities, Durability, MetadataStore, Snapshot, count_usage};
pub use self::version::{Body, Class, Version};
pub use self::view::{
    KeyCodec, Namespace, NamespaceError, Reading, Row, Rows, Sibling, ValueCodec, View, ViewError, Watch, Watched,
    WriteOptions,
};
