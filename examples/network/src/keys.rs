//! The directory of keys: who belongs to the network.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use reconvene_transport_quic::{Authority, AuthorityError, Created, Identity};

use crate::{cli::Common, config::NodeName, exit::Failure};

/// Where keys are kept if nobody says where: `reconvene/keys` in the user's data directory.
pub(crate) fn default_dir() -> Option<PathBuf> {
    default_dir_in(|variable| std::env::var_os(variable))
}

fn default_dir_in(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |variable| environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // As the XDG base directory specification has it: relative paths are ignored.
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .or_else(|| absolute("LOCALAPPDATA"))?;
    Some(data.join("reconvene").join("keys"))
}

/// The directory to use.
///
/// # Errors
/// If none was given and there is no place for the default one.
pub(crate) fn dir(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    given.or_else(default_dir).ok_or_else(|| {
        Failure::usage("there is no home directory to keep keys in; say where they are with '--keys <DIR>'")
    })
}

/// The authority in `dir`, made there if it is missing: with a warning, since whoever reads the directory is a member.
///
/// # Errors
/// If it cannot be read or made.
pub(crate) fn load_or_make(dir: &Path, common: &Common) -> Result<Authority, Failure> {
    let (authority, created) = Authority::load_or_create(dir)?;
    if created == Created::New && !common.is_quiet() {
        let dir = dir.display();
        eprintln!(
            "warning: made a development root in {dir}: whoever can read it can join the network; copy it to other \
             machines to make them members"
        );
    }
    Ok(authority)
}

/// The authority in `dir`, for commands that have no use for one that nobody knows.
///
/// # Errors
/// If it is missing or cannot be read.
pub(crate) fn load(dir: &Path) -> Result<Authority, Failure> {
    match Authority::load(dir) {
        Ok(authority) => Ok(authority),
        Err(AuthorityError::Missing { dir }) => Err(anyhow::anyhow!(
            "there are no keys in {}: start a broker first, which makes them, or say with '--keys <DIR>' where the \
             network's keys are",
            dir.display()
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The node called `name`, which keeps its key in `dir`; without a name, a new node that is gone with the process.
///
/// # Errors
/// If keys cannot be read or made.
pub(crate) fn identity(authority: &Authority, dir: &Path, name: Option<&NodeName>) -> Result<Identity, AuthorityError> {
    match name {
        Some(name) => authority.load_or_issue(dir, name.as_str()).map(|(identity, _)| identity),
        None => authority.issue(),
    }
}

/// The node that keeps its key in `dir`, which is its own, whatever it is called.
///
/// # Errors
/// If keys cannot be read or made.
pub(crate) fn kept_identity(
    authority: &Authority,
    dir: &Path,
    name: Option<&NodeName>,
) -> Result<Identity, AuthorityError> {
    authority.load_or_issue(dir, name.map_or("broker", NodeName::as_str)).map(|(identity, _)| identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> Option<PathBuf> {
        default_dir_in(|wanted| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.into()))
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_in_the_users_data_directory() {
        let home = ("HOME", "/home/a");
        assert_eq!(found(&[home]), Some("/home/a/.local/share/reconvene/keys".into()));
        assert_eq!(found(&[("XDG_DATA_HOME", "/data"), home]), Some("/data/reconvene/keys".into()));
        assert_eq!(found(&[("XDG_DATA_HOME", "data"), home]), found(&[home]), "relative paths are ignored");
        assert_eq!(found(&[]), None);
    }
}
