//! Files that carry bundles: fragments one after another, each behind its length.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, ensure};
use reconvene_broker::client::FRAME_LIMIT;

/// Writes fragments to a file, which is replaced only once all of them are on the medium.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(file: &Path, fragments: &[Vec<u8>]) -> anyhow::Result<()> {
    let written = (|| {
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let mut out = fs::File::create(&partial)?;
        for fragment in fragments {
            let length = u32::try_from(fragment.len()).map_err(std::io::Error::other)?;
            out.write_all(&length.to_be_bytes())?;
            out.write_all(fragment)?;
        }
        out.sync_all()?;
        fs::rename(&partial, file)
    })();
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// The fragments in the bytes of a file.
///
/// # Errors
/// If a length makes no sense or the file ends within a fragment.
pub(crate) fn split(mut bytes: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let total = bytes.len();
    let mut fragments = Vec::new();
    while !bytes.is_empty() {
        let at = total.saturating_sub(bytes.len());
        let (length, rest) =
            bytes.split_first_chunk::<4>().with_context(|| format!("it ends in a length at byte {at}"))?;
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        ensure!(length <= FRAME_LIMIT, "the length {length} at byte {at} is no fragment's: this is no bundle");
        let (fragment, rest) =
            rest.split_at_checked(length).with_context(|| format!("it ends within the fragment at byte {at}"))?;
        fragments.push(fragment);
        bytes = rest;
    }
    Ok(fragments)
}

#[cfg(test)]
mod tests {
    use super::{split, write};

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.bundle");
        let fragments = [b"one".to_vec(), Vec::new(), vec![7; 300]];
        write(&file, &fragments).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(split(&bytes).unwrap(), fragments);
        for end in [1, 3, 5, bytes.len() - 1] {
            assert!(split(&bytes[..end]).unwrap_err().to_string().contains("ends"), "{end}");
        }
        assert!(split(b"some text that is no bundle").unwrap_err().to_string().contains("no bundle"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
