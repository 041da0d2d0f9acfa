//! Numbers as text of fixed width, in small hexadecimal digits, as they stand in keys.

use reconvene_clock::ReplicaId;
use reconvene_executor::{AttemptId, JobId};

/// The text of a key while it is written.
#[derive(Debug)]
pub(super) struct Text(String);

impl Default for Text {
    fn default() -> Self {
        Self(String::with_capacity(LONGEST))
    }
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn word(&mut self, word: &str) -> &mut Self {
        self.0.push_str(word);
        self
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.digits::<16>(number)
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.digits::<8>(u64::from(number))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8; 16]) -> &mut Self {
        let (halves, _) = bytes.as_chunks::<8>();
        halves.iter().fold(self, |text, half| text.u64(u64::from_be_bytes(*half)))
    }

    pub(super) fn replica(&mut self, replica: ReplicaId) -> &mut Self {
        self.u64(replica.get())
    }

    /// The beginning of the key of each fact of a job.
    pub(super) fn job(&mut self, job: JobId, kind: &str) -> &mut Self {
        self.word("job/").replica(job.admitted_by).word("-").u64(job.sequence).word("/").word(kind)
    }

    /// An attempt, but for its job.
    pub(super) fn attempt(&mut self, attempt: &AttemptId) -> &mut Self {
        self.u32(attempt.epoch.0).word("/").u32(attempt.number).word("/").replica(attempt.owner)
    }

    /// The last `N` digits.
    #[inline]
    fn digits<const N: usize>(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; N];
        for digit in digits.iter_mut().rev() {
            let [low, ..] = number.to_le_bytes();
            *digit = DIGITS.get(usize::from(low & 0xf)).copied().unwrap_or_default();
            number >>= 4;
        }
        self.0.push_str(str::from_utf8(&digits).unwrap_or_default());
        self
    }
}

/// The number that these sixteen digits spell.
pub(super) fn read_u64(text: &[u8]) -> Option<u64> {
    let digits: &[u8; 16] = text.try_into().ok()?;
    read(digits)
}

/// The number that these eight digits spell.
pub(super) fn read_u32(text: &[u8]) -> Option<u32> {
    let digits: &[u8; 8] = text.try_into().ok()?;
    u32::try_from(read(digits)?).ok()
}

/// The bytes that these 32 digits spell.
pub(super) fn read_16_bytes(text: &[u8]) -> Option<[u8; 16]> {
    let (high, low) = text.split_at_checked(16)?;
    let number = u128::from(read_u64(high)?) << 64 | u128::from(read_u64(low)?);
    Some(number.to_be_bytes())
}

#[inline]
fn read<const N: usize>(digits: &[u8; N]) -> Option<u64> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        number = number << 4 | u64::from(digit);
    }
    Some(number)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes of the longest key: that of what is seen of an attempt.
const LONGEST: usize = 112;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn law_digits_are_those_of_the_standard_library(wide: u128, long: u64, short: u32) {
            let mut text = Text::default();
            text.bytes(&wide.to_be_bytes()).word("/").u64(long).word("/").u32(short);
            prop_assert_eq!(text.as_str(), format!("{wide:032x}/{long:016x}/{short:08x}"));
            let read: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'/').collect();
            prop_assert_eq!(read_16_bytes(read[0]), Some(wide.to_be_bytes()));
            prop_assert_eq!(read_u64(read[1]), Some(long));
            prop_assert_eq!(read_u32(read[2]), Some(short));
        }

        #[test]
        fn law_only_what_is_spelled_so_is_read(text in "[0-9a-fA-F+ -]{0,17}") {
            let spelled = u64::from_str_radix(&text, 16).ok().filter(|number| format!("{number:016x}") == text);
            prop_assert_eq!(read_u64(text.as_bytes()), spelled);
        }
    }
}
