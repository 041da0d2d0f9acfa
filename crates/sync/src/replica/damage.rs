//! Rows that cannot be read any more: they leave Knowledge, so that ordinary sessions bring back what was in them.

use reconvene_store::{CheckReport, Frozen, Plan, Revision};

use super::Replica;
use super::apply::Applying;
use crate::{Event, Output, Ticket, Want};

impl Replica {
    /// A load failed, and this is what the store lost.
    ///
    /// What was live there becomes unknown; what its contexts named stays known, so that no older copy returns in
    /// between. It is never a reason to delete a copy anywhere else.
    pub(super) fn damaged(&mut self, ticket: Ticket, revision: Revision, report: &CheckReport) {
        // A report of another revision than the one that plans begin at would count some rows wrongly. The load that is
        // repeated finds the damage again.
        if revision == self.head.revision() {
            self.give_up_rows(report);
        }
        self.load_again(ticket);
    }

    fn give_up_rows(&mut self, report: &CheckReport) {
        let rows = report.lost().count();
        let own = self.replica();
        // An own write that is lost leaves a hole among own numbers. If nobody else has it, or has it for long, nobody ever
        // fills that hole, and no delete above it settles. Under another name this one is retired, and its holes are passed.
        let mut dots = report.lost().flat_map(|(_, dots)| dots);
        let forgets_own = dots.any(|dot| dot.replica == own) && self.head.marks().frozen().is_none();
        let mut plan = Plan::new(self.head.clone(), [], [], &self.config.store);
        match plan.lose(report.lost(), report.prints.clone()) {
            Ok(()) => {
                if forgets_own {
                    plan.freeze(Frozen::Amnesia);
                }
                self.persist(plan.finish(), |_| false);
                self.notify(Event::RowsLost { rows });
                if forgets_own {
                    self.notify(Event::Frozen { why: Frozen::Amnesia });
                }
            }
            Err(error) => self.refused(self.node(), &error),
        }
    }

    /// Repeats the load with this ticket, or ends what it was for. Frozen views may hold the damage for ever.
    fn load_again(&mut self, ticket: Ticket) {
        if let Some(Applying { keys, .. }) = self.applying.as_ref().filter(|applying| applying.is_for(ticket)) {
            let want = Want::Keys(keys.clone());
            self.outputs.push_back(Output::Load { ticket, view: None, want });
        } else if let Some(key) = self.loads.remove(&ticket) {
            self.fail(key);
        } else if !self.bundle_loaded(ticket, &[], true) && !self.repair_failed(ticket) {
            self.tombstones_again(ticket);
        }
    }
}
