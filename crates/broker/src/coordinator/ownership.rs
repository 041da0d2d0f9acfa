//! Which brokers are there, and taking over the jobs of those that are not.

use reconvene_clock::{Dot, NodeId, ReplicaId, Timestamp};
use reconvene_executor::{AttemptId, FencingToken, JobId};
use reconvene_store::sabotage;

use crate::coordinator::timers::Timer;
use crate::coordinator::{Coordinator, number};
use crate::fact::{OwnCause, OwnFact};
use crate::statistics::count;
use crate::view::JobRecord;
use crate::{EventKind, Fact, FactKey, LossCause, strategy};

/// A broker that was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    heard: Timestamp,
    left: bool,
}

/// An incarnation that owns jobs or is the home of executors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// When it became known here, or when its newest write arrived.
    known: Timestamp,
    /// The counter of that write.
    newest: u64,
    /// Since when it counts as gone.
    gone: Option<Timestamp>,
}

impl Coordinator {
    pub(super) fn peer_heard(&mut self, node: NodeId) {
        let heard = self.at.mono;
        let peer = self.peers.entry(node).or_insert(Peer { heard, left: false });
        peer.heard = heard;
        if core::mem::replace(&mut peer.left, false) {
            // It is back, and may fall silent or leave again.
            for replica in self.owners_of(node) {
                self.check_owner(replica);
            }
        }
    }

    /// The incarnations of a broker that are watched.
    fn owners_of(&self, node: NodeId) -> Vec<ReplicaId> {
        let of_node = |replica: &ReplicaId| self.view.member(*replica).is_some_and(|member| member.node == node);
        self.owners.keys().copied().filter(of_node).collect()
    }

    pub(super) fn peer_left(&mut self, node: NodeId) {
        let heard = self.at.mono;
        self.peers.entry(node).or_insert(Peer { heard, left: true }).left = true;
        for replica in self.owners_of(node) {
            self.check_owner(replica);
        }
    }

    pub(super) fn member_changed(&mut self, replica: ReplicaId) {
        let Some(node) = self.view.member(replica).map(|member| member.node) else { return };
        self.know_owner(replica);
        let others: Vec<_> = self.owners.keys().copied().collect();
        for other in others {
            // An earlier incarnation of this broker will not be heard again.
            if self.view.member(other).is_some_and(|member| member.node == node) && self.view.is_superseded(other) {
                self.check_owner(other);
            }
        }
    }

    /// Begins to watch an incarnation.
    pub(super) fn know_owner(&mut self, replica: ReplicaId) {
        if replica == self.own.replica || self.owners.contains_key(&replica) {
            return;
        }
        self.owners.insert(replica, Owner { known: self.at.mono, newest: 0, gone: None });
        if self.view.is_superseded(replica) || self.view.is_retired(replica) {
            self.check_owner(replica);
        } else {
            self.arm(Timer::Owner(replica), self.config.owner_timeout_ms);
        }
    }

    /// A broker that has written something new is there, whoever brought it: two brokers that cannot reach each other
    /// but share a third must not take jobs from each other in turn.
    pub(super) fn saw_write(&mut self, dot: Dot) {
        if dot.replica == self.own.replica {
            return;
        }
        self.know_owner(dot.replica);
        let at = self.at.mono;
        if let Some(owner) = self.owners.get_mut(&dot.replica)
            && owner.newest < dot.counter.get()
        {
            owner.newest = dot.counter.get();
            owner.known = at;
        }
    }

    /// When the broker of this incarnation was last heard, or became known; `None` if it will not be heard again.
    fn last_heard(&self, replica: ReplicaId) -> Option<Timestamp> {
        self.heard(replica).filter(|_| !self.peer_of(replica).is_some_and(|peer| peer.left))
    }

    /// The same, whether or not it has left since.
    fn heard(&self, replica: ReplicaId) -> Option<Timestamp> {
        if self.view.is_superseded(replica) || self.view.is_retired(replica) {
            return None;
        }
        let known = self.owners.get(&replica).map_or(self.at.mono, |owner| owner.known);
        Some(self.peer_of(replica).map_or(known, |peer| peer.heard.max(known)))
    }

    fn peer_of(&self, replica: ReplicaId) -> Option<&Peer> {
        self.view.member(replica).and_then(|member| self.peers.get(&member.node))
    }

    /// Looks whether a broker is gone, and arranges what follows.
    pub(super) fn check_owner(&mut self, replica: ReplicaId) {
        let at = self.at.mono;
        let last = self.last_heard(replica);
        let Some(owner) = self.owners.get_mut(&replica) else { return };
        if let Some(last) = last {
            let due = last.saturating_add(self.config.owner_timeout_ms);
            if due > at {
                owner.gone = None;
                self.timers.arm(Timer::Owner(replica), due);
                return;
            }
        }
        // A broker that is gone is looked at again, to notice that it is back.
        if last.is_some() {
            self.arm(Timer::Owner(replica), self.config.owner_timeout_ms);
        }
        let heard = self.heard(replica);
        let Some(owner) = self.owners.get_mut(&replica) else { return };
        // Unless it was heard in between, and has fallen silent or left again.
        if owner.gone.is_some_and(|gone| heard.is_none_or(|heard| heard <= gone)) {
            return;
        }
        owner.gone = Some(at);
        let jobs: Vec<_> = self.view.open_jobs(replica).collect();
        self.notify(EventKind::OwnerSilent { broker: replica, jobs: number(jobs.len()) });
        for job in jobs {
            self.consider_takeover(job, replica);
        }
        self.arm(Timer::HomeLost(replica), self.config.detection_ms());
    }

    /// Since when this incarnation counts as gone, unless it was heard since.
    pub(super) fn gone_since(&self, replica: ReplicaId) -> Option<Timestamp> {
        let gone = self.owners.get(&replica)?.gone?;
        self.last_heard(replica).is_none_or(|heard| heard < gone).then_some(gone)
    }

    /// Finds our place in the line of those who may take a job over, and waits for our turn.
    pub(super) fn consider_takeover(&mut self, job: JobId, owner: ReplicaId) {
        let Some(gone) = self.gone_since(owner) else { return };
        let turn = gone.saturating_add(self.config.takeover_step_ms.saturating_mul(self.rank_for(job, owner)));
        if turn > self.at.mono {
            self.timers.arm(Timer::Takeover(job), turn);
        } else {
            self.take_over(job);
        }
    }

    /// How many of the brokers that are heard come before this one in the line of those who stand in for an owner.
    pub(super) fn rank_for(&self, job: JobId, owner: ReplicaId) -> u64 {
        let own = self.own.replica;
        let at = self.at.mono;
        let recent_ms = self.config.owner_timeout_ms / 2;
        let heard = |node: &NodeId| {
            self.peers.get(node).is_some_and(|peer| !peer.left && at.saturating_since(peer.heard) < recent_ms)
        };
        let of_owner = self.view.member(owner).map(|member| member.node);
        // A later incarnation of the owner first, then by the score that would also win a tie between two claims.
        let score =
            |replica: ReplicaId, node: NodeId| (Some(node) == of_owner, strategy::owner_tie(job, replica), replica);
        let mine = score(own, self.own.node);
        let others = self.view.latest_members().filter(|member| member.replica != own && member.replica != owner);
        let others = others.filter(|member| !self.view.is_retired(member.replica));
        let before = others.filter(|member| heard(&member.node) && score(member.replica, member.node) > mine);
        number(before.count())
    }

    pub(super) fn take_over(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let before = job.ownership();
        let own = self.own.replica;
        if job.is_over(self.config.retries) || before.owner == own || self.gone_since(before.owner).is_none() {
            return;
        }
        // X27: nobody but the owner goes on with it.
        if sabotage::on(27) {
            return;
        }
        if self.learning {
            self.arm(Timer::Takeover(id), self.config.heartbeat_ms);
            return;
        }
        let Some(epoch) = before.epoch.checked_next() else { return };
        let fact = OwnFact { owner: own, cause: OwnCause::TakenOver, at: self.next_stamp() };
        count(&mut self.statistics.taken_over);
        self.write(FactKey::Own { job: id, epoch, by: own }, Fact::Own(fact));
    }

    /// An executor holds a token above ours, of an owner whose claim has not come here. If nobody is left who knows of
    /// that claim, it never will, and the executor would refuse the job for ever: claims the job above it.
    pub(super) fn outrank(&mut self, id: JobId, greatest: FencingToken) -> bool {
        let Some(job) = self.view.job(id) else { return false };
        let before = job.ownership();
        let own = self.own.replica;
        let ours = (before.epoch, strategy::owner_tie(id, own), own);
        let ahead = greatest.epoch.0.saturating_sub(before.epoch.0);
        if before.owner != own || (greatest.epoch, greatest.tie, greatest.owner) <= ours || ahead > EPOCHS_AHEAD {
            return false;
        }
        let Some(epoch) = greatest.epoch.checked_next() else { return false };
        let fact = OwnFact { owner: own, cause: OwnCause::TakenOver, at: self.next_stamp() };
        self.write(FactKey::Own { job: id, epoch, by: own }, Fact::Own(fact));
        true
    }

    /// The leases that the owner before could have given have ended: what nobody has seen at work is lost.
    pub(super) fn recover(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        if job.owner() != self.own.replica || job.is_over(self.config.retries) {
            return;
        }
        let given = |attempt| Some(job.attempts.get(&attempt)?.given_to()?.0);
        let live: Vec<_> = job.live_attempts().map(|attempt| (attempt, given(attempt))).collect();
        for (attempt, executor) in live {
            match executor {
                Some(executor) if self.is_watched(attempt, executor) => {}
                Some(executor) => self.lose(attempt, executor, LossCause::HomeSilent),
                // Its owner's fact has not come. Only a broker that has seen it knows where it runs.
                None if self.is_seen(attempt) => {}
                None => self.lose(attempt, None, LossCause::Unwatched),
            }
        }
        self.dirty.insert(id);
    }

    /// Whether a broker that is there has written that it saw this attempt.
    fn is_seen(&self, attempt: AttemptId) -> bool {
        let record = self.view.job(attempt.job).and_then(|job| job.attempts.get(&attempt));
        record.is_some_and(|record| {
            record
                .seen_by()
                .any(|broker| if broker == self.own.replica { self.is_held(attempt) } else { self.is_there(broker) })
        })
    }

    /// When an attempt is lost whose owner's fact has not come, so that nobody knows where it runs: it was last seen by
    /// a broker that does not see it any more, this one or one that is gone. `None` while somebody watches it.
    pub(super) fn unwatched_since(&self, job: &JobRecord, attempt: AttemptId) -> Option<Timestamp> {
        let record = job.attempts.get(&attempt).filter(|record| record.given_to().is_none())?;
        let seer = record.last_seen_by()?;
        let own = self.own.replica;
        // An executor that is alive has found its home again, or another, by then.
        let detection_ms = self.config.detection_ms();
        if seer == own {
            return (!self.is_held(attempt)).then(|| self.opened.saturating_add(detection_ms));
        }
        let gone = self.gone_since(seer).filter(|_| job.owner() == own)?;
        Some(gone.saturating_add(detection_ms))
    }

    fn is_held(&self, attempt: AttemptId) -> bool {
        self.homed.values().any(|homed| homed.attempts.contains_key(&attempt))
    }

    /// Whether some broker that is there watches the leases of this attempt.
    fn is_watched(&self, attempt: AttemptId, executor: NodeId) -> bool {
        self.view.executor(executor).is_some_and(|(home, _)| {
            if home == self.own.replica {
                self.homed.get(&executor).is_some_and(|homed| homed.attempts.contains_key(&attempt))
            } else {
                self.gone_since(home).is_none()
            }
        })
    }

    /// A broker has been gone for so long that its executors must have found another home, if they are alive.
    pub(super) fn home_lost(&mut self, replica: ReplicaId) {
        if self.gone_since(replica).is_none() {
            return;
        }
        let own = self.own.replica;
        self.dirty.extend(self.view.open_jobs(own));
        let homed: Vec<_> = self.view.executors().filter(|(_, home, _)| *home == replica).map(|(id, ..)| id).collect();
        for executor in homed {
            let ours = |attempt: &AttemptId| self.view.job(attempt.job).is_some_and(|job| job.owner() == own);
            let attempts: Vec<_> = self.view.working_on(executor).filter(ours).collect();
            for attempt in attempts {
                self.lose(attempt, executor, LossCause::HomeSilent);
            }
        }
    }

    /// A broker that came back knows what happened meanwhile, or that there is nobody to ask.
    pub(super) fn learned(&mut self) {
        if core::mem::replace(&mut self.learning, false) {
            self.timers.disarm(Timer::Alone);
            self.dirty.extend(self.view.open_jobs(self.own.replica));
        }
        // X29: what has changed since a client was told is looked at again after each exchange.
        if sabotage::on(29) {
            let own = self.own.replica;
            let changed = |job: &&JobRecord| job.told_by(own).is_some_and(|told| job.canonical() != Some(told));
            self.dirty.extend(self.view.jobs_after(None).filter(changed).map(|job| job.id));
        }
    }

    /// Whether a broker may be given a job.
    pub(super) fn is_there(&self, replica: ReplicaId) -> bool {
        self.gone_since(replica).is_none() && !self.view.is_superseded(replica)
    }
}

/// How far an executor's word moves the epoch of a job at once, so that a false one does not use them up.
const EPOCHS_AHEAD: u32 = 1_024;
