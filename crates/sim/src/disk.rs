//! A disk that fails as disks do, from a seed, and a store on it.
//!
//! [`SimDisk`] is a medium of named cells: what is durable, what was written and not yet synced, and faults that are
//! armed for an operation or drawn by rate. [`SimStore`] is a [`MetadataStore`](reconvene_store::MetadataStore) on it.
//! There is no clock and no thread: the same seed and the same calls do the same.

mod faults;
mod medium;
mod store;

pub use self::faults::{DiskError, Fault, FaultRates, Keep, Moment};
pub use self::medium::{Image, SimDisk};
pub use self::store::{Defect, SimSnapshot, SimStore};
