//! A certificate and its key in a directory that appears whole or not at all.

use core::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::error::AuthorityError;

/// A certificate and its private key, in DER.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
}

/// The same as PEM, ready to be written.
pub(crate) struct PemPair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Reads the pair in `dir`; `None` if there is no such directory.
pub(crate) fn read(dir: &Path) -> Result<Option<Pair>, AuthorityError> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(AuthorityError::Read { path: dir.to_owned(), source }),
        Ok(_) => {}
    }
    let path = dir.join(CERTIFICATE);
    let damaged = |path: &Path, expected| AuthorityError::Damaged { path: path.to_owned(), expected };
    let certificate = CertificateDer::from_pem_slice(&read_file(&path)?).map_err(|_| damaged(&path, "certificate"))?;
    let path = dir.join(KEY);
    let key = PrivatePkcs8KeyDer::from_pem_slice(&read_file(&path)?).map_err(|_| damaged(&path, "private key"))?;
    Ok(Some(Pair { certificate, key: key.secret_pkcs8_der().to_vec() }))
}

/// Makes `parent/name` with this pair in it, unless something of that name is there already.
///
/// Returns whether this call made it. Of several processes that try at once exactly one succeeds, and none ever sees
/// a directory that is half written: the files are written and synced under another name first.
pub(crate) fn publish(parent: &Path, name: &str, pair: &PemPair) -> Result<bool, AuthorityError> {
    let target = parent.join(name);
    let stage = parent.join(stage_name()?);
    let result = write_stage(&stage, pair).and_then(|()| match fs::rename(&stage, &target) {
        Ok(()) => Ok(true),
        // Somebody else was first. Which error says so differs between systems; that the name is taken does not.
        Err(_) if fs::symlink_metadata(&target).is_ok() => Ok(false),
        Err(source) => Err(AuthorityError::Write { path: target.clone(), source }),
    });
    if !matches!(result, Ok(true)) {
        // Best effort: what stays behind is a directory that nobody reads.
        let _ = fs::remove_dir_all(&stage);
    }
    result
}

/// Makes the directory that holds authorities and identities, for this user only where it has to be made.
pub(crate) fn make_parent(dir: &Path) -> Result<(), AuthorityError> {
    let mut builder = private_dir();
    builder.recursive(true);
    builder.create(dir).map_err(|source| AuthorityError::Write { path: dir.to_owned(), source })
}

fn write_stage(stage: &Path, pair: &PemPair) -> Result<(), AuthorityError> {
    let failed = |path: PathBuf| move |source| AuthorityError::Write { path, source };
    private_dir().create(stage).map_err(failed(stage.to_owned()))?;
    for (name, text) in [(CERTIFICATE, &pair.certificate), (KEY, &pair.key)] {
        let path = stage.join(name);
        write_file(&path, text).map_err(failed(path))?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn private_dir() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix has modes to set"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
}

fn read_file(path: &Path) -> Result<Vec<u8>, AuthorityError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// A name that no other process or thread uses.
fn stage_name() -> Result<String, AuthorityError> {
    let mut random = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| AuthorityError::Generate { source: "the system gives no random bytes".into() })?;
    let mut name = ".new-".to_owned();
    // Writing to a String does not fail.
    let _ = write!(name, "{:032x}", u128::from_be_bytes(random));
    Ok(name)
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A pair has some hundred bytes; reading stops here.
const MAX_FILE: u64 = 64 * 1024;
