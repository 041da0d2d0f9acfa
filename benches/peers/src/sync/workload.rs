//! What two replicas hold and what they change before they meet again: to the byte, so that runs can be compared.

use std::collections::{BTreeMap, BTreeSet};

/// Two replicas that hold the records of some origins, and what each changes while they do not talk.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is called in the results.
    pub name: &'static str,
    /// Replicas that wrote the records. The first is `A` and the second `B`, the two that meet.
    pub origins: u64,
    /// Records of each origin.
    pub each: u64,
    /// What `A` and `B` have in common when they begin to change it.
    pub start: Start,
    /// The changes of `A` and of `B`, in order.
    pub changes: [Vec<Change>; 2],
    /// Milliseconds between one change and the next of the same side; 0 is a burst.
    pub pace_ms: u64,
}

/// What two replicas have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Both hold all records, and know it of each other.
    Known,
    /// Both hold all records, and know nothing of each other.
    Cold,
    /// `A` holds all records, `B` none.
    Empty,
    /// Both take themselves to hold all records, and `B` has lost those that the third origin would change in W1, and as
    /// many more of the fourth.
    Damaged,
}

/// One change of a record that the side itself wrote before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets the value of its second version.
    Set(u64),
    /// It is deleted.
    Delete(u64),
}

/// The key and value of every record that is not deleted.
pub type Contents = BTreeMap<String, String>;

impl Workload {
    /// W1 for 10,000 records each: `A` and `B` write a second version of each 200th of their records, in one burst.
    pub fn w1(each: u64) -> Self {
        Self::every(200, 7, "W1", 10, each)
    }

    /// W100: the same number of records and changes by ten times as many origins.
    pub fn w100(each: u64) -> Self {
        Self::every(20, 7, "W100", 100, each)
    }

    /// W1 of ten times as many records, and the same number of changes.
    pub fn large(each: u64) -> Self {
        Self::every(2_000, 7, "W1 of 1,000,000", 10, each)
    }

    /// Half of the records of `A` and `B` are changed: 2 x 5,000 for 10,000 each.
    pub fn many(each: u64) -> Self {
        Self::every(2, 1, "2 x 5,000 changed", 10, each)
    }

    /// W1 without any memory of each other.
    pub fn cold(each: u64) -> Self {
        Self { name: "cold repair", start: Start::Cold, ..Self::w1(each) }
    }

    /// W1r: as many changes as W1, of records drawn at random, spread over ten minutes.
    pub fn w1r(each: u64) -> Self {
        let (mut workload, mut random) = (Self::w1(each), SplitMix64(0x5721));
        for changes in &mut workload.changes {
            let mut drawn = BTreeSet::new();
            while drawn.len() < changes.len() {
                drawn.insert(random.draw() % each);
            }
            *changes = drawn.into_iter().map(Change::Set).collect();
            // In an order that tells nothing.
            for last in (1..changes.len()).rev() {
                changes.swap(last, (random.draw() % (last as u64 + 1)) as usize);
            }
        }
        let pace_ms = TEN_MINUTES_MS / (workload.changes[0].len() as u64).max(1);
        Self { name: "W1r", pace_ms, ..workload }
    }

    /// Nothing was changed.
    pub fn idle(name: &'static str, origins: u64, each: u64) -> Self {
        Self { name, origins, each, start: Start::Known, changes: [vec![], vec![]], pace_ms: 0 }
    }

    /// `A` deletes one record and writes another during a long cut, in which tombstones are collected by whoever
    /// collects them by the clock.
    pub fn delete_and_set(each: u64) -> Self {
        let changes = [vec![Change::Delete(7), Change::Set(8)], vec![]];
        Self { changes, ..Self::idle("delete and set after a cut", 10, each) }
    }

    /// `B` has lost a hundred records, and does not know it.
    pub fn damaged(each: u64) -> Self {
        Self { name: "repair of lost rows", start: Start::Damaged, ..Self::idle("", 10, each) }
    }

    /// Whether `B` has lost this record.
    pub fn is_lost(&self, origin: u64, index: u64) -> bool {
        self.start == Start::Damaged && matches!(origin, 2 | 3) && index % 200 == 7
    }

    /// `B` is new.
    pub fn bootstrap(each: u64) -> Self {
        Self { start: Start::Empty, ..Self::idle("bootstrap of 100,000", 10, each) }
    }

    fn every(step: u64, first: u64, name: &'static str, origins: u64, each: u64) -> Self {
        let changes: Vec<_> = (first..each).step_by(step as usize).map(Change::Set).collect();
        Self { changes: [changes.clone(), changes], ..Self::idle(name, origins, each) }
    }

    /// All records before the changes.
    pub fn before(&self) -> Contents {
        (0..self.origins).flat_map(|origin| self.records_of(origin)).collect()
    }

    /// The records of one origin before the changes.
    pub fn records_of(&self, origin: u64) -> impl Iterator<Item = (String, String)> + use<> {
        (0..self.each).map(move |index| (key(origin, index), value(origin, index, 1)))
    }

    /// What both replicas must hold in the end.
    pub fn after(&self) -> Contents {
        let mut contents = self.before();
        for (side, changes) in (0..).zip(&self.changes) {
            change(&mut contents, side, changes);
        }
        contents
    }

    /// How many records are changed or lost.
    pub fn changed(&self) -> u64 {
        let lost = |origin| (0..self.each).filter(move |index| self.is_lost(origin, *index)).count() as u64;
        self.changes.iter().map(|changes| changes.len() as u64).sum::<u64>() + lost(2) + lost(3)
    }

    /// The bytes of keys and values that are new to the other side.
    pub fn raw_bytes(&self) -> u64 {
        if self.start == Start::Empty {
            return self.origins * self.each * (KEY_BYTES + VALUE_CHARS);
        }
        if self.start == Start::Damaged {
            return self.changed() * (KEY_BYTES + VALUE_CHARS);
        }
        let bytes = |change: &Change| match change {
            Change::Set(_) => KEY_BYTES + VALUE_CHARS,
            Change::Delete(_) => KEY_BYTES,
        };
        self.changes.iter().flatten().map(bytes).sum()
    }

    /// The least that must travel: which records changed, of all there are, and six bits for each character of a value.
    pub fn minimum_bytes(&self) -> u64 {
        let value = VALUE_CHARS * 6 / 8;
        if self.start == Start::Empty {
            return self.origins * self.each * value;
        }
        let (records, changed) = (self.origins * self.each, self.changed());
        let bits: f64 = (0..changed).map(|i| ((records - i) as f64 / (i + 1) as f64).log2()).sum();
        let deleted = self.changes.iter().flatten().filter(|change| matches!(change, Change::Delete(_))).count() as u64;
        (bits / 8.0).round() as u64 + (changed - deleted) * value
    }
}

/// Makes the changes of one side.
pub fn change(contents: &mut Contents, side: u64, changes: &[Change]) {
    for change in changes {
        match *change {
            Change::Set(index) => _ = contents.insert(key(side, index), value(side, index, 2)),
            Change::Delete(index) => _ = contents.remove(&key(side, index)),
        }
    }
}

/// The key of a record.
pub fn key(origin: u64, index: u64) -> String {
    format!("job/{origin:02}/{index:06}")
}

/// The value of a version of a record: 48 characters, each by the top six bits of one output of SplitMix64.
pub fn value(origin: u64, index: u64, version: u64) -> String {
    let mut random = SplitMix64(origin << 48 | index << 16 | version);
    (0..VALUE_CHARS).map(|_| char::from(ALPHABET[(random.draw() >> 58) as usize])).collect()
}

/// Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators".
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const KEY_BYTES: u64 = 13;
const VALUE_CHARS: u64 = 48;
const TEN_MINUTES_MS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::{Change, SplitMix64, Workload, key, value};

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..5).map(|_| random.draw()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn records_are_those_of_the_specification() {
        assert_eq!(key(1, 207), "job/01/000207");
        assert_eq!(key(1, 207).len(), 13);
        // The top six bits of the first outputs from the state 1 << 48 | 207 << 16 | 2, by the alphabet.
        let mut random = SplitMix64(0x0001_0000_00cf_0002);
        let text = value(1, 207, 2);
        assert_eq!(text.len(), 48);
        for found in text.chars() {
            let expected = match random.draw() >> 58 {
                index @ 0..26 => char::from(b'A' + index as u8),
                index @ 26..52 => char::from(b'a' + index as u8 - 26),
                index @ 52..62 => char::from(b'0' + index as u8 - 52),
                62 => '-',
                _ => '_',
            };
            assert_eq!(found, expected);
        }
        assert_ne!(value(1, 207, 1), value(1, 207, 2));
    }

    #[test]
    fn w1_is_a_hundred_of_a_hundred_thousand() {
        let workload = Workload::w1(10_000);
        assert_eq!(workload.changes.each_ref().map(Vec::len), [50, 50]);
        assert_eq!(workload.changes[0][1], Change::Set(207));
        assert_eq!(workload.minimum_bytes(), 3_742);
        assert_eq!(workload.raw_bytes(), 6_100);
        assert_eq!(Workload::w100(1_000).minimum_bytes(), 3_742);
        let damaged = Workload::damaged(10_000);
        assert_eq!((damaged.minimum_bytes(), damaged.raw_bytes()), (3_742, 6_100));
        assert_eq!(Workload::many(10_000).changed(), 10_000);
        let (before, after) = (workload.before(), workload.after());
        assert_eq!((before.len(), after.len()), (100_000, 100_000));
        let changed = before.iter().filter(|(key, value)| after[*key] != **value).count();
        assert_eq!(changed, 100);
    }

    #[test]
    fn w1r_draws_as_many_and_no_record_twice() {
        let workload = Workload::w1r(10_000);
        assert_eq!(workload.changed(), 100);
        assert_eq!(workload.pace_ms, 12_000);
        let (even, random) = (Workload::w1(10_000).after(), workload.after());
        let differ = even.iter().filter(|(key, value)| random[*key] != **value).count();
        assert!(differ > 150, "{differ}");
        assert_eq!(random, Workload::w1r(10_000).after());
    }

    #[test]
    fn a_deleted_record_is_gone() {
        let workload = Workload::delete_and_set(100);
        let after = workload.after();
        assert_eq!(after.len(), 999);
        assert!(!after.contains_key("job/00/000007"));
        assert_eq!(after["job/00/000008"], value(0, 8, 2));
        assert_eq!(workload.minimum_bytes(), 2 + 36);
    }
}
