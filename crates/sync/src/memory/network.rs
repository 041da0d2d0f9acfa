//! Links that delay, lose, repeat and reorder frames in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use reconvene_clock::{NodeId, Timestamp};

use crate::rng::Rng;

/// What every link of a [`Network`] does to frames. Different delays reorder them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "given by the caller, complete")]
pub struct LinkFaults {
    /// How long a frame travels, in milliseconds.
    pub delay_ms: RangeInclusive<u64>,
    /// Frames lost, of 1,000.
    pub loss_per_mille: u16,
    /// Frames that arrive a second time, of 1,000.
    pub duplicate_per_mille: u16,
}

impl LinkFaults {
    /// A link that delivers every frame once, in order, at once.
    pub const NONE: Self = Self { delay_ms: 0..=0, loss_per_mille: 0, duplicate_per_mille: 0 };
}

/// A frame that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data for a driver to take apart")]
pub struct Delivery {
    /// Who sent it.
    pub from: NodeId,
    /// Who receives it.
    pub to: NodeId,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Frames on their way between nodes, in virtual time.
///
/// A cut loses what is on its way, as a broken cable does.
///
/// ```
/// use reconvene_clock::{NodeId, Timestamp};
/// use reconvene_sync::memory::{LinkFaults, Network};
///
/// let (a, b) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
/// let mut network = Network::new(7);
/// network.set_faults(LinkFaults { delay_ms: 5..=5, ..LinkFaults::NONE });
/// network.send(Timestamp::from_millis(100), a, b, b"hello".to_vec());
/// assert_eq!(network.next_due(), Some(Timestamp::from_millis(105)));
/// assert_eq!(network.pop(Timestamp::from_millis(104)), None);
/// assert_eq!(network.pop(Timestamp::from_millis(105)).map(|delivery| delivery.frame), Some(b"hello".to_vec()));
///
/// network.cut(a, b);
/// network.send(Timestamp::from_millis(200), b, a, b"lost".to_vec());
/// assert_eq!(network.next_due(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    rng: Rng,
    faults: LinkFaults,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// By time of arrival, then by order of sending.
    underway: BTreeMap<(Timestamp, u64), Delivery>,
    sent: u64,
}

impl Network {
    /// A network without faults whose chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), faults: LinkFaults::NONE, cut: BTreeSet::new(), underway: BTreeMap::new(), sent: 0 }
    }

    /// Changes what links do to frames that are sent from now on.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        self.faults = faults;
    }

    /// Puts a frame on its way, or loses it.
    pub fn send(&mut self, now: Timestamp, from: NodeId, to: NodeId, frame: Vec<u8>) {
        if self.is_cut(from, to) || self.happens(self.faults.loss_per_mille) {
            return;
        }
        if self.happens(self.faults.duplicate_per_mille) {
            self.put(now, Delivery { from, to, frame: frame.clone() });
        }
        self.put(now, Delivery { from, to, frame });
    }

    /// When the next frame arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.underway.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next frame that has arrived by `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Delivery> {
        let entry = self.underway.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Cuts the link between two nodes in both directions and loses what is on its way there.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cut.insert(pair(a, b));
        self.underway.retain(|_, delivery| pair(delivery.from, delivery.to) != pair(a, b));
    }

    /// Restores the link between two nodes.
    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.cut.remove(&pair(a, b));
    }

    /// Restores all links.
    pub fn heal_all(&mut self) {
        self.cut.clear();
    }

    /// Whether the link between two nodes is cut.
    #[must_use]
    pub fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cut.contains(&pair(a, b))
    }

    fn put(&mut self, now: Timestamp, delivery: Delivery) {
        let delay = self.rng.between(*self.faults.delay_ms.start(), *self.faults.delay_ms.end());
        self.underway.insert((now.saturating_add(delay), self.sent), delivery);
        self.sent = self.sent.saturating_add(1);
    }

    fn happens(&mut self, per_mille: u16) -> bool {
        self.rng.between(0, 999) < u64::from(per_mille)
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId::from_bytes([1; 16]);
    const B: NodeId = NodeId::from_bytes([2; 16]);

    fn run(seed: u64, faults: LinkFaults) -> Vec<u8> {
        let mut network = Network::new(seed);
        network.set_faults(faults);
        for number in 0..200 {
            network.send(Timestamp::from_millis(0), A, B, vec![number]);
        }
        std::iter::from_fn(|| network.pop(Timestamp::from_millis(1_000))).map(|delivery| delivery.frame[0]).collect()
    }

    #[test]
    fn without_faults_all_arrive_once_in_order() {
        assert_eq!(run(1, LinkFaults::NONE), (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn faults_lose_repeat_and_reorder_reproducibly() {
        let faults = LinkFaults { delay_ms: 1..=50, loss_per_mille: 300, duplicate_per_mille: 300 };
        let arrived = run(1, faults.clone());
        assert_eq!(arrived, run(1, faults.clone()));
        assert_ne!(arrived, run(2, faults));
        assert!(!arrived.is_sorted());
        let distinct: BTreeSet<_> = arrived.iter().collect();
        assert!(distinct.len() < 200 && distinct.len() < arrived.len());
    }

    #[test]
    fn a_cut_loses_what_is_underway_both_ways() {
        let mut network = Network::new(1);
        network.send(Timestamp::from_millis(0), A, B, vec![1]);
        network.cut(B, A);
        assert!(network.is_cut(A, B));
        assert_eq!(network.pop(Timestamp::from_millis(9)), None);
        network.heal(A, B);
        network.send(Timestamp::from_millis(0), B, A, vec![2]);
        assert_eq!(network.pop(Timestamp::from_millis(9)).map(|delivery| delivery.to), Some(A));
    }
}
