//! Files that are there, and are not what was asked for.

use std::fs;

use reconvene_clock::NodeId;
use reconvene_store::opening::{AfterCrash, Continuity, WhyNew};
use reconvene_store::{Body, MetadataStore, NetworkId, OpenError, Snapshot, StoreError};
use reconvene_store_redb::RedbStore;

use crate::newer::make_newer;
use crate::world::{block_on, fill, read_all, settings, write};

/// Opening `bytes` must fail, name the file, and leave it alone.
fn refused(bytes: &[u8]) -> OpenError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refused.redb");
    fs::write(&path, bytes).unwrap();
    let error = RedbStore::open(&path, &settings()).unwrap_err();
    assert!(error.to_string().contains("refused.redb"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made beside it");
    error
}

fn closed_store() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = RedbStore::create(&path, &settings()).unwrap();
    fill(&store);
    block_on(store.close()).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    assert!(matches!(refused(b""), OpenError::Corrupt { .. }));
    assert!(matches!(refused(b"some text"), OpenError::Corrupt { .. }));
    assert!(matches!(refused(&[b'x'; 100_000]), OpenError::Corrupt { .. }));
    assert!(matches!(refused(&make_newer(&closed_store())), OpenError::NewerFormat { found: (9, 0), .. }));
    // A later format of the engine itself.
    let mut later = closed_store();
    (later[64], later[192]) = (4, 4);
    assert!(matches!(refused(&later), OpenError::NewerFormat { .. }));
    // A database of the same engine, and of somebody else.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other");
    drop(redb::Database::create(&path).unwrap());
    assert!(matches!(refused(&fs::read(path).unwrap()), OpenError::Corrupt { .. }));
}

#[test]
fn what_belongs_to_others_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = RedbStore::create(&path, &settings()).unwrap();
    assert!(matches!(RedbStore::create(&path, &settings()), Err(OpenError::Exists { .. })));
    assert!(matches!(RedbStore::open(&path, &settings()), Err(OpenError::InUse { .. })));
    assert!(matches!(RedbStore::quarantine(&path), Err(OpenError::InUse { .. })));
    block_on(store.close()).unwrap();

    let before = fs::read(&path).unwrap();
    let mut other = settings();
    other.network = NetworkId::of_name("another");
    assert!(matches!(RedbStore::open(&path, &other), Err(OpenError::Foreign { .. })));
    let mut other = settings();
    other.node = NodeId::new([2; 16]);
    assert!(matches!(RedbStore::open(&path, &other), Err(OpenError::OtherNode { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);

    let away = RedbStore::quarantine(&path).unwrap();
    assert_eq!(fs::read(away).unwrap(), before);
    assert!(matches!(RedbStore::open(&path, &settings()), Err(OpenError::Missing { .. })));
    assert!(matches!(RedbStore::quarantine(&path), Err(OpenError::Missing { .. })));
    let again = RedbStore::create(&path, &settings()).unwrap();
    assert_eq!(again.continuity(), Continuity::New(WhyNew::Lost), "the witness remembers the one before");
}

#[test]
fn names_are_kept_where_nothing_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = RedbStore::create(&path, &settings()).unwrap();
    assert_eq!(store.continuity(), Continuity::New(WhyNew::First));
    let identity = |store: &RedbStore| block_on(store.snapshot()).unwrap().head().identity();
    let first = identity(&store);
    write(&store, "job/1", Body::of("one"));
    block_on(store.close()).unwrap();

    let store = RedbStore::open(&path, &settings()).unwrap();
    assert_eq!((store.continuity(), identity(&store)), (Continuity::Kept, first));
    write(&store, "job/2", Body::of("two"));
    drop(store);
    let store = RedbStore::open(&path, &settings()).unwrap();
    assert_eq!((store.continuity(), identity(&store)), (Continuity::Kept, first), "dropped, and the witness agrees");
    drop(store);
    let mut careful = settings();
    careful.after_crash = AfterCrash::AlwaysNew;
    let store = RedbStore::open(&path, &careful).unwrap();
    assert_eq!(store.continuity(), Continuity::New(WhyNew::Policy));
    assert_eq!(read_all(&store).unwrap().len(), 2);
}

#[test]
fn a_snapshot_that_outlives_its_store_says_so_and_holds_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = RedbStore::create(&path, &settings()).unwrap();
    write(&store, "job/1", Body::of("one"));
    let snapshot = block_on(store.snapshot()).unwrap();
    block_on(store.close()).unwrap();
    let read = block_on(snapshot.record(&crate::world::key("job/1")));
    assert!(matches!(read, Ok(Some(_)) | Err(StoreError::Closed)), "{read:?}");
    drop(RedbStore::open(&path, &settings()).unwrap());
}
