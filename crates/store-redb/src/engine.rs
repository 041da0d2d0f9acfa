//! The engine: tables of bytes in one file. Nothing outside this module and the gate knows what is underneath.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

use reconvene_store::{Fact, Head, Key, Revision, StoreError};

use crate::gate::{Gate, Trouble, confirmed};
use crate::medium::Medium;
use crate::rows::join_fact;

/// A dot as a key: origin and counter, big-endian, so that the order of the bytes is the order of dots.
pub(crate) type DotKey = [u8; 16];

pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
pub(crate) const LIVE: TableDefinition<'static, &DotKey, &[u8]> = TableDefinition::new("live");
pub(crate) const TOMBS: TableDefinition<'static, &DotKey, ()> = TableDefinition::new("tombs");
pub(crate) const PRINTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("prints");
pub(crate) const FACTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("facts");

/// The bytes of the first page that say whose format it is.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Where the two commit slots say which version of the engine's format they have.
const VERSION_OFFSETS: [u64; 2] = [64, 192];

/// The last version of the engine's format that this engine reads.
const ENGINE_FORMAT: u8 = 3;

/// How much of a file the engine keeps in memory at most.
const CACHE_BYTES: usize = 256 << 20;

/// What one transaction puts into the tables. `None` removes a row.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) meta: Vec<(&'static str, Vec<u8>)>,
    pub(crate) records: Vec<(Key, Option<Vec<u8>>)>,
    pub(crate) live: Vec<(DotKey, Option<Key>)>,
    pub(crate) tombs: Vec<(DotKey, bool)>,
    pub(crate) prints: Vec<(Vec<u8>, Option<[u8; 16]>)>,
    /// To be joined with those that are there.
    pub(crate) facts: Vec<Fact>,
}

/// A cause, as the engine said it.
pub(crate) type Source = Box<dyn Error + Send + Sync>;

/// Why the bytes are no store, or cannot be had.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// They are damaged, or something else altogether.
    Damaged(String),
    /// A later version of the engine wrote them.
    Newer(u8),
    /// The medium refused.
    Io(Source),
}

/// Why changes were not made.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no room; nothing changed.
    Full(Source),
    /// They may have been made.
    Unknown(Source),
}

/// An open file.
pub(crate) struct Engine {
    database: Database,
    gate: Gate,
}

/// What opening came to.
pub(crate) struct Opened {
    pub(crate) engine: Engine,
    /// Whether the newest commit that the file speaks of is the one that was opened. Otherwise it was torn, or damaged,
    /// and the one before it was taken.
    pub(crate) newest: bool,
    /// The revision that is known to have been durable, if any is.
    pub(crate) confirmed: Option<Revision>,
}

impl Opened {
    /// Fails if `head` is older than what was durable: damage made the engine fall back to an older commit.
    pub(crate) fn verify(&self, head: &Head) -> Result<(), String> {
        match self.confirmed {
            Some(confirmed) if confirmed > head.revision() => {
                Err(format!("its newest commit, of revision {confirmed}, does not verify"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Engine {
    /// Makes an empty medium into a file with these changes in it.
    pub(crate) fn create(medium: Arc<dyn Medium>, changes: &Changes) -> Result<Self, Unusable> {
        let opened = Self::open_any(medium)?;
        opened.engine.apply([changes]).map_err(|failed| match failed {
            Failed::Full(source) | Failed::Unknown(source) => Unusable::Io(source),
        })?;
        Ok(opened.engine)
    }

    /// Opens a file and verifies the checksum of every page in use. The medium stays as it is until the first
    /// [`apply`](Self::apply).
    pub(crate) fn open(medium: Arc<dyn Medium>) -> Result<Opened, Unusable> {
        let io = |error: io::Error| Unusable::Io(error.into());
        let len = medium.len().map_err(io)?;
        if len == 0 {
            return Err(Unusable::Damaged("it is empty, which no store ever is".to_owned()));
        }
        let mut magic = [0; MAGIC.len()];
        if len < 4_096 {
            return Err(Unusable::Damaged(format!("it ends after {len} bytes, within its header")));
        }
        medium.read_at(0, &mut magic).map_err(io)?;
        if magic != MAGIC {
            return Err(Unusable::Damaged("it does not begin as a store does: it is another kind of file".to_owned()));
        }
        let confirmed = confirmed(&*medium).map_err(io)?.map(Revision::new);
        let opened = Self::open_any(Arc::clone(&medium)).map(|opened| Opened { confirmed, ..opened });
        // The engine does not tell a later format from damage.
        if matches!(opened, Err(Unusable::Damaged(_))) {
            for offset in VERSION_OFFSETS {
                let mut version = [0];
                medium.read_at(offset, &mut version).map_err(io)?;
                if version[0] > ENGINE_FORMAT {
                    return Err(Unusable::Newer(version[0]));
                }
            }
        }
        opened
    }

    fn open_any(medium: Arc<dyn Medium>) -> Result<Opened, Unusable> {
        let gate = Gate::held(medium).map_err(|error| Unusable::Io(error.into()))?;
        let newest = Rc::new(Cell::new(true));
        let seen = Rc::clone(&newest);
        let behind = gate.clone();
        let database = guarded(move || {
            let mut builder = Database::builder();
            builder.set_check_integrity_on_open(true);
            builder.set_cache_size(CACHE_BYTES);
            // Progress 0.3 is reported where the newest commit does not verify, and nowhere else.
            builder.set_repair_callback(move |session| {
                if session.progress() > 0.2 && session.progress() < 0.5 {
                    seen.set(false);
                }
            });
            builder.create_with_backend(behind)
        });
        let database = database.map_err(Unusable::Damaged)?.map_err(unusable)?;
        Ok(Opened { engine: Self { database, gate }, newest: newest.get(), confirmed: None })
    }

    /// Puts all of the changes into the tables, in order, and makes them durable; or none.
    pub(crate) fn apply<'a>(&self, groups: impl IntoIterator<Item = &'a Changes>) -> Result<(), Failed> {
        self.gate.begin();
        let made = match self.gate.release() {
            Ok(()) => guarded(|| self.try_apply(groups)).unwrap_or_else(|what| Err(what.into())),
            Err(error) => Err(error.into()),
        };
        made.map_err(|source| match self.gate.trouble() {
            Some(Trouble::Full) => Failed::Full(source),
            Some(Trouble::Unknown) | None => Failed::Unknown(source),
        })
    }

    fn try_apply<'a>(&self, groups: impl IntoIterator<Item = &'a Changes>) -> Result<(), Source> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut meta = transaction.open_table(META)?;
            let mut records = transaction.open_table(RECORDS)?;
            let mut live = transaction.open_table(LIVE)?;
            let mut tombs = transaction.open_table(TOMBS)?;
            let mut prints = transaction.open_table(PRINTS)?;
            let mut facts = transaction.open_table(FACTS)?;
            for changes in groups {
                for (key, row) in &changes.records {
                    match row {
                        Some(row) => drop(records.insert(key.as_bytes(), row.as_slice())?),
                        None => drop(records.remove(key.as_bytes())?),
                    }
                }
                for (dot, key) in &changes.live {
                    match key {
                        Some(key) => drop(live.insert(dot, key.as_bytes())?),
                        None => drop(live.remove(dot)?),
                    }
                }
                for (dot, there) in &changes.tombs {
                    if *there {
                        tombs.insert(dot, ())?;
                    } else {
                        tombs.remove(dot)?;
                    }
                }
                for (name, print) in &changes.prints {
                    match print {
                        Some(print) => drop(prints.insert(name.as_slice(), print.as_slice())?),
                        None => drop(prints.remove(name.as_slice())?),
                    }
                }
                for fact in &changes.facts {
                    let (name, row) = join_fact(fact, |name| Ok(facts.get(name)?.map(|row| row.value().to_vec())))?;
                    facts.insert(name.as_slice(), row.as_slice())?;
                }
                for (name, row) in &changes.meta {
                    meta.insert(name, row.as_slice())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Notes that the commit which led to this revision is durable.
    pub(crate) fn confirm(&self, revision: Revision) {
        self.gate.confirm(revision.get());
    }

    /// The tables as they are now, whatever is written later.
    pub(crate) fn tables(&self) -> Result<Tables, Unreadable> {
        reading(|| {
            let transaction = self.database.begin_read()?;
            Ok(Tables {
                meta: transaction.open_table(META)?,
                records: transaction.open_table(RECORDS)?,
                live: transaction.open_table(LIVE)?,
                tombs: transaction.open_table(TOMBS)?,
                prints: transaction.open_table(PRINTS)?,
                facts: transaction.open_table(FACTS)?,
            })
        })
    }

    /// Closes in good order, so that the next opening has nothing to repair.
    pub(crate) fn close(self) -> Result<(), Source> {
        guarded(|| self.database.close()).map_err(Source::from)?.map_err(Source::from)
    }
}

/// The tables of one commit.
pub(crate) struct Tables {
    pub(crate) meta: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(crate) records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(crate) live: ReadOnlyTable<&'static DotKey, &'static [u8]>,
    pub(crate) tombs: ReadOnlyTable<&'static DotKey, ()>,
    pub(crate) prints: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(crate) facts: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

/// Why a table could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// What is there is damaged.
    Damaged(String),
    /// The engine was closed.
    Closed,
    /// The engine stopped after a failure, and was or will be opened anew.
    Stopped(Source),
    /// The medium refused.
    Io(Source),
}

impl Unreadable {
    /// The same to a reader of the store.
    pub(crate) fn into_store_error(self, doing: &'static str) -> StoreError {
        match self {
            Self::Damaged(what) => StoreError::Corrupt { what },
            Self::Closed => StoreError::Closed,
            Self::Stopped(source) => StoreError::Unavailable { source },
            Self::Io(source) => StoreError::Io { doing, source },
        }
    }
}

/// Reads, and says in our words what went wrong.
pub(crate) fn reading<T>(read: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Unreadable> {
    let result = guarded(read).map_err(Unreadable::Damaged)?;
    result.map_err(unreadable)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's errors are many, and grow")]
fn unreadable(error: redb::Error) -> Unreadable {
    match error {
        redb::Error::DatabaseClosed => Unreadable::Closed,
        error @ redb::Error::PreviousIo => Unreadable::Stopped(error.into()),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::NotConnected => Unreadable::Closed,
        redb::Error::Io(error) if !is_damage(error.kind()) => Unreadable::Io(error.into()),
        error => Unreadable::Damaged(error.to_string()),
    }
}

fn unusable(error: DatabaseError) -> Unusable {
    if let DatabaseError::Storage(StorageError::Io(error)) = error {
        return if is_damage(error.kind()) { Unusable::Damaged(error.to_string()) } else { Unusable::Io(error.into()) };
    }
    Unusable::Damaged(error.to_string())
}

/// Whether the engine uses this kind of failure for bytes that make no sense: it reads behind the end of the file when a
/// page number is damaged.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

/// Calls the engine, and turns a panic into an error.
///
/// The engine verifies a file when it is opened, and trusts its pages from there on: one that is damaged later may make
/// it panic, as may one that its debug builds distrust. That is the one place where a panic is caught. Whatever it was
/// doing is then given up, and its poisoned locks turn every later call into an error as well.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("the engine gave up: {}", text.unwrap_or("no reason given"))
    })
}
