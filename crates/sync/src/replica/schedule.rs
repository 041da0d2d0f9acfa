//! When things happen: rounds, cascades, retries, probes, silence.

use reconvene_clock::{NodeId, Timestamp};

use reconvene_store::sabotage;

use super::Replica;
use super::links::Peer;
use super::session::SessionKey;
use crate::rng::Rng;
use crate::{Config, PeerState};

/// The timers that belong to no peer, session or address.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    next_round: Timestamp,
    cascade: Option<Cascade>,
    /// Something changed since the last round.
    news: bool,
    /// Peers that wait for a free slot.
    wanted: Vec<NodeId>,
    /// Periodic rounds so far.
    rounds: u64,
    /// Bytes of chunks sent since the last of them.
    pub(super) spent_bytes: u64,
}

/// Rounds in quick succession, until some of them in a row brought nothing.
#[derive(Clone, Debug)]
struct Cascade {
    at: Timestamp,
    quiet: u32,
}

impl Schedule {
    /// Whether a peer waits for a slot.
    pub(super) fn wants(&self, node: NodeId) -> bool {
        self.wanted.contains(&node)
    }

    /// Has a peer wait for a slot.
    pub(super) fn want(&mut self, node: NodeId) {
        self.wanted.push(node);
    }

    pub(super) fn new(now: Timestamp, config: &Config, rng: &mut Rng) -> Self {
        let wait = jittered(config.sync_interval_ms, rng);
        Self {
            next_round: now.saturating_add(wait),
            cascade: None,
            news: false,
            wanted: Vec::new(),
            rounds: 0,
            spent_bytes: 0,
        }
    }
}

/// Every so many periodic rounds an address is dialled that has no link, whatever its backoff says.
const OUTWARD_EVERY: u64 = 5;

/// A period, give or take a fifth.
fn jittered(period_ms: u64, rng: &mut Rng) -> u64 {
    let fifth = period_ms / 5;
    rng.between(period_ms.saturating_sub(fifth), period_ms.saturating_add(fifth))
}

impl Replica {
    /// Something is new here that others may lack, or a link stands that may bring something.
    pub(super) fn note_news(&mut self) {
        self.schedule.news = true;
        let (min, max) = (self.config.cascade_min_ms, self.config.cascade_max_ms);
        match &mut self.schedule.cascade {
            Some(cascade) => cascade.quiet = 0,
            None => {
                let at = self.now.saturating_add(self.rng.between(min, max));
                self.schedule.cascade = Some(Cascade { at, quiet: 0 });
            }
        }
    }

    /// Does everything that is due by now, and says whether deadlines may have changed.
    pub(super) fn run_timers(&mut self) -> bool {
        if self.wake_at.is_none_or(|at| at > self.now) {
            let waits = !self.schedule.wanted.is_empty();
            self.fill_slots();
            return waits;
        }
        self.watch_sessions();
        self.watch_bundles();
        self.watch_peers();
        self.dial();
        if self.leaving {
            return true;
        }
        if self.schedule.next_round <= self.now {
            let wait = jittered(self.config.sync_interval_ms, &mut self.rng);
            self.schedule.next_round = self.now.saturating_add(wait);
            self.schedule.rounds = self.schedule.rounds.saturating_add(1);
            self.schedule.spent_bytes = 0;
            if self.schedule.rounds.is_multiple_of(OUTWARD_EVERY) {
                self.try_the_unreachable();
            }
            self.round(self.config.fan_out);
        }
        if self.schedule.cascade.as_ref().is_some_and(|cascade| cascade.at <= self.now) {
            self.cascade_round();
        }
        self.fill_slots();
        true
    }

    /// When the first timer is due.
    pub(super) fn earliest_deadline(&mut self) -> Option<Timestamp> {
        for node in self.peers.take_touched() {
            let due = self.peers.get(&node).and_then(|peer| self.peer_deadline(peer));
            self.peers.set_due(node, due);
        }
        debug_assert!(self.knows_the_next_peer(), "a peer was changed, and its deadline was not worked out again");
        let address = self.addresses.next_due();
        self.deadlines().chain(address).min()
    }

    /// Whether no peer is due before the one that was found to be the first.
    fn knows_the_next_peer(&self) -> bool {
        let first = self.peers.values().filter_map(|peer| self.peer_deadline(peer)).min();
        first.is_none_or(|first| self.peers.next_due().is_some_and(|due| due <= first))
    }

    fn peer_deadline(&self, peer: &Peer) -> Option<Timestamp> {
        let probe = peer.last_sent.saturating_add(self.config.probe_interval_ms);
        let probe = Some(probe).filter(|_| peer.linked && !self.leaving);
        let retry = peer.retry_at.filter(|_| !self.leaving);
        [probe, retry, self.next_watch(peer)].into_iter().flatten().min()
    }

    /// All timers but those of addresses; those of peers as they were last worked out.
    fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        let idle = self.config.session_idle_ms;
        let view = self.config.view_max_ms;
        let sessions = self.sessions.values().flat_map(move |open| {
            let view = open.outgoing.as_ref().and_then(|outgoing| outgoing.view_deadline(view));
            view.into_iter().chain([open.progressed.saturating_add(idle)])
        });
        let repairs = self.repairs.values().map(move |open| open.progressed.saturating_add(idle));
        let awake = !self.leaving;
        let rounds = awake.then_some(self.schedule.next_round);
        let cascade = self.schedule.cascade.as_ref().map(|cascade| cascade.at).filter(|_| awake);
        let bundles = self.bundle_deadline();
        sessions.chain(repairs).chain(rounds).chain(cascade).chain(bundles).chain(self.peers.next_due())
    }

    /// One round of anti-entropy: the peer longest without a session, and others at random.
    fn round(&mut self, fan_out: usize) {
        self.stats.rounds = self.stats.rounds.saturating_add(1);
        self.tend_deletes();
        let idle = self.peers.iter().filter(|(node, peer)| {
            peer.linked && peer.state != PeerState::Left && peer.retry_at.is_none() && !self.in_session_with(**node)
        });
        let mut candidates: Vec<NodeId> = idle.map(|(node, _)| *node).collect();
        if sabotage::on(22) {
            let number = |node: NodeId| node.as_bytes().first().copied().unwrap_or(0);
            let partner = number(self.node()) ^ 1;
            candidates.sort_by_key(|node| (number(*node) != partner, *node));
            candidates.truncate(1);
        }
        #[cfg(reconvene_sabotage)]
        if sabotage::on(39) && !candidates.is_empty() {
            use std::hash::BuildHasher as _;
            let number = std::collections::hash_map::RandomState::new().hash_one(0_u8);
            let places = candidates.len();
            candidates.rotate_left(usize::try_from(number).unwrap_or(0) % places);
        }
        let last = |node: &NodeId| self.peers.get(node).and_then(|peer| peer.last_session);
        let longest = (0..candidates.len()).min_by_key(|index| candidates.get(*index).and_then(last));
        if let Some(longest) = longest {
            candidates.swap(0, longest);
        }
        if let Some((_, others)) = candidates.split_first_mut() {
            self.rng.draw(others, fan_out.saturating_sub(1));
        }
        candidates.truncate(fan_out);
        self.schedule.wanted = candidates;
    }

    fn cascade_round(&mut self) {
        let news = std::mem::take(&mut self.schedule.news);
        let Some(Cascade { quiet, .. }) = self.schedule.cascade.take() else { return };
        let quiet = if news { 0 } else { quiet.saturating_add(1) };
        if quiet < self.config.quiet_rounds {
            let wait = self.rng.between(self.config.cascade_min_ms, self.config.cascade_max_ms);
            self.schedule.cascade = Some(Cascade { at: self.now.saturating_add(wait), quiet });
        }
        self.round(self.config.cascade_fan_out);
    }

    /// Starts sessions with the peers that wait for one, as long as there are slots.
    fn fill_slots(&mut self) {
        while !self.leaving && !self.schedule.wanted.is_empty() {
            let outbound = self.sessions.values().filter(|open| open.initiated).count();
            if outbound >= self.config.max_outbound_sessions {
                return;
            }
            let node = self.schedule.wanted.remove(0);
            let ready = self.peers.get(&node).is_some_and(|peer| peer.linked && peer.state != PeerState::Left);
            if ready && !self.in_session_with(node) {
                self.say_hello(node);
            }
        }
    }

    fn in_session_with(&self, node: NodeId) -> bool {
        self.sessions.keys().any(|(peer, _)| *peer == node)
    }

    /// Drops sessions that stand still, and gives up views that are held for too long.
    fn watch_sessions(&mut self) {
        let idle = self.config.session_idle_ms;
        let stuck = self.sessions.iter().filter(|(_, open)| open.progressed.saturating_add(idle) <= self.now);
        for key in stuck.map(|(key, _)| *key).collect::<Vec<SessionKey>>() {
            self.fail(key);
        }
        self.watch_repairs();
        for key in self.views_too_old() {
            self.give_up_view(key);
        }
    }
}
