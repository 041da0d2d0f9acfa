//! What brokers do together, in virtual time: coordinators, a sync that is perfect between those that are connected,
//! and executors that follow a script.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests index and add freely, and fail by panicking"
)]

mod bad_input;
mod compaction;
mod data;
mod duplicates;
mod elsewhere;
mod emergencies;
mod explain;
mod finality;
mod laws;
mod limits;
mod placement;
mod policies;
mod preemption;
mod promotion;
mod quarantine;
mod reappearance;
mod recall;
mod regress;
mod retirement;
mod scenarios;
mod storm;
mod world;
