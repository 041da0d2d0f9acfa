//! Counters.

/// Counters of one replica since it was opened. They are never reset and stop at their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Rounds of anti-entropy, periodic and in cascades.
    pub rounds: u64,
    /// Sessions that completed in both directions, started by either side.
    pub sessions: u64,
    /// Sessions that found both sides equal.
    pub in_sync_sessions: u64,
    /// Sessions given up: cut, refused, or idle for too long.
    pub failed_sessions: u64,
    /// Bytes of all frames handed to the transport.
    pub bytes_sent: u64,
    /// Frames handed to the transport.
    pub frames_sent: u64,
    /// Bytes of all frames received, refused ones included.
    pub bytes_received: u64,
    /// Frames received that did not decode.
    pub frames_refused: u64,
    /// Versions sent in sessions.
    pub records_sent: u64,
    /// Versions received that were new here.
    pub records_received: u64,
    /// Versions received that were known already.
    pub duplicates_received: u64,
    /// All bytes, both ways, of the last session that found nothing to do; 0 before the first.
    pub converged_exchange_bytes: u64,
    /// Bundles made.
    pub bundles_made: u64,
    /// Bundles of others whose claim was joined.
    pub bundles_claimed: u64,
    /// Deletes forgotten, since every member had them.
    pub collected: u64,
    /// Repairs begun, asked for by either side.
    pub repairs: u64,
    /// Versions given or put back in repairs.
    pub repaired: u64,
    /// Live versions dropped, since a peer had seen their end and collected the tombstones.
    pub dropped_dead: u64,
    /// Bytes of frames of repairs sent.
    pub repair_bytes: u64,
    /// Urgent versions pushed or relayed, once for each receiver.
    pub pushes_sent: u64,
    /// Notes handed to the transport.
    pub notes_sent: u64,
    /// Notes that were not sent, or not handed out: without a link, to a peer that takes none, from one that has not shown
    /// that it belongs to the network, or too long.
    pub notes_dropped: u64,
}
