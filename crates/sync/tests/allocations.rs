//! Reading a frame never holds more memory than four times its bytes and 64 KiB, whatever the frame says.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests add freely"
)]

use allocation_counter::measure;
use proptest::prelude::*;
use reconvene_clock::{Counter, Dot, Height, Hlc, ReplicaId, VectorClock};
use reconvene_store::{Body, Class, Key, KeyContext, Version};
use reconvene_sync::forge;

const LIMIT: usize = 2 << 20;

fn dot(replica: u64, counter: u64) -> Dot {
    Dot::new(ReplicaId::new(replica).unwrap(), Counter::new(counter).unwrap())
}

fn version(key: &str, counter: u64, context: KeyContext, body: usize) -> (Key, Version) {
    let version = Version {
        dot: dot(1, counter),
        context,
        height: Height::MIN,
        hlc: Hlc::from_u64(counter),
        class: Class::NORMAL,
        body: Body::of(vec![b'x'; body]),
    };
    (Key::new(key).unwrap(), version)
}

fn check(frame: &[u8]) -> Result<bool, String> {
    let mut read = false;
    let held = measure(|| read = forge::decodes(frame, LIMIT)).bytes_max;
    let most = 4 * frame.len() as u64 + (64 << 10);
    if held > most { Err(format!("{} bytes of frame held {held}, above {most}", frame.len())) } else { Ok(read) }
}

fn golden() -> Vec<Vec<u8>> {
    let lines = include_str!("golden/frames-v1.txt").lines().filter(|line| !line.starts_with('#'));
    let frame = |digits: &str| {
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    lines.map(|line| frame(line.split(' ').next_back().unwrap())).collect()
}

/// The chunk of as many versions as a receiver takes.
fn fullest(mut version: impl FnMut(u64) -> (Key, Version)) -> Vec<u8> {
    let mut frame_of =
        |count: u64| forge::chunk((1..=count).map(&mut version).collect()).filter(|frame| frame.len() <= LIMIT);
    let (mut most, mut too_many) = (1, 1);
    while frame_of(too_many).is_some() {
        (most, too_many) = (too_many, 2 * too_many);
    }
    while most + 1 < too_many {
        let middle = most.midpoint(too_many);
        if frame_of(middle).is_some() { most = middle } else { too_many = middle }
    }
    frame_of(most).unwrap()
}

/// Chunks that ask for as much memory as they may: many alike, long shared keys, wide contexts, large bodies.
#[test]
fn the_fullest_chunks_stay_within_the_bound() {
    let long = "k".repeat(512);
    let context =
        |counter| KeyContext::from_parts((1..=40).map(|at| dot(at % 5 + 2, counter * 50 + at)), VectorClock::new());
    let upto = |counter| KeyContext::from_parts([], (2..300).map(|replica| dot(replica, counter)).collect());
    let frames = [
        fullest(|counter| version("a", counter, KeyContext::new(), 0)),
        fullest(|counter| version(&format!("job/{counter:08}"), counter, KeyContext::new(), 48)),
        fullest(|counter| version(&long, counter, KeyContext::new(), 0)),
        fullest(|counter| version("a", counter, context(counter), 10)),
        fullest(|counter| version("a", counter, upto(counter), 10)),
        fullest(|counter| version(&format!("{counter}"), counter, KeyContext::new(), 60_000)),
    ];
    for frame in frames {
        assert_eq!(check(&frame), Ok(true), "{} bytes", frame.len());
    }
}

/// A number as the serializer writes it.
fn number(value: usize) -> Vec<u8> {
    match u8::try_from(value) {
        Ok(small @ 0..=250) => vec![small],
        _ if value <= 0xffff => [&[251], &u16::try_from(value).unwrap().to_le_bytes()[..]].concat(),
        _ => [&[252], &u32::try_from(value).unwrap().to_le_bytes()[..]].concat(),
    }
}

/// Ranges on the wire: for each of so many replicas so many runs, each of which skips one counter.
fn ranges(replicas: usize, runs: usize) -> Vec<u8> {
    let of_one = |id: usize| [&(id as u64).to_be_bytes()[..], &number(runs), &[0, 0].repeat(runs)].concat();
    let all: Vec<u8> = (1..=replicas).flat_map(of_one).collect();
    [number(replicas), all].concat()
}

/// Claims and lists of a repair, whose ranges take two bytes each at the least: in memory as well.
#[test]
fn the_longest_lists_of_ranges_stay_within_the_bound() {
    const CLAIM: u8 = 5;
    const REPAIR: u8 = 14;
    let session = [7_u8; 8];
    for (replicas, runs) in [(1, 65_536), (20, 50_000), (65_536, 1), (30_000, 3), (5, 3_000), (1, 100)] {
        // No chunks, the whole view, Knowledge, no digest, no floor.
        let claim = [&session[..], &[0, 1, 1], &ranges(replicas, runs), &[0, 0]].concat();
        assert_eq!(check(&forge::frame_around(CLAIM, &claim).unwrap()), Ok(true), "{replicas} x {runs}");
        // A list of no bucket, with four bytes for each dot, and no more.
        let count = replicas * runs;
        let prints = [number(count), vec![9; 4 * count]].concat();
        let list = [&session[..], &[1, 0], &ranges(replicas, runs), &prints, &[0]].concat();
        if list.len() < LIMIT {
            assert_eq!(check(&forge::frame_around(REPAIR, &list).unwrap()), Ok(true), "{replicas} x {runs}");
        }
    }
    // One range of very many dots is not believed to have so many prints.
    let many = [&session[..], &[1, 0], &number(1), &1_u64.to_be_bytes(), &number(1), &[0, 252, 255, 255, 255, 255]];
    let few = [&many.concat()[..], &number(1), &[9; 4], &[0]].concat();
    assert_eq!(check(&forge::frame_around(REPAIR, &few).unwrap()), Ok(false));
}

#[test]
fn every_golden_frame_and_every_cut_of_it_stays_within_the_bound() {
    for frame in golden() {
        assert_eq!(check(&frame), Ok(true));
        let kind = frame[0];
        let body = forge::body_of(&frame).unwrap();
        for end in 0..body.len() {
            check(&forge::frame_around(kind, &body[..end]).unwrap()).unwrap();
        }
    }
}

/// Lengths and counts that are too large in many spellings, runs, and noise.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (0..40_u8).prop_map(|small| vec![small]),
        Just(vec![0xff; 10]),
        Just(vec![253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        Just(vec![252, 0xff, 0xff, 0xff, 0x7f]),
        Just(vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x20]),
        Just(vec![0x05, 0xff, 0xff, 0x03]),
        (1..200_u64).prop_map(|id| id.to_be_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(0..3_u8, 0..300),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn law_reading_is_bounded_by_the_bytes(
        kind in 1..=20_u8,
        body in any_body(),
        golden_frame in any::<prop::sample::Index>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let Some(noise) = forge::frame_around(kind, &body) else { return Ok(()) };
        check(&noise).map_err(TestCaseError::fail)?;
        // And behind a beginning that makes sense.
        let frames = golden();
        let frame = &frames[golden_frame.index(frames.len())];
        let start = forge::body_of(frame).unwrap();
        let start = &start[..keep.index(start.len() + 1)];
        let mixed = forge::frame_around(frame[0], &[start, &body].concat()).unwrap();
        check(&mixed).map_err(TestCaseError::fail)?;
    }
}
