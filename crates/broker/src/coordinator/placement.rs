//! Which waiting job goes to which executor, and which goes to another broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{NodeId, ReplicaId};
use reconvene_executor::{AttemptId, JobId, JobSpec, Resources, SessionEpoch};
use reconvene_resolve::{HeadRoom, Reason};

use crate::coordinator::Coordinator;
use crate::coordinator::queue::{Passed, Shape};
use crate::coordinator::timers::Timer;
use crate::explain::{Choice, Preference};
use crate::fact::{AttemptCause, AttemptFact, Phase, PhaseMark, SpecFact};
use crate::statistics::count;
use crate::view::{JobRecord, serves};
use crate::{EventKind, Fact, FactKey, WaitReason, strategy};

/// An executor with room, during one round.
struct Room {
    executor: NodeId,
    session: SessionEpoch,
    slots: u32,
    free: Resources,
}

/// What executors are ranked by for one job, the least first: whether it lost the job in this session, how busy it is, how
/// unevenly the job would leave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    lost_it: bool,
    busy: u64,
    imbalance: u64,
    executor: NodeId,
}

impl Coordinator {
    /// Puts a job among those that wait, in its place.
    pub(super) fn enqueue(&mut self, id: JobId) {
        let Some(job) = self.view.job(id) else { return };
        let Some(spec) = &job.spec else { return };
        let level = self.view.level(job, self.at.wall);
        let total = self.total_capacity();
        let facts = strategy::job_facts(id, &spec.fact, level);
        let key = strategy::rank_key(&self.in_force.policy, &facts, total);
        let shape = Shape::of(&spec.fact.spec);
        self.queue.insert(id, shape, key);
        self.placing = true;
    }

    pub(super) fn rank_waiting(&mut self) {
        for job in self.queue.jobs() {
            self.enqueue(job);
        }
    }

    pub(super) fn total_capacity(&self) -> Resources {
        let serving = self.homed.values().filter(|homed| homed.takes_work());
        serving.fold(Resources::NONE, |total, homed| total.checked_add(homed.capacity).unwrap_or(total))
    }

    /// Places waiting jobs in rank order until nothing more fits.
    pub(super) fn place(&mut self) {
        if self.learning || self.queue.len() == 0 {
            return;
        }
        self.drop_void_reservations();
        self.place_reserved();
        self.place_in_rank_order();
        self.preempt();
    }

    fn place_in_rank_order(&mut self) {
        let mut rooms = self.rooms();
        let mut passed = Passed::default();
        let total = self.total_capacity();
        while !rooms.is_empty() {
            let Some((id, shape)) = self.queue.first(&passed) else { break };
            let Some(job) = self.view.job(id) else {
                passed.jobs.insert(id);
                continue;
            };
            if self.held_back(job, free_of(&rooms), total).is_some() {
                // Whoever comes after it in rank is of no graver tier, and asks for as much.
                passed.shapes.insert(shape);
                continue;
            }
            match self.choose(job, &rooms) {
                Some((index, choice)) => {
                    let (executor, session, demand) = self.take_room(&mut rooms, index, job);
                    self.offer(id, executor, session, demand, choice);
                }
                // Another job of this shape may fit where this one was refused.
                None if self.troubles.get(&id).is_some_and(|trouble| !trouble.refused_by.is_empty()) => {
                    passed.jobs.insert(id);
                }
                None => {
                    passed.shapes.insert(shape);
                }
            }
        }
    }

    /// Why a job has to leave the room there is to graver ones, if it has to: what the policy keeps free, over all
    /// executors.
    pub(super) fn held_back(&self, job: &JobRecord, free: Resources, total: Resources) -> Option<Reason> {
        if *self.in_force.policy.head_room() == HeadRoom::NONE {
            return None;
        }
        let spec = job.spec.as_ref()?;
        let level = self.view.level(job, self.at.wall);
        let facts = strategy::job_facts(job.id, &spec.fact, level);
        strategy::held_back(&self.in_force.policy, &facts, free, total)
    }

    /// What is free on all executors that may be given work.
    pub(super) fn free_capacity(&self) -> Resources {
        free_of(&self.rooms())
    }

    fn rooms(&self) -> Vec<Room> {
        let free = self.homed.iter().filter(|(id, homed)| homed.takes_work() && self.linked.contains(id));
        free.map(|(id, homed)| {
            let (slots, free) = self.reserved.leave(*id, homed);
            Room { executor: *id, session: homed.session, slots, free }
        })
        .filter(|room| room.slots > 0)
        .collect()
    }

    /// The executor for a job: of another session than those that lost it, if there is one; then by fit.
    fn choose(&self, job: &JobRecord, rooms: &[Room]) -> Option<(usize, Choice)> {
        let spec = job.spec.as_ref()?;
        let (demand, requires) = (spec.fact.spec.demand, &spec.fact.spec.requires);
        let fits = |room: &Room| {
            let tags = self.homed.get(&room.executor).is_some_and(|homed| homed.could_run(demand, requires));
            tags && demand.fits_in(room.free) && !self.has_refused(job.id, room.executor)
        };
        let lost_on: BTreeSet<SessionEpoch> = job
            .attempts
            .values()
            .filter(|record| record.phase() == Some(Phase::Lost))
            .filter_map(|record| Some(record.given_to()?.1))
            .collect();
        let rank = |room: &Room| {
            let homed = self.homed.get(&room.executor)?;
            let lost_it = lost_on.contains(&room.session);
            let busy = used_share(homed.slots, room.slots);
            let imbalance = strategy::imbalance(homed.capacity, room.free, demand);
            Some(Rank { lost_it, busy, imbalance, executor: room.executor })
        };
        let (mut first, mut second, mut fitting) = (None, None, 0_u32);
        for (index, room) in rooms.iter().enumerate().filter(|(_, room)| fits(room)) {
            fitting = fitting.saturating_add(1);
            let entry = Some((rank(room)?, index));
            if first.is_none() || entry < first {
                second = std::mem::replace(&mut first, entry);
            } else if second.is_none() || entry < second {
                second = entry;
            }
        }
        let (best, index) = first?;
        let choice = second.map_or(Choice::OnlyOne, |(other, at)| Choice::Of {
            fitting,
            second: other.executor,
            by: self.preference(&best, &other, rooms.get(index), rooms.get(at)),
        });
        Some((index, choice))
    }

    /// In what the executor that was chosen goes before the second.
    fn preference(&self, best: &Rank, other: &Rank, room: Option<&Room>, other_room: Option<&Room>) -> Preference {
        let slots = |room: Option<&Room>| {
            let slots = room.and_then(|room| self.homed.get(&room.executor)).map_or(0, |homed| homed.slots);
            (slots.saturating_sub(room.map_or(0, |room| room.slots)), slots)
        };
        if best.lost_it != other.lost_it {
            Preference::HadNotLostIt
        } else if best.busy != other.busy {
            let ((used, slots), (second_used, second_slots)) = (slots(room), slots(other_room));
            Preference::LessBusy { used, slots, second_used, second_slots }
        } else if best.imbalance != other.imbalance {
            Preference::MoreEvenly
        } else {
            Preference::Name
        }
    }

    /// Whether an executor did not take this job, and is not to be asked again yet.
    pub(super) fn has_refused(&self, job: JobId, executor: NodeId) -> bool {
        let under = self.troubles.get(&job).and_then(|trouble| trouble.refused_by.get(&executor));
        under.zip(self.homed.get(&executor)).is_some_and(|(under, homed)| {
            (under.session, under.registration) == (homed.session, homed.registration)
                && under.until.is_none_or(|until| self.at.mono < until)
        })
    }

    fn take_room(&self, rooms: &mut Vec<Room>, index: usize, job: &JobRecord) -> (NodeId, SessionEpoch, Resources) {
        let demand = job.spec.as_ref().map_or(Resources::NONE, |spec| spec.fact.spec.demand);
        let room = rooms.get_mut(index).expect("the index was taken from this list");
        room.slots = room.slots.saturating_sub(1);
        room.free = room.free.saturating_sub(demand);
        let (executor, session) = (room.executor, room.session);
        rooms.retain(|room| room.slots > 0);
        (executor, session, demand)
    }

    /// Writes a new attempt and orders it.
    pub(super) fn offer(
        &mut self,
        id: JobId,
        executor: NodeId,
        session: SessionEpoch,
        demand: Resources,
        choice: Choice,
    ) {
        self.unqueue(id);
        self.unreserve(id);
        let own = self.own.replica;
        // Of an owner whose claim has not come here. No result of an attempt below it would count.
        if let Some(greatest) = self.view.job(id).and_then(|job| Some(job.token(&job.current_attempt()?))) {
            self.outrank(id, greatest);
        }
        let Some(job) = self.view.job(id) else { return };
        let epoch = job.ownership().epoch;
        let numbers = job.attempts.keys().filter(|attempt| attempt.epoch == epoch && attempt.owner == own);
        let Some(number) = numbers.map(|attempt| attempt.number).max().unwrap_or(0).checked_add(1) else { return };
        let attempt = AttemptId { job: id, epoch, owner: own, number };
        let previous = job.current_attempt();
        let ended = previous.and_then(|previous| job.attempts.get(&previous)?.phase());
        let cause = match ended {
            Some(Phase::Failed) => AttemptCause::Retried,
            Some(Phase::Refused) => AttemptCause::Refused,
            Some(Phase::Preempted) => AttemptCause::Preempted,
            Some(_) => AttemptCause::Redeployed,
            None => AttemptCause::First,
        };
        let token = job.token(&attempt);
        let registration = self.homed.get(&executor).map_or(0, |homed| homed.registration);
        let mark = PhaseMark::new(Phase::Offered, registration);
        let at = self.next_stamp();
        let score = self.placement_score(executor, demand);
        let fact = AttemptFact { mark, progress_bp: 0, executor, session, started: false, cause, score, at };
        self.write(FactKey::Attempt(attempt), Fact::Attempt(fact));
        self.locals.or_default(id).choice = Some((attempt, choice));
        count(&mut self.statistics.placed);
        match cause {
            AttemptCause::Redeployed => count(&mut self.statistics.redeployed),
            AttemptCause::Retried => count(&mut self.statistics.retried),
            AttemptCause::First | AttemptCause::Refused | AttemptCause::Preempted => {}
        }
        self.notify(EventKind::AttemptOffered { attempt, executor, token, cause });
        if let Some(from) = previous.filter(|_| cause == AttemptCause::Redeployed) {
            self.notify(EventKind::JobRedeployed { job: id, from, to: attempt });
        }
        self.hold(executor, attempt, token, demand);
        self.order_now(executor);
    }

    /// How well an executor suits a job now, greater is better: first how idle it is, then how evenly its room would be
    /// used.
    fn placement_score(&self, executor: NodeId, demand: Resources) -> u64 {
        let Some(homed) = self.homed.get(&executor) else { return 0 };
        let idle = (1_u64 << 20).saturating_sub(used_share(homed.slots, homed.free_slots()));
        let uneven = strategy::imbalance(homed.capacity, homed.free(), demand).min(UNEVEN_MAX);
        (idle << 24) | UNEVEN_MAX.saturating_sub(uneven)
    }

    /// After a change of executors: looks for another broker for jobs that none of ours could run even when idle.
    pub(super) fn hand_over_stranded(&mut self) {
        for (shape, first) in self.queue.shapes() {
            let Some(spec) = self.spec_of(first) else { continue };
            let stranded = self.own_slots(&spec.spec) == 0;
            for id in self.queue.jobs_of(&shape) {
                if stranded || self.stranded.contains(&id) {
                    self.check_stranded(id);
                }
            }
        }
    }

    pub(super) fn check_stranded(&mut self, id: JobId) {
        let Some(spec) = self.spec_of(id).filter(|_| self.queue.contains(id)) else { return };
        if self.own_slots(&spec.spec) > 0 {
            self.stranded.remove(&id);
            return;
        }
        if self.stranded.insert(id) {
            self.notify(EventKind::JobWaiting { job: id, reason: WaitReason::NoExecutor });
        }
        self.look_elsewhere(id, &spec.spec);
    }

    fn spec_of(&self, id: JobId) -> Option<Arc<SpecFact>> {
        self.view.job(id)?.spec.as_ref().map(|spec| Arc::clone(&spec.fact))
    }

    /// A job has waited for long: perhaps another broker has room.
    pub(super) fn consider_hand_over(&mut self, id: JobId) {
        if !self.queue.contains(id) {
            return;
        }
        let Some(spec) = self.spec_of(id) else { return };
        if !self.look_elsewhere(id, &spec.spec) {
            self.arm(Timer::HandOver(id), self.config.place_after_ms);
        }
    }

    /// How many such jobs the executors here could run at once if they were idle.
    pub(super) fn own_slots(&self, spec: &JobSpec) -> u64 {
        let able = self.homed.values().filter(|homed| homed.could_run(spec.demand, &spec.requires));
        able.filter(|homed| !homed.must_register).fold(0, |slots, homed| slots.saturating_add(homed.slots.into()))
    }

    /// The same for other brokers that are there.
    pub(super) fn slots_elsewhere(&self, spec: &JobSpec) -> BTreeMap<ReplicaId, u64> {
        let mut slots: BTreeMap<ReplicaId, u64> = BTreeMap::new();
        for (_, home, fact) in self.view.executors() {
            let able = serves(fact) && spec.demand.fits_in(fact.capacity) && spec.requires.is_subset(&fact.tags);
            if able && fact.slots > 0 && home != self.own.replica && self.is_there(home) {
                let sum = slots.entry(home).or_default();
                *sum = sum.saturating_add(fact.slots.into());
            }
        }
        slots
    }
}

fn free_of(rooms: &[Room]) -> Resources {
    rooms.iter().fold(Resources::NONE, |sum, room| sum.checked_add(room.free).unwrap_or(sum))
}

/// More than the imbalance of an executor can be, in parts of 2^20 for each of three dimensions.
const UNEVEN_MAX: u64 = (1 << 24) - 1;

/// How much of an executor is in use, in parts of 2^20.
fn used_share(slots: u32, free: u32) -> u64 {
    let used = u64::from(slots.saturating_sub(free)) << 20;
    used.checked_div(slots.into()).unwrap_or(u64::MAX)
}
