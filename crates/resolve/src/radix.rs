//! Sorting by one word.

use alloc::vec::Vec;

/// Sorts candidates by `word`, which is asked once for each, and returns the lengths of the runs of equal words, in
/// order. Candidates of equal words stay in the order of their numbers if they came in that order.
///
/// # Complexity
/// O(n) for each 11 bits in which the words differ, or O(n log n) for few candidates.
pub(crate) fn sort_by_word(candidates: &mut [usize], word: impl Fn(usize) -> u64) -> Vec<usize> {
    let words: Vec<u64> = candidates.iter().map(|candidate| word(*candidate)).collect();
    let least = words.iter().copied().min().unwrap_or(0);
    let (mut most, mut varying) = (0_u64, 0_u64);
    for word in &words {
        let above = word.saturating_sub(least);
        most = most.max(above);
        varying |= above;
    }
    // Low bits that never vary, such as the logical part of stamps, are not worth sorting.
    let low = varying.trailing_zeros().min(u64::BITS.saturating_sub(1));
    let bits = u64::BITS.saturating_sub((most >> low).leading_zeros());
    let greatest = candidates.iter().copied().max().and_then(|greatest| u64::try_from(greatest).ok());
    let room = greatest.map_or(0, u64::leading_zeros);
    if bits == 0 {
        return alloc::vec![candidates.len()];
    }
    if bits <= room {
        // Word and candidate fit one number.
        let shift = u64::BITS.saturating_sub(room);
        let joined = candidates.iter().zip(&words).map(|(candidate, word)| {
            let candidate = u64::try_from(*candidate).unwrap_or(u64::MAX);
            ((word.saturating_sub(least) >> low) << shift).wrapping_add(candidate)
        });
        let mut joined: Vec<u64> = joined.collect();
        sort(&mut joined, shift, bits, |joined| *joined);
        let mask = u64::MAX.checked_shr(room).unwrap_or(0);
        for (candidate, joined) in candidates.iter_mut().zip(&joined) {
            *candidate = usize::try_from(joined & mask).unwrap_or(usize::MAX);
        }
        runs(joined.iter().map(|joined| joined >> shift))
    } else {
        let mut pairs: Vec<(u64, usize)> = words.into_iter().zip(candidates.iter().copied()).collect();
        sort(&mut pairs, low, bits, |(word, _)| word.saturating_sub(least));
        for (candidate, (_, sorted)) in candidates.iter_mut().zip(&pairs) {
            *candidate = *sorted;
        }
        runs(pairs.iter().map(|(word, _)| *word))
    }
}

/// Sorts by `bits` bits of `word` from `low` on; all else in it must be equal or already in order.
fn sort<T: Copy + Ord>(items: &mut Vec<T>, low: u32, bits: u32, word: impl Fn(&T) -> u64) {
    if items.len() < MANY {
        items.sort_unstable();
        return;
    }
    let digits = bits.div_ceil(MAX_DIGIT_BITS).max(1);
    let digit_bits = bits.div_ceil(digits);
    let mask = (1_u64 << digit_bits).saturating_sub(1);
    let mut from: Vec<T> = core::mem::take(items);
    let mut to: Vec<T> = from.clone();
    for digit in 0..digits {
        let shift = low.saturating_add(digit.saturating_mul(digit_bits));
        let digit = |item: &T| usize::try_from((word(item) >> shift) & mask).unwrap_or(0);
        let mut next = [0_usize; 1 << MAX_DIGIT_BITS];
        for item in &from {
            if let Some(count) = next.get_mut(digit(item)) {
                *count = count.wrapping_add(1);
            }
        }
        let mut sum = 0_usize;
        for count in &mut next {
            sum = sum.wrapping_add(core::mem::replace(count, sum));
        }
        for item in &from {
            if let Some(place) = next.get_mut(digit(item)) {
                if let Some(to) = to.get_mut(*place) {
                    *to = *item;
                }
                *place = place.wrapping_add(1);
            }
        }
        core::mem::swap(&mut from, &mut to);
    }
    *items = from;
}

/// Lengths of runs of equal words.
fn runs(words: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut runs = Vec::new();
    let mut run: Option<(u64, usize)> = None;
    for word in words {
        run = match run {
            Some((same, length)) if same == word => Some((same, length.saturating_add(1))),
            other => {
                runs.extend(other.map(|(_, length)| length));
                Some((word, 1))
            }
        };
    }
    runs.extend(run.map(|(_, length)| length));
    runs
}

/// From so many on, counting digits beats comparing.
const MANY: usize = 1_024;
const MAX_DIGIT_BITS: u32 = 11;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn runs_are_in_order_and_hold_equal_words() {
        let words: [&dyn Fn(usize) -> u64; 7] = [
            &|_| 7,
            &|candidate| candidate as u64 % 3,
            &|candidate| (candidate as u64 * 7_919 % 50) << 16,
            &|candidate| (candidate as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            &|candidate| u64::MAX - candidate as u64 / 2,
            &|candidate| (candidate as u64 * 7_919 % 100) << 57 | 3,
            &|candidate| ((candidate as u64 * 7_919 % 50) << 16) + candidate as u64 % 2,
        ];
        for (which, word) in words.into_iter().enumerate() {
            for count in [0, 1, 2, 100, 1_023, 1_024, 5_000] {
                let mut sorted: Vec<usize> = (0..count).collect();
                let runs = sort_by_word(&mut sorted, word);
                let mut expected: Vec<usize> = (0..count).collect();
                expected.sort_by_key(|candidate| word(*candidate));
                assert_eq!(sorted, expected, "{which} {count}");
                let lengths: Vec<usize> = expected.chunk_by(|a, b| word(*a) == word(*b)).map(<[usize]>::len).collect();
                assert_eq!(runs, if count == 0 { vec![0] } else { lengths }, "{which} {count}");
            }
        }
    }
}
