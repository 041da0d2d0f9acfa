#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::unwrap_used,
        reason = "tests index and add freely, and fail by panicking"
    )
)]

mod check;
mod engine;
mod gate;
mod keeper;
mod medium;
mod oneshot;
mod open;
mod queue;
mod rows;
mod settings;
mod site;
mod snapshot;
mod store;
mod witness;
mod worker;

pub use self::medium::{Layer, Medium};
pub use self::settings::Settings;
pub use self::snapshot::RedbSnapshot;
pub use self::store::RedbStore;
