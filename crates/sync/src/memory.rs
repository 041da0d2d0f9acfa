//! A network in memory: faulty on request, reproducible by its seed.
//!
//! [`Network`] is a value in virtual time, for simulations. [`MemoryTransport`] puts the [`Transport`](crate::Transport)
//! trait on top of it, for tests of asynchronous drivers.

mod network;
mod transport;

pub use self::network::{Delivery, LinkFaults, Network};
pub use self::transport::{MemoryHub, MemoryTransport, MemoryTransportError};
