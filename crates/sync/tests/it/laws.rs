//! Properties of whole runs.

use proptest::prelude::*;
use reconvene_sim::replicas::ReplicaWorld;
use reconvene_sync::memory::LinkFaults;

use crate::kit::*;

/// What happens to a world of three nodes.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, u8),
    Delete(usize, u8),
    Cut(usize, usize),
    Heal,
    Crash(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..4_u8).prop_map(|(node, key)| Step::Write(node, key)),
        1 => (0..3_usize, 0..4_u8).prop_map(|(node, key)| Step::Delete(node, key)),
        1 => (0..3_usize, 1..3_usize).prop_map(|(a, step)| Step::Cut(a, (a + step) % 3)),
        1 => Just(Step::Heal),
        1 => (0..3_usize).prop_map(Step::Crash),
        4 => (1..5_000_u64).prop_map(Step::Wait),
    ]
}

fn run(seed: u64, steps: &[Step]) -> ReplicaWorld {
    let mut world = ReplicaWorld::new(seed, 3, |_, config| *config = config.clone().scaled(5_000));
    world.set_faults(LinkFaults { delay_ms: 1..=60, loss_per_mille: 50, duplicate_per_mille: 50 });
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Write(node, key) => drop(world.write(*node, vec![put(&format!("k{key}"), &number.to_string())])),
            Step::Delete(node, key) => drop(world.write(*node, vec![delete(&format!("k{key}"))])),
            Step::Cut(a, b) => world.cut(*a, *b, number % 2 == 0),
            Step::Heal => world.heal_all(),
            Step::Crash(node) => world.crash(*node),
            Step::Wait(ms) => world.run_for(*ms),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn law_same_seed_same_outputs(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..25)) {
        let (mut one, mut other) = (run(seed, &steps), run(seed, &steps));
        one.run_for(20_000);
        other.run_for(20_000);
        prop_assert_eq!(one.trace(), other.trace());
        for node in 0..3 {
            prop_assert_eq!(one.events(node), other.events(node));
            prop_assert_eq!(one.replica(node).stats(), other.replica(node).stats());
        }
    }

    #[test]
    fn law_healed_replicas_converge(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..25)) {
        let mut world = run(seed, &steps);
        for node in 0..3 {
            prop_assert_eq!(world.check_knowledge(node), Ok(()));
        }
        prop_assert_eq!(world.check_forgotten(), Ok(()));
        world.heal_all();
        world.set_faults(LinkFaults::NONE);
        world.run_for(60_000);
        prop_assert_eq!(world.check_converged(), Ok(()));
        // Every delete is forgotten once everybody has it.
        world.run_for(60_000);
        prop_assert_eq!(world.check_forgotten(), Ok(()));
        for node in 0..3 {
            prop_assert_eq!(world.replica(node).waiting_deletes(), 0);
            prop_assert_eq!(world.check_knowledge(node), Ok(()));
        }
    }
}
