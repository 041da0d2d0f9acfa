//! From a first packet to a link that is up, in both directions.

use core::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ConnectionError, ReadError, ReadExactError, WriteError};
use reconvene_clock::NodeId;
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::debug;

use crate::close::{code_of, refusal_in};
use crate::endpoint::Shared;
use crate::error::{LinkError, Refusal};
use crate::filter::canonical;
use crate::hello::{self, ReadHelloError};
use crate::registry::{Origin, Registry};

impl Shared {
    /// Answers inbound connections until the endpoint closes.
    pub(crate) async fn accept(self: Arc<Self>, mut closing: watch::Receiver<bool>) {
        let total = usize::try_from(self.config.handshake_slots).unwrap_or(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(total));
        loop {
            let incoming = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return,
                incoming = self.quinn.accept() => incoming,
            };
            let Some(incoming) = incoming else {
                return;
            };
            // When slots run short, whoever wants one must show that it can hear us: forged senders take none.
            if slots.available_permits() <= total / 2 && !incoming.remote_address_validated() && incoming.may_retry() {
                // Fails only if a retry is not allowed, which was just asked.
                let _ = incoming.retry();
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let (shared, closing) = (Arc::clone(&self), self.closing());
            tokio::spawn(async move {
                let from = incoming.remote_address();
                if let Err(end) = until(closing, &shared, shared.answer(incoming)).await {
                    debug!(%from, ?end, "inbound connection refused");
                }
                drop(slot);
            });
        }
    }

    /// Brings one inbound connection up.
    async fn answer(self: &Arc<Self>, incoming: quinn::Incoming) -> Result<(), End> {
        // Resolves after the client's certificate was checked: nothing of ours was sent on a stream before.
        let connection = incoming.accept()?.await?;
        let result = async {
            let peer = self.peer_of(&connection)?;
            let (mut send, mut receive) = connection.accept_bi().await?;
            let theirs = hello::read(&mut receive).await?;
            let ours = self.hello(theirs.protocol);
            ours.check(&theirs)?;
            let registry = self.registry(theirs.protocol).filter(|registry| registry.is_served());
            let registry = registry.ok_or(Refusal::Protocol)?;
            let room = registry.reserve().ok_or(Refusal::Full)?;
            hello::write(&mut send, &ours).await?;
            let _ = send.finish();
            hello::read_accept(&mut receive).await?;
            self.link_up(registry, connection.clone(), peer, Origin::Answered(theirs.address), room)?;
            Ok(())
        }
        .await;
        if let Err(End::Refused(refusal)) = &result {
            connection.close(code_of(*refusal), b"");
        }
        result
    }

    /// Brings up a link to whoever is at `address`.
    pub(crate) async fn dial(self: &Arc<Self>, registry: &Arc<Registry>, address: &str) -> Result<NodeId, LinkError> {
        let after = self.config.handshake_timeout;
        let timed_out = || LinkError::TimedOut { address: address.to_owned(), after };
        let unresolved = |source| LinkError::Address { address: address.to_owned(), source };
        let resolved = timeout(after, lookup_host(address)).await.map_err(|_| timed_out())?.map_err(unresolved)?;

        let mut last = None;
        for to in resolved.take(MAX_ADDRESSES_OF_A_NAME) {
            if self.is_own(to) {
                return Err(LinkError::OwnAddress { address: address.to_owned() });
            }
            let end = match until(self.closing(), self, self.dial_one(registry, to, address)).await {
                Ok(peer) => return Ok(peer),
                Err(end) => end,
            };
            debug!(address, %to, ?end, "dialling failed");
            last = Some(match end {
                End::Closed => return Err(LinkError::Closed),
                End::Full => return Err(LinkError::TooManyLinks { limit: self.config.max_links }),
                End::TimedOut => timed_out(),
                End::Refused(Refusal::SameNode) => return Err(LinkError::OwnAddress { address: address.to_owned() }),
                End::Refused(refusal) => LinkError::Refused { address: address.to_owned(), refusal },
                End::Lost(source) => LinkError::Connect { address: address.to_owned(), source },
            });
        }
        Err(last.unwrap_or_else(|| unresolved(std::io::ErrorKind::NotFound.into())))
    }

    async fn dial_one(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        to: SocketAddr,
        address: &str,
    ) -> Result<NodeId, End> {
        let room = registry.reserve().ok_or(End::Full)?;
        let connecting = self.quinn.connect_with(self.client.clone(), to, SERVER_NAME);
        let connection = connecting.map_err(|error| End::Lost(error.into()))?.await?;
        let result = async {
            let peer = self.peer_of(&connection)?;
            // The server is who its certificate says, but whether it accepts ours shows only in its hello.
            let (mut send, mut receive) = connection.open_bi().await?;
            let ours = self.hello(registry.protocol);
            hello::write(&mut send, &ours).await?;
            let theirs = hello::read(&mut receive).await?;
            ours.check(&theirs)?;
            hello::write_accept(&mut send).await?;
            let up = self.link_up(registry, connection.clone(), peer, Origin::Dialled(address.to_owned()), room);
            up.map_err(|_| End::Closed)?;
            Ok(peer)
        }
        .await;
        if let Err(End::Refused(refusal)) = &result {
            connection.close(code_of(*refusal), b"");
        }
        result
    }

    fn is_own(&self, to: SocketAddr) -> bool {
        let (to, local) = (canonical(to), canonical(self.local));
        to.port() == local.port() && (to.ip() == local.ip() || local.ip().is_unspecified() && to.ip().is_loopback())
    }
}

/// Why a connection did not come up.
#[derive(Debug)]
enum End {
    /// This endpoint closed.
    Closed,
    /// This side has no room for another link.
    Full,
    TimedOut,
    /// One side would not talk, and said so.
    Refused(Refusal),
    /// Everything below: no answer, no common cryptography, a certificate refused.
    Lost(crate::error::Cause),
}

/// Runs one hand-shake within the time it may take, unless the endpoint closes.
async fn until<T>(
    mut closing: watch::Receiver<bool>,
    shared: &Shared,
    handshake: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => Err(End::Closed),
        result = timeout(shared.config.handshake_timeout, handshake) => result.unwrap_or(Err(End::TimedOut)),
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        if matches!(error, ConnectionError::TimedOut) {
            return Self::TimedOut;
        }
        refusal_in(&error).map_or_else(|| Self::Lost(error.into()), Self::Refused)
    }
}

impl From<WriteError> for End {
    fn from(error: WriteError) -> Self {
        if let WriteError::ConnectionLost(lost) = error { lost.into() } else { Self::Refused(Refusal::Hello) }
    }
}

impl From<ReadHelloError> for End {
    fn from(error: ReadHelloError) -> Self {
        match error {
            ReadHelloError::Refused(refusal) => Self::Refused(refusal),
            ReadHelloError::Stream(ReadExactError::ReadError(ReadError::ConnectionLost(lost))) => lost.into(),
            ReadHelloError::Stream(_) => Self::Refused(Refusal::Hello),
        }
    }
}

/// TLS wants a name; nobody looks at it. Reserved by RFC 2606, so that it can belong to nobody.
const SERVER_NAME: &str = "reconvene.invalid";

/// A name with more addresses is not tried further: dialling must end some time.
const MAX_ADDRESSES_OF_A_NAME: usize = 4;
