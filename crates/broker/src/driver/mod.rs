//! The async driver: one task that owns a [`Node`](crate::Node), its store and its links.

mod broker;
mod builder;
mod clock;
mod no_links;
mod task;

pub use broker::{Broker, BrokerError, Events, EventsError};
pub use builder::{BrokerBuilder, StartError};
pub use clock::{Clock, SystemClock};
pub use no_links::NoLinks;
pub use task::TaskError;

#[cfg(test)]
mod tests;
