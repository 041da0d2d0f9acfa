//! What can go wrong, as types that say what was attempted.

use crate::Counter;

/// Why a clock or context refused a change. The value is unchanged in every case.
///
/// Ids are reported as the big-endian number of their bytes, so that one error type serves every kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The replica has used up its `2^63 - 1` counters. It must go on under a new id.
    #[error("replica {replica:x} has no counter left")]
    CounterOverflow {
        /// The replica whose counter is at its maximum.
        replica: u128,
    },
    /// A dot arrived before the dot that precedes it.
    #[error("dot {got} of replica {replica:x} arrived where {expected} is next")]
    Gap {
        /// The replica that made the dot.
        replica: u128,
        /// The only counter that would have been accepted.
        expected: Counter,
        /// The counter that arrived.
        got: Counter,
    },
    /// Others hold dots of our own that our durable store never gave out: it has lost state and needs a new
    /// [`ReplicaId`](crate::ReplicaId).
    #[error("own dot {held} is known, but the durable store issued {} so far", .issued.map_or(0, Counter::get))]
    StateLoss {
        /// The greatest own counter in the context.
        held: Counter,
        /// The last counter that the durable store gave out.
        issued: Option<Counter>,
    },
    /// One dot names two different values; neither is chosen.
    #[error("dot {counter} of replica {replica:x} names two different values")]
    Equivocation {
        /// The replica that made the dot.
        replica: u128,
        /// The counter of the dot.
        counter: Counter,
    },
    /// The roster of this clock does not have that replica.
    #[error("replica {replica:x} is not in the roster")]
    UnknownReplica {
        /// The replica that is no member.
        replica: u128,
    },
    /// More was offered than the limit allows.
    #[error("more than {limit} {what}")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A dot that is already part of the history was offered as a new write.
    #[error("dot {counter} of replica {replica:x} is not new")]
    DotInUse {
        /// The replica that made the dot.
        replica: u128,
        /// The counter of the dot.
        counter: Counter,
    },
}

/// Why a hybrid logical clock refused to advance. The clock is unchanged in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HlcError {
    /// The stamp lies further ahead of the local wall time than the bound allows.
    #[error("stamp is {by_ms} ms ahead of local wall time, which is more than the bound allows")]
    AheadOfBound {
        /// How far the stamp is ahead of the local wall time, in milliseconds.
        by_ms: u64,
    },
    /// The logical part is full and the bound allows no further millisecond.
    #[error("the logical part of the clock is full and its bound allows no further millisecond")]
    CounterExhausted,
}

/// Why a value from a wire, a file or a user was refused. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at offset {offset}")]
#[non_exhaustive]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeKind,
    /// Where: the index of the offending byte, digit or element.
    pub offset: usize,
}

impl DecodeError {
    /// An error of `kind` at `offset`.
    #[must_use]
    pub const fn new(kind: DecodeKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeKind {
    /// The first byte names no form of a clock, or not the one that was asked for.
    #[error("unknown form")]
    UnknownForm,
    /// The input ends too early.
    #[error("input ends too early")]
    Truncated,
    /// Input is left over.
    #[error("input is left over")]
    Trailing,
    /// A number is not in its shortest form.
    #[error("number is not in its shortest form")]
    Overlong,
    /// A number or digit lies outside its range.
    #[error("number or digit out of range")]
    OutOfRange,
    /// An id is zero.
    #[error("id is zero")]
    ZeroId,
    /// Elements do not ascend strictly; or what a delta calls new is in its base.
    #[error("elements do not ascend strictly")]
    NotAscending,
    /// A range overlaps or touches the one before it, or the contiguous part below it: a second spelling.
    #[error("range touches what precedes it")]
    Touching,
    /// More elements than the limit allows.
    #[error("more than {limit} {what}")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The clock is over a roster that the reader does not know: ask for the roster, or for the full form.
    #[error("unknown roster {digest:016x}")]
    UnknownRoster {
        /// The digest that names it.
        digest: u64,
    },
    /// The clock is told as what it has beyond a base that the reader does not hold: ask for the full form.
    #[error("unknown base {digest:016x}")]
    UnknownBase {
        /// The digest that names it.
        digest: u64,
    },
}
