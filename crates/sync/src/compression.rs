//! Frames with compressed bodies, for links that are slower than the processor.

use std::fmt::Debug;
use std::sync::Arc;

use crate::codec::{CodecError, CodecProblem};
use crate::frame::{Kind, length_bytes, put_length, read_length, seal_as};

/// A way to write bytes in fewer bytes, supplied by whoever embeds a replica.
///
/// All brokers of a network that compress at all must do it in the same way; the wire format names Zstandard
/// (RFC 8878, a single frame without its magic number). A peer without any is sent plain frames.
pub trait Compression: Debug + Send + Sync + 'static {
    /// `front` and, right behind it, `values` in fewer bytes than both, or `None` if that cannot be.
    ///
    /// Numbers, names and keys are in `front`; `values`, which may be empty, are those of records. The two have little in
    /// common: a code that fits one is a poor one for the other, so that whoever can begin a new block between them gains by
    /// it. The peer sees one run of bytes.
    fn compress(&self, front: &[u8], values: &[u8]) -> Option<Vec<u8>>;

    /// All bytes that were compressed, of which there are said to be `length`; `None` if `bytes` are not those of anything
    /// of that length.
    ///
    /// `bytes` come from a peer: never allocate much more than `length`, which is bounded by the caller.
    fn decompress(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>>;
}

/// A [`Compression`] as part of a [`Config`](crate::Config). Two are equal if they are the same one.
#[derive(Clone, Debug)]
pub struct Compressor(Arc<dyn Compression>);

impl Compressor {
    /// Compresses in this way.
    pub fn new(compression: impl Compression) -> Self {
        Self(Arc::new(compression))
    }

    /// The frame with this body compressed, whose last `values` bytes are values; `None` where that saves nothing.
    pub(crate) fn seal(&self, kind: Kind, body: &[u8], values: usize) -> Option<Vec<u8>> {
        let (front, values) = body.split_at_checked(body.len().checked_sub(values)?)?;
        let small = (body.len() >= MIN_BYTES).then(|| self.0.compress(front, values)).flatten()?;
        let mut content = Vec::with_capacity(small.len().saturating_add(length_bytes(body.len())));
        put_length(&mut content, body.len());
        content.extend_from_slice(&small);
        // A receiver would not believe that so few bytes are so many.
        let is_believed = body.len() <= small.len().saturating_mul(MAX_RATIO);
        (is_believed && content.len() < body.len()).then(|| seal_as(kind, CODEC_COMPRESSED, &content))
    }

    /// The body in the content of a compressed frame.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is longer than `limit`, longer than so few bytes can be, or not what it says it is. Nothing is
    /// allocated for a length that is refused.
    pub(crate) fn open(&self, content: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
        let (length, small) = read_length(content)?;
        if length > limit {
            return Err(CodecProblem::TooLarge { bytes: length, limit }.into());
        }
        if length > small.len().saturating_mul(MAX_RATIO) {
            return Err(CodecProblem::Range("ratio of compression").into());
        }
        let body = self.0.decompress(small, length).ok_or(CodecProblem::Range("compressed body"))?;
        if body.len() == length {
            Ok(body)
        } else {
            Err(CodecProblem::Length { declared: length, found: body.len() }.into())
        }
    }
}

impl PartialEq for Compressor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Compressor {}

/// The codec of frames whose body is compressed: its length as in the envelope, then its compressed bytes.
pub(crate) const CODEC_COMPRESSED: u8 = 2;
/// Bodies below this are sent as they are.
const MIN_BYTES: usize = 200;
/// No body is believed to be longer than so many times its compressed bytes.
const MAX_RATIO: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::frame::open_any;

    /// Runs of equal bytes as a length and the byte.
    #[derive(Debug)]
    pub(crate) struct Runs;

    impl Compression for Runs {
        fn compress(&self, front: &[u8], values: &[u8]) -> Option<Vec<u8>> {
            let bytes = [front, values].concat();
            let runs = bytes.chunk_by(|left, right| left == right).flat_map(|run| run.chunks(255));
            Some(runs.flat_map(|run| [run.len() as u8, run[0]]).collect())
        }

        fn decompress(&self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
            let (runs, rest) = bytes.as_chunks::<2>();
            let total: usize = runs.iter().map(|[count, _]| usize::from(*count)).sum();
            let fits = rest.is_empty() && total == length;
            fits.then(|| runs.iter().flat_map(|[count, byte]| vec![*byte; usize::from(*count)]).collect())
        }
    }

    /// Says of itself whatever it is told to.
    #[derive(Debug)]
    struct Liar(usize);

    impl Compression for Liar {
        fn compress(&self, _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
            None
        }

        fn decompress(&self, _: &[u8], _: usize) -> Option<Vec<u8>> {
            Some(vec![0; self.0])
        }
    }

    fn content_of(frame: &[u8]) -> Vec<u8> {
        let (kind, codec, content) = open_any(frame, 1 << 20).unwrap();
        assert_eq!((kind, codec), (Kind::Delta, CODEC_COMPRESSED));
        content.to_vec()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let compressor = Compressor::new(Runs);
        let body = [vec![1; 1_000], vec![2; 400]].concat();
        let frame = compressor.seal(Kind::Delta, &body, 0).unwrap_or_default();
        assert!(frame.is_empty(), "a ratio above 64 would not be believed");
        let body: Vec<u8> = (0..100_u8).flat_map(|byte| vec![byte; 20]).collect();
        let frame = compressor.seal(Kind::Delta, &body, 0).unwrap();
        assert!(frame.len() < 250);
        assert_eq!(compressor.open(&content_of(&frame), 2_000).unwrap(), body);
        assert!(compressor.open(&content_of(&frame), 1_999).is_err(), "the limit is that of the output");
        let noise: Vec<u8> = (0..=255).collect();
        assert_eq!(compressor.seal(Kind::Delta, &noise, 0), None, "it would be longer");
        assert_eq!(compressor.seal(Kind::Delta, &[7; MIN_BYTES - 1], 0), None, "too short to gain anything");
    }

    #[test]
    fn bombs_are_refused_before_they_are_opened() {
        let opened = |length: usize, small: &[u8], found: usize| {
            let mut content = Vec::new();
            put_length(&mut content, length);
            content.extend_from_slice(small);
            Compressor::new(Liar(found)).open(&content, 1 << 20).map(|body| body.len())
        };
        assert_eq!(opened(640, &[0; 10], 640), Ok(640));
        assert!(opened(641, &[0; 10], 641).unwrap_err().to_string().contains("ratio"));
        assert!(opened((1 << 20) + 1, &[0; 100_000], 0).unwrap_err().to_string().contains("limit"));
        assert!(opened((1 << 28) - 1, &[0; 10], 0).unwrap_err().to_string().contains("limit"));
        assert!(opened(640, &[0; 10], 641).is_err(), "more came out than was said");
        assert!(opened(640, &[0; 10], 639).is_err(), "less came out than was said");
        assert!(opened(1, &[], 1).is_err());
        assert!(Compressor::new(Runs).open(&[], 1 << 20).is_err());
        assert!(Compressor::new(Runs).open(&[0x80, 0x00], 1 << 20).is_err(), "an overlong length");
    }
}
