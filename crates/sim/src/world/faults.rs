//! What goes wrong in a world beside cuts: processes that stop and start again, links that lose, repeat and delay.

use std::fmt::{self, Debug};

use reconvene_broker::{Node, NodeInput, read_all};
use reconvene_clock::{MaxAhead, NodeId};
use reconvene_executor::{self as executor, Agent, JobSpec, Report, TraceJob};
use reconvene_store::{Limits, MemoryStore, MetadataStore, Plan, SessionNonce, Snapshot as _, ready};
use reconvene_sync::StoreDriver;
use reconvene_sync::memory::LinkFaults;

use super::{Due, Happened, Place, What, World, WorldError, ordered};

/// What arrives instead of a frame from one place to another; `None` if nothing does.
pub struct Tamper(Box<TamperFn>);

type TamperFn = dyn FnMut(Place, Place, Vec<u8>) -> Option<Vec<u8>>;

impl Debug for Tamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tamper")
    }
}

/// How an executor runs its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data")]
pub struct ExecutorTraits {
    /// The time that a job takes here, and what it costs, in hundredths of what its payload says.
    pub pace_percent: u64,
    /// The quality that it declares, in basis points; `None` for that of the payload.
    pub quality_bp: Option<u16>,
}

impl Default for ExecutorTraits {
    fn default() -> Self {
        Self { pace_percent: 100, quality_bp: None }
    }
}

impl ExecutorTraits {
    /// How long a run takes and what comes of it.
    pub(super) fn run(self, spec: &JobSpec, executor: NodeId) -> (u64, Report) {
        let paced = |ms: u64| ms.saturating_mul(self.pace_percent) / 100;
        match TraceJob::decode(&spec.payload) {
            Ok(job) => {
                let mut report = job.report(executor);
                report.cost_resource_ms = paced(report.cost_resource_ms);
                report.quality_bp = self.quality_bp.unwrap_or(report.quality_bp);
                (paced(job.run_ms), report)
            }
            Err(error) => (1, Report::failure(error.to_string())),
        }
    }
}

impl World {
    /// Changes how an executor runs jobs from now on.
    pub fn set_traits(&mut self, executor: usize, traits: ExecutorTraits) {
        if let Some(slot) = self.executors.get_mut(executor) {
            slot.traits = traits;
        }
    }

    /// Stops the process of a place without ending it, as a debugger or a full machine does: time passes for the others
    /// alone, and what arrives waits. What runs on an executor goes on.
    pub fn pause(&mut self, place: Place) {
        match place {
            Place::Broker(broker) => {
                if let Some(slot) = self.brokers.get_mut(broker).filter(|slot| slot.up) {
                    slot.backlog.get_or_insert_default();
                }
                self.rewake(place);
            }
            Place::Executor(executor) => {
                if let Some(slot) = self.executors.get_mut(executor).filter(|slot| slot.up) {
                    slot.backlog.get_or_insert_default();
                }
                self.rewake(place);
            }
        }
    }

    /// Lets a paused process go on, with everything that has arrived meanwhile.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub fn resume(&mut self, place: Place) -> Result<(), WorldError> {
        match place {
            Place::Broker(broker) => {
                let backlog = self.brokers.get_mut(broker).and_then(|slot| slot.backlog.take());
                self.rewake(place);
                backlog.into_iter().flatten().try_for_each(|input| self.feed_broker(broker, input))
            }
            Place::Executor(executor) => {
                let backlog = self.executors.get_mut(executor).and_then(|slot| slot.backlog.take());
                self.rewake(place);
                backlog.into_iter().flatten().try_for_each(|input| self.feed_executor(executor, input))
            }
        }
    }

    /// Has a broker tell the others that it leaves. It is to be [stopped](Self::stop_broker) then.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub fn leave_broker(&mut self, broker: usize) -> Result<(), WorldError> {
        self.feed_broker(broker, NodeInput::Leave)
    }

    /// Asks an executor to leave: at once, or, where `drain`, when its work is done.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub fn leave_executor(&mut self, executor: usize, drain: bool) -> Result<(), WorldError> {
        self.feed_executor(executor, if drain { executor::Input::Drain } else { executor::Input::Leave })
    }

    /// Changes what links do to frames that are sent from now on. Each takes at least a millisecond.
    pub fn set_faults(&mut self, mut faults: LinkFaults) {
        faults.delay_ms = (*faults.delay_ms.start()).max(1)..=(*faults.delay_ms.end()).max(1);
        self.network.set_faults(faults);
    }

    /// Changes, drops or records frames as they arrive.
    pub fn set_tamper(&mut self, tamper: impl FnMut(Place, Place, Vec<u8>) -> Option<Vec<u8>> + 'static) {
        self.tamper = Some(Tamper(Box::new(tamper)));
    }

    /// Whether frames between two places are lost.
    #[must_use]
    pub fn is_cut(&self, a: Place, b: Place) -> bool {
        self.pair(a, b).is_some_and(|pair| self.network.is_cut(pair.0, pair.1))
    }

    /// Whether the process of this place runs, and does not stand still.
    #[must_use]
    pub fn runs(&self, place: Place) -> bool {
        let paused = match place {
            Place::Broker(broker) => self.brokers.get(broker).is_some_and(|slot| slot.backlog.is_some()),
            Place::Executor(executor) => self.executors.get(executor).is_some_and(|slot| slot.backlog.is_some()),
        };
        !paused && self.id(place).is_some_and(|id| self.is_up(id))
    }

    /// How many there are: brokers and executors, stopped ones too.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.brokers.len(), self.executors.len())
    }

    /// How many inputs all brokers and executors were given so far.
    #[must_use]
    pub const fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Stops the process of a broker at once. Its store stays; its links are gone, which the others notice after
    /// [`WorldConfig::idle_ms`](super::WorldConfig::idle_ms).
    pub fn stop_broker(&mut self, broker: usize) {
        let Some(slot) = self.brokers.get_mut(broker).filter(|slot| slot.up) else { return };
        slot.up = false;
        slot.backlog = None;
        slot.replies.clear();
        let id = slot.id;
        self.rewake(Place::Broker(broker));
        self.drop_links(id);
    }

    /// Starts a stopped broker again, on what its store holds.
    ///
    /// # Errors
    /// [`WorldError::Store`] if the store cannot be read, [`WorldError::Open`] if the broker does not open on it.
    pub fn start_broker(&mut self, broker: usize) -> Result<(), WorldError> {
        let seed = self.rng.next_u64();
        let Some(slot) = self.brokers.get(broker).filter(|slot| !slot.up) else { return Ok(()) };
        let now = self.now_for(slot.skew_ms);
        let mut config = slot.config.clone();
        config.sync.seed = seed;
        let node = open(slot.store.store(), config, now, broker)?;
        let slot = self.brokers.get_mut(broker).ok_or(WorldError::NoReply { broker })?;
        slot.node = node;
        slot.up = true;
        slot.ticked = None;
        // Views belong to the process, rows to the store.
        let empty = MemoryStore::new(slot.node.replica().head().identity(), Limits::default());
        let store = core::mem::replace(&mut slot.store, StoreDriver::new(empty)).into_store();
        slot.store = StoreDriver::new(store);
        for other in (0..self.brokers.len()).filter(|other| *other != broker) {
            self.feed_broker(broker, NodeInput::Candidate { address: Self::address(other) })?;
        }
        self.perform_broker(broker)
    }

    /// Copies the store of a broker, in place of the copy that was made before.
    pub fn back_up(&mut self, broker: usize) {
        if let Some(slot) = self.brokers.get_mut(broker) {
            slot.backup = Some(slot.store.store().duplicate());
        }
    }

    /// What the copy of a broker's store would make of it; `None` if there is no copy.
    ///
    /// # Errors
    /// As [`start_broker`](Self::start_broker).
    pub fn backed_up(&self, broker: usize) -> Result<Option<Node>, WorldError> {
        let Some(slot) = self.brokers.get(broker) else { return Ok(None) };
        let now = self.now_for(slot.skew_ms);
        slot.backup.as_ref().map(|backup| open(backup, slot.config.clone(), now, broker)).transpose()
    }

    /// Exchanges the store of a stopped broker for the copy that was made of it, as a new incarnation. The copy is used up.
    /// Says whether there was one.
    ///
    /// # Errors
    /// [`WorldError::Store`] if the copy cannot be renewed.
    pub fn restore(&mut self, broker: usize) -> Result<bool, WorldError> {
        let (replica, session) = (self.draw_replica(), self.rng.next_u64());
        let Some(slot) = self.brokers.get_mut(broker).filter(|slot| !slot.up) else { return Ok(false) };
        let Some(backup) = slot.backup.take() else { return Ok(false) };
        let failed = |reason: &str| WorldError::Store { broker, reason: reason.to_owned() };
        let snapshot =
            ready(backup.snapshot()).and_then(Result::ok).ok_or_else(|| failed("the copy cannot be read"))?;
        let (head, incarnation) = (snapshot.head().clone(), slot.node.replica().head().identity().incarnation);
        let mut plan = Plan::new(head, [], [], &Limits::default());
        plan.renew(replica, incarnation.saturating_add(1), SessionNonce::new(session));
        let renewed = ready(backup.commit(&plan.finish())).ok_or_else(|| failed("it did not answer at once"))?;
        renewed.map_err(|error| failed(&error.to_string()))?;
        slot.store = StoreDriver::new(backup);
        // What it knows now is what the copy holds, also for those who look at it while it is down.
        let node = self.reopened(broker)?;
        if let Some(slot) = self.brokers.get_mut(broker) {
            slot.node = node;
        }
        Ok(true)
    }

    /// A second broker value on a copy of what a broker's store holds, to compare the two.
    ///
    /// # Errors
    /// As [`start_broker`](Self::start_broker).
    pub fn reopened(&self, broker: usize) -> Result<Node, WorldError> {
        let slot = self.brokers.get(broker).ok_or(WorldError::NoReply { broker })?;
        open(slot.store.store(), slot.config.clone(), self.now_for(slot.skew_ms), broker)
    }

    /// Stops the process of an executor at once: what runs there ends without a result, and results that nobody has
    /// answered are lost.
    pub fn stop_executor(&mut self, executor: usize) {
        let Some(slot) = self.executors.get_mut(executor).filter(|slot| slot.up) else { return };
        slot.up = false;
        slot.backlog = None;
        slot.starts = slot.starts.saturating_add(1);
        let id = slot.id;
        for attempt in core::mem::take(&mut slot.running).into_keys() {
            self.happened.push(Happened { at: self.now, what: What::RunEnded { executor, attempt, digest: None } });
        }
        self.rewake(Place::Executor(executor));
        self.drop_links(id);
    }

    /// Starts a stopped executor again, in a new session. Where `clock_lost`, its clock has lost the date, and the
    /// session begins below the one before.
    ///
    /// # Errors
    /// [`WorldError::Agent`] if its settings are refused.
    pub fn start_executor(&mut self, executor: usize, clock_lost: bool) -> Result<(), WorldError> {
        let (seed, random) = (self.rng.next_u64(), self.rng.next_u64());
        let Some(slot) = self.executors.get(executor).filter(|slot| !slot.up) else { return Ok(()) };
        let now = self.now_for(slot.skew_ms);
        let mut config = slot.config.clone();
        config.seed = seed;
        config.session.random = random;
        if !clock_lost && let Ok(start) = config.session.start.tick_at(now.wall, MaxAhead::from_millis(u64::MAX)) {
            config.session.start = start;
        }
        let agent = Agent::new(config.clone(), now).map_err(|source| WorldError::Agent { executor, source })?;
        let Some(slot) = self.executors.get_mut(executor) else { return Ok(()) };
        slot.config = config;
        slot.agent = agent;
        slot.up = true;
        slot.ticked = None;
        self.perform_executor(executor)
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        match self.places.get(&id) {
            Some(Place::Broker(broker)) => self.brokers.get(*broker).is_some_and(|slot| slot.up),
            Some(Place::Executor(executor)) => self.executors.get(*executor).is_some_and(|slot| slot.up),
            None => false,
        }
    }

    pub(super) fn tampered(&mut self, from: NodeId, to: NodeId, frame: Vec<u8>) -> Option<Vec<u8>> {
        let Some(tamper) = &mut self.tamper else { return Some(frame) };
        let (Some(from), Some(to)) = (self.places.get(&from), self.places.get(&to)) else { return Some(frame) };
        (tamper.0)(*from, *to, frame)
    }

    fn drop_links(&mut self, id: NodeId) {
        for other in self.places.keys().copied().collect::<Vec<_>>() {
            // What was on its way to or from the old process does not meet the new one.
            if !self.network.is_cut(id, other) {
                self.network.cut(id, other);
                self.network.heal(id, other);
            }
            if self.links.remove(&ordered(id, other)) {
                self.schedule(self.config.idle_ms, Due::Stopped { end: other, stopped: id });
            }
        }
    }
}

fn open(
    store: &MemoryStore,
    config: reconvene_broker::NodeConfig,
    now: reconvene_clock::Now,
    broker: usize,
) -> Result<Node, WorldError> {
    let failed = |reason: &str| WorldError::Store { broker, reason: reason.to_owned() };
    let snapshot = ready(store.snapshot()).ok_or_else(|| failed("it did not answer at once"))?;
    let snapshot = snapshot.map_err(|error| failed(&error.to_string()))?;
    let read = ready(read_all(&snapshot)).ok_or_else(|| failed("it did not answer at once"))?;
    let (head, records) = read.map_err(|error| failed(&error.to_string()))?;
    Node::open(config, head, records, now).map_err(|source| WorldError::Open { broker, source })
}
