//! Hash functions that replicas must agree on: SipHash-2-4 and SHA-256, as specified and nothing more.
//!
//! For the other crates of this family; not part of the public interface. They are addresses and fingerprints, not
//! proofs against a member of the network. Nothing here handles a secret key of a person or a machine.

/// SipHash-2-4 with 64 bits of output.
///
/// # Reference
/// Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF".
#[must_use]
pub fn sip24_64(key: &[u8; 16], data: &[u8]) -> u64 {
    let mut state = Sip::new(key, 0);
    state.absorb(data);
    state.finish(0xff)
}

/// SipHash-2-4 with 128 bits of output, the first word in the high half (both read little endian, as in the
/// reference implementation).
#[must_use]
pub fn sip24_128(key: &[u8; 16], data: &[u8]) -> u128 {
    let mut state = Sip::new(key, 0xee);
    state.absorb(data);
    let first = state.finish(0xee);
    state.v[1] ^= 0xdd;
    let second = state.rounds_and_fold(4);
    u128::from(first) << 64 | u128::from(second)
}

struct Sip {
    v: [u64; 4],
}

impl Sip {
    fn new(key: &[u8; 16], wide: u64) -> Self {
        let number = u128::from_le_bytes(*key);
        #[expect(clippy::cast_possible_truncation, reason = "the low half of the key")]
        let (k0, k1) = (number as u64, (number >> 64) as u64);
        let [a, b, c, d] = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
        Self { v: [k0 ^ a, k1 ^ b ^ wide, k0 ^ c, k1 ^ d] }
    }

    fn absorb(&mut self, data: &[u8]) {
        let (words, rest) = data.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
        self.word(u64::from(data.len().to_le_bytes()[0]) << 56 | tail);
    }

    fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds(2);
        self.v[0] ^= word;
    }

    fn finish(&mut self, mark: u64) -> u64 {
        self.v[2] ^= mark;
        self.rounds_and_fold(4)
    }

    fn rounds_and_fold(&mut self, count: u32) -> u64 {
        self.rounds(count);
        self.v.iter().fold(0, |all, word| all ^ word)
    }

    fn rounds(&mut self, count: u32) {
        let [mut a, mut b, mut c, mut d] = self.v;
        for _ in 0..count {
            a = a.wrapping_add(b);
            c = c.wrapping_add(d);
            b = b.rotate_left(13) ^ a;
            d = d.rotate_left(16) ^ c;
            a = a.rotate_left(32).wrapping_add(d);
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            d = d.rotate_left(21) ^ a;
            c = c.rotate_left(32);
        }
        self.v = [a, b, c, d];
    }
}

/// SHA-256.
///
/// # Reference
/// FIPS 180-4.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = START;
    let (blocks, rest) = data.as_chunks::<64>();
    for block in blocks {
        compress(&mut hash, block);
    }
    // The padding: one bit, zeros, and the length in bits as 64 of them.
    let mut tail = [0; 128];
    for (to, byte) in tail.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *to = *byte;
    }
    let used = if rest.len() < 56 { 64 } else { 128 };
    // A length of 2^61 bytes does not fit an address space, so the product does not wrap.
    let bits = u64::try_from(data.len()).unwrap_or(u64::MAX).wrapping_mul(8);
    for (to, byte) in tail.iter_mut().take(used).rev().zip(bits.to_le_bytes()) {
        *to = byte;
    }
    let (blocks, _) = tail.as_chunks::<64>();
    for block in blocks.iter().take(used / 64) {
        compress(&mut hash, block);
    }
    let mut out = [0; 32];
    let (words, _) = out.as_chunks_mut::<4>();
    for (to, word) in words.iter_mut().zip(hash) {
        *to = word.to_be_bytes();
    }
    out
}

fn compress(hash: &mut [u32; 8], block: &[u8; 64]) {
    let schedule = schedule(block);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *hash;
    // Eight rounds in a row, after which each variable is back in its place: nothing is moved between them.
    let (words, _) = schedule.as_chunks::<8>();
    let (constants, _) = ROUND.as_chunks::<8>();
    for (word, constant) in words.iter().zip(constants) {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = *constant;
        let [w0, w1, w2, w3, w4, w5, w6, w7] = *word;
        round([a, b, c, e, f, g], &mut d, &mut h, k0.wrapping_add(w0));
        round([h, a, b, d, e, f], &mut c, &mut g, k1.wrapping_add(w1));
        round([g, h, a, c, d, e], &mut b, &mut f, k2.wrapping_add(w2));
        round([f, g, h, b, c, d], &mut a, &mut e, k3.wrapping_add(w3));
        round([e, f, g, a, b, c], &mut h, &mut d, k4.wrapping_add(w4));
        round([d, e, f, h, a, b], &mut g, &mut c, k5.wrapping_add(w5));
        round([c, d, e, g, h, a], &mut f, &mut b, k6.wrapping_add(w6));
        round([b, c, d, f, g, h], &mut e, &mut a, k7.wrapping_add(w7));
    }
    for (to, word) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *to = to.wrapping_add(word);
    }
}

/// One round, which changes two of the eight variables.
#[inline(always)]
fn round([a, b, c, e, f, g]: [u32; 6], d: &mut u32, h: &mut u32, added: u32) {
    let big1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let t1 = h.wrapping_add(big1).wrapping_add(choice).wrapping_add(added);
    let big0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) | (c & (a | b));
    *d = d.wrapping_add(t1);
    *h = t1.wrapping_add(big0).wrapping_add(majority);
}

/// The message schedule: the words of the block, and those made of them.
fn schedule(block: &[u8; 64]) -> [u32; 64] {
    let mut schedule = [0; 64];
    let (words, _) = block.as_chunks::<4>();
    for (to, word) in schedule.iter_mut().zip(words) {
        *to = u32::from_be_bytes(*word);
    }
    #[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "from 16 below 64")]
    for index in 16..64 {
        let (w15, w2) = (schedule[index - 15], schedule[index - 2]);
        let small0 = w15.rotate_right(7) ^ w15.rotate_right(18) ^ (w15 >> 3);
        let small1 = w2.rotate_right(17) ^ w2.rotate_right(19) ^ (w2 >> 10);
        schedule[index] =
            schedule[index - 16].wrapping_add(small0).wrapping_add(schedule[index - 7]).wrapping_add(small1);
    }
    schedule
}

const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[rustfmt::skip]
const ROUND: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Write;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }

    /// Key 00 01 .. 0f, message 00 01 .. (length - 1), as in the reference implementation's vectors.
    fn reference(length: u8) -> ([u8; 16], Vec<u8>) {
        (core::array::from_fn(|index| u8::try_from(index).expect("below 16")), (0..length).collect())
    }

    #[test]
    fn sip24_64_matches_the_reference_vectors() {
        for (length, expected) in
            [(0, "310e0edd47db6f72"), (1, "fd67dc93c539f874"), (8, "6224939a79f5f593"), (15, "e545be4961ca29a1")]
        {
            let (key, message) = reference(length);
            assert_eq!(hex(&sip24_64(&key, &message).to_le_bytes()), expected, "length {length}");
        }
    }

    #[test]
    fn sip24_128_matches_the_reference_vectors() {
        for (length, expected) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
        ] {
            let (key, message) = reference(length);
            let hash = sip24_128(&key, &message);
            #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
            let halves = [((hash >> 64) as u64).to_le_bytes(), (hash as u64).to_le_bytes()];
            assert_eq!(hex(&halves.concat()), expected, "length {length}");
        }
    }

    #[test]
    fn sha256_matches_the_published_examples() {
        let million = Vec::from_iter(core::iter::repeat_n(b'a', 1_000_000));
        for (message, expected) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ] {
            assert_eq!(hex(&sha256(message)), expected, "{} bytes", message.len());
        }
    }

    #[test]
    fn sha256_pads_every_length_around_a_block() {
        // Every length has a hash of its own, also where the length field needs a second block.
        let hashes: alloc::collections::BTreeSet<_> = (0..200).map(|length| sha256(&alloc::vec![0; length])).collect();
        assert_eq!(hashes.len(), 200);
    }
}
