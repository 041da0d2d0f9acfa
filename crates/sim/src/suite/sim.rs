//! The factory of simulated stores, which can do everything that a factory can be asked for.

use reconvene_store::opening::{AfterCrash, Fresh};
use reconvene_store::{OpenError, SessionNonce};

use super::factory::{Abilities, Setup, StoreFactory, Transfer};
use crate::disk::{Defect, Fault, FaultRates, Image, Keep, SimDisk, SimStore};

/// Makes [`SimStore`]s, each on a [`SimDisk`] of its own.
///
/// It is also an example: a factory for a store on real disks does the same with a folder for each place, a process for
/// each handle, and a file system that fails.
///
/// ```
/// use reconvene_sim::suite::{Group, SimStores, StoreSuite};
///
/// let report = StoreSuite::new(SimStores::default()).seeds(0..1).calls(12).only([Group::Faults]).run();
/// assert!(report.count("crashes while opening") > 0);
/// report.into_result()?;
/// # Ok::<(), reconvene_sim::suite::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SimStores {
    queueing: bool,
    slow: bool,
    defect: Option<Defect>,
}

impl SimStores {
    /// Stores that keep commits in a queue for a while, so that several are in flight.
    #[must_use]
    pub const fn queueing(mut self) -> Self {
        self.queueing = true;
        self
    }

    /// Stores on disks that often take several polls.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Stores that are broken in this way.
    #[must_use]
    pub const fn broken(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }

    fn ready(self, store: SimStore) -> SimStore {
        store.queueing(self.queueing);
        if let Some(defect) = self.defect {
            store.sabotage(defect);
        }
        if self.slow {
            store.disk().set_rates(FaultRates { slow: 100_000, ..FaultRates::default() });
        }
        store
    }
}

impl StoreFactory for SimStores {
    type Store = SimStore;
    type Place = SimDisk;

    fn abilities(&self) -> Abilities {
        Abilities { reopens: true, power_cuts: true, faults: true, images: true, moves: true }
    }

    fn place(&self, seed: u64) -> SimDisk {
        SimDisk::new(seed)
    }

    fn create(&self, place: &SimDisk, setup: &Setup) -> Result<SimStore, OpenError> {
        let store = SimStore::create(place, setup.identity, setup.session, setup.network, setup.limits)?;
        Ok(self.ready(store))
    }

    fn open(&self, place: &SimDisk, setup: &Setup) -> Result<SimStore, OpenError> {
        let fresh = Fresh { replica: setup.identity.replica, session: SessionNonce::new(setup.session.get()) };
        let policy = AfterCrash::KeepIfProven;
        let (store, _) = SimStore::open_with(place, setup.network, fresh, policy, setup.limits, self.defect)?;
        Ok(self.ready(store))
    }

    fn kill(&self, place: &SimDisk, store: Option<SimStore>, keep: Keep) {
        drop(store);
        place.crash(keep);
    }

    fn operations(&self, place: &SimDisk) -> u64 {
        place.operations()
    }

    fn arm(&self, place: &SimDisk, operation: u64, fault: Fault) {
        place.arm(operation, fault);
    }

    fn relieve(&self, place: &SimDisk) {
        place.disarm();
        place.make_room();
    }

    fn image(&self, place: &SimDisk) -> Vec<u8> {
        place.image().to_bytes()
    }

    fn put_image(&self, place: &SimDisk, image: &[u8]) {
        place.replace(&Image::from_bytes(image));
    }

    fn make_newer(&self, place: &SimDisk) {
        SimStore::make_newer(place);
    }

    fn transfer(&self, place: &SimDisk, transfer: Transfer<'_, SimDisk>) {
        match transfer {
            Transfer::BackUpTo(other) => other.restore(&place.backup()),
            Transfer::CloneTo(other) => other.restore(&place.image()),
            Transfer::RestoreFrom(other) => place.restore(&other.backup()),
            Transfer::RestoreAllFrom(other) => place.replace(&other.image()),
            Transfer::Lose => place.lose(),
            Transfer::LoseWitness => place.lose_witness(),
        }
    }
}
