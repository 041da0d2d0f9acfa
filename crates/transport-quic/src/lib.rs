#![doc = include_str!("../README.md")]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "tests index and add freely"
    )
)]

mod authority;
mod close;
mod config;
mod endpoint;
mod error;
mod files;
mod filter;
mod frame;
mod handshake;
mod hello;
mod identity;
mod link;
mod links;
mod node_name;
mod protocol;
mod registry;
mod tls;
mod traits;

pub use authority::{Authority, Created};
pub use config::{Advertise, EndpointConfig};
pub use endpoint::Endpoint;
pub use error::{AuthorityError, BindError, Cause, LinkError, Refusal};
pub use filter::PacketFilter;
pub use identity::Identity;
pub use links::{LinkEvent, Links};
pub use protocol::Protocol;
