//! Writes that do not reach the medium yet.

use std::collections::BTreeMap;
use std::io;

use crate::medium::Medium;

/// The unit in which what was written is kept. The engine writes whole pages of this size, but for its header.
const BLOCK: u64 = 4096;

/// What was written, to read from, and the steps that wrote it, to repeat.
#[derive(Default)]
pub(super) struct Held {
    len: u64,
    /// How much of the medium still shows where no block covers it: less than its length once it was cut.
    reach: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    steps: Vec<Step>,
}

enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Held {
    pub(super) fn over(medium: &dyn Medium) -> io::Result<Self> {
        let len = medium.len()?;
        Ok(Self { len, reach: len, ..Self::default() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, medium: &dyn Medium, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if end_of(offset, out.len())? > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (place, part) in blocks_of(offset, out) {
            match self.blocks.get(&place.block).and_then(|kept| kept.get(place.within..)?.get(..part.len())) {
                Some(kept) => part.copy_from_slice(kept),
                None => read_padded(medium, self.reach, place.offset, part)?,
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, medium: &dyn Medium, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = end_of(offset, bytes.len())?;
        let mut copy = bytes.to_vec();
        for (place, part) in blocks_of(offset, &mut copy) {
            if !self.blocks.contains_key(&place.block) {
                let mut found = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
                read_padded(medium, self.reach, place.block.saturating_mul(BLOCK), &mut found)?;
                self.blocks.insert(place.block, found);
            }
            let kept = self.blocks.get_mut(&place.block).and_then(|kept| kept.get_mut(place.within..));
            if let Some(kept) = kept.and_then(|kept| kept.get_mut(..part.len())) {
                kept.copy_from_slice(part);
            }
        }
        self.len = self.len.max(end);
        self.steps.push(Step::Write(offset, copy));
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.split_off(&len.div_ceil(BLOCK));
            let last = Place::of(len);
            if let Some(kept) = self.blocks.get_mut(&last.block) {
                kept.iter_mut().skip(last.within).for_each(|byte| *byte = 0);
            }
            self.reach = self.reach.min(len);
        }
        self.len = len;
        self.steps.push(Step::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        self.steps.push(Step::Sync);
    }

    /// Does to the medium what was done here, in the same order.
    pub(super) fn repeat(&self, medium: &dyn Medium) -> io::Result<()> {
        for step in &self.steps {
            match step {
                Step::Write(offset, bytes) => medium.write_at(*offset, bytes)?,
                Step::SetLen(len) => medium.set_len(*len)?,
                Step::Sync => medium.sync()?,
            }
        }
        Ok(())
    }
}

/// Where in which block an offset is.
struct Place {
    offset: u64,
    block: u64,
    within: usize,
}

impl Place {
    fn of(offset: u64) -> Self {
        let within = offset.checked_rem(BLOCK).unwrap_or_default();
        Self {
            offset,
            block: offset.checked_div(BLOCK).unwrap_or_default(),
            within: usize::try_from(within).unwrap_or_default(),
        }
    }
}

/// The part of `bytes` in each block.
fn blocks_of(offset: u64, bytes: &mut [u8]) -> impl Iterator<Item = (Place, &mut [u8])> {
    let whole = usize::try_from(BLOCK).unwrap_or(usize::MAX).max(1);
    let first = whole.saturating_sub(Place::of(offset).within).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(first);
    let parts = core::iter::once(head).chain(rest.chunks_mut(whole)).filter(|part| !part.is_empty());
    parts.scan(offset, |next, part| {
        let place = Place::of(*next);
        *next = next.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        Some((place, part))
    })
}

/// Reads what the medium has below `reach`, and zeros behind.
fn read_padded(medium: &dyn Medium, reach: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let there = usize::try_from(reach.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
    let (found, behind) = out.split_at_mut(there);
    behind.fill(0);
    if found.is_empty() { Ok(()) } else { medium.read_at(offset, found) }
}

fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    offset.checked_add(len).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::medium::memory::MemoryMedium;

    #[derive(Clone, Debug)]
    enum Act {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Read(u64, usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let offset = 0_u64..20_000;
        prop_oneof![
            (offset.clone(), prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Act::Write(at, bytes)),
            offset.clone().prop_map(Act::SetLen),
            (offset, 0_usize..9_000).prop_map(|(at, len)| Act::Read(at, len)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn law_held_writes_read_as_written_and_repeat_alike(
            start in prop::collection::vec(any::<u8>(), 0..16_000),
            acts in prop::collection::vec(act(), 1..30),
        ) {
            let below = MemoryMedium::new(start.clone());
            let model = MemoryMedium::new(start.clone());
            let mut held = Held::over(&below).unwrap();
            for act in acts {
                match act {
                    Act::Write(at, bytes) => {
                        held.write(&below, at, &bytes).unwrap();
                        model.write_at(at, &bytes).unwrap();
                    }
                    Act::SetLen(len) => {
                        held.set_len(len);
                        model.set_len(len).unwrap();
                    }
                    Act::Read(at, len) => {
                        let (mut left, mut right) = (vec![1; len], vec![2; len]);
                        let found = held.read(&below, at, &mut left);
                        prop_assert_eq!(found.is_ok(), model.read_at(at, &mut right).is_ok());
                        prop_assert!(found.is_err() || left == right);
                    }
                }
                prop_assert_eq!(held.len(), model.len().unwrap());
                prop_assert_eq!(below.bytes(), &start[..]);
            }
            held.repeat(&below).unwrap();
            prop_assert_eq!(below.bytes(), model.bytes());
        }
    }
}
