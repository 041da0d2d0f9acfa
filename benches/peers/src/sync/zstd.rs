//! The optional compression of frames: Zstandard.

use reconvene_sync::Compression;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// A single frame (RFC 8878) without magic number, content size and checksum, which our envelope has.
#[derive(Debug)]
pub(super) struct Zstd;

impl Compression for Zstd {
    fn compress(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut compressor = Compressor::new(LEVEL).ok()?;
        compressor.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
        let frame = compressor.compress(bytes).ok()?;
        frame.strip_prefix(&MAGIC).map(<[u8]>::to_vec)
    }

    fn decompress(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        // Never more than `length` is allocated for the output, whatever the frame says.
        Decompressor::new().ok()?.decompress(&[&MAGIC, bytes].concat(), length).ok()
    }
}

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use reconvene_sync::Compression;

    use super::Zstd;

    #[test]
    fn what_is_compressed_comes_back_and_no_more() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let small = Zstd.compress(&text).unwrap();
        assert!(small.len() < text.len() / 2);
        assert_eq!(Zstd.decompress(&small, text.len()), Some(text.clone()));
        assert_eq!(Zstd.decompress(&small, text.len() - 1), None);
        let bomb = Zstd.compress(&vec![0; 1 << 24]).unwrap();
        assert!(bomb.len() < 2_000);
        assert_eq!(Zstd.decompress(&bomb, 64 * bomb.len()), None);
        assert_eq!(Zstd.decompress(&small[..10], text.len()), None);
    }
}
