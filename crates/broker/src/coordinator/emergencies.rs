//! Emergencies: when they begin and end here, and what that does to the jobs that wait.

use reconvene_executor::EmergencyId;

use crate::EventKind;
use crate::coordinator::Coordinator;
use crate::coordinator::timers::Timer;
use crate::fact::EmergencyFact;
use crate::view::{EmergencyView, in_force};

impl Coordinator {
    /// Something about an emergency has changed: its fact, or the time.
    pub(super) fn emergency_changed(&mut self, id: EmergencyId) {
        let Some(fact) = self.view.emergency(id).cloned() else { return };
        let stands = in_force(&fact, self.at.wall);
        if self.known_emergencies.insert(id) {
            let EmergencyFact { level, region, expires: until, .. } = fact.clone();
            self.notify(EventKind::EmergencyDeclared { id, level, region, until });
        }
        if stands {
            // Wall time decides; the timer only looks again, since the two clocks may drift apart.
            self.arm(Timer::Emergency(id), fact.expires.saturating_since(self.at.wall).max(1));
            self.standing.insert(id);
        } else if self.standing.remove(&id) || fact.revoked {
            self.timers.disarm(Timer::Emergency(id));
            let kind =
                if fact.revoked { EventKind::EmergencyRevoked { id } } else { EventKind::EmergencyExpired { id } };
            self.notify(kind);
        }
        let waiting: Vec<_> = self.view.jobs_naming(id).filter(|job| self.queue.contains(*job)).collect();
        for job in waiting {
            self.enqueue(job);
        }
        // What runs for an emergency that has ended may be stopped for another now.
        self.placing = true;
    }

    pub(super) fn emergency_view(&self, id: EmergencyId, fact: &EmergencyFact) -> EmergencyView {
        EmergencyView {
            id,
            level: fact.level,
            region: fact.region.clone(),
            issued: fact.issued,
            expires: fact.expires,
            revoked: fact.revoked,
            in_force: in_force(fact, self.at.wall),
        }
    }
}
