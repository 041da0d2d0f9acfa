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

mod batch;
mod context;
mod error;
mod fingerprint;
mod head;
mod key;
mod limits;
mod memory;
mod page;
mod plan;
mod ready;
mod record;
mod store;
mod version;

pub use reconvene_clock::Knowledge;

pub use self::batch::{Batch, IndexChange, RowChange};
pub use self::context::KeyContext;
pub use self::error::{CommitError, KeyError, PlanError, RecordError, StoreError};
pub use self::fingerprint::{Fingerprint, Fingerprints, NetworkId};
pub use self::head::{Digest, Head, Identity, Revision};
pub use self::key::{Key, MAX_KEY_BYTES, Prefix};
pub use self::limits::Limits;
pub use self::memory::{MemorySnapshot, MemoryStore};
pub use self::page::{Cursor, Page, Range};
pub use self::plan::{Applied, LocalWrite, Plan, Replaces};
pub use self::ready::ready;
pub use self::record::Record;
pub use self::store::{Capabilities, Durability, MetadataStore, Snapshot};
pub use self::version::{Body, Class, Version};
