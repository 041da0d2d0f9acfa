//! Laws of hybrid logical clocks, and case 19 in simulation.

use proptest::prelude::*;
use reconvene_clock::{Hlc, HlcError, MaxAhead, WallTime};

fn near(millis: std::ops::Range<u64>) -> impl Strategy<Value = Hlc> {
    let logical = prop_oneof![0..3_u16, (u16::MAX - 2)..=u16::MAX];
    (millis, logical).prop_map(|(millis, logical)| Hlc::from_parts(WallTime::from_millis(millis), logical).unwrap())
}

proptest! {
    #[test]
    fn law_a_stamp_is_above_its_causes_and_not_below_wall_time(
        last in near(90..110), remote in near(90..110), now in 90..110_u64, bound in 0..20_u64
    ) {
        let (wall, bound) = (WallTime::from_millis(now), MaxAhead::from_millis(bound));
        match last.tick_at(wall, bound) {
            Ok(next) => {
                prop_assert!(next > last && next.millis() >= now);
                prop_assert!(next.millis() <= last.millis().max(now) || next.millis() - now <= bound.as_millis());
            }
            Err(error) => {
                prop_assert_eq!(error, HlcError::CounterExhausted);
                prop_assert!(last.logical() == u16::MAX && last.millis() + 1 > now + bound.as_millis());
            }
        }
        match last.observe_at(wall, remote, bound) {
            Ok(next) => {
                prop_assert!(next > last && next > remote && next.millis() >= now);
                prop_assert!(remote.millis() <= now + bound.as_millis());
            }
            Err(HlcError::AheadOfBound { by_ms }) => {
                prop_assert_eq!(by_ms, remote.millis() - now);
                prop_assert!(by_ms > bound.as_millis());
            }
            Err(_) => prop_assert_eq!(last.max(remote).logical(), u16::MAX),
        }
    }

    #[test]
    fn law_numbers_order_as_stamps(left: u64, right: u64) {
        let (one, two) = (Hlc::from_u64(left), Hlc::from_u64(right));
        prop_assert_eq!(one.cmp(&two), (one.millis(), one.logical()).cmp(&(two.millis(), two.logical())));
        prop_assert_eq!(Hlc::from_parts(one.wall(), one.logical()), Some(one));
        prop_assert_eq!(one.as_u64(), left);
    }

    #[test]
    fn law_case_19_stamps_stay_near_wall_time(run in any_run(0..3)) {
        let nodes = run.offsets.len() as u64;
        for event in run.play(1) {
            prop_assert!(event.stamp.millis() >= event.wall);
            prop_assert!(event.stamp.millis() - event.wall <= EPSILON);
            prop_assert!(u64::from(event.stamp.logical()) < nodes * (EPSILON + 1));
        }
    }

    #[test]
    fn law_case_19_slow_steps_keep_the_count_small(run in any_run(0..4), step in 1..4_u64) {
        // Each event comes at least `step` ticks after those that caused it, on its own node and elsewhere.
        let mut run = run;
        for choice in &mut run.choices {
            choice.delay += step;
        }
        for event in run.play(step) {
            prop_assert!(u64::from(event.stamp.logical()) * step < EPSILON + step, "count below epsilon / step + 1");
        }
    }
}

/// How far the wall clocks of the simulation are apart at most.
const EPSILON: u64 = 5;

/// Nodes whose wall clocks all tick together, each with an offset of its own.
#[derive(Clone, Debug)]
struct Run {
    offsets: Vec<u64>,
    choices: Vec<Choice>,
}

/// What one node does at one tick: nothing, a local event, or receiving one of the stamps that have arrived by then.
#[derive(Clone, Debug)]
struct Choice {
    node: usize,
    receive: Option<usize>,
    delay: u64,
    ticks_pass: bool,
}

struct Event {
    wall: u64,
    stamp: Hlc,
}

fn any_run(delay: std::ops::Range<u64>) -> impl Strategy<Value = Run> {
    let offsets = prop::collection::vec(0..=EPSILON, 2..5);
    let choice = (any::<usize>(), any::<Option<usize>>(), delay, any::<bool>())
        .prop_map(|(node, receive, delay, ticks_pass)| Choice { node, receive, delay, ticks_pass });
    (offsets, prop::collection::vec(choice, 0..80)).prop_map(|(offsets, choices)| Run { offsets, choices })
}

impl Run {
    /// Plays the choices in order; a node acts only if its last event is at least `step` ticks past.
    fn play(&self, step: u64) -> Vec<Event> {
        let mut tick = 100;
        let mut nodes = vec![(Hlc::default(), 0_u64); self.offsets.len()];
        let mut sent: Vec<(u64, Hlc)> = Vec::new();
        let mut events = Vec::new();
        for choice in &self.choices {
            tick += u64::from(choice.ticks_pass);
            let index = choice.node % nodes.len();
            let (last, acted) = nodes[index];
            if acted + step > tick {
                continue;
            }
            let wall = tick + self.offsets[index];
            let arrived: Vec<_> = sent.iter().filter(|(due, _)| *due <= tick).collect();
            let (now, bound) = (WallTime::from_millis(wall), MaxAhead::default());
            let stamp = match choice.receive {
                Some(which) if !arrived.is_empty() => last.observe_at(now, arrived[which % arrived.len()].1, bound),
                _ => last.tick_at(now, bound),
            }
            .unwrap();
            nodes[index] = (stamp, tick);
            sent.push((tick + choice.delay, stamp));
            events.push(Event { wall, stamp });
        }
        events
    }
}
