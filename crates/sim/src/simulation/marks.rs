//! States that a suite of runs must have met: silence must not mean that nothing happened.

use std::fmt::{self, Display};

macro_rules! marks {
    ($($name:ident = $text:literal,)*) => {
        /// A state of the protocol, or a fault that struck, that some run of a suite must meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Mark {
            $(#[doc = $text] $name,)*
        }

        impl Mark {
            /// All that are registered.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is, in a few words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

marks! {
    // Sessions.
    SessionDone = "a session brought both sides together",
    SessionFailed = "a session was given up",
    InSync = "a session found nothing to do",
    CreditSpent = "a sender waited for credit",
    Busy = "a broker had no slot free",
    FrameRefused = "a frame did not decode",
    FrameDuplicated = "a frame arrived twice",
    // Pushes.
    Pushed = "an urgent version was pushed",
    UrgentOnTime = "an urgent write reached all peers in time",
    // Versions.
    Siblings = "two writers met on one key",
    Replaced = "a write replaced a value",
    PartReplaced = "a write replaced some siblings and left others",
    Deleted = "a write deleted a value",
    DeletedBesideSet = "a delete met a concurrent write",
    Collapsed = "a context collapsed",
    UnknownClass = "a class of a later version was relayed",
    CloudRange = "a broker knew dots beyond a gap",
    // Peers.
    Suspect = "a silent peer was suspected",
    Unreachable = "a silent peer was given up for now",
    Returned = "an unreachable peer came back",
    FarAhead = "a stamp was too far ahead to follow",
    ProbeAnswered = "a quiet peer answered a probe",
    // Deletes, names and repair.
    Collected = "a tombstone was collected",
    CollectionBlocked = "a delete waited long for a member",
    FloorRepair = "a value was dropped whose tombstone others had collected",
    Divergence = "equal knowledge, different values",
    Amnesia = "a peer knew of writes that a store had lost",
    Frozen = "a replica gave up its name",
    NewIncarnation = "a store could not prove that it was the newest copy of itself",
    Relapsed = "a store went back in time and could not know it",
    Retired = "a replica was retired",
    Rejected = "a retired or copied replica was refused a session",
    // Bundles.
    BundleCarried = "a bundle was carried",
    FragmentLost = "a fragment of a bundle was lost",
    BundleClaimed = "a bundle's claim was joined",
    BundleCutShort = "a bundle had no room for all",
    // Hostile members.
    Spoofed = "a frame came in another's name",
    ForgeryRefused = "a version that replaces itself was refused",
    // Faults.
    Partitioned = "the network was parted",
    OneWayCut = "a link was cut one way",
    Lost = "a frame was lost",
    Truncated = "a frame was cut short",
    Flipped = "a bit of a frame turned over",
    Delayed = "a frame took more than a minute",
    Reordered = "a frame overtook another",
    HalfOpen = "one end of a link did not know that the other was gone",
    Queued = "a frame waited for a slow link",
    Crashed = "a broker crashed",
    CrashedBeforeCommit = "a broker crashed before a commit",
    CrashedAfterCommit = "a broker crashed after a commit and before anyone heard",
    Paused = "a broker stood still",
    StoreSlow = "a broker waited for its store",
    StoreFailed = "a store failed a call",
    StoreFull = "a store was full",
    Vanished = "values went out of a store without a sign",
    RowsLost = "a row could not be read, and was given up",
    ClockJumped = "a wall clock jumped",
    ClockFrozen = "a clock stood still",
    ClockDrifted = "a clock drifted",
}

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// How often each mark was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks(Vec<u64>);

impl Default for Marks {
    fn default() -> Self {
        Self(vec![0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Counts one more.
    pub fn meet(&mut self, mark: Mark) {
        self.add_to(mark, 1);
    }

    /// Counts one more if `met`.
    pub fn meet_if(&mut self, met: bool, mark: Mark) {
        self.add_to(mark, met.into());
    }

    fn add_to(&mut self, mark: Mark, count: u64) {
        let slot = &mut self.0[mark as usize];
        *slot = slot.saturating_add(count);
    }

    /// How often this one was met.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// All of them with their counts, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> + '_ {
        Mark::ALL.iter().map(|mark| (*mark, self.count(*mark)))
    }

    /// Those that were never met.
    pub fn missed(&self) -> impl Iterator<Item = Mark> + '_ {
        self.iter().filter(|(_, count)| *count == 0).map(|(mark, _)| mark)
    }

    /// Adds what another run met.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in other.iter() {
            self.add_to(mark, count);
        }
    }
}
