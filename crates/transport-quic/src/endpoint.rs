//! One UDP socket on which a node listens and dials.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, IdleTimeout, Runtime as _, TokioRuntime, TransportConfig, VarInt};
use reconvene_clock::NodeId;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::close;
use crate::config::{Advertise, EndpointConfig};
use crate::error::{BindError, Refusal};
use crate::filter::{FilteredSocket, PacketFilter};
use crate::hello::Hello;
use crate::identity::Identity;
use crate::link::Running;
use crate::links::Links;
use crate::node_name::node_of_certificate;
use crate::protocol::Protocol;
use crate::registry::{Origin, Registry};
use crate::tls::{self, Verifier};

/// A node's place on the network: one UDP socket for all protocols, for listening and dialling alike.
///
/// It lives as long as it or any of its [`Links`]; [`close`](Self::close) ends it in good order.
pub struct Endpoint {
    guard: Arc<Guard>,
}

/// Ends the endpoint when its last handle goes.
pub(crate) struct Guard {
    pub(crate) shared: Arc<Shared>,
}

/// What handles and background tasks have in common.
pub(crate) struct Shared {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) client: quinn::ClientConfig,
    pub(crate) node: NodeId,
    pub(crate) local: SocketAddr,
    pub(crate) config: EndpointConfig,
    registries: [Arc<Registry>; 3],
    filter: PacketFilter,
    /// Tasks hold a receiver each, so that this also tells when all of them have ended.
    closing: watch::Sender<bool>,
}

impl Endpoint {
    /// Opens a socket at `address` (port 0 picks a free one) and begins to answer members of the identity's authority.
    ///
    /// A peer is refused until the [`links`](Self::links) of the protocol it asks for were taken.
    ///
    /// # Errors
    ///
    /// [`BindError`]: unusable settings, no tokio runtime, an address that cannot be bound.
    pub fn bind(address: SocketAddr, identity: &Identity, config: EndpointConfig) -> Result<Self, BindError> {
        if let Some(what) = config.fault() {
            return Err(BindError::Config { what });
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BindError::NoRuntime);
        }
        let (server, client) = quic_configs(identity, &config)?;
        let failed = |source| BindError::Socket { address, source };
        let socket = std::net::UdpSocket::bind(address).map_err(failed)?;
        let filter = PacketFilter::default();
        let inner = TokioRuntime.wrap_udp_socket(socket).map_err(failed)?;
        let socket = Arc::new(FilteredSocket { inner, filter: filter.clone() });
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            quinn::EndpointConfig::default(),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let local = quinn.local_addr().map_err(failed)?;

        let shared = Arc::new(Shared {
            quinn,
            client,
            node: identity.node_id(),
            local,
            registries: Protocol::ALL.map(|protocol| Arc::new(Registry::new(protocol, &config))),
            config,
            filter,
            closing: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&shared).accept(shared.closing.subscribe()));
        Ok(Self { guard: Arc::new(Guard { shared }) })
    }

    /// The address the socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.guard.shared.local
    }

    /// This node, by its own certificate.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.guard.shared.node
    }

    /// The links of a protocol; `None` if they were taken before or the endpoint was closed.
    #[must_use]
    pub fn links(&self, protocol: Protocol) -> Option<Links> {
        let registry = self.guard.shared.registry(protocol)?;
        let events = registry.take()?;
        Some(Links::new(Arc::clone(&self.guard), Arc::clone(registry), events))
    }

    /// The filter below QUIC with which demonstrations and tests cut this endpoint off.
    #[must_use]
    pub fn filter(&self) -> PacketFilter {
        self.guard.shared.filter.clone()
    }

    /// Stops answering, sends what is queued, closes every connection and frees the socket.
    ///
    /// Waits for slow or unreachable peers no longer than `close_timeout`, twice. Afterwards [`Links::recv`] returns
    /// what came before, then [`Closed`](crate::LinkError::Closed).
    pub async fn close(&self) {
        let shared = &self.guard.shared;
        shared.closing.send_replace(true);
        shared.closing.closed().await;
        shared.quinn.close(close::DONE, b"");
        // Only courtesy: peers that do not hear of the end notice by their idle time-out.
        let _ = timeout(shared.config.close_timeout, shared.quinn.wait_idle()).await;
        shared.registries.iter().for_each(|registry| registry.shut());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
        self.shared.quinn.close(close::DONE, b"");
        self.shared.registries.iter().for_each(|registry| registry.shut());
    }
}

impl Shared {
    pub(crate) fn registry(&self, protocol: Protocol) -> Option<&Arc<Registry>> {
        self.registries.iter().find(|registry| registry.protocol == protocol)
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self, protocol: Protocol) -> Hello {
        let address = match &self.config.advertise {
            Advertise::Bound if self.local.ip().is_unspecified() => None,
            Advertise::Bound => Some(self.local.to_string()),
            Advertise::Nothing => None,
            Advertise::Address(address) => Some(address.clone()),
        };
        Hello::new(protocol, self.config.network, address)
    }

    /// Who is at the other end, by its certificate; an error if it is this node or no node at all.
    pub(crate) fn peer_of(&self, connection: &Connection) -> Result<NodeId, Refusal> {
        let certificates =
            connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let node = certificates.as_ref().and_then(|chain| chain.first()).and_then(node_of_certificate);
        match node {
            Some(node) if node == self.node => Err(Refusal::SameNode),
            Some(node) => Ok(node),
            // The hand-shake lets no such certificate pass.
            None => Err(Refusal::Hello),
        }
    }

    /// Makes a connection a link that is up; closes it if nobody serves the protocol any more.
    pub(crate) fn link_up(
        &self,
        registry: &Arc<Registry>,
        connection: Connection,
        peer: NodeId,
        origin: Origin,
        room: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<(), Refusal> {
        let Some((link, outgoing)) = registry.attach(peer, origin, room) else {
            return Err(Refusal::Protocol);
        };
        let running = Running {
            connection,
            peer,
            link,
            outgoing,
            registry: Arc::clone(registry),
            max_frame: self.config.max_frame,
            close_timeout: self.config.close_timeout,
        };
        tokio::spawn(running.run(self.closing()));
        Ok(())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.guard.shared.node)
            .field("local", &self.guard.shared.local)
            .finish_non_exhaustive()
    }
}

/// TLS and QUIC settings for both directions.
fn quic_configs(
    identity: &Identity,
    config: &EndpointConfig,
) -> Result<(quinn::ServerConfig, quinn::ClientConfig), BindError> {
    let failed = |error: rustls::Error| BindError::Tls { source: error.into() };
    let verifier = Verifier::new(&identity.authority)
        .map(Arc::new)
        .ok_or_else(|| BindError::Tls { source: "the authority's certificate is none".into() })?;
    let transport = Arc::new(transport(config)?);

    let crypto = tls::server(Arc::clone(&verifier), identity.certificate.clone(), identity.private_key());
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto.map_err(failed)?));
    server.transport_config(Arc::clone(&transport));
    server.max_incoming(usize::try_from(config.handshake_slots).unwrap_or(usize::MAX));
    server.incoming_buffer_size(PRE_AUTHENTICATION_BYTES);
    server.incoming_buffer_size_total(PRE_AUTHENTICATION_BYTES.saturating_mul(u64::from(config.handshake_slots)));

    let crypto = tls::client(verifier, identity.certificate.clone(), identity.private_key());
    let mut client = quinn::ClientConfig::new(Arc::new(crypto.map_err(failed)?));
    client.transport_config(transport);
    Ok((server, client))
}

fn transport(config: &EndpointConfig) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(config.idle_timeout)
        .map_err(|_| BindError::Config { what: "idle_timeout is longer than QUIC can say" })?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive))
        // The hello, and then one stream for each lane.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(2))
        .datagram_receive_buffer_size(None)
        .crypto_buffer_size(usize::try_from(PRE_AUTHENTICATION_BYTES).unwrap_or(usize::MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        // Larger than one stream's window: a full bulk stream leaves room for the urgent one.
        .send_window(u64::from(CONNECTION_WINDOW));
    Ok(transport)
}

/// What a connection may make us hold before it has authenticated, beside its fixed state.
const PRE_AUTHENTICATION_BYTES: u64 = 16 * 1024;

/// Bytes of one stream in flight or received and not yet read.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 3 * STREAM_WINDOW;
