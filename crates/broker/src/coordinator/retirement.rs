//! Brokers that will not return, by an operator's word.

use reconvene_clock::{NodeId, ReplicaId};

use crate::coordinator::Coordinator;
use crate::statistics::count;
use crate::{CommandError, Reply};

impl Coordinator {
    pub(super) fn retire_member(&mut self, node: NodeId, even_if_heard: bool) -> Result<Reply, CommandError> {
        if node == self.own.node {
            return Err(CommandError::out_of_range(
                "the broker to retire",
                node,
                "one other than the one that is asked",
            ));
        }
        let known: Vec<ReplicaId> = self.view.incarnations(node).collect();
        if known.is_empty() {
            return Err(CommandError::UnknownMember { node });
        }
        let replicas: Vec<_> = known.into_iter().filter(|replica| !self.view.is_retired(*replica)).collect();
        if !even_if_heard && replicas.iter().any(|replica| self.is_there(*replica)) {
            return Err(CommandError::StillHeard { node });
        }
        for replica in &replicas {
            count(&mut self.statistics.retired);
            self.outbox.retire(*replica);
        }
        Ok(Reply::MemberRetired { node, replicas })
    }

    /// It was said that an incarnation will not return: its jobs are for the others, without waiting for its silence.
    pub(super) fn member_retired(&mut self, replica: ReplicaId) {
        if replica == self.own.replica {
            return;
        }
        self.know_owner(replica);
        self.check_owner(replica);
    }
}
