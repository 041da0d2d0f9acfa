//! What the programs around two replicas say to each other: carried, and nothing else.

use reconvene_clock::NodeId;

use super::Replica;
use crate::message::{Message, NOTES};
use crate::{Output, PeerState};

impl Replica {
    /// Sends a note to a peer that takes notes. One that cannot be sent is dropped and counted.
    pub(super) fn send_note(&mut self, to: NodeId, bytes: Vec<u8>) {
        let peer = self.peers.get(&to).filter(|peer| peer.linked && peer.verified && peer.state != PeerState::Left);
        let takes = peer.is_some_and(|peer| peer.capabilities & NOTES != 0);
        if !takes || self.leaving || bytes.len() > self.config.max_note_bytes {
            self.stats.notes_dropped = self.stats.notes_dropped.saturating_add(1);
            return;
        }
        if self.send(to, &Message::Note(bytes)).is_some() {
            self.stats.notes_sent = self.stats.notes_sent.saturating_add(1);
        }
    }

    /// Hands a note out, if the peer has shown that it belongs to this network.
    pub(super) fn on_note(&mut self, from: NodeId, bytes: Vec<u8>) {
        let verified = self.peers.get(&from).is_some_and(|peer| peer.verified);
        if verified && bytes.len() <= self.config.max_note_bytes {
            self.outputs.push_back(Output::Note { from, bytes });
        } else {
            self.stats.notes_dropped = self.stats.notes_dropped.saturating_add(1);
        }
    }
}
