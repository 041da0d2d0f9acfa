//! Cases 9 and 10, and what a sibling set refuses.

use reconvene_clock::{CausalContext, ClockError, Dotted, SiblingSet, VectorClock};

use crate::support::{A, B, clock, context, counter, dot, id};

fn value(replica: u64, number: u64) -> Dotted<u64> {
    Dotted { dot: dot(replica, number), value: number }
}

fn live(set: &SiblingSet<u64>) -> Vec<u64> {
    set.values().iter().map(|sibling| sibling.value).collect()
}

#[test]
fn case_09_a_write_replaces_what_its_writer_had_seen() {
    let mut set = SiblingSet::new();
    assert_eq!(set.write(&context([]), value(A, 1)), Ok(0));
    assert_eq!(set.write(&context([]), value(A, 2)), Ok(0));
    assert_eq!(live(&set), [1, 2]);
    assert_eq!(set.write(&context([(A, 1)]), value(A, 3)), Ok(1));
    assert_eq!(live(&set), [2, 3]);
    assert_eq!(set.context(), &clock([(A, 3)]).into());
}

/// What one clock for the whole object does: a write that has not seen all of it replaces nothing.
#[derive(Default)]
struct OneClock {
    clock: VectorClock,
    values: usize,
}

impl OneClock {
    fn write(&mut self, seen: &VectorClock) -> VectorClock {
        self.values = if seen.dominates(&self.clock) { 1 } else { self.values + 1 };
        let dot = self.clock.increment(id(A)).unwrap();
        let mut now_seen = seen.clone();
        now_seen.raise(dot);
        now_seen
    }
}

#[test]
fn case_10_writers_who_take_turns_do_not_pile_up_siblings() {
    for writes in [10, 100] {
        let mut object = OneClock::default();
        let mut clocks = [VectorClock::new(), VectorClock::new()];
        let mut set = SiblingSet::new();
        let mut contexts = [CausalContext::new(), CausalContext::new()];
        for number in 1..=writes {
            let turn = (number % 2) as usize;
            clocks[turn] = object.write(&clocks[turn]);
            set.write(&contexts[turn], value(A, number)).unwrap();
            contexts[turn].add(dot(A, number));
            assert!(set.values().len() <= 2, "dots keep at most one value of each writer");
        }
        assert_eq!(set.values().len(), 2);
        // The other writer's last write is never in what one writer has seen, so nothing is ever replaced.
        assert_eq!(object.values, writes as usize);
    }
}

#[test]
fn a_deleted_value_does_not_come_back() {
    let mut here = SiblingSet::new();
    here.write(&context([]), value(A, 1)).unwrap();
    let there = here.clone();
    assert_eq!(here.delete(&context([(A, 1)])), 1);
    assert_eq!(here.merge(&there), Ok(false));
    assert!(here.values().is_empty());

    let mut late = there;
    assert_eq!(late.merge(&here), Ok(true));
    assert!(late.values().is_empty());
}

#[test]
fn a_value_that_the_deleter_had_not_seen_stays() {
    let mut here = SiblingSet::new();
    here.write(&context([]), value(A, 1)).unwrap();
    let mut there = here.clone();
    there.write(&context([]), value(B, 7)).unwrap();
    here.delete(&context([(A, 1)]));
    assert_eq!(here.merge(&there), Ok(true));
    assert_eq!(live(&here), [7]);
}

#[test]
fn one_dot_with_two_values_is_refused_whole() {
    let mut here = SiblingSet::new();
    here.write(&context([]), value(A, 1)).unwrap();
    let mut there = SiblingSet::new();
    there.write(&context([]), value(B, 1)).unwrap();
    there.write(&context([]), Dotted { dot: dot(A, 1), value: 99 }).unwrap();
    let before = here.clone();
    let refused = ClockError::Equivocation { replica: u128::from(A), counter: counter(1) };
    assert_eq!(here.merge(&there), Err(refused));
    assert_eq!(here, before);
}

#[test]
fn a_dot_names_one_write() {
    let mut set = SiblingSet::new();
    set.write(&context([]), value(A, 1)).unwrap();
    let before = set.clone();
    let refused = Err(ClockError::DotInUse { replica: u128::from(A), counter: counter(1) });
    assert_eq!(set.write(&context([]), value(A, 1)), refused);
    assert_eq!(SiblingSet::new().write(&context([(A, 1)]), value(A, 1)), refused, "nobody has seen a write not made");
    assert_eq!(set, before);
}
