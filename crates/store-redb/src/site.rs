//! Where a store is.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reconvene_store::opening::HostMarker;
use reconvene_store::{OpenError, STORE_FORMAT, StoreError};

use crate::Settings;
use crate::engine::Unusable;
use crate::medium::{FileMedium, Medium};
use crate::open::with_suffix;
use crate::witness::{WitnessFile, folder_of};

/// A path, for errors and for the identity of the store that is there.
pub(crate) struct Site {
    path: PathBuf,
    host: HostMarker,
}

impl Site {
    pub(crate) fn new(path: &Path) -> Result<Self, OpenError> {
        let mut site = Self { path: path.to_owned(), host: HostMarker::default() };
        // The folder is looked up and not the file, which may not be there yet.
        let folder = match fs::canonicalize(folder_of(path)) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { store: site.name() });
            }
            Err(error) => return Err(site.io("finding")(error)),
        };
        let name = path.file_name().unwrap_or_default();
        site.host = HostMarker::of([machine().as_slice(), folder.join(name).as_os_str().as_encoded_bytes()]);
        Ok(site)
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What tells this place from others.
    pub(crate) fn host(&self) -> HostMarker {
        self.host
    }

    /// The file, locked, through the layer of the settings.
    pub(crate) fn medium(&self, file: File, settings: &Settings) -> Result<Arc<dyn Medium>, OpenError> {
        let locked = FileMedium::lock(file).map_err(self.io("locking"))?;
        let medium: Arc<dyn Medium> = Arc::new(locked.ok_or_else(|| OpenError::InUse { store: self.name() })?);
        Ok(match &settings.layer {
            Some(layer) => layer.over(medium),
            None => medium,
        })
    }

    pub(crate) fn witness_file(&self, settings: &Settings) -> WitnessFile {
        WitnessFile::at(settings.witness.clone().unwrap_or_else(|| with_suffix(&self.path, ".witness")))
    }

    pub(crate) fn draw(&self) -> Result<u64, OpenError> {
        getrandom::u64().map_err(|error| self.io("drawing a number for")(io::Error::other(error.to_string())))
    }

    pub(crate) fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> OpenError {
        let store = self.name();
        move |error| OpenError::Io { store: store.clone(), doing, source: error.into() }
    }

    pub(crate) fn not_opened(&self, error: io::Error) -> OpenError {
        if error.kind() == io::ErrorKind::NotFound {
            OpenError::Missing { store: self.name() }
        } else {
            self.io("opening")(error)
        }
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt { store: self.name(), what: what.into() }
    }

    pub(crate) fn seal(&self, error: impl Error + Send + Sync + 'static) -> OpenError {
        OpenError::Seal { store: self.name(), source: error.into() }
    }

    pub(crate) fn unusable(&self, error: Unusable) -> OpenError {
        let store = self.name();
        match error {
            Unusable::Damaged(what) => OpenError::Corrupt { store, what },
            // Beyond every version that this one knows, since the engine's own is.
            Unusable::Newer(engine) => {
                OpenError::NewerFormat { store, found: (u16::MAX, u16::from(engine)), supported: STORE_FORMAT }
            }
            Unusable::Io(source) => OpenError::Io { store, doing: "reading", source },
        }
    }

    pub(crate) fn unreadable(&self, error: StoreError) -> OpenError {
        if let StoreError::Corrupt { what } = error {
            return self.corrupt(what);
        }
        OpenError::Io { store: self.name(), doing: "reading", source: error.into() }
    }
}

/// What tells this machine from others, as far as it is known.
fn machine() -> Vec<u8> {
    let files = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostname"];
    files.into_iter().find_map(|file| fs::read(file).ok().filter(|text| !text.is_empty())).unwrap_or_default()
}
