//! No broker left: who starts one, and what it is told.

use super::*;

const ADDRESS: &str = "me:7400";

fn heir() -> AgentConfig {
    let mut config = config();
    config.promote_at = Some(ADDRESS.to_owned());
    config
}

/// At home, as the heir of this rank.
fn at_home(rank: usize) -> Scene {
    let mut scene = Scene::new(heir());
    scene.outputs();
    let outputs = scene.link_up(HOME, "home");
    let [(_, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(register.heir.as_deref(), Some(ADDRESS));
    let mut roster = vec![RosterEntry { node: OTHER, role: RosterRole::Broker, address: "other".into() }];
    for other in 0..rank {
        roster.push(RosterEntry { node: OTHER, role: RosterRole::Heir, address: format!("heir-{other}") });
    }
    roster.push(RosterEntry { node: OTHER, role: RosterRole::Heir, address: ADDRESS.into() });
    scene.receive(
        HOME,
        ToExecutor::Registered {
            session: scene.agent.session(),
            registration: scene.agent.registration(),
            terms: Terms { lease_ms: 30_000, heartbeat_ms: 5_000, drift_ms: 2_000 },
            roster,
            held: vec![],
        },
    );
    scene
}

/// Nobody answers for this long. When a broker was asked for, in milliseconds from the beginning, and the addresses that
/// were tried.
fn silence(scene: &mut Scene, ms: u64) -> (Vec<(u64, u32)>, Vec<String>) {
    let begin = scene.now.mono;
    let end = begin.saturating_add(ms);
    let (mut promoted, mut tried) = (Vec::new(), Vec::new());
    while let Some(due) = scene.agent.next_deadline().filter(|due| *due <= end) {
        let outputs = scene.pass(due.saturating_since(scene.now.mono));
        for output in &outputs {
            match output {
                Output::Promote { rank, known } => {
                    assert!(["home", "other"].iter().all(|broker| known.iter().any(|other| other == broker)));
                    assert!(!known.iter().any(|address| address == ADDRESS));
                    promoted.push((scene.now.mono.saturating_since(begin), *rank));
                }
                Output::Connect { address } => {
                    tried.push(address.clone());
                    scene.input(Input::ConnectFailed { address: address.clone() });
                }
                _ => {}
            }
        }
    }
    scene.pass(end.saturating_since(scene.now.mono));
    (promoted, tried)
}

#[test]
fn the_first_heir_starts_a_broker_after_180_s_and_each_other_15_s_later() {
    for rank in [0, 1, 7] {
        let mut scene = at_home(rank);
        let due = 180_000 + 15_000 * rank as u64;
        let (promoted, tried) = silence(&mut scene, 2 * due + 1_000);
        let rank_told = rank as u32;
        assert_eq!(promoted, [(due, rank_told), (2 * due, rank_told)], "and again if nothing came of it");
        let heirs = (0..rank).map(|other| format!("heir-{other}"));
        for address in ["home", "other", ADDRESS].map(ToOwned::to_owned).into_iter().chain(heirs) {
            assert!(tried.contains(&address), "{address} is not among {tried:?}");
        }
    }
}

#[test]
fn a_broker_that_is_heard_ends_the_wait() {
    let mut scene = at_home(0);
    assert_eq!(silence(&mut scene, 170_000).0, []);
    // It answers, though it does not become the home.
    scene.link_up(OTHER, "other");
    scene.receive(OTHER, ToExecutor::SessionBehind { known: SessionEpoch::new(Hlc::from_u64(1), 0) });
    assert_eq!(silence(&mut scene, 179_000).0, []);
    assert_eq!(silence(&mut scene, 2_000).0, [(1_000, 0)]);
}

#[test]
fn nobody_else_starts_a_broker() {
    // Without a word about it, never at home, not in the roster, and about to leave.
    let mut plain = Scene::at_home(config());
    let mut homeless = Scene::new(heir());
    let mut unnamed = Scene::at_home(heir());
    let mut draining = at_home(0);
    draining.order(vec![start(attempt(1, 1, 1))]);
    draining.input(Input::Drain);
    for scene in [&mut plain, &mut homeless, &mut unnamed, &mut draining] {
        assert_eq!(silence(scene, 3_600_000).0, []);
    }
}

#[test]
fn a_sleep_says_nothing_about_brokers() {
    let mut scene = at_home(0);
    assert_eq!(silence(&mut scene, 100_000).0, []);
    // Ten minutes pass of which monotonic time knows nothing.
    scene.now.wall = scene.now.wall.saturating_add(600_000);
    scene.input(Input::Tick);
    assert_eq!(silence(&mut scene, 181_000).0, [(180_000, 0)]);
}
