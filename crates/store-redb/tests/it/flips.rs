//! A bit turned over in any byte of a store is found, or does no harm.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reconvene_sim::disk::Keep;
use reconvene_store::{MetadataStore, OpenError, Record};
use reconvene_store_redb::RedbStore;

use crate::disk::Disk;
use crate::world::{block_on, fill, read_all, settings};

/// The image of a small store, closed in good order or killed, and what it holds.
fn small_image(closed: bool) -> (Vec<u8>, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut settings = settings();
    settings.layer = Some(Arc::new(disk.clone()));
    let store = RedbStore::create(dir.path().join("small"), &settings).unwrap();
    fill(&store);
    let holds = read_all(&store).unwrap();
    if closed {
        block_on(store.close()).unwrap();
    } else {
        disk.crash(Keep::All);
        drop(store);
    }
    (disk.image(), holds)
}

/// A place to put damaged images.
struct Bench {
    path: PathBuf,
    disk: Disk,
    settings: reconvene_store_redb::Settings,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        fs::write(&path, "the bytes are in memory").unwrap();
        let disk = Disk::default();
        let mut settings = settings();
        settings.layer = Some(Arc::new(disk.clone()));
        Self { path, disk, settings, _dir: dir }
    }

    /// Puts an image there, opens it, and says whether it was found to be damaged.
    fn is_found(&self, image: &[u8], holds: &[Record], what: &str) -> bool {
        self.disk.boot();
        self.disk.put_image(image);
        self.opens_damaged(holds, what)
    }

    /// Opens what is there, and says whether it was found to be damaged. Served is what it `holds`, or nothing. What is
    /// refused is as it was; otherwise the disk is down.
    fn opens_damaged(&self, holds: &[Record], what: &str) -> bool {
        let before = self.disk.operations();
        match RedbStore::open(&self.path, &self.settings) {
            Err(error) => {
                assert_eq!(self.disk.operations(), before, "{what}: refused, and written to");
                let text = error.to_string();
                assert!(text.contains(self.path.to_str().unwrap()), "{what}: {text}");
                assert!(!matches!(error, OpenError::Io { .. } | OpenError::InUse { .. }), "{what}: {error:?}");
                true
            }
            Ok(store) => {
                let found = match read_all(&store) {
                    Ok(found) => {
                        assert_eq!(found, holds, "{what}: served");
                        false
                    }
                    Err(_) => true,
                };
                assert!(
                    found || block_on(store.check()).unwrap().is_sound(),
                    "{what}: harmless, and the check complains"
                );
                self.disk.crash(Keep::Nothing);
                false
            }
        }
    }
}

/// One in so many bytes behind the header is turned over, unless `RECONVENE_EVERY_BYTE` is set.
const STRIDE: usize = 61;

/// Which bytes of a sound image anything depends on: those that are read when it is opened, read and checked. Whatever is
/// in the others, the same is read and so the same happens.
fn read_bytes(image: &[u8], holds: &[Record]) -> Vec<bool> {
    let bench = Bench::new();
    bench.disk.put_image(image);
    bench.disk.watch();
    // The first opening finds no witness, those after it do.
    for _ in 0..2 {
        assert!(!bench.is_found(image, holds, "sound"));
    }
    bench.disk.was_read()
}

#[test]
fn a_flipped_bit_in_every_byte_is_found_or_harmless() {
    // What the engine gives up on it says by a panic, which is caught.
    std::panic::set_hook(Box::new(|info| {
        if !info.location().is_some_and(|location| location.file().contains("/redb-")) {
            eprintln!("{info}");
        }
    }));
    let every = std::env::var_os("RECONVENE_EVERY_BYTE").is_some();
    for closed in [true, false] {
        let (image, holds) = small_image(closed);
        let read = read_bytes(&image, &holds);
        let chosen = |byte: &usize| read[*byte] && (every || *byte < 330 || byte.is_multiple_of(STRIDE));
        let places: Vec<usize> = (0..image.len()).filter(chosen).collect();
        let (next, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                let flip = || {
                    let bench = Bench::new();
                    let mut sound = false;
                    while let Some(&byte) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let bit = 1 << (byte % 8);
                        if !sound {
                            bench.disk.boot();
                            bench.disk.put_image(&image);
                        }
                        let what = format!("byte {byte} of {}, closed: {closed}", image.len());
                        bench.disk.flip(byte, bit);
                        // What was refused was not written to, and need not be put there again.
                        sound = bench.opens_damaged(&holds, &what);
                        bench.disk.flip(byte, bit);
                        found.fetch_add(usize::from(sound), Ordering::Relaxed);
                    }
                };
                scope.spawn(flip);
            }
        });
        let found = found.into_inner();
        let read = read.iter().filter(|read| **read).count();
        eprintln!(
            "closed: {closed}: {} bytes, {read} of them read, {} turned over: {found} found, the rest harmless",
            image.len(),
            places.len(),
        );
        assert!(found > 20, "only {found} found");
    }
}

#[test]
fn a_cut_file_is_found_or_whole() {
    for closed in [true, false] {
        let (image, holds) = small_image(closed);
        let bench = Bench::new();
        let page = 4_096;
        let lengths =
            [0, 1, 8, 9, 63, 64, 319, 320, page - 1, page, page + 1, 2 * page, image.len() / 2, image.len() - page];
        for len in lengths.into_iter().chain([image.len() - 1]) {
            let what = format!("cut to {len} of {}, closed: {closed}", image.len());
            // What the engine had not used yet can go without harm.
            assert!(bench.is_found(&image[..len], &holds, &what) || len > 2 * page, "{what}: not found");
        }
    }
}
