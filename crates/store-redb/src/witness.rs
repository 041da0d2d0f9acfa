//! The files that speak for the newest copy of a store.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use reconvene_store::Revision;
use reconvene_store::codec::{
    LAST_COMMIT_BYTES, decode_last_commit, decode_witness, encode_last_commit, encode_witness,
};
use reconvene_store::opening::{LastCommit, Witness};

use crate::open::with_suffix;

/// Far more than a witness has.
const MAX_LEN: u64 = 4_096;

/// Where a witness is kept.
#[derive(Debug)]
pub(crate) struct WitnessFile(PathBuf);

impl WitnessFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The witness, or `None` if there is none or it does not read: it is then as good as lost.
    pub(crate) fn read(&self) -> io::Result<Option<Witness>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_LEN).read_to_end(&mut bytes)?;
        Ok(decode_witness(&bytes).ok())
    }

    /// Writes a witness beside the one that counts, durably: all that takes room.
    pub(crate) fn stage(&self, witness: &Witness) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_witness(witness, &mut bytes);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(self.staged())?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    /// Puts the staged witness in the place of the one before, durably: either is there at any moment.
    pub(crate) fn publish(&self) -> io::Result<()> {
        std::fs::rename(self.staged(), &self.0)?;
        sync_folder_of(&self.0)
    }

    /// The file beside it that notes the last commit: made if it is not there.
    pub(crate) fn last_commits(&self) -> io::Result<LastCommits> {
        let path = with_suffix(&self.0, ".last");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(LastCommits(file))
    }

    fn staged(&self) -> PathBuf {
        with_suffix(&self.0, ".new")
    }
}

/// Where the last commit is noted: in two places by turns, so that a torn one leaves the other. Never synced.
#[derive(Debug)]
pub(crate) struct LastCommits(File);

impl LastCommits {
    /// The notes that read.
    pub(crate) fn read(&mut self) -> io::Result<Vec<LastCommit>> {
        let mut bytes = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        (&self.0).take(MAX_LEN).read_to_end(&mut bytes)?;
        Ok(bytes.chunks(LAST_COMMIT_BYTES).filter_map(|bytes| decode_last_commit(bytes).ok()).collect())
    }

    /// Notes the last commit of a revision.
    pub(crate) fn write(&mut self, last: LastCommit, revision: Revision) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(LAST_COMMIT_BYTES);
        encode_last_commit(last, &mut bytes);
        let odd = !revision.get().is_multiple_of(2);
        let len = u64::try_from(LAST_COMMIT_BYTES).unwrap_or(0);
        self.0.seek(SeekFrom::Start(if odd { len } else { 0 }))?;
        self.0.write_all(&bytes)
    }
}

/// Makes the names in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    // Other systems keep names without being asked, and some do not open folders.
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

/// The folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
