//! The optional compression of frames: Zstandard.

use reconvene_sync::Compression;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, compress_bound};

/// A single frame (RFC 8878) without magic number, content size and checksum, which our envelope has. Values have blocks of their
/// own.
#[derive(Debug)]
pub(super) struct Zstd;

impl Compression for Zstd {
    fn compress(&self, front: &[u8], values: &[u8]) -> Option<Vec<u8>> {
        let length = front.len() + values.len();
        let mut context = CCtx::try_create()?;
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
        context.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
        context.set_pledged_src_size(Some(length as u64)).ok()?;
        // The bound is of one block; to end it early costs the head of another.
        let mut frame = Vec::with_capacity(compress_bound(length) + BLOCK_HEAD);
        let mut out = OutBuffer::around(&mut frame);
        if !values.is_empty() {
            context.compress_stream(&mut out, &mut InBuffer::around(front)).ok()?;
            context.flush_stream(&mut out).ok().filter(|left| *left == 0)?;
        }
        let last = if values.is_empty() { front } else { values };
        context.compress_stream(&mut out, &mut InBuffer::around(last)).ok()?;
        context.end_stream(&mut out).ok().filter(|left| *left == 0)?;
        frame.strip_prefix(&MAGIC).map(<[u8]>::to_vec)
    }

    fn decompress(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        // Never more than `length` is allocated for the output, whatever the frame says.
        Decompressor::new().ok()?.decompress(&[&MAGIC, bytes].concat(), length).ok()
    }
}

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LEVEL: i32 = 3;
const BLOCK_HEAD: usize = 3;

#[cfg(test)]
mod tests {
    use reconvene_sync::Compression;

    use super::Zstd;

    #[test]
    fn what_is_compressed_comes_back_and_no_more() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let small = Zstd.compress(&text, &[]).unwrap();
        assert!(small.len() < text.len() / 2);
        assert_eq!(Zstd.decompress(&small, text.len()), Some(text.clone()));
        let parts = Zstd.compress(&text[..1_000], &text[1_000..]).unwrap();
        assert_eq!(Zstd.decompress(&parts, text.len()), Some(text.clone()));
        assert_eq!(Zstd.decompress(&small, text.len() - 1), None);
        let bomb = Zstd.compress(&vec![0; 1 << 24], &[]).unwrap();
        assert!(bomb.len() < 2_000);
        assert_eq!(Zstd.decompress(&bomb, 64 * bomb.len()), None);
        assert_eq!(Zstd.decompress(&small[..10], text.len()), None);
    }
}
