//! What a connection is for, and which of its streams a frame takes.

use reconvene_sync::{Lane, frame_lane};

/// What the two ends of a connection speak to each other. Each connection carries exactly one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new protocol must be routed by every endpoint, so it must not compile silently"
)]
pub enum Protocol {
    /// Brokers exchange metadata.
    Sync = 1,
    /// An executor and its broker.
    Executor = 2,
    /// A client and a broker.
    Client = 3,
}

impl Protocol {
    /// All protocols, in the order of their wire numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Sync, Self::Executor, Self::Client];

    /// The number in the hello.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Sync => 1,
            Self::Executor => 2,
            Self::Client => 3,
        }
    }

    /// The protocol with this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }

    /// The stream that `frame` takes: bulk data must not hold up what is urgent.
    pub(crate) fn lane(self, frame: &[u8]) -> Lane {
        match self {
            Self::Sync => frame_lane(frame),
            Self::Executor | Self::Client => Lane::Urgent,
        }
    }
}

/// The priority of a lane's stream for quinn: whatever waits on the urgent stream goes into packets first.
pub(crate) const fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Urgent => 1,
        Lane::Bulk => 0,
    }
}
