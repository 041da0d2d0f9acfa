//! What a client and a broker say to each other: requests with a number, answers with the same number.
//!
//! A frame is a version byte and a bincode `standard()` structure; every byte is consumed, and the limit holds before
//! anything is allocated.

use serde::{Deserialize, Serialize};

use crate::{BundleRequest, Command, CommandError, NodeStatus, Reply};

/// The version of these frames.
pub const VERSION: u8 = 1;
/// The largest frame either side takes, in bytes.
pub const FRAME_LIMIT: usize = 2 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire structure: a new field is a new version")]
pub struct ClientRequest {
    /// Chosen by the client, echoed in the answer.
    pub request: u64,
    /// What is asked.
    pub call: Call,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire structure: a new variant is a new version")]
pub enum Call {
    /// A command, as the broker's own process could give it.
    Command(Box<Command>),
    /// How the broker is.
    Status,
    /// Make a bundle and keep it for this client until it asks for the next one or leaves.
    MakeBundle(BundleRequest),
    /// One fragment of the bundle that was made for this client.
    Fragment {
        /// Its place, from 0.
        index: u32,
    },
    /// Take in a fragment of a bundle, for which this client vouches.
    TakeFragment {
        /// The fragment.
        bytes: Vec<u8>,
    },
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire structure: a new field is a new version")]
pub struct ClientReply {
    /// The number of the request.
    pub request: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire structure: a new variant is a new version")]
pub enum Outcome {
    /// The command was carried out; for a change, durably.
    Done(Box<Reply>),
    /// The command was refused and nothing changed.
    Refused(CommandError),
    /// The broker's status.
    Status(Box<NodeStatus>),
    /// A bundle is made.
    BundleMade {
        /// Its fragments.
        fragments: u32,
        /// Their bytes.
        bytes: u64,
        /// Whether all that its receiver lacks fitted.
        whole: bool,
    },
    /// A fragment of it.
    Fragment(Vec<u8>),
    /// A fragment is durable here.
    FragmentTaken {
        /// Which bundle it is of.
        bundle: String,
        /// Fragments of that bundle that are durable here.
        applied: u32,
        /// Fragments of that bundle.
        fragments: u32,
        /// Whether this broker now knows all that the bundle's maker knew.
        claimed: bool,
    },
    /// A bundle was not made, a fragment not there or not taken in, for this reason.
    BundleRefused(String),
    /// The command was carried out, but its answer does not fit a frame: ask for less at once.
    TooLarge,
}

/// A frame that could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientCodecError {
    /// Larger than [`FRAME_LIMIT`].
    #[error("a client frame of {bytes} bytes is over the limit of {FRAME_LIMIT}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Another version of these frames, or none.
    #[error("a client frame of version {found:?} came, this side speaks {VERSION}")]
    Version {
        /// The first byte, if there was one.
        found: Option<u8>,
    },
    /// The body is not what the version says.
    #[error("a client frame did not decode")]
    Body(#[source] Box<dyn core::error::Error + Send + Sync>),
}

/// Writes a request.
///
/// # Errors
///
/// [`ClientCodecError::TooLarge`].
pub fn encode_request(request: &ClientRequest) -> Result<Vec<u8>, ClientCodecError> {
    encode(request)
}

/// Reads a request.
///
/// # Errors
///
/// [`ClientCodecError`]; nothing is allocated beyond the frame limit.
pub fn decode_request(frame: &[u8]) -> Result<ClientRequest, ClientCodecError> {
    decode(frame)
}

/// Writes an answer.
///
/// # Errors
///
/// [`ClientCodecError::TooLarge`].
pub fn encode_reply(reply: &ClientReply) -> Result<Vec<u8>, ClientCodecError> {
    encode(reply)
}

/// Reads an answer.
///
/// # Errors
///
/// [`ClientCodecError`]; nothing is allocated beyond the frame limit.
pub fn decode_reply(frame: &[u8]) -> Result<ClientReply, ClientCodecError> {
    decode(frame)
}

const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_LIMIT>()
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, ClientCodecError> {
    let body =
        bincode::serde::encode_to_vec(value, config()).map_err(|error| ClientCodecError::Body(Box::new(error)))?;
    let bytes = body.len().saturating_add(1);
    if bytes > FRAME_LIMIT {
        return Err(ClientCodecError::TooLarge { bytes });
    }
    let mut frame = Vec::with_capacity(bytes);
    frame.push(VERSION);
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn decode<T: for<'de> Deserialize<'de>>(frame: &[u8]) -> Result<T, ClientCodecError> {
    if frame.len() > FRAME_LIMIT {
        return Err(ClientCodecError::TooLarge { bytes: frame.len() });
    }
    let Some((&VERSION, body)) = frame.split_first() else {
        return Err(ClientCodecError::Version { found: frame.first().copied() });
    };
    let (value, consumed) =
        bincode::serde::decode_from_slice(body, config()).map_err(|error| ClientCodecError::Body(Box::new(error)))?;
    if consumed != body.len() {
        return Err(ClientCodecError::Body(format!("{consumed} of {} bytes were used", body.len()).into()));
    }
    Ok(value)
}
