//! What the tests have in common.

use std::future::Future;
use std::time::Duration;

use reconvene_clock::NodeId;
use reconvene_transport_quic::{Authority, Endpoint, EndpointConfig, LinkEvent, Links, Protocol};

/// One endpoint with its sync links.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) links: Links,
}

impl Node {
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::with(authority, EndpointConfig::default())
    }

    pub(crate) fn with(authority: &Authority, config: EndpointConfig) -> Self {
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &authority.issue().unwrap(), config).unwrap();
        let links = endpoint.links(Protocol::Sync).unwrap();
        Self { endpoint, links }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.endpoint.node_id()
    }

    pub(crate) fn address(&self) -> String {
        self.endpoint.local_addr().to_string()
    }

    pub(crate) async fn event(&self) -> LinkEvent {
        soon(self.links.recv()).await.unwrap()
    }

    /// The next event, which must be a frame.
    pub(crate) async fn frame(&self) -> (NodeId, Vec<u8>) {
        match self.event().await {
            LinkEvent::Frame { from, frame } => (from, frame),
            other @ (LinkEvent::LinkUp { .. } | LinkEvent::LinkDown { .. }) => {
                panic!("expected a frame, got {other:?}")
            }
        }
    }

    /// Dials `other` and consumes the `LinkUp` on both sides.
    pub(crate) async fn link_to(&self, other: &Self) {
        assert_eq!(soon(self.links.connect(&other.address())).await.unwrap(), other.id());
        assert_eq!(self.event().await, LinkEvent::LinkUp { peer: other.id(), address: Some(other.address()) });
        assert_eq!(other.event().await, LinkEvent::LinkUp { peer: self.id(), address: Some(self.address()) });
    }
}

/// Two nodes with a link, dialled by the first.
pub(crate) async fn pair() -> (Node, Node) {
    let authority = Authority::generate().unwrap();
    let (one, two) = (Node::new(&authority), Node::new(&authority));
    one.link_to(&two).await;
    (one, two)
}

/// What should happen soon, with all the patience a loaded machine needs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it did not happen within a minute")
}
