//! Reading without trust and without allocating.

use reconvene_clock::{Counter, Dot, Hlc, ReplicaId};

use super::{CodecError, CodecProblem};
use crate::crc32c;

/// A walk over bytes that may be damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, offset: 0 }
    }

    pub(crate) fn error(&self, problem: CodecProblem) -> CodecError {
        CodecError { what: self.what, problem, offset: self.offset }
    }

    pub(crate) fn meaning(&self, what: impl ToString) -> CodecError {
        self.error(CodecProblem::Meaning(what.to_string()))
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(|| self.error(CodecProblem::Truncated))?;
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let at = *self;
        self.take(N)?.try_into().map_err(|_| at.error(CodecProblem::Truncated))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn word(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A number in its shortest form: seven bits a byte, the lowest first.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, CodecError> {
        let at = *self;
        let mut number = 0_u64;
        for index in 0..10_u32 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted =
                bits.checked_shl(index.saturating_mul(7)).filter(|shifted| shifted >> index.saturating_mul(7) == bits);
            number |= shifted.ok_or_else(|| at.error(CodecProblem::Number))?;
            if byte < 0x80 {
                if byte == 0 && index > 0 {
                    break;
                }
                return Ok(number);
            }
        }
        Err(at.error(CodecProblem::Number))
    }

    /// A count of things that take at least `least` bytes each.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, CodecError> {
        let at = *self;
        let count = usize::try_from(self.number()?).map_err(|_| at.error(CodecProblem::Number))?;
        if count > self.remaining().checked_div(least).unwrap_or(count) {
            return Err(at.error(CodecProblem::Truncated));
        }
        Ok(count)
    }

    /// Bytes behind their length.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(crate) fn replica(&mut self) -> Result<ReplicaId, CodecError> {
        let at = *self;
        ReplicaId::new(self.word()?).ok_or_else(|| at.error(CodecProblem::Number))
    }

    /// A counter, written as one less.
    pub(crate) fn counter(&mut self) -> Result<Counter, CodecError> {
        let at = *self;
        let counter = self.number()?.checked_add(1).and_then(Counter::new);
        counter.ok_or_else(|| at.error(CodecProblem::Number))
    }

    /// A counter that may be missing, written as itself or 0.
    pub(crate) fn optional_counter(&mut self) -> Result<Option<Counter>, CodecError> {
        let at = *self;
        match self.number()? {
            0 => Ok(None),
            number => Counter::new(number).map(Some).ok_or_else(|| at.error(CodecProblem::Number)),
        }
    }

    pub(crate) fn dot(&mut self) -> Result<Dot, CodecError> {
        Ok(Dot::new(self.replica()?, self.counter()?))
    }

    pub(crate) fn hlc(&mut self) -> Result<Hlc, CodecError> {
        self.word().map(Hlc::from_u64)
    }

    pub(crate) fn end(&self) -> Result<(), CodecError> {
        if self.remaining() > 0 { Err(self.error(CodecProblem::Trailing)) } else { Ok(()) }
    }
}

/// The bytes before the checksum, if it is theirs.
pub(crate) fn checked<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let error = |problem| CodecError { what, problem, offset: bytes.len() };
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| error(CodecProblem::Truncated))?;
    if crc32c(content) != u32::from_be_bytes(*checksum) {
        return Err(error(CodecProblem::Checksum));
    }
    Ok(content)
}

/// Appends the checksum of everything from `start` on.
pub(crate) fn put_checksum(out: &mut Vec<u8>, start: usize) {
    let checksum = crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_number(out, u64::try_from(count).unwrap_or(u64::MAX));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.replica.get().to_be_bytes());
    put_counter(out, dot.counter);
}

pub(crate) fn put_counter(out: &mut Vec<u8>, counter: Counter) {
    put_number(out, counter.get().saturating_sub(1));
}
