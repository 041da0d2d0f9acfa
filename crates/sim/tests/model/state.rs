//! Three brokers, the frames between them, and what is known of the past.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use reconvene_clock::{Dot, VectorClock};
use reconvene_sim::replicas::Model as Versions;
use reconvene_store::{Body, Key, Snapshot as _, Version};

use super::broker::{BROKERS, Broker, Driver, Feed, Kill, Outcome, Write};

/// Everything at one moment. Frames are a bag: any of them may arrive next.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) now: u64,
    pub(crate) brokers: [Arc<Broker>; BROKERS],
    /// The broker that was killed and has not been started again.
    pub(crate) down: Option<usize>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) past: Arc<Past>,
    /// What may still happen.
    pub(crate) left: Left,
    /// A client's writes that were not made yet: bit n is for number n.
    pub(crate) unwritten: u8,
    pub(crate) complaint: Option<String>,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Frame {
    pub(crate) to: usize,
    pub(crate) from: usize,
    pub(crate) bytes: Arc<[u8]>,
}

/// How many faults may still happen, and how often time may still pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) losses: u8,
    pub(crate) repeats: u8,
    pub(crate) kills: u8,
    pub(crate) passes: u8,
}

/// What was ever made durable by its author, and what was ever acknowledged to a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    versions: Versions,
    made: BTreeMap<(Key, Dot), Version>,
    acknowledged: BTreeSet<(usize, Dot)>,
    /// A dot that was made twice.
    twice: Option<Dot>,
    name: u64,
}

/// What a broker becomes by an input. Most states differ in what other brokers do.
pub(crate) type Memory = Mutex<BTreeMap<u64, (Arc<Broker>, Arc<Outcome>)>>;

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.parts().hash(hasher);
    }
}

impl State {
    fn parts(&self) -> impl PartialEq + Hash + '_ {
        let brokers = [0, 1, 2].map(|index| self.brokers[index].name);
        (self.now, brokers, self.down, &self.frames, self.past.name, self.left, self.unwritten, &self.complaint)
    }

    /// Three brokers that are linked and have come to know each other.
    pub(crate) fn acquainted() -> Self {
        let brokers = [0, 1, 2].map(|index| Arc::new(Broker::new(index)));
        let left = Left { losses: 0, repeats: 0, kills: 0, passes: 0 };
        let mut state = Self {
            now: 0,
            brokers,
            down: None,
            frames: Vec::new(),
            past: Arc::default(),
            left,
            unwritten: 0,
            complaint: None,
        };
        for index in 0..BROKERS {
            state.feed(index, &Feed::Tick, Kill::Never, Driver::Right, None);
            (0..index).for_each(|peer| state.link(index, peer));
        }
        state.settle().unwrap();
        state
    }

    /// Gives a broker an input. False if the process was to be killed at a commit and there was none.
    pub(crate) fn feed(
        &mut self,
        index: usize,
        feed: &Feed,
        kill: Kill,
        driver: Driver,
        memory: Option<&Memory>,
    ) -> bool {
        let outcome = match memory {
            None => Arc::new(Arc::make_mut(&mut self.brokers[index]).step(self.now, feed, kill, driver)),
            Some(memory) => {
                let mut hasher = DefaultHasher::new();
                (self.brokers[index].name, self.now, feed, kill).hash(&mut hasher);
                let name = hasher.finish();
                let known = memory.lock().unwrap().get(&name).cloned();
                let (broker, outcome) = known.unwrap_or_else(|| {
                    let mut broker = Broker::clone(&self.brokers[index]);
                    let outcome = broker.step(self.now, feed, kill, driver);
                    broker.rename();
                    let done = (Arc::new(broker), Arc::new(outcome));
                    memory.lock().unwrap().insert(name, done.clone());
                    done
                });
                self.brokers[index] = broker;
                outcome
            }
        };
        if kill != Kill::Never && outcome.commits == 0 {
            return false;
        }
        for (to, bytes) in &outcome.sent {
            if self.down != Some(*to) {
                let frame = Frame { from: index, to: *to, bytes: Arc::clone(bytes) };
                let place = self.frames.partition_point(|other| *other < frame);
                self.frames.insert(place, frame);
            }
        }
        if !outcome.made.is_empty() || !outcome.acknowledged.is_empty() {
            Arc::make_mut(&mut self.past).note(index, &outcome);
        }
        self.complaint = self.complaint.take().or_else(|| outcome.complaint.clone());
        for peer in &outcome.hung_up {
            self.frames
                .retain(|frame| (frame.from, frame.to) != (index, *peer) && (frame.to, frame.from) != (index, *peer));
            if self.down != Some(*peer) {
                self.feed(*peer, &Feed::LinkDown(index), Kill::Never, driver, memory);
                self.feed(*peer, &Feed::LinkUp(index), Kill::Never, driver, memory);
                self.feed(index, &Feed::LinkUp(*peer), Kill::Never, driver, memory);
            }
        }
        true
    }

    fn link(&mut self, a: usize, b: usize) {
        self.feed(a, &Feed::LinkUp(b), Kill::Never, Driver::Right, None);
        self.feed(b, &Feed::LinkUp(a), Kill::Never, Driver::Right, None);
    }

    /// A process is gone. What was on its way to it is lost; what it sent may still arrive.
    pub(crate) fn kill(&mut self, index: usize) {
        self.down = Some(index);
        self.frames.retain(|frame| frame.to != index);
    }

    /// It is started again: its peers notice that its links were gone, and new ones stand.
    pub(crate) fn start(&mut self, index: usize, driver: Driver, memory: Option<&Memory>) {
        self.down = None;
        self.frames.retain(|frame| frame.from != index);
        self.feed(index, &Feed::Restart, Kill::Never, driver, memory);
        for peer in (0..BROKERS).filter(|peer| *peer != index) {
            self.feed(peer, &Feed::LinkDown(index), Kill::Never, driver, memory);
            self.feed(peer, &Feed::LinkUp(index), Kill::Never, driver, memory);
            self.feed(index, &Feed::LinkUp(peer), Kill::Never, driver, memory);
        }
    }

    /// Time passes until the next broker wants to be woken. False if none does.
    pub(crate) fn pass(&mut self, driver: Driver, memory: Option<&Memory>) -> bool {
        let due = |broker: &Broker| broker.replica.next_deadline().map(|at| at.as_millis());
        let up = |index: &usize| self.down != Some(*index);
        let Some(at) = (0..BROKERS).filter(up).filter_map(|index| due(&self.brokers[index])).min() else {
            return false;
        };
        self.now = self.now.max(at);
        for index in 0..BROKERS {
            if self.down != Some(index) && due(&self.brokers[index]).is_some_and(|at| at <= self.now) {
                self.feed(index, &Feed::Tick, Kill::Never, driver, memory);
            }
        }
        true
    }

    pub(crate) fn write(
        &mut self,
        number: usize,
        write: Write,
        kill: Kill,
        driver: Driver,
        memory: Option<&Memory>,
    ) -> bool {
        self.unwritten &= !(1 << number);
        self.feed(write.at, &Feed::Write { number, write }, kill, driver, memory)
    }

    pub(crate) fn deliver(&mut self, frame: Frame, kill: Kill, driver: Driver, memory: Option<&Memory>) -> bool {
        let Frame { from, to, bytes } = frame;
        self.feed(to, &Feed::Frame { from, bytes }, kill, driver, memory)
    }

    /// Nothing goes wrong any more: whether all become equal, in at most so many virtual minutes.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        if let Some(index) = self.down {
            self.start(index, Driver::Right, None);
        }
        let until = self.now + SETTLED_AFTER_MS;
        loop {
            if !self.frames.is_empty() {
                let frame = self.frames.remove(0);
                self.deliver(frame, Kill::Never, Driver::Right, None);
                continue;
            }
            let digest = |index: usize| self.brokers[index].store.head().digest();
            if self.now > 0 && (1..BROKERS).all(|index| digest(index) == digest(0)) {
                break;
            }
            if !self.pass(Driver::Right, None) || self.now > until {
                return Err(format!("brokers differ {SETTLED_AFTER_MS} ms after the last fault"));
            }
        }
        self.check()?;
        for (_, dot) in &self.past.acknowledged {
            let knows = |broker: &Arc<Broker>| broker.store.head().knowledge().contains(*dot);
            if !self.brokers.iter().all(knows) {
                return Err(format!("the acknowledged {dot} is not everywhere"));
            }
        }
        let equal = |index: usize| self.past.versions.check_equal(index, &self.brokers[index].records);
        (0..BROKERS).try_for_each(equal).map_err(|violation| violation.to_string())?;
        self.complaint.clone().map_or(Ok(()), Err)
    }

    /// Names the state of all brokers, after it was reached without a memory.
    pub(crate) fn rename(&mut self) {
        self.brokers.iter_mut().for_each(|broker| Arc::make_mut(broker).rename());
    }

    /// Whether what is durable keeps what was promised.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_acknowledged()?;
        self.check_knowledge()?;
        self.check_dead()?;
        self.check_contents()
    }

    /// What a client was told is durable at whoever told it (S6).
    pub(crate) fn check_acknowledged(&self) -> Result<(), String> {
        let lost = |(index, dot): &&(usize, Dot)| !self.brokers[*index].store.head().knowledge().contains(*dot);
        let lost = self.past.acknowledged.iter().find(lost);
        lost.map_or(Ok(()), |(index, dot)| Err(format!("broker {index} lost {dot}, which it had acknowledged")))
    }

    /// What is known is held, or was replaced by what is held, or was forgotten by all (S1, S7).
    pub(crate) fn check_knowledge(&self) -> Result<(), String> {
        let floor = self.floor();
        let check = |index: usize| {
            let Broker { store, records, .. } = &*self.brokers[index];
            self.past.versions.check_knowledge(index, store.head().knowledge(), &floor, records)
        };
        (0..BROKERS).try_for_each(check).map_err(|violation| violation.to_string())
    }

    /// Nothing lives beside the knowledge of what replaced it (S5).
    pub(crate) fn check_dead(&self) -> Result<(), String> {
        for (index, broker) in self.brokers.iter().enumerate() {
            let knowledge = broker.store.head().knowledge();
            for (key, version) in lives(broker) {
                let of_key = self.past.made.iter().filter(|((other, _), _)| other == key);
                let by = of_key.map(|(_, by)| by).find(|by| by.replaces(version.dot) && knowledge.contains(by.dot));
                if let Some(by) = by {
                    return Err(format!("at broker {index} {} lives though {} replaced it", version.dot, by.dot));
                }
            }
        }
        Ok(())
    }

    /// Every version is that which its author made durable, before anybody else had it (S6, S8).
    pub(crate) fn check_contents(&self) -> Result<(), String> {
        if let Some(dot) = self.past.twice {
            return Err(format!("{dot} was made twice"));
        }
        for (index, broker) in self.brokers.iter().enumerate() {
            for (key, version) in lives(broker) {
                if self.past.made.get(&(key.clone(), version.dot)) != Some(version) {
                    return Err(format!("broker {index} holds {} as its author never made it durable", version.dot));
                }
            }
        }
        Ok(())
    }

    /// What of deletes was forgotten, anywhere.
    fn floor(&self) -> VectorClock {
        let mut floor = VectorClock::new();
        for broker in &self.brokers {
            floor.merge(broker.store.head().gc_floor());
        }
        floor
    }

    pub(crate) fn has_siblings(&self) -> bool {
        self.brokers.iter().any(|broker| broker.records.iter().any(|record| record.siblings().len() > 1))
    }

    pub(crate) fn has_collected(&self) -> bool {
        self.past.made.values().any(|version| version.body == Body::Tombstone && self.floor().contains(version.dot))
    }

    pub(crate) fn is_equal(&self) -> bool {
        let digest = |index: usize| self.brokers[index].store.head().digest();
        self.unwritten == 0 && self.frames.is_empty() && (1..BROKERS).all(|index| digest(index) == digest(0))
    }

    /// One number of it, for drawing few of many.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Past {
    fn note(&mut self, index: usize, outcome: &Outcome) {
        for (key, version) in &outcome.made {
            let before = self.made.insert((key.clone(), version.dot), version.clone());
            self.twice = self.twice.or_else(|| Some(before.filter(|before| before != version)?.dot));
        }
        self.versions.add(outcome.made.iter().cloned());
        self.acknowledged.extend(outcome.acknowledged.iter().map(|dot| (index, *dot)));
        let mut hasher = DefaultHasher::new();
        format!("{:?} {:?} {:?}", self.made, self.acknowledged, self.twice).hash(&mut hasher);
        self.name = hasher.finish();
    }
}

fn lives(broker: &Broker) -> impl Iterator<Item = (&Key, &Version)> {
    broker.records.iter().flat_map(|record| record.siblings().iter().map(|version| (record.key(), version)))
}

/// The longest that brokers may take to become equal: some periods of anti-entropy.
const SETTLED_AFTER_MS: u64 = 15 * 60_000;
