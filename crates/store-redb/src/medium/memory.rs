//! A medium for tests.

use std::io;

use super::Medium;

/// Bytes in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryMedium(parking_lot::RwLock<Vec<u8>>);

impl MemoryMedium {
    /// A medium with these bytes.
    #[must_use]
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(parking_lot::RwLock::new(bytes))
    }

    /// A copy of the bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.read().clone()
    }
}

/// The range of indices from `offset` on that has `len` places.
fn range(offset: u64, len: usize) -> io::Result<core::ops::Range<usize>> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(len));
    start.zip(end).map(|(start, end)| start..end).ok_or_else(|| io::ErrorKind::StorageFull.into())
}

impl Medium for MemoryMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.read().len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read();
        let found = bytes.get(range(offset, out.len())?).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = range(offset, bytes.len())?;
        let mut held = self.0.write();
        if held.len() < range.end {
            held.resize(range.end, 0);
        }
        held.get_mut(range).ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.write().resize(usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
