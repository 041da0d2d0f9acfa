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
        let linked = self.peers.iter().filter(|(node, peer)| peer.linked && peer.verified && Some(**node) != not_to);
        let mut targets: Vec<NodeId> = linked.map(|(node, _)| *node).collect();
        self.rng.draw(&mut targets, self.config.push_fan_out);
        targets.truncate(self.config.push_fan_out);
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

    /// As many hops as reach every member when each passes news on to two others, and one to spare.
    pub(super) fn hop_limit(&self) -> u8 {
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        let log2 = u64::BITS.saturating_sub(members.saturating_sub(1).leading_zeros());
        u8::try_from(log2).unwrap_or(u8::MAX).saturating_add(1)
    }
}
