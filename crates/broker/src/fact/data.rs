//! Where data is: which broker holds what under which name.

use core::fmt::{self, Debug, Display};
use core::str::FromStr;

use reconvene_clock::{Hlc, digest};
use serde::{Deserialize, Serialize};

/// The longest name of data, in bytes.
pub const DATA_NAME_BYTES: usize = 255;

/// What data is called: 1 to [`DATA_NAME_BYTES`] bytes of text without control characters.
///
/// ```
/// use reconvene_broker::DataName;
///
/// assert!(DataName::new("maps/north district.pmtiles").is_ok());
/// assert!(DataName::new("two\nlines").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataName(String);

/// A text that is no name of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name of data has 1 to {DATA_NAME_BYTES} bytes and no control characters; this one has {bytes} bytes")]
pub struct DataNameError {
    bytes: usize,
}

impl DataName {
    /// This name.
    ///
    /// # Errors
    /// [`DataNameError`] if it is empty, too long, or holds a control character.
    pub fn new(name: impl Into<String>) -> Result<Self, DataNameError> {
        let name = name.into();
        if name.is_empty() || name.len() > DATA_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(DataNameError { bytes: name.len() });
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands for the name in keys.
    #[must_use]
    pub fn id(&self) -> DataId {
        let digest = digest::sha256(self.0.as_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        DataId(id)
    }
}

impl Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DataName {
    type Error = DataNameError;

    fn try_from(name: String) -> Result<Self, DataNameError> {
        Self::new(name)
    }
}

impl From<DataName> for String {
    fn from(name: DataName) -> Self {
        name.0
    }
}

/// Stands for a [`DataName`] in keys, which have a fixed width: the first 16 bytes of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a digest that was cut to 16 bytes and will stay so")]
pub struct DataId(pub [u8; 16]);

impl Display for DataId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for DataId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataId({self})")
    }
}

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} hexadecimal digits in lower case")]
pub struct DigestTextError {
    digits: usize,
}

impl FromStr for DataId {
    type Err = DigestTextError;

    fn from_str(text: &str) -> Result<Self, DigestTextError> {
        read_hex(text).map(Self)
    }
}

/// SHA-256 of data. Two entries of equal name and different hash are different data.
///
/// ```
/// use reconvene_broker::ContentHash;
///
/// let hash = ContentHash::of(b"42");
/// assert_eq!(hash.to_string().parse(), Ok(hash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a SHA-256 digest is 32 bytes and will stay so")]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(digest::sha256(content))
    }
}

impl Display for ContentHash {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = DigestTextError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, DigestTextError> {
        read_hex(text).map(Self)
    }
}

fn read_hex<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], DigestTextError> {
    let refused = DigestTextError { digits: BYTES.saturating_mul(2) };
    let well_formed = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !well_formed || text.len() != refused.digits {
        return Err(refused);
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = core::str::from_utf8(digits).map_err(|_| refused)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refused)?;
    }
    Ok(bytes)
}

/// What a broker says of data under one name: that it holds it, or does not any more.
///
/// The greatest revision of each writer holds, and of the incarnations of one broker that of the greatest revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data; a new field is a new version of the fact")]
pub struct DataFact {
    /// Rises with each change that this broker makes, in whatever incarnation.
    pub revision: u64,
    /// Whether it is there.
    pub state: DataState,
    /// Its name, whose [`DataId`] is in the key.
    pub name: DataName,
    /// What it is.
    pub hash: ContentHash,
    /// How long it is, in bytes.
    pub size: u64,
    /// When it was written.
    pub at: Hlc,
}

/// Whether a broker holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DataState {
    /// It does.
    Present,
    /// It did.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_line_of_text() {
        for name in ["a", "maps/north", "größe", &"x".repeat(DATA_NAME_BYTES)] {
            assert_eq!(DataName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a\nb", "\u{1b}[2J", &"x".repeat(DATA_NAME_BYTES + 1)] {
            assert!(DataName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn digests_have_one_spelling() {
        // SHA-256 of "a": ca978112ca1bbdcafac231b39a23dc4d…
        let id = DataName::new("a").unwrap().id();
        assert_eq!(id.to_string(), "ca978112ca1bbdcafac231b39a23dc4d");
        assert_eq!(id.to_string().parse(), Ok(id));
        let hash = ContentHash::of(b"a").to_string();
        for wrong in ["", "ca97", &hash.to_uppercase(), &format!("{hash}00"), &format!("+{}", &hash[1..])] {
            assert!(wrong.parse::<ContentHash>().is_err(), "{wrong}");
        }
    }
}
