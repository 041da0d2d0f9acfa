//! The checks of a suite by name.

use core::fmt::{self, Display};

macro_rules! checks {
    ($($(#[doc = $about:literal])+ $check:ident = ($name:literal, $point:literal)),+ $(,)?) => {
        /// One property that a store must have. Its name is what a report shows, and what picks it out of a suite.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $($(#[doc = $about])+ $check,)+
        }

        impl Check {
            /// Every check, by point.
            pub const ALL: &[Self] = &[$(Self::$check),+];

            /// The name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$check => $name),+ }
            }

            /// The number of the group that it belongs to: 1 atomicity, 2 durability, 3 refusals, 4 Knowledge,
            /// 5 snapshots, 6 index and fingerprints, 7 concurrency, 8 feed, 9 reopening, 10 identity, 11 deletes,
            /// 12 limits, 13 shared stores.
            #[must_use]
            pub const fn point(self) -> u8 {
                match self { $(Self::$check => $point),+ }
            }

            /// What must hold.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$check => concat!($($about),+)),+ }
            }
        }
    };
}

checks! {
    /// After a crash at any operation, the store is as before the batch or as after it.
    AtomicAtCrash = ("atomic_at_every_crash", 1),
    /// After an error of any operation, the store is as before the batch or as after it.
    AtomicAtError = ("atomic_at_every_error", 1),
    /// What a commit acknowledged is there after the process was killed.
    DurableAfterKill = ("acknowledged_survives_kill", 2),
    /// What a commit acknowledged is there after the power went, and what was not leaves a prefix of the batches.
    DurableAfterPowerCut = ("acknowledged_survives_power_cut", 2),
    /// A refused batch changes nothing, and is refused for the reason that applies.
    RefusalsChangeNothing = ("refusals_change_nothing", 3),
    /// A commit whose outcome is unknown ends its handle, which refuses everything from then on.
    UnknownEndsHandle = ("unknown_ends_the_handle", 3),
    /// A future that is dropped while it waits leaves the batch applied or not, never in part.
    DroppedFutures = ("dropped_futures_tear_nothing", 3),
    /// What is live is what follows from Knowledge and all that was ever written.
    KnowledgeNotAhead = ("knowledge_is_never_ahead", 4),
    /// The same versions in other orders and batches, some of them twice, lead to the same store.
    AnyOrder = ("any_order_agrees", 4),
    /// A version replaces what its writer had seen replaced, and nothing else.
    Replaces = ("versions_replace_what_was_seen", 4),
    /// A snapshot shows the same however often it is read and whatever is committed meanwhile.
    SnapshotsFrozen = ("snapshots_are_frozen", 5),
    /// Pages hold what they may, ascend, and leave nothing out and nothing twice.
    Pages = ("pages_without_gap_or_repeat", 5),
    /// A commit that was acknowledged is what the next snapshot shows.
    ReadsSeeCommits = ("reads_see_commits", 5),
    /// The index names the live dots and nothing else.
    Index = ("index_equals_live_dots", 6),
    /// Fingerprints are those worked out from the records.
    Fingerprints = ("fingerprints_equal_recomputation", 6),
    /// The same records have the same digest as in the plainest store.
    Digests = ("equal_records_equal_digests", 6),
    /// What readers and writers saw at once is what one after the other could have seen.
    Linearisable = ("histories_are_linearisable", 7),
    /// Batches that were handed in before their predecessors were done are applied in order, or not at all.
    InFlight = ("batches_in_flight_keep_order", 7),
    /// A feed lists each key changed since a revision once, in the order of the last changes.
    FeedComplete = ("feed_shows_every_last_change", 8),
    /// A feed that cannot go back far enough says so, and is right again after a rescan.
    FeedRescans = ("feed_says_rescan", 8),
    /// Whoever waits for a change hears of it.
    FeedWakes = ("feed_loses_no_wake_up", 8),
    /// A store that was closed or killed opens with what it held.
    Reopens = ("reopens_as_it_was", 9),
    /// A store that is not there, damaged, of another network or newer is refused, and is not touched.
    RefusesDamage = ("damage_is_found_and_left_alone", 9),
    /// A flipped bit is found, or does no harm.
    FlippedBits = ("flipped_bits_are_found", 9),
    /// Each state of a store at opening leads to the identity that the rules name.
    OpeningTable = ("opening_gives_the_right_identity", 10),
    /// No name of a write ever names two contents.
    DotsUnique = ("no_dot_names_two_contents", 10),
    /// What was deleted stays deleted, whichever late copy or old peer comes back.
    NoResurrection = ("deleted_stays_deleted", 11),
    /// Once every member has acknowledged them, no tombstone is left.
    TombstonesEnd = ("tombstones_reach_zero", 11),
    /// What is exactly at a limit is taken, and one more is refused.
    LimitsAtTheEdge = ("limits_at_the_edge", 12),
    /// Limits on local writes never keep out what others wrote.
    QuotasLetReplicasIn = ("quotas_let_replicas_in", 12),
    /// Handles that share a store: one at a time wins, and what a dead one left is not shown.
    Shared = ("shared_writers", 13),
}

impl Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
