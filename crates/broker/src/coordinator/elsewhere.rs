//! Placement elsewhere: asking other brokers for room for a job that finds none here, and answering those who ask.
//!
//! The owner asks one broker at a time. Who has room keeps it for a while and says so; the owner then writes the next
//! epoch with that broker's name, and only that fact starts or stops anything. What is said in between may be lost: a
//! place that nobody comes for lapses.

use std::collections::BTreeSet;

use reconvene_clock::{NodeId, ReplicaId, Timestamp};
use reconvene_executor::{JobId, JobSpec};
use reconvene_resolve::{JobFacts, Level, Reason};

use crate::coordinator::Coordinator;
use crate::coordinator::outbox::Effect;
use crate::coordinator::preemption::{Wanted, tags};
use crate::coordinator::timers::Timer;
use crate::fact::{OwnCause, OwnFact};
use crate::peer::{PeerMessage, PlaceAnswer, PlaceRefusal, PlaceRequest, PlaceVerdict};
use crate::statistics::count;
use crate::view::{JobRecord, level_in};
use crate::{EventKind, Fact, FactKey, strategy};

/// A round of questions about one job.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Who has not answered yet.
    waits_for: Option<ReplicaId>,
    asked: BTreeSet<ReplicaId>,
    /// Who could run it and has no room; the first of them is the best.
    able: Vec<ReplicaId>,
    /// Who did not answer, likewise.
    silent: Vec<ReplicaId>,
}

impl Coordinator {
    /// Looks for another broker for a job that waits here. Says whether one is asked, or has it now.
    pub(super) fn look_elsewhere(&mut self, id: JobId, spec: &JobSpec) -> bool {
        if self.learning || !self.queue.contains(id) {
            return false;
        }
        let Some(job) = self.view.job(id) else { return false };
        let (ownership, level) = (job.ownership(), self.view.level(job, self.at.wall));
        let asking = self.troubles.get(&id).map(|trouble| &trouble.asking);
        if asking.is_some_and(|asking| asking.waits_for.is_some()) {
            return true;
        }
        let owned_since = self.locals.get(id).map_or_else(Timestamp::default, |local| local.owned_since);
        let waited = self.at.mono.saturating_since(owned_since) >= self.config.place_after_ms;
        // A job that was handed over stays for a while, so that it cannot be passed round and round.
        if ownership.cause == Some(OwnCause::HandedOver) && !waited {
            return false;
        }
        let mine = self.own_slots(spec);
        let open = |replica| self.view.open_count(replica);
        let here = room(mine, open(self.own.replica));
        let elsewhere =
            self.slots_elsewhere(spec).into_iter().map(|(replica, slots)| (room(slots, open(replica)), replica));
        // Where it can run here it goes to those who seem to have room, unless others may be stopped for it there.
        let worth_asking = |free: i64| mine == 0 || level > 0 || free > 0 && free > here;
        let candidates = elsewhere.filter(|(free, _)| worth_asking(*free));
        let asked = asking.map(|asking| &asking.asked);
        let next = candidates.filter(|(_, replica)| asked.is_none_or(|asked| !asked.contains(replica))).max();
        let enough = asked.is_some_and(|asked| asked.len() >= ASKS);
        match next.filter(|_| !enough).and_then(|(_, replica)| Some((replica, self.view.member(replica)?.node))) {
            Some((replica, node)) => {
                self.ask(id, spec, replica, node);
                true
            }
            None => self.end_asking(id, mine == 0),
        }
    }

    fn ask(&mut self, id: JobId, spec: &JobSpec, replica: ReplicaId, node: NodeId) {
        let Some(job) = self.view.job(id) else { return };
        let request = PlaceRequest {
            job: id,
            epoch: job.ownership().epoch,
            demand: spec.demand,
            requires: spec.requires.clone(),
            emergency: spec.emergency,
            region: spec.region.clone(),
            client: spec.client.clone(),
        };
        let trouble = self.troubles.entry(id).or_default();
        trouble.asking.asked.insert(replica);
        trouble.asking.waits_for = Some(replica);
        count(&mut self.statistics.places_asked);
        self.tell(node, PeerMessage::PlaceRequest(request));
        self.arm(Timer::PlaceAnswer(id), self.config.heartbeat_ms);
    }

    /// Everybody worth asking was asked. One that can never run here goes to who can run it when idle: it waits there, and
    /// not in vain.
    fn end_asking(&mut self, id: JobId, stranded: bool) -> bool {
        let Asking { able, silent, .. } =
            self.troubles.get_mut(&id).map(|trouble| core::mem::take(&mut trouble.asking)).unwrap_or_default();
        let there = able.into_iter().chain(silent).find(|replica| self.is_there(*replica));
        match there.filter(|_| stranded) {
            Some(to) => self.hand_over(id, to),
            None => false,
        }
    }

    fn hand_over(&mut self, id: JobId, to: ReplicaId) -> bool {
        let Some(epoch) = self.view.job(id).and_then(|job| job.ownership().epoch.checked_next()) else { return false };
        let fact = OwnFact { owner: to, cause: OwnCause::HandedOver, at: self.next_stamp() };
        count(&mut self.statistics.handed_over);
        self.write(FactKey::Own { job: id, epoch, by: self.own.replica }, Fact::Own(fact));
        true
    }

    /// A broker that was asked has not answered in time.
    pub(super) fn place_answer_is_late(&mut self, id: JobId) {
        let Some(trouble) = self.troubles.get_mut(&id) else { return };
        let Some(silent) = trouble.asking.waits_for.take() else { return };
        trouble.asking.silent.push(silent);
        self.consider_hand_over(id);
    }

    pub(super) fn hear_peer(&mut self, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::PlaceRequest(request) => {
                let (job, epoch, by) = (request.job, request.epoch, self.own.replica);
                let verdict = match self.keep_a_place(from, &request) {
                    Ok(for_ms) => PlaceVerdict::Reserved { for_ms },
                    Err(why) => PlaceVerdict::Refused(why),
                };
                match verdict {
                    PlaceVerdict::Reserved { .. } => count(&mut self.statistics.places_kept),
                    PlaceVerdict::Refused(_) => count(&mut self.statistics.places_refused),
                }
                self.tell(from, PeerMessage::PlaceAnswer(PlaceAnswer { job, epoch, by, verdict }));
            }
            PeerMessage::PlaceAnswer(answer) => self.place_answered(from, answer),
        }
    }

    /// Keeps a place for a job of another broker, if there is one or one can be freed. Nobody is stopped before the job is
    /// ours.
    fn keep_a_place(&mut self, from: NodeId, request: &PlaceRequest) -> Result<u64, PlaceRefusal> {
        if self.learning {
            return Err(PlaceRefusal::Learning);
        }
        if let Some(job) = self.view.job(request.job).filter(|job| job.spec.is_some()) {
            let ownership = job.ownership();
            let owner = self.view.member(ownership.owner).map(|member| member.node);
            let older = request.epoch < ownership.epoch;
            if older || request.epoch == ownership.epoch && owner != Some(from) || job.is_over(self.config.retries) {
                return Err(PlaceRefusal::NotOwner);
            }
        }
        let at = self.at.mono;
        if let Some(kept) = self.reserved.get(request.job) {
            // Asked again: the answer may have been lost.
            return Ok(kept.until.saturating_since(at));
        }
        if self.reserved.foreign() >= PLACES {
            return Err(PlaceRefusal::TooMany);
        }
        let emergency = request.emergency.and_then(|id| self.view.emergency(id));
        let level = emergency.map_or(0, |emergency| level_in(emergency, &request.region, self.at.wall));
        let able =
            self.homed.values().any(|homed| homed.takes_work() && homed.could_run(request.demand, &request.requires));
        if !able {
            return Err(PlaceRefusal::Unable);
        }
        let facts = JobFacts {
            demand: strategy::resources(request.demand),
            requires: tags(request.requires.iter()),
            level: Level::new(level).unwrap_or_default(),
            ..JobFacts::new(strategy::candidate(request.job), self.stamp)
        };
        let wanted = Wanted { job: request.job, facts, client: &request.client, demand: request.demand };
        match self.plan_place(&wanted) {
            Ok(mut reserved) => {
                reserved.until = at.saturating_add(self.config.reservation_ms);
                reserved.foreign = true;
                self.reserve(request.job, reserved);
                Ok(self.config.reservation_ms)
            }
            Err(reason) => {
                if level > 0 {
                    self.report_refusal(request.job, &reason);
                }
                Err(refusal(&reason, level))
            }
        }
    }

    fn place_answered(&mut self, from: NodeId, answer: PlaceAnswer) {
        let PlaceAnswer { job: id, epoch, by, verdict } = answer;
        let is_from = self.view.member(by).is_some_and(|member| member.node == from);
        let owned = self.view.job(id).map(JobRecord::ownership).filter(|own| own.owner == self.own.replica);
        let Some(trouble) = self.troubles.get_mut(&id) else { return };
        // An answer that comes late is as good, as long as the question stands.
        let was_asked = is_from && owned.is_some_and(|own| own.epoch == epoch) && trouble.asking.asked.contains(&by);
        if !was_asked || !self.queue.contains(id) {
            return;
        }
        let expected = trouble.asking.waits_for == Some(by);
        match verdict {
            PlaceVerdict::Reserved { .. } => {
                trouble.asking = Asking::default();
                self.timers.disarm(Timer::PlaceAnswer(id));
                self.hand_over(id, by);
            }
            PlaceVerdict::Refused(why) => {
                trouble.asking.silent.retain(|silent| *silent != by);
                if why.is_able() && !trouble.asking.able.contains(&by) {
                    trouble.asking.able.push(by);
                }
                if expected {
                    trouble.asking.waits_for = None;
                    self.timers.disarm(Timer::PlaceAnswer(id));
                }
                self.notify(EventKind::PlaceRefused { job: id, by, reason: why });
                if expected {
                    self.consider_hand_over(id);
                }
            }
        }
    }

    fn tell(&mut self, to: NodeId, message: PeerMessage) {
        self.outbox.effect(Effect::Tell { to, message });
    }
}

fn refusal(reason: &Reason, level: u8) -> PlaceRefusal {
    if *reason == Reason::StormGuard {
        return PlaceRefusal::StormGuard;
    }
    if let Reason::PreemptionRefused { why } = *reason
        && level > 0
    {
        return PlaceRefusal::Preemption(why);
    }
    PlaceRefusal::Busy
}

/// Slots that are left when each job of that broker takes one. Negative if jobs wait.
fn room(slots: u64, jobs: usize) -> i64 {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    signed(slots).saturating_sub(i64::try_from(jobs).unwrap_or(i64::MAX))
}

/// Brokers asked about one job before it is left where it is for a while.
const ASKS: usize = 4;

/// Places kept for jobs of others at a time.
const PLACES: usize = 256;
