use crate::{CandidateId, SubjectId};

/// A fixed 64-bit hash of (subject, candidate) for ties that nothing else decides: fair, so that no broker wins
/// systematically, and the same on every machine. It is **not secret**: whoever may choose ids may choose the winner.
///
/// FNV-1a 64 over the subject and then the candidate (each two words, little endian), then the `SplitMix64` finaliser,
/// because FNV alone moves few high bits for short inputs.
///
/// ```
/// use reconvene_resolve::{CandidateId, SubjectId, tie_hash};
///
/// assert_eq!(tie_hash(SubjectId::NONE, CandidateId::new(0, 0)), 0xd991_e919_0428_32c6);
/// ```
///
/// # Reference
/// Fowler, Noll, Vo: FNV-1a. Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators".
#[must_use]
pub fn tie_hash(subject: SubjectId, candidate: CandidateId) -> u64 {
    let mut hash = FNV_OFFSET;
    for word in subject.0.into_iter().chain(candidate.0) {
        for byte in word.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_tie_hashes() {
        let job = SubjectId::new(1, 7);
        for (subject, candidate, expected) in [
            (SubjectId::NONE, CandidateId::new(0, 0), 0xd991_e919_0428_32c6),
            (SubjectId::new(1, 0), CandidateId::new(2, 0), 0xe584_2963_3283_9654),
            (job, CandidateId::new(11, 3), 0x72ab_fe32_3a61_6e84),
            (job, CandidateId::new(12, 9), 0x075e_8ca3_cc12_7017),
            (job, CandidateId::new(13, 4), 0xaa93_27ff_51e0_c277),
            (job, CandidateId::new(14, 2), 0x46d5_6509_f1a7_4d24),
            (job, CandidateId::new(15, 1), 0x7bd5_c82a_a2ae_bea7),
        ] {
            assert_eq!(tie_hash(subject, candidate), expected, "{subject} {candidate}");
        }
    }
}
