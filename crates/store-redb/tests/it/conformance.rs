//! The suite that every backend passes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use reconvene_sim::disk::{Fault, Keep};
use reconvene_sim::suite::{Abilities, Check, Group, Setup, StoreFactory, StoreSuite, Transfer};
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

    /// There is a file from here on, with the bytes of another place.
    fn copy_store(&self, from: &Self) {
        fs::write(self.file(), b"the bytes are in memory").unwrap();
        self.disk.put_image(&from.disk.image());
    }

    fn copy_witness(&self, from: &Self) {
        fs::copy(from.witness(), self.witness()).unwrap();
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
        Place { dir: tempfile::tempdir().unwrap(), disk: Disk::default() }
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

/// How many seeds: more in a long run.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("RECONVENE_STORE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    0..asked.unwrap_or(few)
}

fn conforms(few: u64, calls: usize, groups: impl IntoIterator<Item = Group>) -> reconvene_sim::suite::Report {
    let report = StoreSuite::new(OnDisks).seeds(seeds(few)).calls(calls).only(groups).run();
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
