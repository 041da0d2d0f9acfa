//! Bundles, as the users of a broker see them.

use reconvene_clock::NodeId;
use reconvene_sync::{BundleError, BundleProgress};
use serde::{Deserialize, Serialize};

/// What a bundle is to hold, and for how long it may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a wire structure: a new field is a new version")]
pub struct BundleRequest {
    /// The broker it is for: what that one is known to have is left out. `None` leaves nothing out.
    pub to: Option<NodeId>,
    /// About how many bytes its fragments may have together, at most [`MAX_BUNDLE_BYTES`]. What does not fit goes into
    /// the next bundle for the same broker.
    pub budget_bytes: u64,
    /// For how long its parts are remembered by their receiver, and relied on by their maker, in seconds.
    pub ttl_s: u32,
    /// Earlier bundles may be lost: rely on none of them.
    pub again: bool,
}

impl Default for BundleRequest {
    /// Everything, for anybody, within a day and 64 MiB.
    fn default() -> Self {
        Self { to: None, budget_bytes: MAX_BUNDLE_BYTES, ttl_s: 86_400, again: false }
    }
}

/// The most bytes of one bundle: it is held in memory until it is fetched.
pub const MAX_BUNDLE_BYTES: u64 = 64 << 20;

/// A bundle that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "all there is to a bundle")]
pub struct Bundle {
    /// Its fragments: each travels by itself, in any order.
    pub fragments: Vec<Vec<u8>>,
    /// Whether all fitted: only then does it teach all that its maker knows.
    pub whole: bool,
}

/// What came of a request about bundles.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every answer there is")]
pub enum BundleAnswer {
    /// A bundle was made.
    Made(Bundle),
    /// A fragment is durable here.
    Taken(BundleProgress),
    /// Nothing was made or changed.
    Refused(BundleError),
}
