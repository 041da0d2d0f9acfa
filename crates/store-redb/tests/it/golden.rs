//! A store that this version's first release wrote, which every later one opens.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use reconvene_store::{Body, FactKind, MetadataStore, Record, Snapshot};
use reconvene_store_redb::RedbStore;

use crate::world::{block_on, fill, read_all, settings, write};

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// What a store holds, as text: one line for each version and fact.
fn dump(store: &RedbStore) -> String {
    let mut text = String::new();
    for record in read_all(store).unwrap() {
        dump_record(&mut text, &record);
    }
    let snapshot = block_on(store.snapshot()).unwrap();
    // Opened without its witness it has a new name, and facts about that: not those.
    for fact in block_on(snapshot.facts(FactKind::Ack)).unwrap() {
        writeln!(text, "{fact:?}").unwrap();
    }
    writeln!(text, "root {}", snapshot.head().fingerprints().root()).unwrap();
    text
}

fn dump_record(text: &mut String, record: &Record) {
    for version in record.siblings() {
        let body = version.body.value().map_or_else(|| "deleted".to_owned(), |value| value.escape_ascii().to_string());
        let (key, dot, height, hlc) = (record.key(), version.dot, version.height.get(), version.hlc.as_u64());
        let context = &version.context;
        writeln!(text, "{key} {dot} {height} {hlc} {} {:?} {body}", version.class.get(), context.dots()).unwrap();
    }
}

#[test]
fn golden_v1_store_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    if std::env::var_os("RECONVENE_WRITE_GOLDEN").is_some() {
        let mut settings = settings();
        settings.replica = reconvene_clock::ReplicaId::new(0xcafe);
        let store = RedbStore::create(&path, &settings).unwrap();
        fill(&store);
        fs::create_dir_all(golden("")).unwrap();
        fs::write(golden("v1.txt"), dump(&store)).unwrap();
        block_on(store.close()).unwrap();
        fs::copy(&path, golden("v1.redb")).unwrap();
    }
    fs::copy(golden("v1.redb"), &path).unwrap();
    let store = RedbStore::open(&path, &settings()).unwrap();
    assert_eq!(dump(&store), fs::read_to_string(golden("v1.txt")).unwrap());
    assert!(block_on(store.check()).unwrap().is_sound());
    write(&store, "job/9", Body::of("and it goes on"));
    block_on(store.close()).unwrap();
    assert_eq!(fs::read(golden("v1.redb")).unwrap().len() % 4_096, 0);
}
