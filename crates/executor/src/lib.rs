#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::cast_possible_truncation,
        clippy::wildcard_enum_match_arm,
        reason = "tests index and add freely and fail by panicking"
    )
)]

mod agent;
mod answer;
mod bytes;
pub mod codec;
mod config;
#[cfg(feature = "driver")]
mod driver;
mod event;
mod id;
pub mod limits;
pub mod message;
mod report;
mod rng;
mod rule;
mod spec;
mod trace;

pub use reconvene_clock::{NodeId, Now, Timestamp, WallTime};

pub use self::agent::{Agent, Input, Output};
pub use self::answer::{Answer, Equivocation, Finality, Rejection};
pub use self::codec::CodecError;
pub use self::config::{AgentConfig, ConfigError};
#[cfg(feature = "driver")]
pub use self::driver::{
    BrokerLink, Ended, Events, Executor, ExecutorBuilder, ExecutorError, ExecutorHandle, LinkEvent, Promotion,
    RunControl, Runner, Status, TraceRunner,
};
pub use self::event::{Event, StopCause};
pub use self::id::{
    AttemptId, EmergencyId, FencingToken, JobId, OwnershipEpoch, ParseIdError, ResultDigest, SessionEpoch, SpecDigest,
    SubmissionId,
};
pub use self::message::{
    Heartbeat, HeldAttempt, HeldSpec, HeldVerdict, LeaseLost, Leave, Order, Refusal, Refused, Register, RosterEntry,
    StopReason, Submit, Terms, ToBroker, ToExecutor,
};
pub use self::report::{Outcome, Report};
pub use self::rule::{AttemptRule, Reappearance, RuleError};
pub use self::spec::{JobSpec, Resources, SpecError, Tag, TagError};
pub use self::trace::TraceJob;
