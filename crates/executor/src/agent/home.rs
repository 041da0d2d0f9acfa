//! Which broker is the home, or how far the search for one is.

use std::collections::BTreeMap;

use reconvene_clock::{NodeId, Timestamp};

use crate::config::AgentConfig;
use crate::limits;
use crate::message::RosterEntry;

/// Where the agent stands with brokers.
#[derive(Clone, Debug)]
pub(super) enum State {
    Seeking(Seeking),
    Home(Home),
    /// The executor has left; nothing happens any more.
    Left,
}

/// No home. One broker after the other is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeking {
    pub(super) step: Step,
    /// When this step has taken too long, or, between two steps, when to take the next.
    pub(super) until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Between two brokers.
    Pausing,
    /// Waiting for the link.
    Connecting,
    /// Waiting for the answer to a registration.
    Registering {
        broker: NodeId,
        /// When the registration was sent; `None` if the machine has slept since.
        sent: Option<Timestamp>,
        /// When to register again, should there be no answer.
        again: Timestamp,
        /// How long to wait after that, in milliseconds.
        wait_ms: u64,
        /// How often the broker knew a greater session.
        behind: u32,
    },
}

/// A broker that answered a registration.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) broker: NodeId,
    /// Whether the link is up.
    pub(super) linked: bool,
    /// When it answered last, whatever it was.
    pub(super) last_answer: Timestamp,
    pub(super) heartbeat_due: Timestamp,
    /// When heartbeats that may still be answered were sent; 0 is the registration. Emptied when the machine sleeps,
    /// for monotonic time may have stood still since.
    pub(super) sent: BTreeMap<u64, Timestamp>,
    /// When to connect again while the link is down.
    pub(super) reconnect_due: Timestamp,
    pub(super) reconnect_wait_ms: u64,
}

impl Home {
    /// Notes when a heartbeat was sent.
    pub(super) fn note_sent(&mut self, sequence: u64, now: Timestamp) {
        if self.sent.len() >= UNANSWERED_HEARTBEATS {
            self.sent.pop_first();
        }
        self.sent.insert(sequence, now);
    }

    /// When the heartbeat that is answered was sent, if that may still be believed. Older ones are forgotten.
    pub(super) fn answered(&mut self, sequence: u64) -> Option<Timestamp> {
        let sent = self.sent.get(&sequence).copied()?;
        self.sent = self.sent.split_off(&sequence);
        Some(sent)
    }
}

/// Heartbeats whose time of sending is remembered. A later answer renews nothing.
const UNANSWERED_HEARTBEATS: usize = 64;

/// The addresses to try, round and round: those configured, then those of the roster.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    addresses: Vec<String>,
    configured: usize,
    next: usize,
    /// Addresses still to be tried before the round is over.
    left: usize,
    /// The one being tried, or that of the home; the index may be out of range.
    current: Option<String>,
}

impl Candidates {
    pub(super) fn new(config: &AgentConfig) -> Self {
        let mut addresses = Vec::new();
        for address in &config.brokers {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let configured = addresses.len();
        Self { addresses, configured, next: 0, left: configured, current: None }
    }

    /// Takes the roster of the home in place of the one before.
    pub(super) fn set_roster(&mut self, roster: &[RosterEntry]) {
        self.addresses.truncate(self.configured);
        for RosterEntry { node: _, role: _, address } in roster.iter().take(limits::ROSTER) {
            let fits = (1..=limits::ADDRESS_BYTES).contains(&address.len());
            if fits && !self.addresses.contains(address) {
                self.addresses.push(address.clone());
            }
        }
        self.left = self.left.min(self.addresses.len());
    }

    /// Starts a round behind the broker that was tried or the home last, which comes last then.
    pub(super) fn start_round(&mut self) {
        if let Some(at) = self.addresses.iter().position(|address| Some(address) == self.current.as_ref()) {
            self.next = at.saturating_add(1);
        }
        self.left = self.addresses.len();
    }

    /// The next address; `None` if there are none at all.
    pub(super) fn advance(&mut self) -> Option<String> {
        if self.left == 0 {
            self.left = self.addresses.len();
        }
        self.left = self.left.saturating_sub(1);
        let at = self.next.checked_rem(self.addresses.len())?;
        self.next = at.saturating_add(1);
        self.current = self.addresses.get(at).cloned();
        self.current.clone()
    }

    /// Whether every address was tried since the round began.
    pub(super) const fn round_over(&self) -> bool {
        self.left == 0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// All addresses but this one.
    pub(super) fn others(&self, own: Option<&str>) -> Vec<String> {
        self.addresses.iter().filter(|address| Some(address.as_str()) != own).cloned().collect()
    }

    pub(super) const fn is_only_one(&self) -> bool {
        self.addresses.len() == 1
    }

    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub(super) fn set_current(&mut self, address: Option<String>) {
        self.current = address;
    }
}
