//! What silence means, and who else is asked about it.

use reconvene_clock::{NodeId, Timestamp};

use reconvene_store::sabotage;

use super::Replica;
use super::links::Peer;
use crate::detector::Threshold;
use crate::message::Message;
use crate::{PeerState, RejectReason};

/// How slow this replica itself is: the factor by which it is more patient with others, less one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slowness(u64);

impl Slowness {
    const MAX: u64 = 8;

    fn worse(self) -> Self {
        Self(self.0.saturating_add(1).min(Self::MAX))
    }

    fn better(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    fn stretch(self, silence_ms: u64) -> u64 {
        silence_ms.saturating_mul(self.0.saturating_add(1))
    }
}

impl Replica {
    /// Compares the time with the deadline that was announced. Whoever was stopped for a while finds every timer due and
    /// every message still to be read; the silence of that while is its own.
    pub(super) fn note_lateness(&mut self) {
        let Some(late_ms) = self.wake_at.filter(|at| *at <= self.now).map(|at| self.now.saturating_since(at)) else {
            return;
        };
        if late_ms < self.config.late_after_ms {
            let better = self.slowness.better();
            if self.slowness != better {
                self.slowness = better;
                self.peers.touch_all();
            }
            return;
        }
        self.slowness = self.slowness.worse();
        for peer in self.peers.values_mut() {
            peer.last_heard = peer.last_heard.saturating_add(late_ms).min(self.now);
            peer.detector.skip_to(peer.last_heard);
        }
    }

    /// The silence after which a peer is suspect.
    fn suspect_after(&self, peer: &Peer) -> u64 {
        self.patience(peer, Threshold::SUSPECT, self.config.suspect_after_ms)
    }

    /// The silence after which a peer counts as gone.
    fn unreachable_after(&self, peer: &Peer) -> u64 {
        self.patience(peer, Threshold::UNREACHABLE, self.config.unreachable_after_ms)
    }

    fn patience(&self, peer: &Peer, threshold: Threshold, least_ms: u64) -> u64 {
        let (pause, deviation) = (self.config.probe_interval_ms, self.config.min_deviation_ms);
        let usual = peer.detector.silence_ms(threshold, pause, deviation).unwrap_or(0);
        self.slowness.stretch(usual.max(least_ms))
    }

    /// When silence will change what is known of a peer, or others are to be asked about it.
    pub(super) fn next_watch(&self, peer: &Peer) -> Option<Timestamp> {
        match peer.state {
            PeerState::Alive => Some(peer.last_heard.saturating_add(self.suspect_after(peer))),
            PeerState::Suspect => {
                let gone = self.unreachable_after(peer);
                let drop = peer.linked.then(|| peer.last_heard.saturating_add(gone));
                let give_up = peer.last_heard.max(peer.vouched.unwrap_or_default()).saturating_add(gone);
                let ask = peer.asked_at.map_or(self.now, |at| at.saturating_add(self.config.probe_interval_ms));
                Some(drop.map_or(give_up, |drop| drop.min(give_up)).min(ask))
            }
            PeerState::Unreachable | PeerState::Left | PeerState::Retired => None,
        }
    }

    /// Retries, probes, and what silence means.
    pub(super) fn watch_peers(&mut self) {
        // One without a link that still counts as alive is judged at the first timer of any.
        let now = self.now;
        let looked_at = |node: &NodeId, peer: &Peer| !peer.linked || self.peers.is_due(*node, now);
        let nodes = self.peers.iter().filter(|(node, peer)| looked_at(node, peer)).map(|(node, _)| *node);
        for node in nodes.collect::<Vec<_>>() {
            let due = |peer: &Peer| peer.retry_at.is_some_and(|at| at <= self.now);
            if self.peers.get(&node).is_some_and(due) {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.retry_at = None;
                }
                if !self.schedule.wants(node) {
                    self.schedule.want(node);
                }
            }
            let Some(peer) = self.peers.get(&node) else { continue };
            let quiet = peer.linked && peer.last_sent.saturating_add(self.config.probe_interval_ms) <= self.now;
            if quiet && !self.leaving {
                self.send(node, &Message::Probe { target: node });
            }
            self.judge_silence(node);
        }
    }

    /// A peer that is silent for long is suspect; then others are asked, so that a dead link and a dead broker are told
    /// apart; and when nobody heard of it either, it is unreachable.
    fn judge_silence(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get(&node) else { return };
        if !matches!(peer.state, PeerState::Alive | PeerState::Suspect) {
            return;
        }
        let silence = self.now.saturating_since(peer.last_heard);
        let unheard = self.now.saturating_since(peer.last_heard.max(peer.vouched.unwrap_or_default()));
        let (suspect, gone, linked) = (self.suspect_after(peer), self.unreachable_after(peer), peer.linked);
        // Only a frame clears a suspect; more patience does not, or its deadlines would be due again and again.
        let was_suspect = peer.state == PeerState::Suspect;
        if silence >= gone && linked {
            self.drop_link(node, RejectReason::Silence);
        }
        if unheard >= gone {
            self.set_state(node, PeerState::Unreachable);
        } else if was_suspect || silence >= suspect || !linked {
            self.set_state(node, PeerState::Suspect);
            self.ask_others(node);
        }
    }

    /// Asks a few others about a peer, at most once in each interval of probes.
    fn ask_others(&mut self, node: NodeId) {
        let (now, interval) = (self.now, self.config.probe_interval_ms);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.asked_at.is_some_and(|at| at.saturating_add(interval) > now) {
            return;
        }
        peer.asked_at = Some(now);
        if self.leaving {
            return;
        }
        let able = self
            .peers
            .iter()
            .filter(|(other, peer)| **other != node && peer.linked && peer.verified && peer.state == PeerState::Alive);
        let mut others: Vec<NodeId> = able.map(|(other, _)| *other).collect();
        self.rng.draw(&mut others, self.config.probe_fan_out);
        others.truncate(self.config.probe_fan_out);
        for other in others {
            self.send(other, &Message::Probe { target: node });
        }
    }

    /// What somebody else says of a peer that they were asked about.
    pub(super) fn vouched(&mut self, from: NodeId, target: NodeId, age_ms: Option<u64>) {
        let (now, interval) = (self.now, self.config.probe_interval_ms);
        if from == target {
            return;
        }
        let Some((peer, age_ms)) = self.peers.get_mut(&target).zip(age_ms) else { return };
        if peer.asked_at.is_some_and(|at| now.saturating_since(at) <= interval) {
            let heard = Timestamp::from_millis(now.as_millis().saturating_sub(age_ms));
            peer.vouched = peer.vouched.max(Some(heard));
        }
    }

    /// Dials one address without a link at once: isolation must not have to wait for the longest backoff.
    pub(super) fn try_the_unreachable(&mut self) {
        let own = self.node();
        let down = self.addresses.iter().filter(|(_, entry)| {
            let node = entry.node();
            let linked = node.and_then(|node| self.peers.get(&node)).is_some_and(|peer| peer.linked);
            !linked && node != Some(own) && !entry.is_dialling() && !sabotage::on(21) && !sabotage::on(35)
        });
        let mut down: Vec<String> = down.map(|(address, _)| address.clone()).collect();
        self.rng.draw(&mut down, 1);
        if let Some(entry) = down.first().and_then(|address| self.addresses.get_mut(address)) {
            entry.due = Some(self.now);
        }
        self.dial();
    }
}
