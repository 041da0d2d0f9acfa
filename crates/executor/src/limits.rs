//! Every size that somebody else chooses, and its limit.
//!
//! [`codec`](crate::codec) refuses a frame that breaks one of them, in both directions.

/// Bytes of one frame.
pub const FRAME_BYTES: usize = 1024 * 1024;

/// Bytes of a [`Tag`](crate::Tag).
pub const TAG_BYTES: usize = 64;

/// Tags of a job or of an executor.
pub const TAGS: usize = 64;

/// Bytes of the name of a client.
pub const CLIENT_BYTES: usize = 128;

/// Bytes of the name of a region.
pub const REGION_BYTES: usize = 128;

/// Bytes of the payload of a job.
pub const PAYLOAD_BYTES: usize = 256 * 1024;

/// The greatest value of a job.
pub const VALUE_MAX: u32 = 1_000_000;

/// The greatest amount of a resource or of work, and the longest duration in milliseconds: 2^48 - 1, so that sums of
/// thousands stay in range.
pub const AMOUNT_MAX: u64 = (1 << 48) - 1;

/// Bytes of the output of an attempt. A runner's longer output becomes a failure that says so.
pub const OUTPUT_BYTES: usize = 512 * 1024;

/// Bytes of the error text of an attempt that failed.
pub const ERROR_BYTES: usize = 4 * 1024;

/// Jobs that an executor may run at once.
pub const SLOTS: u32 = 1_024;

/// Attempts whose results an executor may keep at once, and attempts named in one list of a message.
pub const ATTEMPTS: usize = 8 * 1024;

/// Orders in one answer. Brokers leave the rest for the next answer.
pub const ORDERS: usize = 64;

/// Bytes of the payloads of all orders in one answer together, so that the answer stays below [`FRAME_BYTES`].
/// Brokers leave the rest for the next answer.
pub const ORDERS_PAYLOAD_BYTES: usize = 512 * 1024;

/// Brokers in a roster.
pub const ROSTER: usize = 256;

/// Bytes of an address of a broker.
pub const ADDRESS_BYTES: usize = 256;

/// The longest lease or heartbeat interval that a broker may ask for: a week, in milliseconds.
pub const TERM_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// The whole of an attempt's progress or quality, in basis points.
pub const WHOLE_BP: u16 = 10_000;
