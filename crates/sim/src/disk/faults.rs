//! What can go wrong on a disk.

/// What of the writes that were not synced a crash leaves on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever replays a fault handles each")]
pub enum Keep {
    /// All of them: the process ended and the machine went on.
    All,
    /// None of them: the power went before anything was written back.
    Nothing,
    /// The first ones, this many.
    Prefix(usize),
    /// Each by itself, as chance from this seed has it: devices reorder what was not synced.
    Subset(u64),
    /// As [`Subset`](Self::Subset), and of one that is kept perhaps only the first bytes.
    Torn(u64),
}

/// When a crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an operation is done or not")]
pub enum Moment {
    /// Instead of the operation.
    Before,
    /// Once the operation is done and before anyone hears of it.
    After,
}

/// What happens at one operation of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "whoever replays a fault handles each")]
pub enum Fault {
    /// It fails. After a failed write or sync nothing is known of what was not synced, and the session is over.
    Fail,
    /// If it is a write, there is no room for it, nor for any later one until [`SimDisk::make_room`].
    ///
    /// [`SimDisk::make_room`]: crate::disk::SimDisk::make_room
    Full,
    /// The machine goes down.
    Crash {
        /// Before or after the operation.
        moment: Moment,
        /// What is left of the writes that were not synced.
        keep: Keep,
    },
    /// If it is a read, it gives what the cell held before its last write.
    Stale,
    /// It takes a while: this many polls of the future that waits for it.
    Slow {
        /// How many polls say that it is not done.
        polls: u32,
    },
}

/// How often faults come by themselves, in operations out of a million.
///
/// ```
/// use reconvene_sim::disk::FaultRates;
///
/// let mut rates = FaultRates::default();
/// rates.fail_sync = 1_000; // one sync in a thousand
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultRates {
    /// Reads that fail.
    pub fail_read: u32,
    /// Writes that fail.
    pub fail_write: u32,
    /// Syncs that fail.
    pub fail_sync: u32,
    /// Operations at which the machine goes down, keeping and tearing what chance has it.
    pub crash: u32,
    /// Reads that give what was there before.
    pub stale: u32,
    /// Operations that take up to four polls.
    pub slow: u32,
    /// Operations at which one bit of one durable cell turns over.
    pub rot: u32,
}

/// Why an operation of a [`SimDisk`](crate::disk::SimDisk) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The read failed; another may do better.
    #[error("reading operation {operation} of the simulated disk failed")]
    Read {
        /// The number of the operation.
        operation: u64,
    },
    /// The write or sync failed. What was not synced may be there or not.
    #[error("writing operation {operation} of the simulated disk failed")]
    Write {
        /// The number of the operation.
        operation: u64,
    },
    /// There is no room. Nothing was written.
    #[error("the simulated disk would hold {bytes} bytes, it has room for {limit}")]
    Full {
        /// How many bytes there would be.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The machine went down, a write of this session failed, or the store was opened again since.
    #[error("the session with the simulated disk is over")]
    Over,
    /// Another session holds the disk.
    #[error("another session holds the simulated disk")]
    InUse,
}
