//! Single dots and stamps.

use alloc::vec::Vec;

use super::reader::Reader;
use super::writer::{put_ids, put_number};
use crate::{DecodeError, Dot, Hlc, ReplicaKey};

impl<R: ReplicaKey> Dot<R> {
    /// Appends the id, and the counter less one as a LEB128 number.
    ///
    /// ```
    /// use reconvene_clock::{Counter, Dot, ReplicaId};
    ///
    /// let dot = Dot::new(ReplicaId::new(0xab).expect("not zero"), Counter::MIN);
    /// let mut bytes = Vec::new();
    /// dot.encode(&mut bytes);
    /// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0xab, 0]);
    /// assert_eq!(Dot::decode(&bytes), Ok(dot));
    /// ```
    pub fn encode(self, out: &mut Vec<u8>) {
        put_ids(out, core::iter::once(self.replica));
        put_number(out, self.counter.get().saturating_sub(1));
    }

    /// The dot that is exactly these bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let dot = Self { replica: reader.id()?, counter: reader.counter()? };
        reader.end()?;
        Ok(dot)
    }
}

impl Hlc {
    /// Appends the stamp, 8 bytes big-endian. Bytes order as stamps do.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.as_u64().to_be_bytes());
    }

    /// The stamp that is exactly these bytes.
    ///
    /// # Errors
    /// [`Truncated`](crate::DecodeKind::Truncated) or [`Trailing`](crate::DecodeKind::Trailing) unless it is 8 of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let stamp = Self::from_u64(reader.word()?);
        reader.end()?;
        Ok(stamp)
    }
}
