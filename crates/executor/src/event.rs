//! What an executor reports about itself.

use reconvene_clock::NodeId;

use crate::answer::Answer;
use crate::id::{AttemptId, ResultDigest, SessionEpoch};
use crate::message::{Refusal, StopReason};

/// What happened at an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A broker is the home now.
    #[non_exhaustive]
    Registered {
        /// The broker.
        broker: NodeId,
        /// The number of the registration.
        registration: u64,
        /// Attempts that were brought along.
        held: usize,
        /// Results that were brought along.
        kept: usize,
    },
    /// There is no home any more; another is looked for.
    #[non_exhaustive]
    HomeLost {
        /// The broker that was the home.
        broker: NodeId,
        /// How long it had not answered, in milliseconds.
        silent_ms: u64,
    },
    /// A broker knew a greater session, so this run took a greater one still.
    #[non_exhaustive]
    SessionRaised {
        /// The session until now.
        from: SessionEpoch,
        /// The session from now on.
        to: SessionEpoch,
    },
    /// An attempt was ordered, and its runner is told to start.
    #[non_exhaustive]
    AttemptAccepted {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An order was refused.
    #[non_exhaustive]
    OrderRefused {
        /// The attempt ordered.
        attempt: AttemptId,
        /// Why it does not start.
        reason: Refusal,
    },
    /// The runner has started an attempt.
    #[non_exhaustive]
    AttemptStarted {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt is to come to its end by itself soon, or it is stopped.
    #[non_exhaustive]
    AttemptDrains {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: StopReason,
        /// How long it has, in milliseconds.
        drain_ms: u64,
    },
    /// An attempt was stopped and has no result.
    #[non_exhaustive]
    AttemptStopped {
        /// The attempt.
        attempt: AttemptId,
        /// Who wanted that.
        cause: StopCause,
    },
    /// An attempt goes on without a lease.
    #[non_exhaustive]
    LeaseEnded {
        /// The attempt.
        attempt: AttemptId,
        /// The attempt that replaced it, where the broker said so.
        successor: Option<AttemptId>,
    },
    /// An attempt has ended, and its result is kept until it is answered.
    #[non_exhaustive]
    AttemptFinished {
        /// The attempt.
        attempt: AttemptId,
        /// Whether it did what it was asked to do.
        success: bool,
        /// The digest of its result.
        digest: ResultDigest,
    },
    /// A result was answered. If the answer is final, the result is forgotten.
    #[non_exhaustive]
    ResultAnswered {
        /// The attempt.
        attempt: AttemptId,
        /// The answer.
        answer: Answer,
    },
    /// Wall time ran ahead of monotonic time: the machine has slept, and all leases count as ended.
    #[non_exhaustive]
    Slept {
        /// By how much wall time ran ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// No broker has been heard for so long that this executor is to start one.
    #[non_exhaustive]
    Promoted {
        /// How many other executors had to be waited for.
        rank: u32,
        /// How long no broker has been heard, in milliseconds.
        silent_ms: u64,
    },
    /// No new orders are taken; what runs is finished.
    Draining,
    /// The executor has left. Nothing follows.
    #[non_exhaustive]
    Left {
        /// Attempts that were stopped.
        stopped: usize,
        /// Results that nobody has answered, lost with this run.
        unanswered: usize,
    },
    /// Events that a slow reader of a driver's stream has missed.
    #[non_exhaustive]
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Who wanted an attempt stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StopCause {
    /// The home ordered it.
    Ordered(StopReason),
    /// A new home did not want it to go on.
    Unwanted,
    /// The job is fenced, and the lease has ended.
    LeaseEnded,
    /// The executor leaves.
    Leaving,
}
