//! Numbers and columns of numbers.

use crate::codec::{CodecError, CodecProblem};

/// Seven bits in a byte, low bits first. A step of 64 bits and its mark need ten bytes at most.
pub(super) fn put_number(out: &mut Vec<u8>, value: u64) {
    put_wide(out, value.into());
}

fn put_wide(out: &mut Vec<u8>, mut value: u128) {
    if let Ok(small @ 0..0x80) = u8::try_from(value) {
        out.push(small);
        return;
    }
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes `values` as steps, each from the value before it (the first from 0), equal steps in a row counted.
///
/// A step is the difference mod 2^64, sign in the lowest bit. It is followed by a mark bit below it: 0 for a step taken
/// once; 1 for one taken as often as the number behind it says, plus two.
pub(super) fn put_column(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut before = 0_u64;
    let mut run: Option<(u64, u64)> = None;
    for value in values {
        let step = zigzag(value.wrapping_sub(before));
        before = value;
        run = match run {
            Some((same, times)) if same == step => Some((same, times.saturating_add(1))),
            other => {
                put_run(out, other);
                Some((step, 1))
            }
        };
    }
    put_run(out, run);
}

fn put_run(out: &mut Vec<u8>, run: Option<(u64, u64)>) {
    let Some((step, times)) = run else { return };
    let repeated = times > 1;
    put_wide(out, u128::from(step) << 1 | u128::from(repeated));
    if repeated {
        put_number(out, times.saturating_sub(2));
    }
}

/// Small numbers for small differences of either sign.
fn zigzag(difference: u64) -> u64 {
    let negative = difference >> 63;
    difference << 1 ^ 0_u64.wrapping_sub(negative)
}

fn unzigzag(step: u64) -> u64 {
    step >> 1 ^ 0_u64.wrapping_sub(step & 1)
}

/// Reads from the front of bytes, never past their end.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], CodecError> {
        let split = usize::try_from(length).ok().and_then(|length| self.bytes.split_at_checked(length));
        let (taken, rest) = split.ok_or(CodecProblem::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (array, rest) = self.bytes.split_first_chunk::<N>().ok_or(CodecProblem::Truncated)?;
        self.bytes = rest;
        Ok(*array)
    }

    /// A number of things.
    pub(super) fn count(&mut self) -> Result<usize, CodecError> {
        let number = u64::try_from(self.wide()?).map_err(|_| CodecProblem::Range("number"))?;
        Ok(usize::try_from(number).map_err(|_| CodecProblem::Range("number"))?)
    }

    /// A number in its shortest form, of at most 65 bits.
    fn wide(&mut self) -> Result<u128, CodecError> {
        if let Some((byte @ 0..0x80, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return Ok((*byte).into());
        }
        let mut value = 0_u128;
        for index in 0..10_u32 {
            let [byte] = self.array()?;
            value |= u128::from(byte & 0x7f) << index.saturating_mul(7);
            if byte & 0x80 == 0 {
                let overlong = index > 0 && byte == 0;
                return if overlong { Err(CodecProblem::NotCanonical.into()) } else { checked(value) };
            }
        }
        Err(CodecProblem::NotCanonical.into())
    }

    /// A column of just `total` values. It is walked once to find its end, so that reading it later cannot fail.
    pub(super) fn column(&mut self, total: usize) -> Result<Column<'a>, CodecError> {
        let column = Column { bytes: self.clone(), left: total, value: 0, step: 0, times: 0 };
        let mut left = u64::try_from(total).map_err(|_| CodecProblem::Range("number"))?;
        let mut previous = None;
        while left > 0 {
            let (step, times) = self.run()?;
            if previous == Some(step) {
                return Err(CodecProblem::NotCanonical.into());
            }
            previous = Some(step);
            left = left.checked_sub(times).ok_or(CodecProblem::NotCanonical)?;
        }
        Ok(column)
    }

    /// A step and how often it is taken.
    fn run(&mut self) -> Result<(u64, u64), CodecError> {
        let marked = self.wide()?;
        let step = u64::try_from(marked >> 1).map_err(|_| CodecProblem::Range("step"))?;
        if marked & 1 == 0 {
            return Ok((step, 1));
        }
        let more = u64::try_from(self.wide()?).map_err(|_| CodecProblem::Range("number"))?;
        Ok((step, more.checked_add(2).ok_or(CodecProblem::Range("number"))?))
    }
}

fn checked(value: u128) -> Result<u128, CodecError> {
    if value >> 65 == 0 { Ok(value) } else { Err(CodecProblem::Range("number").into()) }
}

/// The values of a column, in order.
#[derive(Clone, Debug)]
pub(super) struct Column<'a> {
    bytes: Reader<'a>,
    left: usize,
    value: u64,
    step: u64,
    times: u64,
}

impl Iterator for Column<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        if self.times == 0 {
            (self.step, self.times) = self.bytes.run().ok()?;
        }
        self.times = self.times.saturating_sub(1);
        self.value = self.value.wrapping_add(unzigzag(self.step));
        Some(self.value)
    }
}
