//! The directory in which a broker keeps what must outlive it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use reconvene_clock::{NodeId, SystemTimeSource, TimeSource as _, digest::sha256};
use reconvene_store::{
    OpenError,
    opening::{Continuity, WhyNew},
};
use reconvene_store_redb::{RedbStore, Settings};

use crate::{cli::Common, exit::Failure, service};

/// The file with the store, in the directory.
pub(crate) const STORE: &str = "broker.redb";

/// The directory with the broker's own key, in the directory.
pub(crate) const IDENTITY: &str = "identity";

/// Makes the directory if it is missing.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn prepare(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    Ok(())
}

/// The store of `node` in `dir`, created if there is none yet.
///
/// # Errors
/// If there is one that cannot be opened: it is left as it is.
pub(crate) fn store(dir: &Path, node: NodeId, common: &Common) -> Result<RedbStore, Failure> {
    let path = dir.join(STORE);
    let mut settings = Settings::new(service::network(), node);
    settings.witness = witness(dir);
    // A store that is lost together with its witness leaves nobody who counts its incarnations, so wall time does.
    settings.incarnation = SystemTimeSource::new().now().as_millis().max(1);
    if let Some(folder) = settings.witness.as_deref().and_then(Path::parent) {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the directory {}", folder.display()))?;
    }
    let store = match RedbStore::open(&path, &settings) {
        Err(OpenError::Missing { .. }) => RedbStore::create(&path, &settings),
        opened => opened,
    };
    let store = store.map_err(|error| anyhow::Error::from(error).context("the broker's store cannot be used"))?;
    if let Continuity::New(why) = store.continuity()
        && why != WhyNew::First
        && !common.is_quiet()
    {
        eprintln!("warning: the broker goes on as a new incarnation: {why}");
    }
    Ok(store)
}

/// The file that speaks for the newest copy of the store in `dir`: in the user's directory for states, where no backup
/// of `dir` reaches; beside the store where there is no such directory.
fn witness(dir: &Path) -> Option<PathBuf> {
    let states = states_in(|variable| std::env::var_os(variable))?;
    let dir = fs::canonicalize(dir).ok()?;
    let name: String =
        sha256(dir.as_os_str().as_encoded_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(states.join("reconvene").join("witness").join(name))
}

fn states_in(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |variable| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // As the XDG base directory specification has it: relative paths are ignored.
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .or_else(|| absolute("LOCALAPPDATA"))
}
