//! What is to happen in a run, and when.

use std::cmp::Ordering;

use reconvene_sync::Input;

use super::net::Frame;
use super::plan::Restart;

/// What waits in the queue.
#[derive(Debug)]
pub(super) enum Event {
    Frame(Frame),
    Input {
        node: usize,
        life: u64,
        input: Input,
    },
    Wake {
        node: usize,
    },
    /// A store is done with a batch.
    Stored {
        node: usize,
        life: u64,
    },
    Connect {
        from: usize,
        to: usize,
        life: u64,
    },
    Start {
        node: usize,
        life: u64,
        restart: Restart,
    },
    /// A fragment of a bundle was carried to a broker, whatever has become of it meanwhile.
    Fragment {
        to: usize,
        bytes: Vec<u8>,
    },
    Begin {
        step: usize,
    },
    End {
        step: usize,
    },
    Flap {
        step: usize,
        blocked: bool,
    },
    Calm,
    Check(Check),
}

/// What is looked at while the network is calm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// All brokers are equal again.
    Healed,
    /// An urgent write overtakes bulk.
    Bulk,
    Urgent,
    Arrived,
    /// They become equal after writes within the time that is promised.
    Write,
    Equal,
    End,
}

/// An event and its time.
pub(super) struct Queued {
    pub(super) at: u64,
    pub(super) number: u64,
    pub(super) event: Event,
}

impl Ord for Queued {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}
