#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::unwrap_used,
        clippy::wildcard_enum_match_arm,
        reason = "tests index and add freely, and fail by panicking"
    )
)]

mod bundle;
mod codec;
mod columns;
mod compression;
mod config;
mod detector;
mod driver;
mod event;
mod fact;
#[doc(hidden)]
pub mod forge;
mod frame;
mod io;
mod member;
mod members;
pub mod memory;
mod message;
mod ranges;
mod replica;
mod rng;
mod sketch;
mod stats;
mod transport;
mod wire;

pub use reconvene_clock::Now;
pub use reconvene_store::{Frozen, NetworkId};

pub use self::bundle::{BundleError, BundleId, BundleProgress};
pub use self::codec::CodecError;
pub use self::compression::{Compression, Compressor};
pub use self::config::Config;
pub use self::driver::{Performed, StoreDriver, StoreDriverError};
pub use self::event::{Event, PeerState};
pub use self::fact::Retirement;
pub use self::frame::{Lane, frame_lane};
pub use self::io::{Input, NewWrite, Output, RejectReason, Ticket, ViewId, Want};
pub use self::member::Member;
pub use self::members::Epoch;
pub use self::replica::{OpenError, Replica};
pub use self::stats::Stats;
pub use self::transport::{Incoming, Transport};
