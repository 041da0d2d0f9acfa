//! What every [`MetadataStore`](reconvene_store::MetadataStore) must do.

mod crashes;
mod deletes;
mod feed;
mod limits;
mod peer;
mod pool;
mod reading;
mod reopening;
mod schedule;
mod script;
mod threads;

use core::ops::Range;

use reconvene_store::{Limits, MetadataStore};

use self::limits::{narrow, tight};
use self::peer::{identity, network};
use super::block_on::block_on;
use super::check::Check;
use super::factory::{Setup, StoreFactory};
use super::report::{Blame, Broken, Failure, Report};

/// Checks the stores that a factory makes, and returns what was found. The whole suite with quick settings: 16 seeds,
/// and sessions of 60 calls. [`StoreSuite`] has more.
pub fn store<F: StoreFactory>(factory: F) -> Report {
    StoreSuite::new(factory).run()
}

/// The conformance suite for stores: schedules of local writes, arriving versions, claims, deletes and faults over
/// three replicas and four keys, where conflicts are common, held against a model that asks no planner.
///
/// Every property is a [`Check`] with a name; the [`Report`] says of each how often it was looked at, and with which
/// seed it failed first. The same seed gives the same schedule. What a factory cannot do is left out and reported as
/// such.
///
/// See [`StoreFactory`] for an example with a factory of one's own.
///
/// ```
/// use reconvene_sim::suite::{Check, StoreSuite};
/// use reconvene_store::MemoryStore;
///
/// // A function from identity, network and limits is a factory.
/// let report = StoreSuite::new(MemoryStore::for_network).seeds(0..2).calls(20).run();
/// assert!(report.outcome(Check::SnapshotsFrozen).looks > 0);
/// assert!(report.outcome(Check::DurableAfterKill).skipped.is_some(), "memory ends with its process");
/// report.into_result()?;
/// # Ok::<(), reconvene_sim::suite::Failure>(())
/// ```
#[derive(Debug)]
pub struct StoreSuite<F> {
    factory: F,
    seeds: Range<u64>,
    calls: usize,
    per_call: bool,
    only: Option<Vec<Group>>,
}

/// A part of the suite that runs on its own. Each looks at several checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Schedules against the model: reading, Knowledge, index, fingerprints, orders.
    Schedules,
    /// Limits, refusals and quotas.
    Limits,
    /// Futures that are dropped.
    Dropped,
    /// Threads and batches in flight.
    Concurrency,
    /// The change feed.
    Feed,
    /// The change feed beyond what it remembers: 65,536 rows are written.
    FeedOverflow,
    /// Members, deletes and collection.
    Deletes,
    /// Faults at every operation of a session.
    Faults,
    /// Ends between the calls of a session.
    Kills,
    /// Opening again: in good order, damaged, elsewhere, from backups.
    Reopening,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 10] = [
        Self::Schedules,
        Self::Limits,
        Self::Dropped,
        Self::Concurrency,
        Self::Feed,
        Self::FeedOverflow,
        Self::Deletes,
        Self::Faults,
        Self::Kills,
        Self::Reopening,
    ];
}

impl<F: StoreFactory> StoreSuite<F> {
    /// The suite for the stores of `factory`, with 16 seeds and sessions of 60 calls.
    #[must_use]
    pub const fn new(factory: F) -> Self {
        Self { factory, seeds: 0..16, calls: 60, per_call: false, only: None }
    }

    /// Runs the schedules of these seeds.
    #[must_use]
    pub const fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Makes sessions with so many store calls; faults are put at each operation of such a session.
    #[must_use]
    pub const fn calls(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    /// Puts a fault of each kind at one operation of each call, which chance decides, instead of at every operation. For
    /// engines that do many operations for each call: long sessions are affordable then.
    #[must_use]
    pub const fn one_fault_per_call(mut self) -> Self {
        self.per_call = true;
        self
    }

    /// Runs these groups only.
    #[must_use]
    pub fn only(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.only = Some(groups.into_iter().collect());
        self
    }

    /// Runs everything. A group ends with the first seed that fails in it; the others go on.
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        for group in Group::ALL.into_iter().filter(|group| self.only.as_ref().is_none_or(|only| only.contains(group))) {
            if let Some((checks, why)) = self.left_out(group) {
                checks.iter().for_each(|check| report.skip(*check, why));
                continue;
            }
            for seed in self.seeds.clone() {
                if let Err(failure) = self.group(group, seed, &mut report) {
                    report.fail(failure);
                    break;
                }
            }
        }
        report.skip(Check::Shared, "no factory of shared stores is known yet");
        report
    }

    fn left_out(&self, group: Group) -> Option<(&'static [Check], &'static str)> {
        let abilities = self.factory.abilities();
        match group {
            Group::Faults if !(abilities.faults && abilities.reopens) => Some((
                &[Check::AtomicAtCrash, Check::AtomicAtError, Check::UnknownEndsHandle],
                "the factory causes no faults",
            )),
            Group::Kills if !abilities.reopens => {
                Some((&[Check::DurableAfterKill, Check::DurableAfterPowerCut], "the stores end with their process"))
            }
            Group::Reopening if !abilities.reopens => Some((
                &[Check::Reopens, Check::RefusesDamage, Check::FlippedBits, Check::OpeningTable],
                "the stores end with their process",
            )),
            Group::Schedules
            | Group::Limits
            | Group::Dropped
            | Group::Concurrency
            | Group::Feed
            | Group::FeedOverflow
            | Group::Deletes
            | Group::Faults
            | Group::Kills
            | Group::Reopening => None,
        }
    }

    fn group(&self, group: Group, seed: u64, report: &mut Report) -> Result<(), Failure> {
        let factory = &self.factory;
        let at = |broken: Broken| broken.at(seed, 0);
        let steps = u64::try_from(self.calls).unwrap_or(u64::MAX);
        match group {
            Group::Schedules => {
                // Places stay as long as the stores in them.
                let mut places = Vec::new();
                let mut make = |number: u8| {
                    let place = factory.place(seed);
                    let store = factory.create(&place, &Setup::new(identity(number), network()));
                    places.push(place);
                    store.blame(Check::Reopens)
                };
                schedule::schedule(&mut make, seed, steps, report)
            }
            Group::Limits => {
                self.fresh(seed, tight(), |store| limits::refusals(store, report)).map_err(at)?;
                self.fresh(seed, narrow(), |store| limits::local_limits(store, report)).map_err(at)
            }
            Group::Dropped => crashes::dropped_futures(factory, seed, self.calls, report),
            Group::Concurrency => {
                self.fresh(seed, Limits::default(), |store| threads::histories(store, seed, report)).map_err(at)?;
                self.fresh(seed, tight_batches(), |store| threads::in_flight(store, seed, report)).map_err(at)
            }
            Group::Feed => {
                self.fresh(seed, Limits::default(), |store| feed::follows(store, seed, report)).map_err(at)?;
                self.fresh(seed, Limits::default(), |store| feed::wakes(store, seed, report)).map_err(at)
            }
            // The same for every seed.
            Group::FeedOverflow if seed == self.seeds.start => {
                self.fresh(seed, Limits::default(), |store| feed::overflows(store, report)).map_err(at)
            }
            Group::FeedOverflow => Ok(()),
            Group::Deletes => {
                self.fresh(seed, Limits::default(), |store| deletes::deletes(store, seed, report)).map_err(at)
            }
            Group::Faults => crashes::at_every_operation(factory, seed, self.calls, self.per_call, report),
            Group::Kills => crashes::between_calls(factory, seed, self.calls, report),
            Group::Reopening => reopening::reopening(factory, seed, self.calls, report),
        }
    }

    /// Does something with a new store, and closes it.
    fn fresh(
        &self,
        seed: u64,
        limits: Limits,
        with: impl FnOnce(&F::Store) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let place = self.factory.place(seed);
        let setup = Setup::new(identity(0), network()).with_limits(limits);
        let store = self.factory.create(&place, &setup).blame(Check::Reopens)?;
        with(&store)?;
        block_on(store.close()).blame(Check::Reopens)
    }
}

/// Batches of three rows at most.
fn tight_batches() -> Limits {
    let mut limits = Limits::default();
    limits.batch_rows = 3;
    limits
}
