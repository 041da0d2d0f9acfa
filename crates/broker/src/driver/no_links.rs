//! A transport without anybody at the other end.

use core::convert::Infallible;
use core::future::pending;

use reconvene_clock::NodeId;
use reconvene_sync::{Incoming, Transport};

/// No links at all: what a broker has for peers, executors or clients that the builder was not given a transport for.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing in it and never will be")]
pub struct NoLinks;

impl Transport for NoLinks {
    type Error = Infallible;

    async fn connect(&self, _address: &str) -> Result<NodeId, Self::Error> {
        pending().await
    }

    async fn send(&self, _to: NodeId, _frame: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn recv(&self) -> Result<Incoming, Self::Error> {
        pending().await
    }

    fn disconnect(&self, _peer: NodeId) {}
}
