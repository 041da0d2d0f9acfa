//! [`Links`] as the transport that the other crates ask for.

use reconvene_clock::NodeId;
use reconvene_executor::{BrokerLink, LinkEvent as BrokerEvent};
use reconvene_sync::{Incoming, Transport};

use crate::error::LinkError;
use crate::links::{LinkEvent, Links};

impl Transport for Links {
    type Error = LinkError;

    async fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), LinkError> {
        Self::send(self, to, frame)
    }

    async fn recv(&self) -> Result<Incoming, LinkError> {
        Self::recv(self).await.map(Incoming::from)
    }

    async fn connect(&self, address: &str) -> Result<NodeId, LinkError> {
        Self::connect(self, address).await
    }

    fn disconnect(&self, peer: NodeId) {
        Self::disconnect(self, peer);
    }
}

impl BrokerLink for Links {
    type Error = LinkError;

    async fn connect(&self, address: &str) -> Result<NodeId, LinkError> {
        Self::connect(self, address).await
    }

    async fn send(&self, to: NodeId, frame: &[u8]) -> Result<(), LinkError> {
        Self::send(self, to, frame)
    }

    async fn recv(&self) -> Result<BrokerEvent, LinkError> {
        Self::recv(self).await.map(BrokerEvent::from)
    }

    fn disconnect(&self, broker: NodeId) {
        Self::disconnect(self, broker);
    }
}

impl From<LinkEvent> for Incoming {
    fn from(event: LinkEvent) -> Self {
        match event {
            LinkEvent::Frame { from, frame } => Self::Frame { from, frame },
            LinkEvent::LinkUp { peer, address } => Self::LinkUp { peer, address },
            LinkEvent::LinkDown { peer } => Self::LinkDown { peer },
        }
    }
}

impl From<LinkEvent> for BrokerEvent {
    fn from(event: LinkEvent) -> Self {
        match event {
            LinkEvent::Frame { from, frame } => Self::Frame { from, frame },
            LinkEvent::LinkUp { peer, address } => Self::LinkUp { peer, address },
            LinkEvent::LinkDown { peer } => Self::LinkDown { peer },
        }
    }
}
