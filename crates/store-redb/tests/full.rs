//! A real file system without room: a small one in memory, where the test may mount it.
//!
//! A program of its own: for the moment in which a child process starts, it holds every lock that this process has, and
//! other tests would find their stores in use.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests add freely, and fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use reconvene_store::{Body, CommitError, MetadataStore, Snapshot};
use reconvene_store_redb::RedbStore;
use tempfile::TempDir;

use self::world::{block_on, key, read_all, settings, try_write};

#[path = "it/world.rs"]
#[allow(dead_code, clippy::indexing_slicing, reason = "the other tests use the rest")]
mod world;

/// A file system of its own, gone with the value.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where nobody may mount anything; what else goes wrong is a failure where the tests decide.
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        let said = match done {
            Ok(done) if done.status.success() => return Some(Self(dir)),
            Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let forbidden = ["permission denied", "superuser", "not permitted", "No such file", "not supported"];
        let decides = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(
            !decides || forbidden.iter().any(|word| said.contains(word)),
            "cannot mount, but not forbidden: {said}"
        );
        eprintln!("SKIPPED: this test mounts a small file system, and may not: {}", said.trim());
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut step = 1 << 20;
        let (mut len, path) = (0, self.path().join("filler"));
        let mut filler = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while step > 0 {
            match std::io::Write::write_all(&mut filler, &vec![1; step]) {
                Ok(()) => len += step,
                Err(_) => step /= 2,
            }
        }
        assert!(len > 0, "it was full before");
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a test that panicked with a file open leaves nothing behind either.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_not_an_end() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let path = disk.path().join("store.redb");
    let store = RedbStore::create(&path, &settings()).unwrap();
    let name = |number: u32| format!("job/{number:06}");
    let body = |number: u32| Body::of(number.to_be_bytes().repeat(2_000));
    for number in 0..20 {
        try_write(&store, &name(number), body(number)).unwrap();
    }
    disk.fill();
    // The file has some room of its own; the numbers that are used up cross the bound of the witness on the way.
    let mut last = 20;
    let refused = loop {
        match try_write(&store, &name(last), body(last)) {
            Ok(()) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 5_000, "the disk never became full");
    };
    assert!(matches!(refused, CommitError::NoSpace { .. }), "{refused:?}");
    // Reads go on, and so do refusals; nothing has changed.
    for _ in 0..3 {
        let held = read_all(&store).unwrap();
        assert_eq!(held.len(), usize::try_from(last).unwrap());
        assert!(matches!(try_write(&store, &name(last), body(last)), Err(CommitError::NoSpace { .. })));
    }
    let snapshot = block_on(store.snapshot()).unwrap();
    assert!(block_on(snapshot.record(&key(&name(0)))).unwrap().is_some());
    drop(snapshot);
    disk.make_room();
    for number in last..last + 40 {
        try_write(&store, &name(number), body(number)).unwrap();
    }
    assert!(block_on(store.check()).unwrap().is_sound());
    let held = read_all(&store).unwrap();
    block_on(store.close()).unwrap();
    let store = RedbStore::open(&path, &settings()).unwrap();
    assert_eq!(read_all(&store).unwrap(), held);
}

/// Small writes fit into the file for long, so that the first thing without room is the witness beside it.
#[test]
fn a_witness_without_room_is_an_error_and_not_an_end() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let store = RedbStore::create(disk.path().join("store.redb"), &settings()).unwrap();
    disk.fill();
    let mut written = 0;
    let refused = loop {
        match try_write(&store, "job/1", Body::of("small")) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 5_000, "more numbers than were reserved, and the witness is as it was");
    };
    assert!(matches!(refused, CommitError::NoSpace { .. }), "after {written} writes: {refused:?}");
    assert_eq!(read_all(&store).unwrap().len(), usize::from(written > 0));
    disk.make_room();
    try_write(&store, "job/1", Body::of("small")).unwrap();
    assert!(block_on(store.check()).unwrap().is_sound());
}
