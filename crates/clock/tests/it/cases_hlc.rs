//! Cases 18 to 21: hybrid logical clocks.

use std::cell::Cell;

use reconvene_clock::{Hlc, HlcClock, HlcError, MaxAhead, TimeSource, WallTime};

fn hlc(millis: u64, logical: u16) -> Hlc {
    Hlc::from_parts(at(millis), logical).unwrap()
}

fn at(millis: u64) -> WallTime {
    WallTime::from_millis(millis)
}

const MINUTE: MaxAhead = MaxAhead::from_millis(60_000);

/// A wall clock that shows what the test sets.
#[derive(Default)]
struct Dial(Cell<u64>);

impl TimeSource for Dial {
    fn now(&self) -> WallTime {
        at(self.0.get())
    }
}

#[test]
fn case_18_the_rules_step_by_step() {
    let sent = Hlc::default().tick_at(at(10), MINUTE);
    assert_eq!(sent, Ok(hlc(10, 0)));
    let received = Hlc::default().observe_at(at(1), hlc(10, 0), MINUTE);
    assert_eq!(received, Ok(hlc(10, 1)));
    let local = hlc(10, 1).tick_at(at(2), MINUTE);
    assert_eq!(local, Ok(hlc(10, 2)));
    let third = Hlc::default().observe_at(at(2), hlc(10, 2), MINUTE);
    assert_eq!(third, Ok(hlc(10, 3)));
    assert_eq!(hlc(10, 3).tick_at(at(11), MINUTE), Ok(hlc(11, 0)));
}

#[test]
fn case_18_receiving_takes_the_greater_count_of_equal_times() {
    assert_eq!(hlc(10, 7).observe_at(at(3), hlc(10, 2), MINUTE), Ok(hlc(10, 8)));
    assert_eq!(hlc(10, 2).observe_at(at(3), hlc(10, 7), MINUTE), Ok(hlc(10, 8)));
    assert_eq!(hlc(10, 7).observe_at(at(3), hlc(9, 9), MINUTE), Ok(hlc(10, 8)));
    assert_eq!(hlc(10, 7).observe_at(at(10), hlc(9, 9), MINUTE), Ok(hlc(10, 8)));
    assert_eq!(hlc(10, 7).observe_at(at(12), hlc(11, 9), MINUTE), Ok(hlc(12, 0)));
}

#[test]
fn case_20_a_full_count_carries_within_the_bound_only() {
    let bound = MaxAhead::from_millis(5);
    assert_eq!(hlc(104, u16::MAX).tick_at(at(100), bound), Ok(hlc(105, 0)));
    assert_eq!(hlc(105, u16::MAX).tick_at(at(100), bound), Err(HlcError::CounterExhausted));
    assert_eq!(hlc(105, u16::MAX).tick_at(at(101), bound), Ok(hlc(106, 0)));

    assert_eq!(hlc(3, 3).observe_at(at(100), hlc(104, u16::MAX), bound), Ok(hlc(105, 0)));
    assert_eq!(hlc(3, 3).observe_at(at(100), hlc(105, u16::MAX), bound), Err(HlcError::CounterExhausted));
    assert_eq!(hlc(105, u16::MAX).observe_at(at(100), hlc(3, 3), bound), Err(HlcError::CounterExhausted));
}

#[test]
fn case_20_frozen_time_ends_in_a_typed_error_and_then_goes_on() {
    let dial = Dial::default();
    dial.0.set(100);
    let mut clock = HlcClock::new(&dial, MaxAhead::from_millis(1));
    let mut last = Hlc::default();
    for _ in 0..2 * (u32::from(u16::MAX) + 1) {
        let next = clock.tick().unwrap();
        assert!(next > last);
        last = next;
    }
    assert_eq!(clock.tick(), Err(HlcError::CounterExhausted));
    assert_eq!(clock.last(), last, "an error leaves the clock as it was");
    dial.0.set(101);
    assert_eq!(clock.tick(), Ok(hlc(102, 0)));
}

#[test]
fn case_20_the_end_of_time_is_bounded_too() {
    assert_eq!(Hlc::MAX.tick_at(at(u64::MAX), MINUTE), Err(HlcError::CounterExhausted));
    assert_eq!(Hlc::default().tick_at(at(u64::MAX), MINUTE), Ok(hlc((1 << 48) - 1, 0)));
    assert_eq!(Hlc::from_parts(at(1 << 48), 0), None);
}

#[test]
fn a_stamp_ahead_of_the_bound_is_not_followed() {
    let bound = MaxAhead::from_millis(500);
    assert!(hlc(1, 0).observe_at(at(1_000), hlc(1_500, 0), bound).is_ok(), "the bound is inclusive");
    assert_eq!(hlc(1, 0).observe_at(at(1_000), hlc(1_501, 0), bound), Err(HlcError::AheadOfBound { by_ms: 501 }));
    assert_eq!(hlc(9_000, 0).tick_at(at(1_000), bound), Ok(hlc(9_000, 1)), "a clock set back is waited for");
}

#[test]
fn case_21_no_stamp_repeats_after_a_restart() {
    let dial = Dial::default();
    dial.0.set(40);
    let mut before = HlcClock::new(&dial, MINUTE);
    before.tick().unwrap();
    let persisted = before.reserve(60);
    assert_eq!(persisted, hlc(100, 0));

    dial.0.set(60);
    let mut after = HlcClock::resume(&dial, MaxAhead::from_millis(40), persisted).unwrap();
    assert!(after.tick().unwrap() > persisted);
    let too_far = HlcClock::resume(&dial, MaxAhead::from_millis(39), persisted).err();
    assert_eq!(too_far, Some(HlcError::AheadOfBound { by_ms: 40 }));
}

#[test]
fn a_reserve_counts_from_the_later_of_stamp_and_wall_time() {
    let dial = Dial::default();
    let mut clock = HlcClock::new(&dial, MINUTE);
    clock.observe(hlc(500, 3)).unwrap();
    assert_eq!(clock.reserve(10), hlc(510, 0));
    dial.0.set(700);
    assert_eq!(clock.reserve(10), hlc(710, 0));
    dial.0.set(u64::MAX);
    assert_eq!(clock.reserve(10), Hlc::MAX);
}
