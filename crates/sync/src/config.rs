//! Settings of a replica.

use reconvene_clock::MaxAhead;
use reconvene_store::{MAX_KEY_BYTES, NetworkId};

use crate::member::MAX_ADDRESS_BYTES;
use crate::{Compressor, OpenError};

/// Settings of a [`Replica`](crate::Replica). All durations are in milliseconds.
///
/// ```
/// use reconvene_sync::{Config, NetworkId};
///
/// let mut config = Config::new(NetworkId::of_name("example"), 42).scaled(1_000);
/// config.advertise = Some("127.0.0.1:7001".into());
/// assert_eq!(config.sync_interval_ms, 1_000);
/// assert_eq!(config.probe_interval_ms, 333);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The network.
    pub network: NetworkId,
    /// The only source of randomness: the same seed, store and inputs give the same outputs.
    pub seed: u64,
    /// The address other brokers can dial; published in the member fact. It is never dialled by this replica.
    pub advertise: Option<String>,

    /// The period of anti-entropy; each round is drawn within +-20 %. Default 60,000.
    pub sync_interval_ms: u64,
    /// Sessions started by a periodic round. Default 2.
    pub fan_out: usize,
    /// After news: the least delay of the next round. Default 500.
    pub cascade_min_ms: u64,
    /// After news: the greatest delay of the next round. Default 2,000.
    pub cascade_max_ms: u64,
    /// Sessions started by a round of a cascade. Default 3.
    pub cascade_fan_out: usize,
    /// Rounds without news that end a cascade. Default 2.
    pub quiet_rounds: u32,
    /// Whether a local write starts a cascade, as received news does. Default true.
    pub cascade_on_local_writes: bool,
    /// Peers that an urgent version is pushed to at once: beginning with two the next one by name, with four the one on the
    /// other side as well, the others drawn at random. Default 4.
    pub push_fan_out: usize,
    /// The first step of the backoff of sessions and connections. Default 1,000.
    pub backoff_min_ms: u64,
    /// The greatest step of the backoff. Retries never end. Default 300,000.
    pub backoff_max_ms: u64,
    /// A session without progress for this long is dropped. Default 10,000.
    pub session_idle_ms: u64,
    /// A view of the store is read for at most this long; then its session goes on in a new one. Default 600,000.
    pub view_max_ms: u64,
    /// The greatest wait that a busy peer can ask for. Default 600,000.
    pub busy_max_ms: u64,
    /// What a busy replica asks its peers to wait. Default 2,000.
    pub busy_retry_ms: u64,
    /// A linked peer to whom nothing was sent for this long gets a probe. Default 20,000.
    pub probe_interval_ms: u64,
    /// The least silence after which a linked peer is suspect. One that is often silent for long gets more patience: until
    /// phi passes 8. Default 30,000.
    pub suspect_after_ms: u64,
    /// The least silence after which a peer's link is dropped, and the peer is unreachable if others have not heard of it
    /// either; or until phi passes 12, if that is longer. Default 60,000.
    pub unreachable_after_ms: u64,
    /// The least deviation of the gaps between a peer's frames; frames closer together count as one. Default 500.
    pub min_deviation_ms: u64,
    /// Peers that are asked whether they have heard of one that is suspect. Default 3.
    pub probe_fan_out: usize,
    /// When called this late, a replica takes itself for the slow one, and gives its peers as much longer. Not scaled.
    /// Default 500.
    pub late_after_ms: u64,
    /// Two replicas compare everything they hold at most this often. Default 60,000.
    pub repair_interval_ms: u64,
    /// After so many sessions that found nothing to do, two replicas compare everything they hold, by prints that nobody
    /// could prepare for. Default 64; 0 is never.
    pub audit_every: u32,
    /// A delete that waits longer than this for some member is reported. Default 3,600,000.
    pub blocked_after_ms: u64,

    /// Sessions that peers may have open here at once; more are answered `Busy`. Default 2.
    pub max_inbound_sessions: usize,
    /// Sessions that this replica has open at peers at once. Default 2.
    pub max_outbound_sessions: usize,
    /// Bytes of chunks a peer may have sent that are not yet applied. Default 256 KiB.
    pub window_bytes: u64,
    /// Chunks are closed when they reach this size, and a version that is larger travels in pieces of it. Default 32 KiB.
    pub chunk_bytes: usize,
    /// A direction of a session that has no more than about this to send goes in one frame, with its claim and the answer
    /// that it follows. 0 is never. Default 16 KiB.
    pub max_whole_bytes: usize,
    /// How bodies of frames are compressed, between peers that both have it. Default none.
    pub compression: Option<Compressor>,
    /// Bytes of chunks sent between two periodic rounds. What is left goes first next time. Default 256 MiB.
    pub round_bytes: u64,
    /// Keys that a session remembers where it had to give up a view; a session with more is dropped. Default 262,144.
    pub max_listed_keys: usize,
    /// Chunks of one direction of one session. The rest goes with the next session. Default 16,384.
    pub max_chunks: u32,
    /// The greatest frame, sent or received. A version that does not fit is left out of sessions. Default 2 MiB.
    pub max_frame_bytes: usize,
    /// Greatest push, sent or received; urgent versions beyond it travel with the next session. Default 64 KiB.
    pub max_push_bytes: usize,
    /// Greatest note, sent or received. Default 16 KiB.
    pub max_note_bytes: usize,
    /// Received pushes waiting to be applied; more are dropped, sessions bring them. Default 256.
    pub max_queued_pushes: usize,
    /// Bundles of which some fragments came and others are awaited. Beyond that the one that would be forgotten first is
    /// forgotten. Default 64.
    pub max_open_bundles: usize,
    /// Peers remembered. Links beyond it are dropped. Default 1,024.
    pub max_peers: usize,
    /// Addresses remembered. More candidates are ignored. Default 4,096.
    pub max_addresses: usize,
    /// How far a stamp may be ahead of local wall time and still be absorbed. Default 60,000.
    pub max_ahead: MaxAhead,
    /// Bounds of keys, values and rows.
    pub store: reconvene_store::Limits,
}

impl Config {
    /// The defaults for a member of `network`. `seed` should differ between replicas.
    #[must_use]
    pub fn new(network: NetworkId, seed: u64) -> Self {
        Self {
            network,
            seed,
            advertise: None,
            sync_interval_ms: SYNC_INTERVAL_MS,
            fan_out: 2,
            cascade_min_ms: 500,
            cascade_max_ms: 2_000,
            cascade_fan_out: 3,
            quiet_rounds: 2,
            cascade_on_local_writes: true,
            push_fan_out: 4,
            backoff_min_ms: 1_000,
            backoff_max_ms: 300_000,
            session_idle_ms: 10_000,
            view_max_ms: 600_000,
            busy_max_ms: 600_000,
            busy_retry_ms: 2_000,
            probe_interval_ms: 20_000,
            suspect_after_ms: 30_000,
            unreachable_after_ms: 60_000,
            min_deviation_ms: 500,
            probe_fan_out: 3,
            late_after_ms: 500,
            repair_interval_ms: 60_000,
            audit_every: 64,
            blocked_after_ms: 3_600_000,
            max_inbound_sessions: 2,
            max_outbound_sessions: 2,
            window_bytes: 256 << 10,
            chunk_bytes: 32 << 10,
            max_whole_bytes: 16 << 10,
            compression: None,
            round_bytes: 256 << 20,
            max_listed_keys: 262_144,
            max_chunks: 16_384,
            max_frame_bytes: 2 << 20,
            max_push_bytes: 64 << 10,
            max_note_bytes: 16 << 10,
            max_queued_pushes: 256,
            max_open_bundles: 64,
            max_peers: 1_024,
            max_addresses: 4_096,
            max_ahead: MaxAhead::default(),
            store: reconvene_store::Limits::default(),
        }
    }

    /// The same settings with a period of `sync_interval_ms` and every other duration in proportion to the default
    /// period of 60 s. Bounds of wall time stay.
    #[must_use]
    pub fn scaled(mut self, sync_interval_ms: u64) -> Self {
        for duration in [
            &mut self.cascade_min_ms,
            &mut self.cascade_max_ms,
            &mut self.backoff_min_ms,
            &mut self.backoff_max_ms,
            &mut self.session_idle_ms,
            &mut self.view_max_ms,
            &mut self.busy_max_ms,
            &mut self.busy_retry_ms,
            &mut self.probe_interval_ms,
            &mut self.suspect_after_ms,
            &mut self.unreachable_after_ms,
            &mut self.min_deviation_ms,
            &mut self.repair_interval_ms,
            &mut self.blocked_after_ms,
        ] {
            let scaled = u128::from(*duration).saturating_mul(sync_interval_ms.into());
            let scaled = scaled.checked_div(SYNC_INTERVAL_MS.into()).unwrap_or(u128::MAX);
            *duration = u64::try_from(scaled).unwrap_or(u64::MAX).max(1);
        }
        self.sync_interval_ms = sync_interval_ms.max(1);
        self
    }

    /// Whether the settings make sense together.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let must = |holds: bool, field: &'static str, must_be: &'static str| {
            if holds { Ok(()) } else { Err(OpenError::Setting { field, must_be }) }
        };
        must(self.sync_interval_ms > 0, "sync_interval_ms", "above 0")?;
        must(self.session_idle_ms > 0, "session_idle_ms", "above 0")?;
        must(self.view_max_ms > 0, "view_max_ms", "above 0")?;
        must(self.probe_interval_ms > 0, "probe_interval_ms", "above 0")?;
        must(self.cascade_min_ms > 0, "cascade_min_ms", "above 0")?;
        must(self.cascade_min_ms <= self.cascade_max_ms, "cascade_max_ms", "at least cascade_min_ms")?;
        must(self.unreachable_after_ms > 0, "unreachable_after_ms", "above 0")?;
        must(self.suspect_after_ms <= self.unreachable_after_ms, "unreachable_after_ms", "at least suspect_after_ms")?;
        must(self.max_inbound_sessions > 0, "max_inbound_sessions", "above 0")?;
        must(self.max_outbound_sessions > 0, "max_outbound_sessions", "above 0")?;
        must(self.window_bytes > 0, "window_bytes", "above 0")?;
        must(self.max_chunks > 0, "max_chunks", "above 0")?;
        let room = self.store.value_bytes.saturating_add(MAX_KEY_BYTES).saturating_add(ENTRIES_BYTES);
        must(self.max_frame_bytes >= room, "max_frame_bytes", "room for the largest value")?;
        must(self.max_frame_bytes <= MAX_FRAME_BYTES, "max_frame_bytes", "at most 16 MiB")?;
        must(self.chunk_bytes <= self.max_frame_bytes, "chunk_bytes", "at most max_frame_bytes")?;
        let address = self.advertise.as_deref().unwrap_or("-");
        must((1..=MAX_ADDRESS_BYTES).contains(&address.len()), "advertise", "1 to 256 bytes long")
    }
}

const SYNC_INTERVAL_MS: u64 = 60_000;
const MAX_FRAME_BYTES: usize = 16 << 20;
/// Room for a full context and everything else that is not the value.
const ENTRIES_BYTES: usize = 64 << 10;
