//! The known-answer cases of the literature and of other implementations' defects, and the laws.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests index and add freely"
)]

mod cases_causality;
mod cases_hlc;
mod cases_siblings;
mod codec;
mod defects;
mod golden;
mod laws_context;
mod laws_hlc;
mod laws_roster;
mod laws_siblings;
mod laws_vector;
#[cfg(feature = "serde")]
mod serialised;
mod support;
mod values;
