//! What an executor and a broker tell each other.
//!
//! Messages may be lost, repeated and reordered: every one of them is harmless when it comes twice, or late.

use std::collections::BTreeSet;

use reconvene_clock::NodeId;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::id::{AttemptId, FencingToken, ResultDigest, SessionEpoch, SpecDigest};
use crate::report::Outcome;
use crate::spec::{JobSpec, Resources, Tag};

/// What an executor tells a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a new message is a new wire version and must break every match")]
pub enum ToBroker {
    /// "You are my home from now on." Repeated with a greater number until it is answered.
    Register(Register),
    /// "I am here, and this is what I run." To the home only.
    Heartbeat(Heartbeat),
    /// "This is the result of an attempt." To any broker.
    Submit(Submit),
    /// "I am going." What it still held is over.
    Leave(Leave),
    /// "This is what I was told to run." To the home, which has asked.
    Spec(HeldSpec),
}

/// An executor makes a broker its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Register {
    /// The run of the executor's process.
    pub session: SessionEpoch,
    /// Raised with each registration, at whichever broker: within a session, the greatest names the home.
    pub registration: u64,
    /// What it has to offer when idle.
    pub capacity: Resources,
    /// How many attempts it runs at once, at most [`limits::SLOTS`](crate::limits::SLOTS).
    pub slots: u32,
    /// What it can do.
    pub tags: BTreeSet<Tag>,
    /// The attempts that it runs now, in order.
    pub held: Vec<HeldAttempt>,
    /// The attempts whose results it keeps because no answer to them was final, in order.
    pub kept: Vec<AttemptId>,
    /// Where a broker would listen that this executor starts when none is left, if it may: 1 to
    /// [`limits::ADDRESS_BYTES`](crate::limits::ADDRESS_BYTES) bytes.
    pub heir: Option<String>,
}

/// An attempt that an executor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct HeldAttempt {
    /// The attempt.
    pub attempt: AttemptId,
    /// The token that it was ordered with.
    pub token: FencingToken,
    /// How far it is, in basis points, as its runner says.
    pub progress_bp: u16,
}

/// A sign of life.
///
/// An attempt that was ordered and is in none of the lists is not held: the order was lost, or the attempt has ended
/// and its result was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Heartbeat {
    /// The run of the executor's process.
    pub session: SessionEpoch,
    /// The registration that it believes in.
    pub registration: u64,
    /// Counted from 1 within the session, on through its registrations.
    pub sequence: u64,
    /// The attempts that it runs, in order.
    pub running: Vec<HeldAttempt>,
    /// The attempts whose results it keeps because no answer to them was final, in order.
    pub kept: Vec<AttemptId>,
    /// The orders that it refused since the last heartbeat. A refusal may be lost; a repeated order is refused again.
    pub refused: Vec<Refused>,
}

/// An order that an executor does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Refused {
    /// The attempt ordered.
    pub attempt: AttemptId,
    /// Why it does not start.
    pub reason: Refusal,
}

/// Why an executor does not start an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new reason is a new version")]
pub enum Refusal {
    /// A greater token was seen for the job: somebody else owns it now, or ordered again.
    SmallerToken {
        /// The greatest token seen.
        greatest: FencingToken,
    },
    /// The attempt ran here before and is over. If its result was answered, nothing is wrong.
    AlreadyEnded,
    /// All slots are taken.
    NoFreeSlot,
    /// The demand is above what is free.
    NoFreeCapacity {
        /// What is free.
        free: Resources,
    },
    /// The job requires a tag that this executor does not have.
    MissingTag,
    /// As many results are kept as may be; one more attempt could mean dropping one of them.
    TooManyResults,
    /// The lease had ended when the order came.
    LeaseOver,
    /// The executor finishes what it has and takes nothing new.
    Draining,
    /// The token is not the attempt's, or the specification is out of its limits.
    Malformed,
}

/// The result of an attempt, repeated until its answer is final.
///
/// (attempt, session, sequence) names the submission; a repetition has the same name and the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Submit {
    /// The attempt.
    pub attempt: AttemptId,
    /// The session that ran the attempt, which may be older than the one that submits.
    pub session: SessionEpoch,
    /// The number of the submission within that session, from 1.
    pub sequence: u64,
    /// The specification that was run.
    pub spec_digest: SpecDigest,
    /// What makes two results equal, as the runner declares it.
    pub digest: ResultDigest,
    /// What came out.
    pub outcome: Outcome,
    /// What it used up: milliseconds times thousandths of a core, or whatever the runner counts.
    pub cost_resource_ms: u64,
    /// How good the result is, in basis points, as the runner declares it.
    pub quality_bp: u16,
}

/// An executor's good-bye to its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Leave {
    /// The run of the executor's process that ends.
    pub session: SessionEpoch,
    /// Its last registration.
    pub registration: u64,
}

/// What an attempt was ordered with, for a broker that has never heard of its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct HeldSpec {
    /// The attempt.
    pub attempt: AttemptId,
    /// The specification of its job.
    pub spec: JobSpec,
}

/// What a broker tells an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a new message is a new wire version and must break every match")]
pub enum ToExecutor {
    /// The answer to a [`Register`]: the broker is the executor's home.
    Registered {
        /// As in the registration.
        session: SessionEpoch,
        /// As in the registration.
        registration: u64,
        /// How leases and heartbeats are kept here.
        terms: Terms,
        /// Brokers to turn to when this one is gone.
        roster: Vec<RosterEntry>,
        /// What to do with the attempts held. One that is not named goes on without a lease.
        held: Vec<(AttemptId, HeldVerdict)>,
    },
    /// The answer to a [`Register`] of a session below one known for this executor: take a greater one and repeat.
    SessionBehind {
        /// The greatest session known.
        known: SessionEpoch,
    },
    /// The answer to a [`Heartbeat`].
    ///
    /// A broker may send it again for the last heartbeat that it answered, or with sequence 0 for the registration
    /// itself, to bring orders without waiting for the next heartbeat.
    HeartbeatAnswer {
        /// As in the heartbeat.
        session: SessionEpoch,
        /// As in the heartbeat.
        registration: u64,
        /// As in the heartbeat; 0 answers the registration.
        sequence: u64,
        /// Attempts whose lease begins anew, counted by the executor from when it sent the heartbeat.
        renewed: Vec<AttemptId>,
        /// Attempts that have lost their lease. A message, not an error: they may finish.
        lost: Vec<LeaseLost>,
        /// What to start and stop. An order is repeated until a heartbeat lists the attempt or refuses it. At most
        /// [`limits::ORDERS`](crate::limits::ORDERS) and [`limits::ORDERS_PAYLOAD_BYTES`](crate::limits::ORDERS_PAYLOAD_BYTES).
        orders: Vec<Order>,
        /// The roster if it has changed, else empty.
        roster: Vec<RosterEntry>,
    },
    /// The answer to a [`Heartbeat`] of an executor that is not registered here: register again.
    NotRegistered {
        /// As in the heartbeat.
        registration: u64,
    },
    /// The answer to a [`Submit`], also later and unasked, when a parked submission was judged.
    SubmitAnswer {
        /// As in the submission.
        attempt: AttemptId,
        /// As in the submission.
        sequence: u64,
        /// What became of it.
        answer: Answer,
    },
    /// The job of an attempt that runs there, or whose result is kept there, is unknown here: what was ordered?
    AskSpec {
        /// The attempt.
        attempt: AttemptId,
    },
}

/// How leases and heartbeats are kept at a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct Terms {
    /// How long a lease lasts, in milliseconds, 1 to [`limits::TERM_MS`](crate::limits::TERM_MS).
    pub lease_ms: u64,
    /// How often to send a heartbeat, in milliseconds, 1 to [`limits::TERM_MS`](crate::limits::TERM_MS).
    pub heartbeat_ms: u64,
    /// How far clocks may drift apart within a lease, in milliseconds.
    pub drift_ms: u64,
}

/// A broker that executors may turn to, or an executor that starts one when none is left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct RosterEntry {
    /// The broker, or the executor.
    pub node: NodeId,
    /// Whether there is a broker, or may be one day.
    pub role: RosterRole,
    /// Where it listens for executors, or would, 1 to [`limits::ADDRESS_BYTES`](crate::limits::ADDRESS_BYTES) bytes.
    pub address: String,
}

/// What an entry of a roster stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new role is a new version")]
pub enum RosterRole {
    /// A broker.
    Broker,
    /// An executor that may start a broker when none is left. The first of them in the roster goes first.
    Heir,
}

/// What a new home says about an attempt that an executor brought along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new verdict is a new version")]
pub enum HeldVerdict {
    /// Go on; the lease begins anew.
    Continue,
    /// Stop it.
    Stop,
    /// Go on without a lease; if it finishes, the result will be judged. A fenced job stops.
    SubmitOnly,
}

/// An attempt's lease is not renewed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire format: a new field is a new version")]
pub struct LeaseLost {
    /// The attempt.
    pub attempt: AttemptId,
    /// The attempt that replaced it, if one did.
    pub successor: Option<AttemptId>,
}

/// What an executor is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a new order is a new wire version and must break every match")]
#[expect(clippy::large_enum_variant, reason = "starts are as common as stops, and lists of orders are short")]
pub enum Order {
    /// Start an attempt.
    Start {
        /// The attempt.
        attempt: AttemptId,
        /// Its token.
        token: FencingToken,
        /// What to run.
        spec: JobSpec,
        /// How long its first lease lasts, in milliseconds, counted from when the executor sent what this answers.
        lease_ms: u64,
    },
    /// Stop an attempt. No error if it is not held; a result that is there already is submitted all the same.
    Stop {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: StopReason,
        /// For how long it may go on, in milliseconds, to come to its end by itself: 0 to
        /// [`limits::TERM_MS`](crate::limits::TERM_MS). A repeated order makes it no longer.
        drain_ms: u64,
    },
}

impl Order {
    /// The attempt that the order is about.
    #[must_use]
    pub const fn attempt(&self) -> AttemptId {
        match self {
            Self::Start { attempt, .. } | Self::Stop { attempt, .. } => *attempt,
        }
    }
}

/// Why a broker wants an attempt stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a wire format: a new reason is a new version")]
pub enum StopReason {
    /// The job has its result.
    Completed,
    /// Another attempt at the job is to go on instead.
    Replaced,
    /// The job was cancelled.
    Cancelled,
    /// A more urgent job needs the place.
    Preempted,
}
