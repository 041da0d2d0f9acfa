//! Reading with offsets, without allocating and without trust.

use crate::{Counter, DecodeError, DecodeKind, ReplicaKey};

/// A walk over bytes that came from outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Where the next byte is.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    const fn truncated<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::new(DecodeKind::Truncated, self.bytes.len()))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some(taken) = self.rest().get(..count) else {
            return self.truncated();
        };
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        match self.take(1)? {
            [byte] => Ok(*byte),
            _ => self.truncated(),
        }
    }

    /// A digest or stamp.
    pub(super) fn word(&mut self) -> Result<u64, DecodeError> {
        match self.take(8)?.try_into() {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => self.truncated(),
        }
    }

    /// A number below 2^63 in its shortest form.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let (number, length) = match self.rest() {
            [first, ..] if *first < 0x80 => (u64::from(*first), 1),
            [first, second, ..] if (1..0x80).contains(second) => {
                (u64::from(*first & 0x7f) | u64::from(*second) << 7, 2)
            }
            _ => return self.long_number(),
        };
        self.offset = self.offset.saturating_add(length);
        Ok(number)
    }

    #[cold]
    fn long_number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for (index, byte) in self.rest().iter().enumerate() {
            if index == LONGEST {
                return Err(DecodeError::new(DecodeKind::OutOfRange, self.offset));
            }
            number |= u64::from(byte & 0x7f) << index.saturating_mul(7);
            if *byte < 0x80 {
                // A first byte below 0x80 is the whole number, and was taken before.
                if *byte == 0 {
                    return Err(DecodeError::new(DecodeKind::Overlong, self.offset));
                }
                self.offset = self.offset.saturating_add(index).saturating_add(1);
                return Ok(number);
            }
        }
        self.truncated()
    }

    /// A counter that is written as one less.
    #[inline(always)]
    pub(super) fn counter(&mut self) -> Result<Counter, DecodeError> {
        let offset = self.offset;
        let number = self.number()?;
        Counter::new(number.saturating_add(1)).ok_or_else(|| DecodeError::new(DecodeKind::OutOfRange, offset))
    }

    /// A count of elements of at least `least` bytes each, checked before anything is allocated for them.
    pub(super) fn count(&mut self, what: &'static str, limit: usize, least: usize) -> Result<usize, DecodeError> {
        self.count_above(0, what, limit, least)
    }

    /// A count that is written as `above` less.
    pub(super) fn count_above(
        &mut self,
        above: u64,
        what: &'static str,
        limit: usize,
        least: usize,
    ) -> Result<usize, DecodeError> {
        let offset = self.offset;
        let declared = self.number()?.saturating_add(above);
        match usize::try_from(declared) {
            Ok(count) if count <= limit => {
                if count > self.remaining().checked_div(least).unwrap_or(0) {
                    self.truncated()
                } else {
                    Ok(count)
                }
            }
            _ => Err(DecodeError::new(DecodeKind::LimitExceeded { what, limit }, offset)),
        }
    }

    /// One id, which may be anything but zero and reserved.
    pub(super) fn id<R: ReplicaKey>(&mut self) -> Result<R, DecodeError> {
        let offset = self.offset;
        R::read(self.take(R::WIDTH)?).ok_or_else(|| DecodeError::new(DecodeKind::ZeroId, offset))
    }

    /// A column of ids, which must ascend strictly.
    pub(super) fn ids<R: ReplicaKey>(&mut self, count: usize) -> Result<Ids<'a, R>, DecodeError> {
        let offset = self.offset;
        let column = self.take(count.saturating_mul(R::WIDTH))?;
        Ok(Ids { column, offset, previous: None })
    }

    /// Asserts that everything was read.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.remaining() > 0 { Err(DecodeError::new(DecodeKind::Trailing, self.offset)) } else { Ok(()) }
    }
}

/// The most bytes that a number of 63 bits takes.
const LONGEST: usize = 9;

/// A column of ids, each checked when it is taken.
pub(super) struct Ids<'a, R> {
    column: &'a [u8],
    offset: usize,
    previous: Option<R>,
}

/// Each id, and where it is.
impl<R: ReplicaKey> Iterator for Ids<'_, R> {
    type Item = Result<(R, usize), DecodeError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (bytes, rest) = self.column.split_at_checked(R::WIDTH)?;
        let offset = self.offset;
        self.offset = offset.saturating_add(R::WIDTH);
        self.column = rest;
        let Some(id) = R::read(bytes) else {
            return Some(Err(DecodeError::new(DecodeKind::ZeroId, offset)));
        };
        if self.previous.is_some_and(|previous| previous >= id) {
            return Some(Err(DecodeError::new(DecodeKind::NotAscending, offset)));
        }
        self.previous = Some(id);
        Some(Ok((id, offset)))
    }
}
