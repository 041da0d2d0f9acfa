//! Retirement: a replica's say in collection and its sessions end; its data never does.

use std::collections::BTreeMap;

use reconvene_clock::{Counter, ReplicaId};
use reconvene_store::{Frozen, Key, LocalWrite, Plan, PlanError, Version};

use super::Replica;
use crate::{Event, NewWrite, Output, PeerState, Retirement, Ticket};

impl Replica {
    /// Writes down that a replica no longer counts, and the greatest counter of it that is held here.
    pub(super) fn apply_retire(&mut self, mut plan: Plan, ticket: Option<Ticket>, replica: ReplicaId) {
        let mut dots = Vec::new();
        if !self.members.has_retired(self.replica(), replica) {
            match self.plan_retirement(&mut plan, replica) {
                Ok(dot) => dots.extend(dot),
                Err(error) => {
                    self.outputs.extend(ticket.map(|ticket| Output::WriteRefused { ticket, error }));
                    return;
                }
            }
        }
        self.persist(plan.finish(), |_| false);
        self.outputs.extend(ticket.map(|ticket| Output::Written { ticket, dots }));
        self.note_news();
    }

    /// Plans the own fact that retires `replica`, with what the plan knows of it as its cut.
    fn plan_retirement(
        &mut self,
        plan: &mut Plan,
        replica: ReplicaId,
    ) -> Result<Option<reconvene_clock::Dot>, PlanError> {
        let cut = plan.knowledge().last_of(replica);
        let Some(write) = (Retirement { replica, author: self.replica(), cut }).to_write() else { return Ok(None) };
        let NewWrite { key, class, body, replaces } = write;
        let hlc = self.stamp();
        plan.write(LocalWrite { key, class, body, hlc, replaces }).map(Some)
    }

    /// The keys of the own facts that may have to go with `versions`: one for each replica that they retire.
    pub(super) fn own_retirement_keys(&self, versions: &[(Key, Version)]) -> Vec<Key> {
        let retired = versions.iter().filter_map(|(key, _)| Retirement::named_by(key));
        retired.filter_map(|(replica, _)| Retirement::key_of(replica, self.replica())).collect()
    }

    /// A replica that is retired by versions of this batch, and of which more is held here than their authors held, gets
    /// an own fact in the same batch: so the greatest cut is that of all that anybody held when it was retired.
    pub(super) fn add_own_cuts(&mut self, plan: &mut Plan, versions: &[(Key, Version)]) {
        let mut cuts: BTreeMap<ReplicaId, Option<Counter>> = BTreeMap::new();
        for (key, version) in versions {
            let Some((replica, author)) = Retirement::named_by(key) else { continue };
            let Some(value) = version.body.value().filter(|_| version.dot.replica == author) else { continue };
            if let Ok(retirement) = Retirement::decode(replica, author, value) {
                let cut = cuts.entry(replica).or_default();
                *cut = (*cut).max(retirement.cut);
            }
        }
        for (replica, cut) in cuts {
            if self.owes_a_cut(replica) && plan.knowledge().last_of(replica) > cut {
                // A frozen or full clock only makes the cut smaller, which marks more as late and loses nothing.
                drop(self.plan_retirement(plan, replica));
            }
        }
    }

    /// Whether this replica has to say what it held of `replica`, now that it hears of its retirement for the first
    /// time. A later incarnation of the retired node holds what nobody else may have seen, and never does.
    fn owes_a_cut(&self, replica: ReplicaId) -> bool {
        let node = self.members.get(replica).map(|member| member.node);
        !self.members.is_retired(replica) && node != Some(self.node())
    }

    /// A replica was retired.
    pub(super) fn replica_retired(&mut self, replica: ReplicaId) {
        self.deletes.stability_moved();
        if !self.is_open {
            return;
        }
        self.notify(Event::Retired { replica });
        if replica == self.replica() {
            self.freeze(Frozen::Retired, None);
        }
        let using = self.peers.iter().filter(|(_, peer)| peer.replica == Some(replica));
        for node in using.map(|(node, _)| *node).collect::<Vec<_>>() {
            for key in self.sessions_with(node) {
                self.end(key);
            }
        }
        if let Some(node) = self.members.get(replica).map(|member| member.node).filter(|node| *node != self.node()) {
            // It takes the state of a node without replicas, if it is one.
            let state = self.peer_state(node);
            self.set_state(node, if state == PeerState::Retired { PeerState::Unreachable } else { state });
        }
    }
}
