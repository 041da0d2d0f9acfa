#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "tests add freely and fail by panicking")
)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod causality;
mod codec;
mod context;
mod dot;
mod error;
mod height;
mod hlc;
mod limits;
mod linear;
mod lockstep;
mod node;
mod now;
mod replica;
mod roster;
mod segments;
#[cfg(feature = "serde")]
mod serde;
mod siblings;
mod time;
mod vector;

#[doc(hidden)]
pub mod digest;
#[doc(hidden)]
pub mod sabotage;

pub use self::causality::Causality;
pub use self::codec::{Base, Decoder};
pub use self::context::{CausalContext, Knowledge};
pub use self::dot::{Counter, Dot, DotRange};
pub use self::error::{ClockError, DecodeError, DecodeKind, HlcError};
pub use self::height::Height;
pub use self::hlc::{Hlc, HlcClock, MaxAhead};
pub use self::limits::Limits;
pub use self::linear::LinearKey;
pub use self::node::NodeId;
pub use self::now::Now;
pub use self::replica::{ReplicaId, ReplicaKey};
pub use self::roster::{Roster, RosterClock};
pub use self::siblings::{Dotted, SiblingSet};
#[cfg(feature = "std")]
pub use self::time::SystemTimeSource;
pub use self::time::{TimeSource, Timestamp, WallTime};
pub use self::vector::VectorClock;
