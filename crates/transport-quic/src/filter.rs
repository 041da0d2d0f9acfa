//! Cutting real links: a socket that loses what it is told to lose.

use core::fmt::Debug;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Which remote addresses an endpoint is cut off from. For demonstrations and tests of partitions.
///
/// While an address is blocked, datagrams to it and from it vanish below QUIC, without an error on either side: the
/// connection notices only by its idle time-out, as with a cut cable. Clones share one set.
///
/// ```
/// use reconvene_transport_quic::PacketFilter;
///
/// let filter = PacketFilter::default();
/// filter.block("127.0.0.1:7400".parse()?);
/// assert!(filter.is_blocked("127.0.0.1:7400".parse()?));
/// filter.clear();
/// assert!(!filter.is_blocked("127.0.0.1:7400".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PacketFilter {
    blocked: Arc<RwLock<BTreeSet<SocketAddr>>>,
}

impl PacketFilter {
    /// Loses every datagram to and from `address` from now on.
    pub fn block(&self, address: SocketAddr) {
        self.blocked.write().insert(canonical(address));
    }

    /// Lets datagrams to and from `address` pass again.
    pub fn unblock(&self, address: SocketAddr) {
        self.blocked.write().remove(&canonical(address));
    }

    /// Lets everything pass again.
    pub fn clear(&self) {
        self.blocked.write().clear();
    }

    /// Whether datagrams to and from `address` are lost.
    #[must_use]
    pub fn is_blocked(&self, address: SocketAddr) -> bool {
        let blocked = self.blocked.read();
        !blocked.is_empty() && blocked.contains(&canonical(address))
    }
}

/// One form for each address: sockets for both families see IPv4 peers as mapped IPv6 ones.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A UDP socket behind a [`PacketFilter`].
#[derive(Debug)]
pub(crate) struct FilteredSocket {
    pub(crate) inner: Arc<dyn AsyncUdpSocket>,
    pub(crate) filter: PacketFilter,
}

impl AsyncUdpSocket for FilteredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.filter.is_blocked(transmit.destination) {
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        for datagram in meta.iter_mut().take(received) {
            if self.filter.is_blocked(datagram.addr) {
                // An empty datagram is no QUIC packet: the endpoint above passes over it.
                datagram.len = 0;
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
