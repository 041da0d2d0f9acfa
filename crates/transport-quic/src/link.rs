//! What one connection does while it is up.

use core::pin::pin;
use core::time::Duration;
use std::sync::Arc;

use quinn::Connection;
use reconvene_clock::NodeId;
use reconvene_sync::Lane;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use crate::close;
use crate::frame::{self, Fault};
use crate::protocol::priority;
use crate::registry::{Link, Outgoing, Queued, Registry};

/// A connection whose peer is up, with all it needs to move frames.
pub(crate) struct Running {
    pub(crate) connection: Connection,
    pub(crate) peer: NodeId,
    pub(crate) link: Arc<Link>,
    pub(crate) outgoing: Outgoing,
    pub(crate) registry: Arc<Registry>,
    pub(crate) max_frame: u32,
    pub(crate) close_timeout: Duration,
}

impl Running {
    /// Moves frames until the connection ends, the peer breaks the rules, or this side closes.
    pub(crate) async fn run(self, mut closing: watch::Receiver<bool>) {
        let Self { connection, peer, link, outgoing, registry, max_frame, close_timeout } = self;
        let Outgoing { urgent, bulk } = outgoing;
        let ended = {
            let mut writers = pin!(async {
                tokio::try_join!(
                    write_lane(&connection, Lane::Urgent, urgent),
                    write_lane(&connection, Lane::Bulk, bulk)
                )
            });
            let readers = async {
                tokio::try_join!(
                    read_lane(&connection, &registry, peer, max_frame),
                    read_lane(&connection, &registry, peer, max_frame)
                )
            };
            let mut flushed = false;
            let ended = tokio::select! {
                read = readers => Some(read.err().unwrap_or(Fault::Lost)),
                // The queues end only when the link was stopped.
                written = &mut writers => {
                    flushed = true;
                    written.err()
                }
                () = link.stopped() => None,
                // An error says that the endpoint is gone, which is an end as well.
                _ = closing.wait_for(|closing| *closing) => None,
            };
            link.shut();
            if ended.is_none() && !flushed {
                // What was queued before the end, such as a farewell, still goes out, if the peer takes it in time.
                let _ = timeout(close_timeout, writers).await;
            }
            ended
        };
        debug!(%peer, fault = ?ended, "link ended");
        connection.close(if ended.is_some() { close::FRAMES } else { close::DONE }, b"");
        registry.detach(peer, &link);
    }
}

/// Writes what is queued on a stream of its own; returns when the queue ended and the peer has everything.
async fn write_lane(connection: &Connection, lane: Lane, mut frames: UnboundedReceiver<Queued>) -> Result<(), Fault> {
    let mut stream = connection.open_uni().await.map_err(|_| Fault::Lost)?;
    stream.set_priority(priority(lane)).map_err(|_| Fault::Broken)?;
    while let Some(queued) = frames.recv().await {
        frame::write(&mut stream, &queued.frame).await?;
    }
    stream.finish().map_err(|_| Fault::Broken)?;
    // Either the peer has it all, or it wants no more: both end the stream.
    let _ = stream.stopped().await;
    Ok(())
}

/// Reads frames from one stream after the other. `Ok` when the connection is gone and all that arrived was delivered.
async fn read_lane(connection: &Connection, registry: &Registry, peer: NodeId, limit: u32) -> Result<(), Fault> {
    while let Ok(mut stream) = connection.accept_uni().await {
        loop {
            match frame::read(&mut stream, limit).await {
                Ok(Some(frame)) => registry.deliver(peer, frame).await,
                Ok(None) => break,
                Err(Fault::Lost) => return Ok(()),
                Err(fault @ (Fault::TooLarge | Fault::Broken)) => return Err(fault),
            }
        }
    }
    Ok(())
}
