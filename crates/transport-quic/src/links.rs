//! Links of one protocol: what brokers, executors and clients hold.

use core::fmt;
use std::sync::Arc;

use reconvene_clock::NodeId;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::endpoint::Guard;
use crate::error::LinkError;
use crate::registry::{Event, Registry};

/// All links of one [`Protocol`](crate::Protocol) at an endpoint. Clones are handles to the same links.
///
/// A peer may have several connections, for instance when two nodes dial each other at once: it is up with the first
/// and down after the last, and frames go over the newest. The endpoint lives as long as any of its handles.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    guard: Arc<Guard>,
    registry: Arc<Registry>,
    events: Mutex<UnboundedReceiver<Event>>,
}

/// What [`Links::recv`] returns.
///
/// For each peer: `LinkUp`, then its frames, then one `LinkDown`, and so on. A peer that is up and is dialled once more
/// gives another `LinkUp`, with the address where it was found; never another `LinkDown` in between.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new event must break every driver at compile time")]
pub enum LinkEvent {
    /// A frame arrived from a peer that is up.
    Frame {
        /// The peer, by its certificate.
        from: NodeId,
        /// The bytes, as sent.
        frame: Vec<u8>,
    },
    /// A peer authenticated and both hellos were answered.
    LinkUp {
        /// The peer, by its certificate.
        peer: NodeId,
        /// The address that was dialled; or, if the peer dialled us, the one it says it listens at, if any.
        address: Option<String>,
    },
    /// The last connection to a peer is gone.
    LinkDown {
        /// The peer.
        peer: NodeId,
    },
}

impl Links {
    pub(crate) fn new(guard: Arc<Guard>, registry: Arc<Registry>, events: UnboundedReceiver<Event>) -> Self {
        Self { inner: Arc::new(Inner { guard, registry, events: Mutex::new(events) }) }
    }

    /// This node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.guard.shared.node
    }

    /// Dials `address` (`host:port`) and returns who answered, once both sides have authenticated and answered hello.
    ///
    /// [`LinkEvent::LinkUp`] with this address follows, also if the peer was up already. At most four addresses of a host name are tried,
    /// each for the hand-shake time-out. Cancel safe: a cancelled call leaves no connection, or a link that is up.
    ///
    /// # Errors
    ///
    /// [`LinkError`] says why there is no connection; calling again later is fine except for
    /// [`Closed`](LinkError::Closed) and [`OwnAddress`](LinkError::OwnAddress).
    pub async fn connect(&self, address: &str) -> Result<NodeId, LinkError> {
        self.inner.guard.shared.dial(&self.inner.registry, address).await
    }

    /// Queues one frame for a peer that is up. `Ok` means accepted or dropped, not delivered.
    ///
    /// Never waits: if the peer's queue is full, because it is slow or cut off, the frame is dropped and counted in
    /// [`dropped_frames`](Self::dropped_frames).
    ///
    /// # Errors
    ///
    /// [`LinkError::NotLinked`], [`LinkError::FrameTooLarge`] or [`LinkError::Closed`]; nothing was queued.
    pub fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), LinkError> {
        self.inner.registry.send(to, frame)
    }

    /// Waits for a frame or a change of links. Cancel safe: a cancelled call loses nothing.
    ///
    /// With several clones each event goes to one of them.
    ///
    /// # Errors
    ///
    /// [`LinkError::Closed`] once the endpoint was closed and everything before that was received.
    pub async fn recv(&self) -> Result<LinkEvent, LinkError> {
        let event = self.inner.events.lock().await.recv().await;
        event.map(|event| event.event).ok_or(LinkError::Closed)
    }

    /// Closes every connection to `peer` of this protocol, after what is queued for it was sent or a second passed
    /// (`close_timeout`). Nothing that arrives meanwhile is received; [`LinkEvent::LinkDown`] follows.
    pub fn disconnect(&self, peer: NodeId) {
        self.inner.registry.disconnect(peer);
    }

    /// The peers with a connection, in order.
    #[must_use]
    pub fn peers(&self) -> Vec<NodeId> {
        self.inner.registry.peers()
    }

    /// How many frames were dropped because a peer's queue was full.
    #[must_use]
    pub fn dropped_frames(&self) -> u64 {
        self.inner.registry.dropped()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody can receive any more: peers should not believe that this protocol is served.
        self.registry.shut();
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("node", &self.node_id())
            .field("protocol", &self.inner.registry.protocol)
            .finish_non_exhaustive()
    }
}
