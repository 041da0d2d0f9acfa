//! Who is linked for one protocol, and what waits to be received.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reconvene_clock::NodeId;
use reconvene_sync::Lane;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::config::EndpointConfig;
use crate::error::LinkError;
use crate::links::LinkEvent;
use crate::protocol::Protocol;

/// The links of one protocol at one endpoint.
///
/// Every queue is bounded by permits that travel with what is queued: received frames by bytes, link events by the
/// number of links, frames to send by bytes for each lane of each link.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) protocol: Protocol,
    max_frame: u32,
    send_queue: u32,
    receive_queue: u32,
    state: Mutex<State>,
    /// One permit for each link; it comes back when the link's last event was received.
    room: Arc<Semaphore>,
    /// Bytes that received frames may take.
    backlog: Arc<Semaphore>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    /// `None` while nobody receives: before the links are taken and after they are closed.
    events: Option<UnboundedSender<Event>>,
    /// Links of each peer, the newest last.
    peers: BTreeMap<NodeId, Vec<Arc<Link>>>,
}

/// Something to receive, and the space it takes.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) event: LinkEvent,
    _space: Space,
}

#[derive(Debug)]
enum Space {
    Frame { _bytes: OwnedSemaphorePermit },
    Link { _link: Arc<Link> },
}

/// Which side began a connection, and where the peer may be reached.
#[derive(Debug)]
pub(crate) enum Origin {
    /// This side dialled that address.
    Dialled(String),
    /// The peer dialled, and may have said where it listens.
    Answered(Option<String>),
}

/// One connection that is up.
#[derive(Debug)]
pub(crate) struct Link {
    /// `None` once the link is closing.
    lanes: Mutex<Option<Lanes>>,
    stop: Notify,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Lanes {
    urgent: LaneQueue,
    bulk: LaneQueue,
}

#[derive(Debug)]
struct LaneQueue {
    frames: UnboundedSender<Queued>,
    space: Arc<Semaphore>,
}

/// A frame to send, and the space it takes until it was handed to QUIC.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: Vec<u8>,
    _space: OwnedSemaphorePermit,
}

/// The ends of a link's queues from which its connection writes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) urgent: UnboundedReceiver<Queued>,
    pub(crate) bulk: UnboundedReceiver<Queued>,
}

impl Registry {
    pub(crate) fn new(protocol: Protocol, config: &EndpointConfig) -> Self {
        Self {
            protocol,
            max_frame: config.max_frame,
            send_queue: config.send_queue,
            receive_queue: config.receive_queue,
            state: Mutex::default(),
            room: Arc::new(Semaphore::new(permits(config.max_links))),
            backlog: Arc::new(Semaphore::new(permits(config.receive_queue))),
            dropped: AtomicU64::new(0),
        }
    }

    /// The end at which events are received; `None` if it was taken before.
    pub(crate) fn take(&self) -> Option<UnboundedReceiver<Event>> {
        let mut state = self.state.lock();
        if core::mem::replace(&mut state.taken, true) {
            return None;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        state.events = Some(sender);
        Some(receiver)
    }

    /// Whether somebody receives.
    pub(crate) fn is_served(&self) -> bool {
        self.state.lock().events.is_some()
    }

    /// Room for one more link, if there is any.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Makes a link to `peer` that is up from now on; `None` if nobody receives.
    ///
    /// A dialled link is announced even if the peer was up: whoever dialled waits to hear who is at that address.
    pub(crate) fn attach(
        &self,
        peer: NodeId,
        origin: Origin,
        room: OwnedSemaphorePermit,
    ) -> Option<(Arc<Link>, Outgoing)> {
        let (urgent, urgent_frames) = LaneQueue::new(self.send_queue);
        let (bulk, bulk_frames) = LaneQueue::new(self.send_queue);
        let link = Arc::new(Link { lanes: Mutex::new(Some(Lanes { urgent, bulk })), stop: Notify::new(), _room: room });

        // Events are queued under the lock, so their order is that of the changes.
        let mut state = self.state.lock();
        let State { events: Some(events), peers, .. } = &mut *state else {
            return None;
        };
        let links = peers.entry(peer).or_default();
        if links.is_empty() || matches!(origin, Origin::Dialled(_)) {
            let address = match origin {
                Origin::Dialled(address) => Some(address),
                Origin::Answered(advertised) => advertised,
            };
            let event = LinkEvent::LinkUp { peer, address };
            // Fails only when the receiver is gone, and then nobody misses the event.
            let _ = events.send(Event { event, _space: Space::Link { _link: Arc::clone(&link) } });
        }
        links.push(Arc::clone(&link));
        if links.len() > MAX_LINKS_OF_A_PEER
            && let Some(oldest) = links.first()
        {
            oldest.stop();
        }
        Some((link, Outgoing { urgent: urgent_frames, bulk: bulk_frames }))
    }

    /// Forgets a link whose connection has ended and from which no frame will come.
    pub(crate) fn detach(&self, peer: NodeId, link: &Arc<Link>) {
        let mut state = self.state.lock();
        let State { events, peers, .. } = &mut *state;
        let Some(links) = peers.get_mut(&peer) else {
            return;
        };
        links.retain(|other| !Arc::ptr_eq(other, link));
        if links.is_empty() {
            peers.remove(&peer);
            if let Some(events) = events {
                let event = LinkEvent::LinkDown { peer };
                // As in `attach`.
                let _ = events.send(Event { event, _space: Space::Link { _link: Arc::clone(link) } });
            }
        }
    }

    /// Queues a received frame, once there is space for it.
    pub(crate) async fn deliver(&self, from: NodeId, frame: Vec<u8>) {
        let cost = cost(frame.len()).min(self.receive_queue);
        let Ok(bytes) = Arc::clone(&self.backlog).acquire_many_owned(cost).await else {
            return;
        };
        if let Some(events) = &self.state.lock().events {
            let event = LinkEvent::Frame { from, frame };
            // As in `attach`.
            let _ = events.send(Event { event, _space: Space::Frame { _bytes: bytes } });
        }
    }

    /// Queues a frame on the newest link to `to`, or drops and counts it if that queue is full.
    pub(crate) fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), LinkError> {
        if u32::try_from(frame.len()).map_or(true, |length| length > self.max_frame) {
            return Err(LinkError::FrameTooLarge { length: frame.len(), limit: self.max_frame });
        }
        let links = {
            let state = self.state.lock();
            if state.events.is_none() {
                return Err(LinkError::Closed);
            }
            state.peers.get(&to).cloned().unwrap_or_default()
        };
        let lane = self.protocol.lane(frame);
        for link in links.iter().rev() {
            match link.push(lane, frame, self.send_queue) {
                Push::Queued => return Ok(()),
                Push::Full => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Push::Closing => {}
            }
        }
        Err(LinkError::NotLinked { peer: to })
    }

    /// Begins to close all links to `peer`.
    pub(crate) fn disconnect(&self, peer: NodeId) {
        if let Some(links) = self.state.lock().peers.get(&peer) {
            links.iter().for_each(|link| link.stop());
        }
    }

    /// Ends reception for good and begins to close all links.
    pub(crate) fn shut(&self) {
        let mut state = self.state.lock();
        state.taken = true;
        state.events = None;
        state.peers.values().flatten().for_each(|link| link.stop());
    }

    /// The peers with a link, in order.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.state.lock().peers.keys().copied().collect()
    }

    /// How many frames were dropped because a peer's queue was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Link {
    /// Completes when the link should close.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }

    /// Takes no more frames; the queues end after what is in them.
    pub(crate) fn shut(&self) {
        *self.lanes.lock() = None;
    }

    fn stop(&self) {
        self.shut();
        self.stop.notify_one();
    }

    fn push(&self, lane: Lane, frame: &[u8], limit: u32) -> Push {
        let lanes = self.lanes.lock();
        let Some(lanes) = &*lanes else {
            return Push::Closing;
        };
        let queue = match lane {
            Lane::Urgent => &lanes.urgent,
            Lane::Bulk => &lanes.bulk,
        };
        // A frame longer than the whole queue still passes when it is alone.
        let Ok(space) = Arc::clone(&queue.space).try_acquire_many_owned(cost(frame.len()).min(limit)) else {
            return Push::Full;
        };
        match queue.frames.send(Queued { frame: frame.to_vec(), _space: space }) {
            Ok(()) => Push::Queued,
            Err(_) => Push::Closing,
        }
    }
}

enum Push {
    Queued,
    Full,
    Closing,
}

impl LaneQueue {
    fn new(limit: u32) -> (Self, UnboundedReceiver<Queued>) {
        let (frames, receiver) = mpsc::unbounded_channel();
        (Self { frames, space: Arc::new(Semaphore::new(permits(limit))) }, receiver)
    }
}

/// What a queued frame costs in bytes; empty ones cost something too.
fn cost(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).saturating_add(FRAME_OVERHEAD)
}

fn permits(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)
}

/// About what the queue itself needs for a frame.
const FRAME_OVERHEAD: u32 = 64;

/// Two sides that dial each other at once make two; a peer that restarted has dead ones until they time out.
const MAX_LINKS_OF_A_PEER: usize = 4;
