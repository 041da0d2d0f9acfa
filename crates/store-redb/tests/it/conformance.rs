//! The suite that every backend passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use reconvene_sim::disk::{Fault, Keep};
use reconvene_sim::suite::{Abilities, Check, Group, Report, Setup, StoreFactory, StoreSuite, Transfer};
use reconvene_store::OpenError;
use reconvene_store_redb::{RedbStore, Settings};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::newer::make_newer;

/// Stores on disks in memory.
struct OnDisks;

struct Place {
    dir: TempDir,
    disk: Disk,
}

impl Place {
    fn file(&self) -> PathBuf {
        self.dir.path().join("store.redb")
    }

    fn witness(&self) -> PathBuf {
        self.dir.path().join("witness")
    }

    /// What stands beside the witness.
    fn last_commits(&self) -> PathBuf {
        self.dir.path().join("witness.last")
    }

    /// There is a file from here on, with the bytes of another place.
    fn copy_store(&self, from: &Self) {
        fs::write(self.file(), b"the bytes are in memory").unwrap();
        self.disk.put_image(&from.disk.image());
    }

    fn copy_witness(&self, from: &Self) {
        fs::copy(from.witness(), self.witness()).unwrap();
        fs::copy(from.last_commits(), self.last_commits()).unwrap();
    }

    fn settings(&self, setup: &Setup) -> Settings {
        let mut settings = Settings::new(setup.network, setup.identity.node);
        settings.limits = setup.limits;
        settings.incarnation = setup.identity.incarnation;
        settings.replica = Some(setup.identity.replica);
        settings.session = Some(setup.session);
        settings.witness = Some(self.witness());
        settings.layer = Some(Arc::new(self.disk.clone()));
        settings
    }
}

impl StoreFactory for OnDisks {
    type Store = RedbStore;
    type Place = Place;

    fn abilities(&self) -> Abilities {
        Abilities { reopens: true, power_cuts: true, faults: true, images: true, moves: true }
    }

    fn place(&self, _seed: u64) -> Place {
        // Names, locks and witnesses are on a real file system; in memory where there is one, since nothing of it is cut.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Place { dir: dir.unwrap(), disk: Disk::default() }
    }

    fn create(&self, place: &Place, setup: &Setup) -> Result<RedbStore, OpenError> {
        RedbStore::create(place.file(), &place.settings(setup))
    }

    fn open(&self, place: &Place, setup: &Setup) -> Result<RedbStore, OpenError> {
        RedbStore::open(place.file(), &place.settings(setup))
    }

    fn kill(&self, place: &Place, store: Option<RedbStore>, keep: Keep) {
        place.disk.crash(keep);
        drop(store);
        place.disk.boot();
    }

    fn operations(&self, place: &Place) -> u64 {
        place.disk.operations()
    }

    fn arm(&self, place: &Place, operation: u64, fault: Fault) {
        place.disk.arm(operation, fault);
    }

    fn relieve(&self, place: &Place) {
        place.disk.relieve();
    }

    fn image(&self, place: &Place) -> Vec<u8> {
        place.disk.image()
    }

    fn put_image(&self, place: &Place, image: &[u8]) {
        place.disk.put_image(image);
    }

    fn make_newer(&self, place: &Place) {
        place.disk.put_image(&make_newer(&place.disk.image()));
    }

    fn transfer(&self, place: &Place, transfer: Transfer<'_, Place>) {
        match transfer {
            Transfer::BackUpTo(other) => other.copy_store(place),
            Transfer::CloneTo(other) => {
                other.copy_store(place);
                other.copy_witness(place);
            }
            Transfer::RestoreFrom(other) => place.copy_store(other),
            Transfer::RestoreAllFrom(other) => {
                place.copy_store(other);
                place.copy_witness(other);
            }
            Transfer::Lose => fs::remove_file(place.file()).unwrap(),
            Transfer::LoseWitness => fs::remove_file(place.witness()).unwrap(),
        }
    }
}

fn conforms(seeds: u64, calls: usize, groups: impl IntoIterator<Item = Group>) -> Report {
    let report = StoreSuite::new(OnDisks).seeds(0..seeds).calls(calls).only(groups).run();
    eprintln!("{report}");
    report.into_result().unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn schedules_conform() {
    let groups = [Group::Schedules, Group::Limits, Group::Dropped, Group::Feed, Group::Deletes, Group::Concurrency];
    let report = conforms(2, 40, groups);
    assert!(report.count("commits") > 10);
}

#[test]
fn faults_at_every_operation_conform() {
    let report = conforms(1, 12, [Group::Faults]);
    assert!(report.count("commits without room") > 0);
    assert!(report.count("commits of unknown outcome") > 0);
}

#[test]
fn kills_conform() {
    let report = conforms(2, 40, [Group::Kills]);
    assert!(report.outcome(Check::DurableAfterKill).looks > 0);
    assert!(report.outcome(Check::DurableAfterPowerCut).looks > 0);
}

#[test]
fn openings_conform() {
    let report = conforms(1, 40, [Group::Reopening]);
    assert!(report.outcome(Check::OpeningTable).looks > 0);
    assert!(report.outcome(Check::FlippedBits).looks > 0);
}

/// Sessions of 200 calls, each run again with a crash, a failure and a want of room at each call that writes: a hundred
/// of them with `RECONVENE_STORE_SEEDS=100`, in an optimised build.
#[test]
fn long_sessions_conform() {
    let seeds: u64 = std::env::var("RECONVENE_STORE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(0);
    if seeds == 0 {
        eprintln!("SKIPPED: for optimised builds, with RECONVENE_STORE_SEEDS=100");
        return;
    }
    let next = AtomicU64::new(0);
    let work = || {
        let mut report = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || report.failures().next().is_some() {
                return report;
            }
            let suite = StoreSuite::new(OnDisks).seeds(seed..seed + 1).calls(200).one_fault_per_call();
            report.add(&suite.only([Group::Faults, Group::Kills, Group::Dropped]).run());
            eprintln!("seed {seed} ended");
        }
    };
    let mut report = Report::default();
    thread::scope(|scope| {
        for worker in [scope.spawn(work), scope.spawn(work)] {
            report.add(&worker.join().unwrap());
        }
    });
    eprintln!("{report}{:?}", report.counts().collect::<Vec<_>>());
    assert_eq!(report.failures().next(), None);
    assert!(report.count("calls of sessions") >= seeds * 200);
}
