//! Where the bytes of a store are.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A stretch of bytes that can grow, shrink and be synced: the file of a store, or what a test puts in its place.
///
/// Methods block, may be called from several threads, and are not cached here.
pub trait Medium: Debug + Send + Sync + 'static {
    /// The number of bytes.
    ///
    /// # Errors
    ///
    /// Whatever the medium says.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where the medium ends before `out` is full.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Puts `bytes` at `offset`; what lies between the old end and `offset` becomes zero.
    ///
    /// # Errors
    ///
    /// [`StorageFull`](io::ErrorKind::StorageFull) or [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) where there is
    /// no room: a store then says that it is full and goes on. After any other error it must be opened again.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes it `len` bytes long; new bytes are zero.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Self::write_at).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything written before is on the medium.
    ///
    /// # Errors
    ///
    /// Whatever the medium says. What was written since the last sync may be lost then, and a later sync that succeeds
    /// proves nothing about it.
    fn sync(&self) -> io::Result<()>;
}

/// Something between a store and its file: an observer, a throttle, the faults of a test.
pub trait Layer: Debug + Send + Sync + 'static {
    /// The same bytes, seen through this.
    fn over(&self, medium: Arc<dyn Medium>) -> Arc<dyn Medium>;
}

/// A file that is locked for this process alone.
#[derive(Debug)]
pub(crate) struct FileMedium(File);

impl FileMedium {
    /// Takes the lock of `file`; `None` if someone else has it. It is given back when the file is closed.
    pub(crate) fn lock(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Medium for FileMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.0, out, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = out.get_mut(read..).unwrap_or_default();
            offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
            offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
pub(crate) mod memory;
