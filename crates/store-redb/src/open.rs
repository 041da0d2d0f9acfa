//! Creating, opening and putting away.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reconvene_clock::ReplicaId;
use reconvene_store::codec::decode_lineage;
use reconvene_store::opening::{self, Continuity, Found, Fresh};
use reconvene_store::{CodecProblem, Head, Identity, NetworkId, OpenError, STORE_FORMAT, SessionNonce, crc32c};

use crate::engine::{Engine, Failed, Tables, reading};
use crate::keeper::{IDENTITY, Keeper, identity_row};
use crate::medium::{FileMedium, Medium};
use crate::rows::{HEAD, changes_of, head_of, head_row};
use crate::site::Site;
use crate::snapshot::View;
use crate::witness::sync_folder_of;
use crate::worker::Worker;
use crate::{RedbStore, Settings};

/// The row of `meta` that is checked first.
const FORMAT: &str = "format";

/// The row of `meta` that tells whether the right seal was given.
const SEAL: &str = "seal";

const FORMAT_MAGIC: [u8; 8] = *b"RECONVEN";

impl RedbStore {
    /// Creates an empty store at `path`, as a new incarnation, and opens it. Blocks.
    ///
    /// It is made under another name in the same folder, synced, and only then given its own: there is never half a
    /// store at `path`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Exists`] if there is something at `path`; [`OpenError::Io`] if it cannot be made.
    pub fn create(path: impl AsRef<Path>, settings: &Settings) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let site = Site::new(path)?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(OpenError::Exists { store: site.name() });
        }
        let temporary = with_suffix(path, &format!(".creating-{:016x}", site.draw()?));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let made = file.map_err(site.io("creating")).and_then(|file| {
            Self::create_in(file, &site, settings, || {
                rename_new(&temporary, path)?;
                sync_folder_of(path)
            })
        });
        if made.is_err() {
            // Nobody ever opened it. If it cannot be removed it is left, under a name that nothing looks for.
            let _ = fs::remove_file(&temporary);
        }
        made
    }

    fn create_in(
        file: File,
        site: &Site,
        settings: &Settings,
        name: impl FnOnce() -> io::Result<()>,
    ) -> Result<Self, OpenError> {
        let medium = site.medium(file, settings)?;
        let witness_file = site.witness_file(settings);
        let before = witness_file.read().map_err(site.io("reading the witness of"))?;
        let fresh = fresh(site, settings)?;
        let identity = Identity { node: settings.node, replica: fresh.replica, incarnation: settings.incarnation };
        let (continuity, head, lineage, witness) =
            opening::create(identity, settings.network, fresh.session, site.host(), before.as_ref());
        let mut changes = identity_row(&lineage);
        changes.meta.push((FORMAT, format_row(settings.network)));
        changes.meta.push((SEAL, settings.codec().mark().map_err(|error| site.seal(error))?));
        changes.meta.push((HEAD, head_row(&head)));
        let engine = Engine::create(Arc::clone(&medium), &changes).map_err(|error| site.unusable(error))?;
        // First the witness: one that speaks of a store which is not there does no harm.
        let keeper = Keeper::begin(witness_file, lineage, witness).map_err(site.io("writing the witness of"))?;
        name().map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                OpenError::Exists { store: site.name() }
            } else {
                site.io("naming")(error)
            }
        })?;
        Self::serve(site, settings, engine, medium, keeper, head, continuity)
    }

    /// Opens the store at `path`. Blocks, while every page in use is verified.
    ///
    /// A store that is shown to be the newest copy of itself keeps its name, and goes on above every number that it
    /// reserved. Any other goes on as a new incarnation, as [`continuity`](Self::continuity) says: what it holds stays.
    ///
    /// # Errors
    ///
    /// [`OpenError`], and what is at `path` is as it was, byte for byte; unless it is [`OpenError::Io`] from writing to
    /// a store that is sound.
    pub fn open(path: impl AsRef<Path>, settings: &Settings) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let site = Site::new(path)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| site.not_opened(error))?;
        let medium = site.medium(file, settings)?;
        let opened = Engine::open(Arc::clone(&medium)).map_err(|error| site.unusable(error))?;
        let tables = opened.engine.tables().map_err(|error| site.unreadable(error.into_store_error("reading")))?;
        let head = checked_head(&site, settings, &tables)?;
        opened.verify(&head).map_err(|what| site.corrupt(what))?;
        let lineage =
            decode_lineage(&row(&site, &tables, IDENTITY)?).map_err(|error| site.corrupt(error.to_string()))?;
        drop(tables);
        let witness_file = site.witness_file(settings);
        let witness = witness_file.read().map_err(site.io("reading the witness of"))?;
        let last = witness_file.last_commits().and_then(|mut last| last.read());
        let last = last.map_err(site.io("reading the last commit of"))?;
        let found = Found {
            head: &head,
            lineage: &lineage,
            witness: witness.as_ref(),
            last: &last,
            host: site.host(),
            proves_last_commit: opened.newest,
            taken: false,
        };
        let before = witness.map_or(0, |witness| witness.identity().incarnation);
        let known = before.max(head.identity().incarnation).max(settings.incarnation.saturating_sub(1));
        let opening = opening::open(&found, settings.after_crash, fresh(&site, settings)?, known);
        let sealed = changes_of(&opening.batch, &settings.codec());
        let mut changes = sealed.map_err(|error| site.seal(error))?;
        changes.meta.extend(identity_row(&opening.lineage).meta);
        let engine = opened.engine;
        engine.apply([&changes]).map_err(|failed| match failed {
            Failed::Full(source) | Failed::Unknown(source) => {
                OpenError::Io { store: site.name(), doing: "writing to", source }
            }
        })?;
        let keeper = Keeper::begin(witness_file, opening.lineage, opening.witness);
        let keeper = keeper.map_err(site.io("writing the witness of"))?;
        let head = opening.batch.head().clone();
        Self::serve(&site, settings, engine, medium, keeper, head, opening.continuity)
    }

    fn serve(
        site: &Site,
        settings: &Settings,
        engine: Engine,
        medium: Arc<dyn Medium>,
        keeper: Keeper,
        head: Head,
        continuity: Continuity,
    ) -> Result<Self, OpenError> {
        engine.confirm(head.revision());
        let tables = engine.tables().map_err(|error| site.unreadable(error.into_store_error("reading")))?;
        let open = Arc::new(AtomicBool::new(true));
        let view = View { tables, head, codec: settings.codec(), open };
        let started = Self::start(view, settings.limits, settings.codec(), continuity, |shared| Worker {
            shared,
            engine,
            medium,
            keeper,
        });
        started.map_err(site.io("starting a thread for"))
    }

    /// Gives the file at `path` another name in the same folder, so that a new store can be created, and returns that
    /// name. Nothing ever deletes or reads it again.
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`] if there is none; [`OpenError::InUse`] if it is open; [`OpenError::Io`] if it cannot be
    /// renamed.
    pub fn quarantine(path: impl AsRef<Path>) -> Result<PathBuf, OpenError> {
        let path = path.as_ref();
        let site = Site::new(path)?;
        let file = File::open(path).map_err(|error| site.not_opened(error))?;
        let Some(_lock) = FileMedium::lock(file).map_err(site.io("locking"))? else {
            return Err(OpenError::InUse { store: site.name() });
        };
        let away = with_suffix(path, &format!(".quarantine-{:016x}", site.draw()?));
        rename_new(path, &away).and_then(|()| sync_folder_of(path)).map_err(site.io("renaming"))?;
        Ok(away)
    }
}

/// The head of a store of this format, network and broker.
fn checked_head(site: &Site, settings: &Settings, tables: &Tables) -> Result<Head, OpenError> {
    let format = row(site, tables, FORMAT)?;
    let (found, network) =
        parse_format(&format).ok_or_else(|| site.corrupt("what it says of its format does not read"))?;
    if found > STORE_FORMAT {
        return Err(OpenError::NewerFormat { store: site.name(), found, supported: STORE_FORMAT });
    }
    if network != settings.network {
        return Err(OpenError::Foreign { store: site.name(), found: network, wanted: settings.network });
    }
    settings.codec().check_mark(&row(site, tables, SEAL)?).map_err(|error| {
        let seal = matches!(error.problem, CodecProblem::Meaning(_) | CodecProblem::Sealed | CodecProblem::Unsealed(_));
        if seal { site.seal(error) } else { site.corrupt(error.to_string()) }
    })?;
    let head = head_of(tables).map_err(|error| site.unreadable(error))?;
    if head.network() != network {
        return Err(site.corrupt("its head is of another network than its format"));
    }
    let (found, wanted) = (head.identity().node, settings.node);
    if found == wanted { Ok(head) } else { Err(OpenError::OtherNode { store: site.name(), found, wanted }) }
}

/// A row of `meta`.
fn row(site: &Site, tables: &Tables, name: &'static str) -> Result<Vec<u8>, OpenError> {
    let row = reading(|| Ok(tables.meta.get(name)?.map(|row| row.value().to_vec())));
    let row = row.map_err(|error| site.unreadable(error.into_store_error("reading")))?;
    row.ok_or_else(|| site.corrupt(format!("it has no row {name:?}: it may be a file of another program")))
}

fn format_row(network: NetworkId) -> Vec<u8> {
    let mut row = FORMAT_MAGIC.to_vec();
    row.extend(STORE_FORMAT.0.to_be_bytes());
    row.extend(STORE_FORMAT.1.to_be_bytes());
    row.extend(network.as_bytes());
    row.extend(crc32c(&row).to_be_bytes());
    row
}

/// Version and network of a format row. What a later version adds behind them is not looked at.
fn parse_format(row: &[u8]) -> Option<((u16, u16), NetworkId)> {
    let (body, sum) = row.split_last_chunk::<4>()?;
    if crc32c(body).to_be_bytes() != *sum {
        return None;
    }
    let body = body.strip_prefix(&FORMAT_MAGIC)?;
    let (major, body) = body.split_first_chunk::<2>()?;
    let (minor, body) = body.split_first_chunk::<2>()?;
    let network = NetworkId::new(*body.first_chunk()?);
    Some(((u16::from_be_bytes(*major), u16::from_be_bytes(*minor)), network))
}

/// Gives a file a name that nothing has yet.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    // A second name fails where there is something already; a rename would replace it.
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without second names.
        Err(_) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Numbers for this opening, drawn here unless the caller drew them.
fn fresh(site: &Site, settings: &Settings) -> Result<Fresh, OpenError> {
    let session = settings.session.map_or_else(|| site.draw().map(SessionNonce::new), Ok)?;
    if let Some(replica) = settings.replica {
        return Ok(Fresh { replica, session });
    }
    loop {
        if let Some(replica) = ReplicaId::new(site.draw()?) {
            return Ok(Fresh { replica, session });
        }
    }
}
