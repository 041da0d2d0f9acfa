//! What can go wrong.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use reconvene_clock::NodeId;

/// An opaque cause of an error, from the libraries below.
pub type Cause = Box<dyn core::error::Error + Send + Sync>;

/// Why an authority or identity could not be made, read or kept. Existing files are unchanged in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is no authority in the directory.
    #[error("no authority in {}: create one there, or copy the directory from another node of the network", dir.display())]
    Missing {
        /// The directory that was looked at.
        dir: PathBuf,
    },
    /// A file is there but cannot be read.
    #[error("cannot read {}: check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be made.
    #[error("cannot write {}: check that this user may write there and that the disk is not full", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error(
        "{} holds no {expected}: restore it from a copy, or move its directory away to have a new one made \
         (nodes of the old authority then refuse the new one's)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key do not belong together, or not to this authority.
    #[error(
        "certificate and key in {} do not belong together or to this authority: restore both from one copy, or move \
         the directory away to have a new one made",
        dir.display()
    )]
    Mismatch {
        /// The directory with both files.
        dir: PathBuf,
    },
    /// A name that cannot be a file name everywhere.
    #[error("`{name}` cannot name an identity: use 1 to 64 characters of a-z, 0-9 and `-`, other than `authority`")]
    Name {
        /// The name.
        name: String,
    },
    /// No key or certificate could be made.
    #[error("cannot make a key or certificate")]
    Generate {
        /// What the library said.
        source: Cause,
    },
}

/// Why an endpoint could not be made. No socket is left open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A setting that cannot work.
    #[error("unusable endpoint settings: {what}")]
    Config {
        /// Which, and why.
        what: &'static str,
    },
    /// The call was made outside an async runtime.
    #[error("an endpoint needs a running tokio runtime")]
    NoRuntime,
    /// The socket could not be opened.
    #[error("cannot listen on {address}: choose an address of this machine and a free port (port 0 picks one)")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity is not usable for TLS.
    #[error("cannot use this identity for TLS")]
    Tls {
        /// What the library said.
        source: Cause,
    },
}

/// Why a peer that proved its identity would still not talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer closed without a reason (a hello that came too late gets none), or with one from a later version.
    #[error("it closed the connection")]
    Closed,
    /// One side's hello did not parse.
    #[error("the hello was malformed")]
    Hello,
    /// The peer belongs to another network.
    #[error("it belongs to another network")]
    Network,
    /// No version in common.
    #[error("there is no version in common")]
    Version,
    /// The peer does not serve this protocol.
    #[error("it does not serve this protocol")]
    Protocol,
    /// Both ends have the same NodeId.
    #[error("it is this node itself")]
    SameNode,
    /// The peer has as many links as it takes.
    #[error("it has no room for another link")]
    Full,
}

/// Why a frame was not taken, a peer not reached, or nothing can be received any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The endpoint was closed. Nothing will work any more.
    #[error("the endpoint is closed")]
    Closed,
    /// There is no link to this peer; nothing was sent.
    #[error("no link to node {peer}")]
    NotLinked {
        /// The peer.
        peer: NodeId,
    },
    /// The frame is longer than frames may be; nothing was sent.
    #[error("frame of {length} bytes, limit is {limit}")]
    FrameTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: u32,
    },
    /// The address does not name a host and port, or the name is unknown.
    #[error("cannot resolve address `{address}`")]
    Address {
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address leads back to this endpoint.
    #[error("`{address}` is this endpoint's own address")]
    OwnAddress {
        /// The address as given.
        address: String,
    },
    /// Nothing answered in time.
    #[error("no peer was up at `{address}` within {} ms", after.as_millis())]
    TimedOut {
        /// The address as given.
        address: String,
        /// How long it was tried.
        after: Duration,
    },
    /// The peer authenticated but would not talk.
    #[error("the peer at `{address}` refused: {refusal}")]
    Refused {
        /// The address as given.
        address: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// No connection, or one side did not accept the other's certificate.
    #[error("cannot connect to `{address}`")]
    Connect {
        /// The address as given.
        address: String,
        /// What the library said.
        source: Cause,
    },
    /// This side has as many links as it takes.
    #[error("already at the limit of {limit} links")]
    TooManyLinks {
        /// The limit.
        limit: u32,
    },
}
