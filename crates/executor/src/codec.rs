//! The one place where messages become frames and frames become messages.
//!
//! A frame is a version byte and the message in bincode's `standard()` format. Both directions hold every limit in
//! [`limits`]: a frame that was made here is accepted here. Decoding bounds what it allocates by
//! the length of the frame, consumes every byte of it, and answers whatever is wrong with an error.
//!
//! ```
//! use reconvene_executor::codec;
//! use reconvene_executor::message::{ToBroker, Leave};
//! # use reconvene_executor::SessionEpoch;
//! # let session = SessionEpoch { start: Default::default(), random: 1 };
//!
//! let message = ToBroker::Leave(Leave { session, registration: 3 });
//! let frame = codec::encode_to_broker(&message)?;
//! assert_eq!(codec::decode_to_broker(&frame)?, message);
//! assert!(codec::decode_to_broker(&frame[1..]).is_err());
//! # Ok::<(), codec::CodecError>(())
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;
use crate::message::{Heartbeat, HeldSpec, Order, Register, RosterEntry, Submit, Terms, ToBroker, ToExecutor};
use crate::report::Outcome;
use crate::spec::{JobSpec, SpecError};

/// The version of the format, the first byte of each frame.
pub const VERSION: u8 = 1;

/// The frame of a message to a broker.
///
/// # Errors
/// If the message breaks a limit.
pub fn encode_to_broker(message: &ToBroker) -> Result<Vec<u8>, CodecError> {
    check_to_broker(message)?;
    encode(message)
}

/// The message to a broker in a frame.
///
/// # Errors
/// If the frame is of another version, damaged, too long or too short, or breaks a limit.
pub fn decode_to_broker(frame: &[u8]) -> Result<ToBroker, CodecError> {
    let message = decode(frame)?;
    check_to_broker(&message)?;
    Ok(message)
}

/// The frame of a message to an executor.
///
/// # Errors
/// If the message breaks a limit.
pub fn encode_to_executor(message: &ToExecutor) -> Result<Vec<u8>, CodecError> {
    check_to_executor(message)?;
    encode(message)
}

/// The message to an executor in a frame.
///
/// # Errors
/// If the frame is of another version, damaged, too long or too short, or breaks a limit.
pub fn decode_to_executor(frame: &[u8]) -> Result<ToExecutor, CodecError> {
    let message = decode(frame)?;
    check_to_executor(&message)?;
    Ok(message)
}

/// The one encoding of a specification, for its digest. No limit applies: even a bad specification has a digest.
pub(crate) fn canonical_spec(spec: &JobSpec) -> Vec<u8> {
    let mut bytes = with_room(spec.payload.len());
    bincode::serde::encode_into_std_write(spec, &mut bytes, bincode::config::standard())
        .expect("a vector takes every byte, and a specification has no part that bincode cannot write");
    bytes
}

/// The version, and room for what mostly follows beside this many bytes: without it the bytes would be moved again and
/// again as they grow.
fn with_room(bytes: usize) -> Vec<u8> {
    let mut start = Vec::with_capacity(bytes.saturating_add(MOSTLY));
    start.push(VERSION);
    start
}

/// More than most specifications and messages take.
const MOSTLY: usize = 256;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut frame = with_room(0);
    bincode::serde::encode_into_std_write(value, &mut frame, bincode::config::standard())
        .map_err(|error| Kind::Encode(error.to_string()))?;
    if frame.len() > limits::FRAME_BYTES {
        return Err(Kind::Limit { what: "frame bytes", found: frame.len(), limit: limits::FRAME_BYTES }.into());
    }
    Ok(frame)
}

pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, CodecError> {
    if frame.len() > limits::FRAME_BYTES {
        return Err(Kind::Limit { what: "frame bytes", found: frame.len(), limit: limits::FRAME_BYTES }.into());
    }
    let (&version, body) = frame.split_first().ok_or(Kind::Empty)?;
    if version != VERSION {
        return Err(Kind::Version(version).into());
    }
    let config = bincode::config::standard().with_limit::<{ limits::FRAME_BYTES }>();
    let (value, read) =
        bincode::serde::decode_from_slice(body, config).map_err(|error| Kind::Decode(error.to_string()))?;
    match body.len().saturating_sub(read) {
        0 => Ok(value),
        bytes => Err(Kind::Trailing { bytes }.into()),
    }
}

fn check_to_broker(message: &ToBroker) -> Result<(), CodecError> {
    match message {
        ToBroker::Register(Register { session: _, registration: _, capacity, slots, tags, held, kept, heir }) => {
            for amount in [capacity.cpu_milli, capacity.memory_mib, capacity.gpu_milli] {
                at_most("capacity", amount, limits::AMOUNT_MAX)?;
            }
            at_most("slots", *slots, limits::SLOTS)?;
            at_most("tags", tags.len(), limits::TAGS)?;
            at_most("held attempts", held.len(), limits::ATTEMPTS)?;
            at_most("kept results", kept.len(), limits::ATTEMPTS)?;
            heir.as_deref().map_or(Ok(()), check_address)
        }
        ToBroker::Heartbeat(Heartbeat { session: _, registration: _, sequence: _, running, kept, refused }) => {
            at_most("running attempts", running.len(), limits::ATTEMPTS)?;
            at_most("kept results", kept.len(), limits::ATTEMPTS)?;
            at_most("refused orders", refused.len(), limits::ATTEMPTS)
        }
        ToBroker::Submit(submit) => check_submit(submit),
        ToBroker::Leave(_) => Ok(()),
        ToBroker::Spec(HeldSpec { attempt: _, spec }) => Ok(spec.validate().map_err(Kind::Spec)?),
    }
}

fn check_submit(submit: &Submit) -> Result<(), CodecError> {
    at_most("cost", submit.cost_resource_ms, limits::AMOUNT_MAX)?;
    at_most("quality", submit.quality_bp, limits::WHOLE_BP)?;
    match &submit.outcome {
        Outcome::Success { output } => at_most("output bytes", output.len(), limits::OUTPUT_BYTES),
        Outcome::Failure { error } => at_most("error bytes", error.len(), limits::ERROR_BYTES),
    }
}

fn check_to_executor(message: &ToExecutor) -> Result<(), CodecError> {
    match message {
        ToExecutor::Registered { session: _, registration: _, terms, roster, held } => {
            check_terms(terms)?;
            check_roster(roster)?;
            at_most("held attempts", held.len(), limits::ATTEMPTS)
        }
        ToExecutor::HeartbeatAnswer { session: _, registration: _, sequence: _, renewed, lost, orders, roster } => {
            at_most("renewed leases", renewed.len(), limits::ATTEMPTS)?;
            at_most("lost leases", lost.len(), limits::ATTEMPTS)?;
            check_orders(orders)?;
            check_roster(roster)
        }
        ToExecutor::SessionBehind { .. }
        | ToExecutor::NotRegistered { .. }
        | ToExecutor::SubmitAnswer { .. }
        | ToExecutor::AskSpec { .. } => Ok(()),
    }
}

fn check_orders(orders: &[Order]) -> Result<(), CodecError> {
    at_most("orders", orders.len(), limits::ORDERS)?;
    let mut payload = 0_usize;
    for order in orders {
        match order {
            Order::Start { attempt: _, token: _, spec, lease_ms } => {
                spec.validate().map_err(Kind::Spec)?;
                at_most("lease of an order", *lease_ms, limits::TERM_MS)?;
                payload = payload.saturating_add(spec.payload.len());
            }
            Order::Stop { attempt: _, reason: _, drain_ms } => {
                at_most("drain of an order", *drain_ms, limits::TERM_MS)?;
            }
        }
    }
    at_most("payload bytes of orders", payload, limits::ORDERS_PAYLOAD_BYTES)
}

fn check_terms(terms: &Terms) -> Result<(), CodecError> {
    for (what, term) in [("lease", terms.lease_ms), ("heartbeat interval", terms.heartbeat_ms)] {
        at_most(what, term, limits::TERM_MS)?;
        if term == 0 {
            return Err(Kind::Zero { what }.into());
        }
    }
    at_most("drift allowance", terms.drift_ms, limits::TERM_MS)
}

fn check_roster(roster: &[RosterEntry]) -> Result<(), CodecError> {
    at_most("roster entries", roster.len(), limits::ROSTER)?;
    for entry in roster {
        check_address(&entry.address)?;
    }
    Ok(())
}

fn check_address(address: &str) -> Result<(), CodecError> {
    if address.is_empty() {
        return Err(Kind::Zero { what: "address bytes" }.into());
    }
    at_most("address bytes", address.len(), limits::ADDRESS_BYTES)
}

fn at_most<T: PartialOrd + ToUsize>(what: &'static str, found: T, limit: T) -> Result<(), CodecError> {
    if found <= limit {
        Ok(())
    } else {
        Err(Kind::Limit { what, found: found.to_usize(), limit: limit.to_usize() }.into())
    }
}

/// For messages of errors only.
trait ToUsize {
    fn to_usize(self) -> usize;
}

macro_rules! to_usize {
    ($($number:ty),*) => {$(
        impl ToUsize for $number {
            fn to_usize(self) -> usize {
                usize::try_from(self).unwrap_or(usize::MAX)
            }
        }
    )*};
}

to_usize!(u16, u32, u64, usize);

/// A message cannot be written as a frame, or a frame is not a message.
///
/// Opaque: how frames are written may change underneath. Nothing else happened; a sender may go on with other
/// messages, a receiver drops the frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(#[from] Kind);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Kind {
    #[error("an empty frame is no message")]
    Empty,
    #[error("a frame of version {0}, expected {VERSION}")]
    Version(u8),
    #[error("a frame did not decode: {0}")]
    Decode(String),
    #[error("a message did not encode: {0}")]
    Encode(String),
    #[error("a frame has {bytes} bytes after its message")]
    Trailing { bytes: usize },
    #[error("{found} {what}, at most {limit} are allowed")]
    Limit { what: &'static str, found: usize, limit: usize },
    #[error("{what} must not be zero")]
    Zero { what: &'static str },
    #[error("the specification of a job")]
    Spec(#[source] SpecError),
}

#[cfg(test)]
mod tests;
