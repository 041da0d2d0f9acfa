//! When it is for this executor to start a broker: none has been heard for long, and whoever comes first has not done so.

use reconvene_clock::Timestamp;

use crate::agent::home::State;
use crate::agent::{Agent, Output};
use crate::event::Event;
use crate::message::{RosterEntry, RosterRole};

/// Our place among the executors that may start a broker, and how long there was none.
#[derive(Clone, Debug)]
pub(super) struct Heirship {
    /// How many come before us in the last roster; `None` if no broker has told us that we are one of them.
    rank: Option<u32>,
    /// When a broker was heard last, or when this began.
    heard: Timestamp,
    /// When a broker was asked for since.
    asked: Option<Timestamp>,
}

impl Heirship {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { rank: None, heard: now, asked: None }
    }

    /// A broker has said something.
    pub(super) const fn heard(&mut self, now: Timestamp) {
        self.heard = now;
        self.asked = None;
    }
}

impl Agent {
    /// Takes the roster of the home, unless it has nothing new.
    pub(super) fn take_roster(&mut self, roster: &[RosterEntry]) {
        if roster.is_empty() {
            return;
        }
        self.candidates.set_roster(roster);
        let heirs = roster.iter().filter(|entry| entry.role == RosterRole::Heir);
        let place =
            heirs.map(|heir| &heir.address).position(|address| self.config.promote_at.as_ref() == Some(address));
        self.heirship.rank = place.and_then(|place| u32::try_from(place).ok());
    }

    /// When to start a broker, if none is heard before.
    pub(super) fn promotion_due(&self) -> Option<Timestamp> {
        let State::Seeking(_) = self.state else { return None };
        if self.draining {
            return None;
        }
        let Heirship { rank, heard, asked } = self.heirship;
        let wait_ms = self.config.promote_step_ms.saturating_mul(rank?.into());
        let wait_ms = wait_ms.saturating_add(self.config.promote_after_ms);
        // One that was asked for and is not heard either may have come to nothing.
        Some(asked.unwrap_or(heard).saturating_add(wait_ms))
    }

    pub(super) fn promote_if_due(&mut self) {
        let now = self.last.mono;
        if self.promotion_due().is_none_or(|due| due > now) {
            return;
        }
        let Some(rank) = self.heirship.rank else { return };
        self.heirship.asked = Some(now);
        let silent_ms = now.saturating_since(self.heirship.heard);
        self.notify(Event::Promoted { rank, silent_ms });
        let known = self.candidates.others(self.config.promote_at.as_deref());
        self.push(Output::Promote { rank, known });
    }
}
