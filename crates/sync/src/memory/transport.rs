//! The [`Transport`] trait over a network in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use reconvene_clock::{NodeId, Timestamp};

use crate::memory::{LinkFaults, Network};
use crate::{Incoming, Transport};

/// Joins [`MemoryTransport`]s. Clones are the same hub.
///
/// Time stands still until [`advance`](Self::advance), so that frames with a delay wait for it and others arrive at
/// once.
///
/// ```
/// use reconvene_clock::NodeId;
/// use reconvene_store::ready;
/// use reconvene_sync::memory::MemoryHub;
/// use reconvene_sync::{Incoming, Transport};
///
/// let hub = MemoryHub::new(1);
/// let (a, b) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
/// let (alice, bob) = (hub.attach(a, "alice"), hub.attach(b, "bob"));
/// assert_eq!(ready(alice.connect("bob")).and_then(Result::ok), Some(b));
/// assert!(ready(alice.send(b, b"frame")).is_some_and(|sent| sent.is_ok()));
/// assert_eq!(ready(bob.recv()).and_then(Result::ok), Some(Incoming::LinkUp { peer: a, address: None }));
/// let frame = Incoming::Frame { from: a, frame: b"frame".to_vec() };
/// assert_eq!(ready(bob.recv()).and_then(Result::ok), Some(frame));
/// ```
#[derive(Clone, Debug)]
pub struct MemoryHub {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    now: Timestamp,
    nodes: BTreeMap<NodeId, Mailbox>,
    addresses: BTreeMap<String, NodeId>,
    links: BTreeSet<(NodeId, NodeId)>,
}

#[derive(Debug, Default)]
struct Mailbox {
    queue: VecDeque<Incoming>,
    waker: Option<Waker>,
}

/// Frames that wait for one receiver; more are lost, as on a full socket.
const MAX_QUEUED: usize = 4_096;

impl MemoryHub {
    /// A hub without nodes whose chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            network: Network::new(seed),
            now: Timestamp::from_millis(0),
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            links: BTreeSet::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// The transport of `node`, which others reach by dialling `address`.
    #[must_use]
    pub fn attach(&self, node: NodeId, address: &str) -> MemoryTransport {
        let mut shared = self.shared.lock();
        shared.nodes.insert(node, Mailbox::default());
        shared.addresses.insert(address.to_owned(), node);
        MemoryTransport { node, hub: self.clone() }
    }

    /// Changes what links do to frames that are sent from now on.
    pub fn set_faults(&self, faults: LinkFaults) {
        self.shared.lock().network.set_faults(faults);
    }

    /// Cuts the link between two nodes; both see [`Incoming::LinkDown`] if it stood.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        let mut shared = self.shared.lock();
        shared.network.cut(a, b);
        shared.unlink(a, b);
    }

    /// Lets two nodes reach each other again, once one of them dials.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.shared.lock().network.heal(a, b);
    }

    /// Lets virtual time pass and delivers what is due by then.
    pub fn advance(&self, ms: u64) {
        let mut shared = self.shared.lock();
        shared.now = shared.now.saturating_add(ms);
        shared.deliver();
    }
}

impl Shared {
    fn post(&mut self, to: NodeId, incoming: Incoming) {
        let Some(mailbox) = self.nodes.get_mut(&to) else { return };
        let droppable = matches!(incoming, Incoming::Frame { .. });
        if droppable && mailbox.queue.len() >= MAX_QUEUED {
            return;
        }
        mailbox.queue.push_back(incoming);
        if let Some(waker) = mailbox.waker.take() {
            waker.wake();
        }
    }

    fn deliver(&mut self) {
        while let Some(delivery) = self.network.pop(self.now) {
            let frame = Incoming::Frame { from: delivery.from, frame: delivery.frame };
            self.post(delivery.to, frame);
        }
    }

    fn unlink(&mut self, a: NodeId, b: NodeId) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.post(a, Incoming::LinkDown { peer: b });
            self.post(b, Incoming::LinkDown { peer: a });
        }
    }
}

/// One node's end of a [`MemoryHub`].
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    node: NodeId,
    hub: MemoryHub,
}

/// Why a [`MemoryTransport`] could not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryTransportError {
    /// Nobody listens at the address, or the link to it is cut.
    #[error("address {address} cannot be reached")]
    Unreachable {
        /// The address that was dialled.
        address: String,
    },
    /// There is no link to the peer.
    #[error("no link to {peer}")]
    NotLinked {
        /// The peer.
        peer: NodeId,
    },
}

impl Transport for MemoryTransport {
    type Error = MemoryTransportError;

    async fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), MemoryTransportError> {
        let mut shared = self.hub.shared.lock();
        if !shared.links.contains(&(self.node.min(to), self.node.max(to))) {
            return Err(MemoryTransportError::NotLinked { peer: to });
        }
        let now = shared.now;
        shared.network.send(now, self.node, to, frame.to_vec());
        shared.deliver();
        Ok(())
    }

    async fn recv(&self) -> Result<Incoming, MemoryTransportError> {
        poll_fn(|context| {
            let mut shared = self.hub.shared.lock();
            // Attaching made the mailbox, and nothing removes it.
            let mailbox = shared.nodes.entry(self.node).or_default();
            match mailbox.queue.pop_front() {
                Some(incoming) => Poll::Ready(Ok(incoming)),
                None => {
                    mailbox.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn connect(&self, address: &str) -> Result<NodeId, MemoryTransportError> {
        let mut shared = self.hub.shared.lock();
        let unreachable = || MemoryTransportError::Unreachable { address: address.to_owned() };
        let peer = *shared.addresses.get(address).ok_or_else(unreachable)?;
        if shared.network.is_cut(self.node, peer) || peer == self.node {
            return Err(unreachable());
        }
        shared.links.insert((self.node.min(peer), self.node.max(peer)));
        shared.post(self.node, Incoming::LinkUp { peer, address: Some(address.to_owned()) });
        shared.post(peer, Incoming::LinkUp { peer: self.node, address: None });
        Ok(peer)
    }

    fn disconnect(&self, peer: NodeId) {
        self.hub.shared.lock().unlink(self.node, peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconvene_store::ready;

    const A: NodeId = NodeId::from_bytes([1; 16]);
    const B: NodeId = NodeId::from_bytes([2; 16]);

    fn drain(transport: &MemoryTransport) -> Vec<Incoming> {
        std::iter::from_fn(|| ready(transport.recv()).and_then(Result::ok)).collect()
    }

    #[test]
    fn cut_and_dial_again() {
        let hub = MemoryHub::new(1);
        let (alice, bob) = (hub.attach(A, "a"), hub.attach(B, "b"));
        assert_eq!(ready(alice.send(B, b"x")), Some(Err(MemoryTransportError::NotLinked { peer: B })));
        assert_eq!(ready(bob.connect("a")), Some(Ok(A)));
        hub.cut(A, B);
        assert_eq!(drain(&alice), [Incoming::LinkUp { peer: B, address: None }, Incoming::LinkDown { peer: B }]);
        assert!(ready(alice.connect("b")).unwrap().is_err());
        assert!(ready(alice.connect("nobody")).unwrap().is_err());
        hub.heal(A, B);
        assert_eq!(ready(alice.connect("b")), Some(Ok(B)));
        alice.disconnect(B);
        assert_eq!(drain(&bob).last(), Some(&Incoming::LinkDown { peer: A }));
    }

    #[test]
    fn delayed_frames_wait_for_time() {
        let hub = MemoryHub::new(1);
        let (alice, bob) = (hub.attach(A, "a"), hub.attach(B, "b"));
        ready(alice.connect("b")).unwrap().unwrap();
        drain(&bob);
        hub.set_faults(LinkFaults { delay_ms: 10..=10, ..LinkFaults::NONE });
        ready(alice.send(B, b"x")).unwrap().unwrap();
        hub.advance(9);
        assert_eq!(drain(&bob), []);
        hub.advance(1);
        assert_eq!(drain(&bob), [Incoming::Frame { from: A, frame: b"x".to_vec() }]);
    }
}
