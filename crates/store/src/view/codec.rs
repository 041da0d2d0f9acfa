//! How a user's keys and values become bytes.

use crate::Source;

/// A key of a view. Its bytes order as scans shall; what is decoded encodes to the same bytes.
pub trait KeyCodec: Sized {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The key that is exactly these bytes.
    ///
    /// # Errors
    ///
    /// Whatever the implementation says is wrong with them.
    fn decode(bytes: &[u8]) -> Result<Self, Source>;
}

/// A value of a view.
pub trait ValueCodec: Sized {
    /// Appends the bytes.
    ///
    /// # Errors
    ///
    /// Whatever the implementation says is wrong with the value.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Source>;

    /// The value that is exactly these bytes.
    ///
    /// # Errors
    ///
    /// Whatever the implementation says is wrong with them.
    fn decode(bytes: &[u8]) -> Result<Self, Source>;
}

/// Eight bytes, big-endian, so that numbers are scanned in their order.
impl KeyCodec for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, Source> {
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| format!("{} bytes are no 64-bit number", bytes.len()))?;
        Ok(Self::from_be_bytes(bytes))
    }
}

impl KeyCodec for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, Source> {
        Ok(str::from_utf8(bytes)?.to_owned())
    }
}

impl KeyCodec for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Source> {
        Ok(bytes.to_vec())
    }
}

impl ValueCodec for String {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Source> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Source> {
        Ok(str::from_utf8(bytes)?.to_owned())
    }
}

impl ValueCodec for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Source> {
        out.extend_from_slice(self);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Source> {
        Ok(bytes.to_vec())
    }
}
