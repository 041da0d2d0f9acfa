//! The peers of a replica, and when each of them is next to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use reconvene_clock::{NodeId, Timestamp};

use super::links::Peer;

/// Peers by node.
///
/// With hundreds of them, looking at each for the earliest deadline costs more than what a frame is about. So what was
/// changed is noted, and only that is worked out again.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    by_node: BTreeMap<NodeId, Peer>,
    due: BTreeMap<NodeId, Timestamp>,
    in_order: BTreeSet<(Timestamp, NodeId)>,
    /// Changed since their deadlines were worked out.
    touched: Vec<NodeId>,
}

impl Deref for Peers {
    type Target = BTreeMap<NodeId, Peer>;

    fn deref(&self) -> &Self::Target {
        &self.by_node
    }
}

impl Peers {
    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Peer> {
        let peer = self.by_node.get_mut(node)?;
        if self.touched.last() != Some(node) {
            self.touched.push(*node);
        }
        Some(peer)
    }

    pub(super) fn or_insert_with(&mut self, node: NodeId, new: impl FnOnce() -> Peer) -> &mut Peer {
        self.touched.push(node);
        self.by_node.entry(node).or_insert_with(new)
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.by_node.remove(node);
        self.touched.push(*node);
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.touch_all();
        self.by_node.values_mut()
    }

    /// What all deadlines depend on has changed.
    pub(super) fn touch_all(&mut self) {
        self.touched.clear();
        self.touched.extend(self.by_node.keys().copied());
    }

    /// Those whose deadlines are to be worked out again. They may be gone, and may be named twice.
    pub(super) fn take_touched(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn set_due(&mut self, node: NodeId, due: Option<Timestamp>) {
        let before = match due {
            Some(due) => self.due.insert(node, due),
            None => self.due.remove(&node),
        };
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.in_order.remove(&(before, node));
        }
        if let Some(due) = due {
            self.in_order.insert((due, node));
        }
    }

    /// Whether the deadline of a peer, as it was worked out, is over.
    pub(super) fn is_due(&self, node: NodeId, now: Timestamp) -> bool {
        self.due.get(&node).is_some_and(|due| *due <= now)
    }

    /// The earliest deadline of those that were worked out.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(due, _)| *due)
    }
}
