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
        reason = "tests index and add freely, and fail by panicking"
    )
)]

mod bundle;
mod by_job;
pub mod client;
mod command;
mod config;
mod coordinator;
mod error;
mod event;
mod explain;
mod fact;
mod node;
mod peer;
mod statistics;
mod status;
mod strategy;
mod view;

#[cfg(feature = "driver")]
mod driver;

pub use reconvene_clock::Now;
pub use reconvene_resolve::{Policy, PolicyId, PreemptionRefusal, PreemptionRules, StrategyKind};

pub use self::bundle::{Bundle, BundleAnswer, BundleRequest, MAX_BUNDLE_BYTES};
pub use self::command::{Command, PAGE_JOBS, Reply};
pub use self::config::{Config, ConfigError};
pub use self::coordinator::{Coordinator, Input, Output};
#[cfg(feature = "driver")]
pub use self::driver::{
    Broker, BrokerBuilder, BrokerError, Clock, Events, EventsError, NoLinks, StartError, SystemClock, TaskError,
};
pub use self::error::CommandError;
pub use self::event::{Event, EventKind, LossCause, StormEnd, WaitReason};
pub use self::explain::{
    Choice, Contest, EmergencyStanding, Explanation, Ground, Lead, Obstacle, Preference, ResultRule, Subject,
};
pub use self::fact::{
    AttemptCause, AttemptFact, CancelFact, CodecError, ContentHash, DATA_NAME_BYTES, DataFact, DataId, DataName,
    DataNameError, DataState, DigestTextError, DoneFact, EmergencyFact, ExecutorFact, ExecutorState, FACT_BYTES, Fact,
    FactKey, HoldFact, HoldReason, OwnCause, OwnFact, Phase, PhaseMark, PinFact, PolicyCurrentFact, PolicyDefFact,
    RANGES_MAX, Ranges, RangesError, SeenFact, SettleFact, SpecFact, SubmissionFact, ToldFact, Verdict,
};
pub use self::node::{Node, NodeConfig, NodeEvent, NodeInput, NodeOutput, read_all};
pub use self::peer::{
    PEER_MESSAGE_BYTES, PeerMessage, PeerMessageError, PlaceAnswer, PlaceRefusal, PlaceRequest, PlaceVerdict,
};
pub use self::statistics::{PreemptionsRefused, Statistics};
pub use self::status::{NodeStatus, PeerStatus};
pub use self::view::{
    AttemptView, DataContent, DataHolder, DataView, EmergencyView, ExecutorView, JobStatus, JobView, PolicyView,
    ResultView, SetAside, SubmissionView,
};
