//! The durable store beside its engine: the same bytes into the same tables, in the same run.
//!
//! Not criterion's loop, since every row is a ratio: both sides take turns, so that what slows one slows the other, and
//! the median of the ratios is printed. `--test` runs everything once with little data.

#![allow(missing_docs, reason = "a bench has no interface")]
#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "numbers of a bench are small"
)]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::hint::black_box;
use std::path::Path;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use reconvene_benches::numbers;
use reconvene_clock::{Hlc, NodeId};
use reconvene_sim::suite::block_on;
use reconvene_store::codec::{encode_dot, encode_head, encode_print_id};
use reconvene_store::{
    Batch, Body, Class, Cursor, Fingerprint, Head, IndexChange, Key, Limits, LocalWrite, MetadataStore, NetworkId,
    Plan, Prefix, Replaces, RowCodec, Snapshot,
};
use reconvene_store_redb::{RedbStore, Settings};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const LIVE: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("live");
const TOMBS: TableDefinition<'_, &[u8; 16], ()> = TableDefinition::new("tombs");
const PRINTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("prints");
const FACTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("facts");

/// How much is measured.
struct Scale {
    rows: usize,
    rounds: usize,
    reads: usize,
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let scale = if test {
        Scale { rows: 2_000, rounds: 1, reads: 200 }
    } else {
        Scale { rows: 100_000, rounds: 9, reads: 20_000 }
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    println!("{:<44} {:>14} {:>14} {:>8}  goal", "row", "ours", "raw", "ratio");
    writes(dir.path(), &scale);
    reads(dir.path(), &scale);
    metadata();
}

fn report(row: &str, ours: f64, raw: f64, unit: &str, goal: &str) {
    println!("{row:<44} {ours:>11.2} {unit:<2} {raw:>11.2} {unit:<2} {:>8.3}  {goal}", ours / raw);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

// ---- what is written

/// 16-byte keys in random order and values of 150 to 250 bytes.
struct Source {
    keys: Vec<Key>,
    next: usize,
    head: Head,
}

impl Source {
    fn new(head: Head, rows: usize) -> Self {
        let keys = numbers(7).take(rows).enumerate();
        let keys =
            keys.map(|(place, number)| Key::new(format!("{:08x}{:08x}", number >> 32, place)).expect("16 bytes"));
        Self { keys: keys.collect(), next: 0, head }
    }

    /// The next `rows` rows as one batch.
    fn batch(&mut self, rows: usize) -> Batch {
        let keys: Vec<Key> = self.keys.iter().cycle().skip(self.next).take(rows).cloned().collect();
        let mut plan = Plan::new(self.head.clone(), keys.iter().cloned(), [], &Limits::default());
        for key in keys {
            self.next += 1;
            let len = 150 + self.next % 101;
            let body = Body::of(vec![b'v'; len]);
            let hlc = Hlc::from_u64(1 << 30);
            plan.write(LocalWrite { key, class: Class::NORMAL, body, hlc, replaces: Replaces::AllLive })
                .expect("planned");
        }
        let batch = plan.finish();
        self.head = batch.head().clone();
        batch
    }
}

/// What a batch comes to in the tables.
struct Rows {
    records: Vec<(Key, Vec<u8>)>,
    live: Vec<([u8; 16], Key)>,
    prints: Vec<(Vec<u8>, [u8; 16])>,
    head: Vec<u8>,
}

fn rows_of(batch: &Batch) -> Rows {
    let codec = RowCodec::new();
    let records = batch.rows().iter().map(|row| {
        let mut bytes = Vec::new();
        codec.encode_record(row.after().expect("nothing is removed"), &mut bytes).expect("no seal");
        (row.key().clone(), bytes)
    });
    let live = batch.index().filter_map(|change| match change {
        IndexChange::Insert { dot, key, .. } => Some((encode_dot(dot), key.clone())),
        IndexChange::Remove { .. } => None,
    });
    let prints = batch.prints().iter().filter(|(_, print)| *print != Fingerprint::EMPTY);
    let prints = prints.map(|(id, print)| (encode_print_id(*id), print.as_u128().to_be_bytes()));
    let mut head = Vec::new();
    encode_head(batch.head(), &mut head);
    Rows { records: records.collect(), live: live.collect(), prints: prints.collect(), head }
}

fn raw_commit(database: &Database, rows: &Rows) {
    let mut transaction = database.begin_write().expect("one writer");
    transaction.set_durability(Durability::Immediate).expect("no savepoint");
    {
        let mut meta = transaction.open_table(META).expect("opens");
        let mut records = transaction.open_table(RECORDS).expect("opens");
        let mut live = transaction.open_table(LIVE).expect("opens");
        let _tombs = transaction.open_table(TOMBS).expect("opens");
        let mut prints = transaction.open_table(PRINTS).expect("opens");
        let _facts = transaction.open_table(FACTS).expect("opens");
        for (key, row) in &rows.records {
            records.insert(key.as_bytes(), row.as_slice()).expect("inserts");
        }
        for (dot, key) in &rows.live {
            live.insert(dot, key.as_bytes()).expect("inserts");
        }
        for (name, print) in &rows.prints {
            prints.insert(name.as_slice(), print.as_slice()).expect("inserts");
        }
        meta.insert("head", rows.head.as_slice()).expect("inserts");
    }
    transaction.commit().expect("commits");
}

// ---- rows of the table

fn settings() -> Settings {
    Settings::new(NetworkId::of_name("bench"), NodeId::new([1; 16]))
}

fn head_of(store: &RedbStore) -> Head {
    block_on(store.snapshot()).expect("reads").head().clone()
}

/// A batch over and over, both sides in turns; returns the medians of the times per batch.
fn in_turns(store: &RedbStore, raw: &Database, source: &mut Source, rows: usize, times: usize) -> (f64, f64, f64) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let batch = source.batch(rows);
        let bytes = rows_of(&batch);
        let start = Instant::now();
        block_on(store.commit(&batch)).expect("commits");
        let one = seconds(start.elapsed());
        let start = Instant::now();
        raw_commit(raw, &bytes);
        let other = seconds(start.elapsed());
        ours.push(one);
        theirs.push(other);
        ratios.push(other / one);
    }
    (median(ours), median(theirs), median(ratios))
}

fn writes(dir: &Path, scale: &Scale) {
    let store = RedbStore::create(dir.join("ours.redb"), &settings()).expect("creates");
    let raw = Database::create(dir.join("raw.redb")).expect("creates");
    let mut source = Source::new(head_of(&store), scale.rows);
    let batches = scale.rows / 1_000;
    let (ours, theirs, ratio) = in_turns(&store, &raw, &mut source, 1_000, batches);
    println!(
        "{:<44} {:>11.2} ms {:>11.2} ms {ratio:>8.3}  >= 0.8 (rate)",
        "commit of 1,000 rows",
        ours * 1e3,
        theirs * 1e3
    );
    let (single, theirs, ratio) = in_turns(&store, &raw, &mut source, 1, scale.rounds * 40);
    println!(
        "{:<44} {:>11.3} ms {:>11.3} ms {ratio:>8.3}  >= 0.9 (rate)",
        "commit of one row",
        single * 1e3,
        theirs * 1e3
    );
    let (mut times, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds * 10 {
        let batches: Vec<Batch> = (0..8).map(|_| source.batch(1)).collect();
        let start = Instant::now();
        in_flight(&store, &batches);
        times.push(seconds(start.elapsed()) / 8.0);
        let batch = source.batch(1);
        let start = Instant::now();
        block_on(store.commit(&batch)).expect("commits");
        alone.push(seconds(start.elapsed()));
    }
    let (each, single) = (median(times), median(alone));
    println!(
        "{:<44} {:>11.3} ms {:>11.3} ms {:>8.3}  >= 4 (rate, to single)",
        "8 batches in flight, each",
        each * 1e3,
        single * 1e3,
        single / each
    );
    block_on(store.close()).expect("closes");
    drop(raw);
    // The same bytes again in the same order, so that the sizes compare.
    let len = |name: &str| std::fs::metadata(dir.join(name)).expect("is there").len() as f64 / 1e6;
    report("file, closed", len("ours.redb"), len("raw.redb"), "MB", "<= 1.05");
}

fn in_flight(store: &RedbStore, batches: &[Batch]) {
    let mut commits: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
    for batch in batches {
        let mut commit: Pin<Box<dyn Future<Output = _>>> = Box::pin(store.commit(batch));
        assert!(commit.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending(), "it waits");
        commits.push(commit);
    }
    for commit in commits {
        block_on(commit).expect("commits");
    }
}

fn reads(dir: &Path, scale: &Scale) {
    // Reopening first, of both files, closed in good order.
    let (mut ours, mut verified, mut trusted) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let start = Instant::now();
        let store = RedbStore::open(dir.join("ours.redb"), &settings()).expect("opens");
        black_box(head_of(&store));
        ours.push(seconds(start.elapsed()));
        block_on(store.close()).expect("closes");
        let start = Instant::now();
        let raw = Database::builder().set_check_integrity_on_open(true).open(dir.join("raw.redb")).expect("opens");
        verified.push(seconds(start.elapsed()));
        drop(raw);
        let start = Instant::now();
        let raw = Database::open(dir.join("raw.redb")).expect("opens");
        trusted.push(seconds(start.elapsed()));
        drop(raw);
    }
    let ours = median(ours) * 1e3;
    report("reopen, pages verified", ours, median(verified) * 1e3, "ms", "<= 1.2 + 10 ms");
    report("reopen, to raw that trusts the file", ours, median(trusted) * 1e3, "ms", "<= 1.2 + 10 ms");

    let store = RedbStore::open(dir.join("ours.redb"), &settings()).expect("opens");
    let raw = Database::open(dir.join("raw.redb")).expect("opens");
    let snapshot = block_on(store.snapshot()).expect("reads");
    let transaction = raw.begin_read().expect("reads");
    let table = transaction.open_table(RECORDS).expect("opens");
    let source = Source::new(snapshot.head().clone(), scale.rows);
    let keys: Vec<&Key> =
        numbers(3).take(scale.reads).map(|at| &source.keys[at as usize % source.keys.len()]).collect();
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let start = Instant::now();
        for key in &keys {
            let record = block_on(snapshot.record(key)).expect("reads").expect("is there");
            black_box(record.values().next());
        }
        let one = seconds(start.elapsed());
        let start = Instant::now();
        for key in &keys {
            // As any interface must that hands out what it read.
            let row = table.get(key.as_bytes()).expect("reads").expect("is there").value().to_vec();
            black_box(row);
        }
        let other = seconds(start.elapsed());
        ours.push(one * 1e6 / keys.len() as f64);
        theirs.push(other * 1e6 / keys.len() as f64);
        ratios.push(other / one);
    }
    println!(
        "{:<44} {:>11.3} us {:>11.3} us {:>8.3}  >= 0.7 (rate)",
        "read by key",
        median(ours),
        median(theirs),
        median(ratios)
    );
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let start = Instant::now();
        let mut count = 0;
        let mut cursor = Some(Cursor::new(Prefix::all()));
        while let Some(at) = cursor {
            let page = block_on(snapshot.by_prefix(&at)).expect("reads");
            count += page.items.len();
            cursor = page.next;
        }
        let one = seconds(start.elapsed());
        let start = Instant::now();
        let mut rows = Vec::new();
        for row in table.iter().expect("reads") {
            let (key, row) = row.expect("reads");
            rows.push((key.value().to_vec(), row.value().to_vec()));
        }
        let other = seconds(start.elapsed());
        assert_eq!(count, rows.len());
        ours.push(one * 1e9 / count as f64);
        theirs.push(other * 1e9 / count as f64);
        ratios.push(other / one);
    }
    println!(
        "{:<44} {:>11.1} ns {:>11.1} ns {:>8.3}  >= 0.6 (rate)",
        "scan, each row",
        median(ours),
        median(theirs),
        median(ratios)
    );
    drop((snapshot, table, transaction, raw));
    drop(store);
    // From a crash to every record read, as a broker does when it starts.
    let start = Instant::now();
    let store = RedbStore::open(dir.join("ours.redb"), &settings()).expect("opens");
    let snapshot = block_on(store.snapshot()).expect("reads");
    let mut cursor = Some(Cursor::new(Prefix::all()));
    let mut count = 0;
    while let Some(at) = cursor {
        let page = block_on(snapshot.by_prefix(&at)).expect("reads");
        count += page.items.len();
        cursor = page.next;
    }
    println!(
        "{:<44} {:>11.3} s  {:>14} {:>8}  <= 2 s",
        format!("crash to {count} records read"),
        seconds(start.elapsed()),
        "",
        ""
    );
}

/// Bytes of rows beyond key and value, counted: the row, the entry of the live index, and the head's and prints' share.
fn metadata() {
    let identity = reconvene_store::Identity {
        node: NodeId::new([1; 16]),
        replica: reconvene_benches::replica(5),
        incarnation: 1,
    };
    let mut source = Source::new(Head::new(identity, NetworkId::of_name("bench")), 10_000);
    let (mut bytes, mut payload, mut rows) = (0, 0, 0);
    for _ in 0..10 {
        let batch = source.batch(1_000);
        let written = rows_of(&batch);
        for (key, row) in &written.records {
            bytes += key.as_bytes().len() + row.len();
            payload += key.as_bytes().len();
            rows += 1;
        }
        payload += batch.versions().map(|(_, version)| version.body.byte_len()).sum::<usize>();
        bytes += written.live.iter().map(|(dot, key)| dot.len() + key.as_bytes().len()).sum::<usize>();
    }
    let each = (bytes - payload) as f64 / f64::from(rows);
    println!("{:<44} {each:>11.1} B  {:>14} {:>8}  <= 150 B", "row bytes beyond key and value, each record", "", "");
}
