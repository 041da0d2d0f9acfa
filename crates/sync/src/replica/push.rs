//! Urgent versions: to a few peers at once, ahead of every session.

use reconvene_clock::NodeId;
use reconvene_store::{Key, Version};

use super::Replica;
use crate::columns::{Memory, travels_alone};
use crate::message::Message;
use crate::wire::encoded_bytes;

impl Replica {
    /// Sends urgent versions to a few peers at once. Losing them is harmless: sessions bring them as well.
    pub(super) fn push(&mut self, not_to: Option<NodeId>, hops: u8, versions: Vec<(Key, Version)>) {
        if versions.is_empty() {
            return;
        }
        let targets = self.push_targets(not_to);
        for versions in self.push_frames(versions) {
            let count = u64::try_from(versions.len()).unwrap_or(u64::MAX);
            let message = Message::Push { hops, versions };
            for target in &targets {
                if self.send(*target, &message).is_some() {
                    self.stats.pushes_sent = self.stats.pushes_sent.saturating_add(count);
                }
            }
        }
    }

    /// Whom to push to: the next linked peer on either side in the circle of all names, and others at random.
    ///
    /// Random targets alone leave out some members: with three each, 6 of 100. Where all are linked, the circle leaves out
    /// none that is not cut off by two losses (Voulgaris and van Steen 2007, "Hybrid Dissemination").
    fn push_targets(&mut self, not_to: Option<NodeId>) -> Vec<NodeId> {
        let own = self.node();
        let linked = self.peers.iter().filter(|(_, peer)| peer.linked && peer.verified);
        let (before, mut circle): (Vec<NodeId>, Vec<NodeId>) =
            linked.map(|(node, _)| *node).partition(|node| *node < own);
        // From here round the circle: the next comes first, the one on the other side last.
        circle.extend(before);
        let mut targets: Vec<NodeId> = Vec::with_capacity(self.config.push_fan_out);
        targets.extend(circle.first().filter(|_| self.config.push_fan_out > 1));
        targets.extend(circle.last().filter(|last| self.config.push_fan_out > 3 && !targets.contains(last)));
        targets.retain(|node| Some(*node) != not_to);
        circle.retain(|node| Some(*node) != not_to && !targets.contains(node));
        let random = self.config.push_fan_out.saturating_sub(targets.len());
        self.rng.draw(&mut circle, random);
        circle.truncate(random);
        targets.extend(circle);
        targets
    }

    /// Urgent versions in frames of the greatest size allowed, by dot. One that is larger by itself is left out.
    fn push_frames(&self, mut versions: Vec<(Key, Version)>) -> Vec<Vec<(Key, Version)>> {
        versions.sort_by_key(|(_, version)| version.dot);
        let limit = self.config.max_push_bytes.min(self.config.max_frame_bytes).saturating_sub(64);
        let mut frames: Vec<Vec<(Key, Version)>> = Vec::new();
        let (mut used, mut memory) = (limit, Memory::default());
        for entry in versions {
            let bytes = encoded_bytes(&entry.0, &entry.1);
            if bytes > limit || !travels_alone(&entry) {
                continue;
            }
            used = used.saturating_add(bytes);
            let fits = memory.admit(&entry.0, &entry.1) && used <= limit;
            match frames.last_mut() {
                Some(frame) if fits => frame.push(entry),
                _ => {
                    (used, memory) = (bytes, Memory::default());
                    memory.admit(&entry.0, &entry.1);
                    frames.push(vec![entry]);
                }
            }
        }
        frames
    }

    /// Twice as many hops as reach every member when each passes news on to two others, and one to spare: more cost nothing,
    /// since nobody passes on what is not new.
    pub(super) fn hop_limit(&self) -> u8 {
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        let log2 = u64::BITS.saturating_sub(members.saturating_sub(1).leading_zeros());
        u8::try_from(log2).unwrap_or(u8::MAX).saturating_mul(2).saturating_add(1)
    }
}
