//! What a suite asks of whoever brings a store.

use reconvene_clock::ReplicaId;
use reconvene_store::{Identity, Limits, MetadataStore, NetworkId, OpenError, SessionNonce};

use crate::disk::{Fault, Keep};

/// Makes stores, and does to them what the world does to stores.
///
/// Only [`place`](Self::place) and [`create`](Self::create) must be there. Whatever else a factory can do it says in
/// [`abilities`](Self::abilities); the suite calls nothing else, and reports the checks that it therefore left out. A
/// function or closure from identity, network and limits to a store is a factory of stores that end with their process.
///
/// # Examples
///
/// A factory for stores in memory, and a run of a few seeds:
///
/// ```
/// use reconvene_sim::suite::{Setup, StoreFactory, StoreSuite};
/// use reconvene_store::{MemoryStore, OpenError};
///
/// struct InMemory;
///
/// impl StoreFactory for InMemory {
///     type Store = MemoryStore;
///     type Place = ();
///
///     fn place(&self, _seed: u64) {}
///
///     fn create(&self, (): &(), setup: &Setup) -> Result<MemoryStore, OpenError> {
///         Ok(MemoryStore::for_network(setup.identity, setup.network, setup.limits))
///     }
/// }
///
/// let report = StoreSuite::new(InMemory).seeds(0..2).calls(20).run();
/// println!("{report}");
/// report.into_result()?;
/// # Ok::<(), reconvene_sim::suite::Failure>(())
/// ```
pub trait StoreFactory {
    /// What it makes.
    type Store: MetadataStore;
    /// Where one store lives: a path, a bucket, a simulated disk. Dropping it may clean it up.
    type Place;

    /// What the factory can do beyond creating stores.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// A new place with nothing in it. Chance there comes from `seed`.
    fn place(&self, seed: u64) -> Self::Place;

    /// Creates a store.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if that fails, with [`Exists`](OpenError::Exists) if there is one already.
    fn create(&self, place: &Self::Place, setup: &Setup) -> Result<Self::Store, OpenError>;

    /// Opens the store that is there. Only with [`Abilities::reopens`].
    ///
    /// # Errors
    ///
    /// [`OpenError`], and what is there is as before.
    fn open(&self, place: &Self::Place, setup: &Setup) -> Result<Self::Store, OpenError> {
        let _ = setup;
        let _ = place;
        Err(OpenError::Missing { store: "a factory that opens nothing".to_owned() })
    }

    /// Ends the process that has the store open, without a word to the store, and if `keep` is not [`Keep::All`] the
    /// machine as well. There is no store if a fault ended it before. Only with [`Abilities::reopens`].
    fn kill(&self, place: &Self::Place, store: Option<Self::Store>, keep: Keep) {
        let _ = (place, keep);
        drop(store);
    }

    /// How many operations of the medium there were at this place, in all. Only with [`Abilities::faults`].
    fn operations(&self, place: &Self::Place) -> u64 {
        let _ = place;
        0
    }

    /// Lets `fault` happen at the operation with this number. Only with [`Abilities::faults`].
    fn arm(&self, place: &Self::Place, operation: u64, fault: Fault) {
        let _ = (place, operation, fault);
    }

    /// Ends a shortage of room, and takes back faults that have not happened. Only with [`Abilities::faults`].
    fn relieve(&self, place: &Self::Place) {
        let _ = place;
    }

    /// The bytes of a store that is not open, in one piece. Only with [`Abilities::images`].
    fn image(&self, place: &Self::Place) -> Vec<u8> {
        let _ = place;
        Vec::new()
    }

    /// Puts other bytes in place of [`image`](Self::image): as many or fewer. Only with [`Abilities::images`].
    fn put_image(&self, place: &Self::Place, image: &[u8]) {
        let _ = (place, image);
    }

    /// Makes the store look as if a later version had written it. Only with [`Abilities::images`].
    fn make_newer(&self, place: &Self::Place) {
        let _ = place;
    }

    /// Does something to a store that is not open. Only with [`Abilities::moves`].
    fn transfer(&self, place: &Self::Place, transfer: Transfer<'_, Self::Place>) {
        let _ = (place, transfer);
    }
}

/// What happens to where a store lives, behind the store's back.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a factory that moves stores does each")]
pub enum Transfer<'a, P> {
    /// A backup program copies the store to another place, without what is meant to stay out of backups.
    BackUpTo(&'a P),
    /// An administrator copies everything that belongs to the store to another place, as to another host.
    CloneTo(&'a P),
    /// A backup is put back: the store becomes that of another place, and what is outside of backups stays.
    RestoreFrom(&'a P),
    /// The whole machine is put back to what was cloned to another place: the store, what is outside of backups, and
    /// everything else that names the machine.
    RestoreAllFrom(&'a P),
    /// The store is gone, and what is outside of backups stays.
    Lose,
    /// What is outside of backups is gone, and the store stays.
    LoseWitness,
}

/// What a factory can do beyond creating stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "given by every factory, with the rest from `Default`")]
pub struct Abilities {
    /// Stores survive their process: [`StoreFactory::open`] and [`StoreFactory::kill`].
    pub reopens: bool,
    /// What an `Ok` promised survives a power cut, and [`StoreFactory::kill`] can cause one.
    pub power_cuts: bool,
    /// Operations are counted, and faults happen where they are armed.
    pub faults: bool,
    /// Stores are bytes that can be read and damaged.
    pub images: bool,
    /// Stores can be copied, restored, cloned and lost: [`StoreFactory::transfer`].
    pub moves: bool,
}

/// What a store is created and opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    /// Whose store it is when it is created. When it is opened, `node` is whose it should be, and `replica` is the
    /// number to take if the rules ask for a new incarnation.
    pub identity: Identity,
    /// Names the opening.
    pub session: SessionNonce,
    /// The network it belongs to.
    pub network: NetworkId,
    /// What it takes.
    pub limits: Limits,
}

impl Setup {
    /// With the default limits.
    #[must_use]
    pub fn new(identity: Identity, network: NetworkId) -> Self {
        let session = SessionNonce::new(identity.replica.get());
        Self { identity, session, network, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same for an opening with this nonce, and this number if a new incarnation is needed.
    #[must_use]
    pub const fn opened_as(mut self, session: SessionNonce, replica: ReplicaId) -> Self {
        self.session = session;
        self.identity.replica = replica;
        self
    }
}

impl<F, S> StoreFactory for F
where
    F: Fn(Identity, NetworkId, Limits) -> S,
    S: MetadataStore,
{
    type Store = S;
    type Place = ();

    fn place(&self, _seed: u64) {}

    fn create(&self, (): &(), setup: &Setup) -> Result<S, OpenError> {
        Ok(self(setup.identity, setup.network, setup.limits))
    }
}
