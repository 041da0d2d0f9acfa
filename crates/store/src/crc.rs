//! CRC-32C (Castagnoli), reflected, as in RFC 3720 appendix B.4: it finds damage, not malice.

/// The CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<16>();
    let mut crc = u32::MAX;
    for word in words {
        crc = absorb(crc, *word);
    }
    !rest.iter().fold(crc, |crc, byte| (crc >> 8) ^ entry(0, low(crc) ^ byte))
}

/// Sixteen bytes at a time, with a table for the distance of each from the end ("slicing by sixteen").
#[inline(always)]
fn absorb(crc: u32, word: [u8; 16]) -> u32 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = word;
    let [w, x, y, z] = crc.to_le_bytes();
    // What does not wait for the sum so far comes apart from what does.
    let ready = entry(11, e) ^ entry(10, f) ^ entry(9, g) ^ entry(8, h) ^ entry(7, i) ^ entry(6, j);
    let ready = ready ^ entry(5, k) ^ entry(4, l) ^ entry(3, m) ^ entry(2, n) ^ entry(1, o) ^ entry(0, p);
    ready ^ entry(15, a ^ w) ^ entry(14, b ^ x) ^ entry(13, c ^ y) ^ entry(12, d ^ z)
}

#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "sixteen tables of 256 entries, and every index is within by its type or above"
)]
fn entry(table: usize, byte: u8) -> u32 {
    TABLES[table & 15][usize::from(byte)]
}

#[inline(always)]
fn low(crc: u32) -> u8 {
    let [low, ..] = crc.to_le_bytes();
    low
}

static TABLES: [[u32; 256]; 16] = tables();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated at compile time, so it holds")]
#[expect(clippy::cast_possible_truncation, reason = "an index below 256")]
const fn tables() -> [[u32; 256]; 16] {
    let mut tables = [[0; 256]; 16];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][index] = crc;
        index += 1;
    }
    let mut table = 1;
    while table < 16 {
        let mut index = 0;
        while index < 256 {
            let before = tables[table - 1][index];
            tables[table][index] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            index += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The vectors of RFC 3720, appendix B.4, and the usual check value.
    #[test]
    fn known_answers() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(&descending), 0x113f_db5c);
        assert_eq!(crc32c(b""), 0);
    }

    /// Bit by bit, as the polynomial says.
    #[test]
    fn every_length_equals_the_slow_way() {
        let bytes: Vec<u8> = (0..200_u32).map(|n| (n * 167 % 251) as u8).collect();
        for end in 0..bytes.len() {
            let slow = !bytes[..end].iter().fold(u32::MAX, |crc, byte| {
                (0..8).fold(
                    crc ^ u32::from(*byte),
                    |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 },
                )
            });
            assert_eq!(crc32c(&bytes[..end]), slow, "{end} bytes");
        }
    }
}
