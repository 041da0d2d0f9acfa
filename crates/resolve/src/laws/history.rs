//! Random histories: small ranges, so that ties in every link are common, and now and then extremes.

use alloc::vec::Vec;
use core::ops::BitOr;

use reconvene_clock::{Height, Hlc, WallTime};

use crate::laws::Random;
use crate::{
    BasisPoints, CandidateId, JobFacts, JobValue, Level, Outcome, Priority, Resources, RoundFacts, SubjectId,
    VersionFacts,
};

/// At most so many candidates in a history.
const MOST: u64 = 8;

/// Results of one job, as brokers accepted them: each knew of some of the earlier ones.
///
/// The number of a version's id is its place in the history plus one, and the first byte of its digest holds what its
/// writer knew: bit b is set if version b happened before it. So a rule that wants to follow causality can find out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VersionHistory {
    /// The versions, causes before effects.
    pub versions: Vec<VersionFacts>,
}

impl VersionHistory {
    /// A random one.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let subject = SubjectId::new(1, random.below(3));
        let extreme = random.once_in(8);
        let mut past = Past::default();
        let mut versions = Vec::new();
        for place in 0..random.below(MOST).saturating_add(1) {
            let Event { known, height, stamp } = past.event(place, random);
            let id = CandidateId::new(random.below(4), place.saturating_add(1));
            let mut number = |limit| if extreme { random.extreme() } else { random.below(limit) };
            let mut digest = [0; 32];
            let [first, second, ..] = &mut digest;
            (*first, *second) = (known, low_byte(number(2)));
            versions.push(VersionFacts {
                outcome: if number(3) == 0 { Outcome::Failure } else { Outcome::Success },
                attempt_epoch: low_half(number(3)),
                attempt_number: low_half(number(3)),
                height,
                level: level(number(3), extreme),
                quality: BasisPoints::from_ratio(number(3), 2),
                placement: number(3),
                cost_resource_ms: number(3),
                digest,
                ..VersionFacts::new(subject, id, stamp)
            });
        }
        Self { versions }
    }

    /// Whether version `a` happened before version `b`, by their places.
    #[must_use]
    pub fn happened_before(&self, a: usize, b: usize) -> bool {
        let known = self.versions.get(b).and_then(|version| version.digest.first());
        known.is_some_and(|known| 1_u8.checked_shl(u32::try_from(a).unwrap_or(u32::MAX)).unwrap_or(0) & known != 0)
    }
}

/// Jobs as brokers admitted them, and the round in which they are ranked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobHistory {
    /// The jobs, causes before effects.
    pub jobs: Vec<JobFacts>,
    /// The round.
    pub round: RoundFacts,
    known: Vec<u8>,
}

impl JobHistory {
    /// A random one.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let extreme = random.once_in(8);
        // Sometimes all within one millisecond, sometimes hours apart.
        let span = [1, 3, 60_000, 20_000_000].get(random.place(4)).copied().unwrap_or(1);
        let mut past = Past { span, ..Past::default() };
        let (mut jobs, mut known) = (Vec::new(), Vec::new());
        for place in 0..random.below(MOST).saturating_add(1) {
            let event = past.event(place, random);
            known.push(event.known);
            let id = CandidateId::new(random.below(4), place.saturating_add(1));
            let mut number = |limit| if extreme { random.extreme() } else { random.below(limit) };
            let submitted = event.stamp.millis();
            let deadline = submitted.saturating_add(number(8_000_000));
            let value = u32::try_from(number(4).min(999_999)).unwrap_or(0).saturating_add(1);
            jobs.push(JobFacts {
                priority: Priority(low_byte(number(3).wrapping_mul(127))),
                deadline: (number(2) == 0).then(|| WallTime::from_millis(deadline)),
                estimate_ms: number(3).saturating_mul(1_800_000),
                work_core_ms: (number(2) == 0).then(|| number(3).saturating_mul(9_000_000)),
                demand: Resources::new(number(17_000), number(70_000), number(5)),
                value: JobValue::new(value).unwrap_or_default(),
                level: level(number(3), extreme),
                late: number(4) == 1,
                height: event.height,
                preempted: low_half(number(3)),
                ..JobFacts::new(id, event.stamp)
            });
        }
        let total = Resources::new(random.below(200_000), random.below(900_000), random.below(3));
        Self { jobs, round: RoundFacts::new(random.below(100), total), known }
    }

    /// Whether job `a` was admitted before job `b` and known to who admitted that, by their places.
    #[must_use]
    pub fn happened_before(&self, a: usize, b: usize) -> bool {
        let bit = 1_u8.checked_shl(u32::try_from(a).unwrap_or(u32::MAX)).unwrap_or(0);
        self.known.get(b).is_some_and(|known| bit & known != 0)
    }
}

struct Event {
    known: u8,
    height: Height,
    stamp: Hlc,
}

/// What happened so far.
struct Past {
    events: Vec<(u8, Height, Hlc)>,
    span: u64,
}

impl Default for Past {
    fn default() -> Self {
        Self { events: Vec::new(), span: 4 }
    }
}

impl Past {
    /// One more event, whose writer knows some of those before and all that they knew.
    fn event(&mut self, place: u64, random: &mut Random) -> Event {
        let chosen = low_byte(random.next()) & low_byte(random.next());
        let mut known = 0;
        let (mut highest, mut latest) = (None, Hlc::from_u64(0));
        for (earlier, (theirs, height, stamp)) in (0_u32..).zip(&self.events) {
            let bit = 1_u8.checked_shl(earlier).unwrap_or(0);
            if chosen & bit != 0 {
                known = [bit, *theirs].into_iter().fold(known, BitOr::bitor);
                highest = highest.max(Some(*height));
                latest = latest.max(*stamp);
            }
        }
        // A stamp is above all that its writer had seen, whatever the clock shows.
        let clock = Hlc::from_parts(WallTime::from_millis(random.below(self.span)), low_u16(random.below(2)));
        let after = if highest.is_some() { latest.as_u64().saturating_add(1) } else { 0 };
        let stamp = Hlc::from_u64(clock.unwrap_or_default().as_u64().max(after));
        let height = Height::above(highest).unwrap_or(Height::MIN);
        debug_assert!(place < MOST, "one bit for each event");
        self.events.push((known, height, stamp));
        Event { known, height, stamp }
    }
}

fn level(number: u64, extreme: bool) -> Level {
    let level = if extreme { number.checked_rem(201).unwrap_or(0) } else { number.saturating_mul(100) };
    Level::new(low_byte(level)).unwrap_or(Level::LIFE_SAFETY)
}

const fn low_byte(number: u64) -> u8 {
    let [byte, ..] = number.to_le_bytes();
    byte
}

const fn low_u16(number: u64) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

const fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
