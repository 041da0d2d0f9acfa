//! How the driver reaches brokers.

use std::future::Future;

use reconvene_clock::NodeId;

/// Moves frames between an executor and brokers. May drop, repeat or reorder them; must not alter them.
///
/// For each broker there is one [`LinkUp`](LinkEvent::LinkUp), then its frames, then one
/// [`LinkDown`](LinkEvent::LinkDown), and so on.
pub trait BrokerLink: Send + Sync + 'static {
    /// Why the link could not do its work.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Dials an address and gives the broker that answered.
    ///
    /// [`LinkEvent::LinkUp`] also comes through [`recv`](Self::recv), unless the broker was up already. May take long;
    /// the driver gives up on it in time and cancels it.
    fn connect(&self, address: &str) -> impl Future<Output = Result<NodeId, Self::Error>> + Send;

    /// Queues one frame. `Ok` means accepted, not delivered. Cancel safe: queued whole or not at all.
    ///
    /// May wait; the driver waits in a task of its own for each broker. An error concerns this frame only.
    fn send(&self, to: NodeId, frame: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Waits for what happens next on any link. Cancel safe: a cancelled call loses nothing.
    ///
    /// An error means that there will be no link any more, and ends the executor.
    fn recv(&self) -> impl Future<Output = Result<LinkEvent, Self::Error>> + Send;

    /// Closes the link to a broker, if there is one, after what was queued for it.
    fn disconnect(&self, broker: NodeId);
}

/// What a [`BrokerLink`] has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that forgets one loses frames or links")]
pub enum LinkEvent {
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
