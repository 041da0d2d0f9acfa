//! Golden bytes of every form. They never change; a change needs a new form.

use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroU128};
use std::sync::Arc;

use reconvene_clock::{
    Base, CausalContext, Counter, Decoder, Dot, Hlc, Limits, ReplicaKey, Roster, RosterClock, VectorClock,
};

use crate::support::{A, B, C, clock, context, dot, id};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|index| u8::from_str_radix(&digits[index..index + 2], 16).unwrap()).collect()
}

fn golden<T: PartialEq + Debug, E: Debug>(
    value: &T,
    expected: &str,
    encode: impl FnOnce(&T, &mut Vec<u8>),
    decode: impl FnOnce(&[u8]) -> Result<T, E>,
) {
    // What is there already stays.
    let mut bytes = vec![0xee];
    encode(value, &mut bytes);
    assert_eq!(hex(&bytes[1..]), hex(&unhex(expected)));
    assert_eq!(&decode(&unhex(expected)).unwrap(), value);
}

fn golden_clock<R: ReplicaKey>(clock: &VectorClock<R>, expected: &str) {
    golden(clock, expected, VectorClock::encode, |bytes| Decoder::default().clock(bytes));
}

pub(crate) const FULL: &str = "01 02  000000000000000a 000000000000000b  00 ab02";
pub(crate) const CONTEXT: &str =
    "01 01 000000000000000a 00  02 000000000000000a 000000000000000b  01 0001 0300  00 0000";

/// Vector {A:1}, and above it A:3-4, A:9, B:2.
pub(crate) fn golden_context() -> CausalContext {
    context([(A, 1), (A, 3), (A, 4), (A, 9), (B, 2)])
}

#[test]
fn golden_v1_full_form() {
    golden_clock(&clock([]), "01 00");
    golden_clock(&clock([(A, 1), (B, 300)]), FULL);
    golden_clock(&clock([(C, Counter::MAX.get())]), "01 01 000000000000000c feffffffffffffff7f");
    golden_clock(&clock([(C, 128)]), "01 01 000000000000000c 7f");
    golden_clock(&clock([(C, 129)]), "01 01 000000000000000c 8001");
    golden_clock(&clock([(C, (1 << 14) + 1)]), "01 01 000000000000000c 808001");
}

#[test]
fn golden_v1_full_form_of_other_ids() {
    let narrow: VectorClock<NonZeroU32> =
        [7, 1 << 16].map(|id| Dot::new(NonZeroU32::new(id).unwrap(), Counter::MIN)).into_iter().collect();
    golden_clock(&narrow, "01 02 00000007 00010000 00 00");
    let wide: VectorClock<NonZeroU128> =
        [Dot::new(NonZeroU128::new(1 << 64).unwrap(), Counter::MIN)].into_iter().collect();
    golden_clock(&wide, "01 01 00000000000000010000000000000000 00");
}

fn roster() -> Arc<Roster> {
    Arc::new(Roster::new(7, [C, A, B].map(id), &Limits::default()).unwrap())
}

const ROSTER_DIGEST: &str = "ba1b18499660767a";
const BASE_DIGEST: &str = "2857366a978d05b3";

#[test]
fn golden_v1_roster_form() {
    let rosters = [roster()];
    let decoder = Decoder::default().with_rosters(&rosters);
    let sparse = clock([(A, 1), (C, 128)]);
    let expected = format!("02 {ROSTER_DIGEST} 01 00 8001");
    assert_eq!(format!("{:016x}", rosters[0].digest()), ROSTER_DIGEST);
    golden(&sparse, &expected, |clock, out| clock.encode_in(&rosters[0], out).unwrap(), |bytes| decoder.clock(bytes));
    let dense = RosterClock::from_clock(rosters[0].clone(), &sparse).unwrap();
    golden(&dense, &expected, RosterClock::encode, |bytes| decoder.roster_clock(bytes));
}

#[test]
fn golden_v1_delta_form() {
    let bases = [Base::new(clock([(A, 1), (B, 2), (C, 3)]))];
    let decoder = Decoder::default().with_bases(&bases);
    assert_eq!(format!("{:016x}", bases[0].digest()), BASE_DIGEST);
    let grown = clock([(9, 2), (A, 1), (B, 7), (C, 3), (0xd, 1)]);
    let delta = |clock: &VectorClock, out: &mut Vec<u8>| assert!(clock.encode_delta(&bases[0], out));
    let expected = format!("03 {BASE_DIGEST} 01 0104 02 0000000000000009 000000000000000d 01 00");
    golden(&grown, &expected, delta, |bytes| decoder.clock(bytes));
    golden(bases[0].clock(), &format!("03 {BASE_DIGEST} 00 00"), delta, |bytes| decoder.clock(bytes));
    let last = clock([(A, 1), (B, 2), (C, 1 + (1 << 14))]);
    golden(&last, &format!("03 {BASE_DIGEST} 01 02fd7f 00"), delta, |bytes| decoder.clock(bytes));
}

#[test]
fn golden_v1_context() {
    golden(&golden_context(), CONTEXT, CausalContext::encode, |bytes| Decoder::default().context(bytes));
    golden(&context([]), "01 00 00", CausalContext::encode, |bytes| Decoder::default().context(bytes));

    let context = golden_context();
    let ranges = "02 000000000000000a 000000000000000b  01 0001 0300  00 0000";
    let rosters = [roster()];
    let decoder = Decoder::default().with_rosters(&rosters);
    let encode = |context: &CausalContext, out: &mut Vec<u8>| context.encode_in(&rosters[0], out).unwrap();
    golden(&context, &format!("02 {ROSTER_DIGEST} 01 00 00 {ranges}"), encode, |bytes| decoder.context(bytes));

    let bases = [Base::new(clock([]))];
    let decoder = Decoder::default().with_bases(&bases);
    let encode = |context: &CausalContext, out: &mut Vec<u8>| assert!(context.encode_delta(&bases[0], out));
    let digest = format!("{:016x}", bases[0].digest());
    let expected = format!("03 {digest} 00 01 000000000000000a 00 {ranges}");
    golden(&context, &expected, encode, |bytes| decoder.context(bytes));
}

#[test]
fn golden_v1_dot_and_stamp() {
    golden(&dot(A, 300), "000000000000000a ab02", |dot, out| dot.encode(out), Dot::decode);
    let stamp = Hlc::from_u64(0x0123_4567_89ab_cdef);
    golden(&stamp, "0123456789abcdef", |stamp, out| stamp.encode(out), Hlc::decode);
}
