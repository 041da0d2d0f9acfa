//! The numbers with which connections are closed.

use quinn::{ConnectionError, VarInt};

use crate::error::Refusal;

/// An ordinary end: shutdown, disconnect, or another connection that replaced this one.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);

/// The peer broke the rules of frames: too long, cut off, or a stream stopped.
pub(crate) const FRAMES: VarInt = VarInt::from_u32(7);

/// The number for a refusal.
pub(crate) const fn code_of(refusal: Refusal) -> VarInt {
    match refusal {
        Refusal::Closed => DONE,
        Refusal::Hello => VarInt::from_u32(1),
        Refusal::Network => VarInt::from_u32(2),
        Refusal::Version => VarInt::from_u32(3),
        Refusal::Protocol => VarInt::from_u32(4),
        Refusal::SameNode => VarInt::from_u32(5),
        Refusal::Full => VarInt::from_u32(6),
    }
}

/// The refusal with which the peer closed, if that is how the connection ended.
pub(crate) fn refusal_in(error: &ConnectionError) -> Option<Refusal> {
    let ConnectionError::ApplicationClosed(close) = error else {
        return None;
    };
    let known =
        [Refusal::Hello, Refusal::Network, Refusal::Version, Refusal::Protocol, Refusal::SameNode, Refusal::Full];
    Some(known.into_iter().find(|&refusal| code_of(refusal) == close.error_code).unwrap_or(Refusal::Closed))
}
