//! How frames move.

use std::future::Future;

use reconvene_clock::NodeId;

/// Moves frames between brokers. May drop, repeat or reorder them; must not alter them.
///
/// The `NodeId` of a peer comes from the channel (a certificate or key), never from a payload. Frames beyond the
/// transport's limit are refused from their length, before anything is allocated.
pub trait Transport: Send + Sync + 'static {
    /// Why the transport could not do its work.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Queues one frame. `Ok` means accepted, not delivered. Cancel safe: queued whole or not at all.
    fn send(&self, to: NodeId, frame: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Waits for what happens next on any link. Cancel safe: a cancelled call loses nothing.
    ///
    /// An error means that the transport is finished; one bad peer shows as [`Incoming::LinkDown`] instead.
    fn recv(&self) -> impl Future<Output = Result<Incoming, Self::Error>> + Send;

    /// Dials an address and gives the node that answered. [`Incoming::LinkUp`] also comes through [`recv`](Self::recv).
    fn connect(&self, address: &str) -> impl Future<Output = Result<NodeId, Self::Error>> + Send;

    /// Drops the link to `peer`, if there is one.
    fn disconnect(&self, peer: NodeId);
}

/// What a transport has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that forgets one loses frames or links")]
pub enum Incoming {
    /// A frame and its authenticated sender.
    Frame {
        /// The sender.
        from: NodeId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A link stands.
    LinkUp {
        /// The broker at the other end.
        peer: NodeId,
        /// The address that was dialled, if this side dialled.
        address: Option<String>,
    },
    /// A link is gone.
    LinkDown {
        /// The broker at the other end.
        peer: NodeId,
    },
}
