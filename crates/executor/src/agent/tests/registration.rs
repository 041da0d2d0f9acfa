//! Registration and heartbeats: who is the home, and under which session.

use std::collections::BTreeSet;

use super::*;

#[test]
fn it_registers_with_the_first_broker_and_sends_heartbeats() {
    let mut scene = Scene::new(config());
    assert_eq!(scene.outputs(), [Output::Connect { address: "home".into() }]);
    let outputs = scene.link_up(HOME, "home");
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((register.registration, register.slots, register.held.len()), (1, 4, 0));
    assert_eq!(scene.agent.home(), None);
    let outputs = scene.registered(HOME, vec![]);
    assert!(matches!(outputs[..], [Output::Notify(Event::Registered { broker: HOME, registration: 1, .. })]));
    assert_eq!(scene.agent.home(), Some(HOME));
    assert!(heartbeats(&scene.pass(4_999)).is_empty());
    assert_eq!(heartbeats(&scene.pass(1)).len(), 1);
    let outputs: Vec<_> = scene.run(15_000).into_iter().map(|(_, output)| output).collect();
    assert_eq!(heartbeats(&outputs).iter().map(|beat| beat.sequence).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_lost_registration_is_repeated_with_a_greater_number() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let again = registers(&scene.pass(2_000));
    assert_eq!(again[0].1.registration, 2);
    // The answer to the first one comes late and is not the one that counts.
    let late = ToExecutor::Registered {
        session: scene.agent.session(),
        registration: 1,
        terms: config().terms,
        roster: vec![],
        held: vec![],
    };
    scene.receive(HOME, late);
    assert_eq!(scene.agent.home(), None);
    scene.registered(HOME, vec![]);
    assert_eq!(scene.agent.home(), Some(HOME));
}

#[test]
fn a_session_behind_is_raised_above_the_one_known() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let known = SessionEpoch::new(Hlc::from_u64(u64::MAX - 5), 9);
    let outputs = scene.receive(HOME, ToExecutor::SessionBehind { known });
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(register.session > known);
    assert_eq!(register.registration, 2);
    // The same answer once more, to the first registration, changes nothing.
    assert!(scene.receive(HOME, ToExecutor::SessionBehind { known }).is_empty());
    scene.registered(HOME, vec![]);
    assert_eq!(scene.agent.home(), Some(HOME));
}

#[test]
fn a_broker_that_knows_every_session_better_is_given_up() {
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let mut sessions = BTreeSet::new();
    for _ in 0..20 {
        let known = scene.agent.session();
        sessions.insert(known);
        scene.receive(HOME, ToExecutor::SessionBehind { known });
    }
    assert!(sessions.len() <= 9, "{}", sessions.len());
    assert_eq!(connects(&scene.run(1_000))[0].1, "other");
    // And where there is no greater session.
    let mut scene = Scene::new(config());
    scene.link_up(HOME, "home");
    let known = SessionEpoch::new(Hlc::MAX, u64::MAX);
    let outputs = scene.receive(HOME, ToExecutor::SessionBehind { known });
    assert_eq!(outputs, [Output::Disconnect { broker: HOME }]);
}

#[test]
fn not_registered_means_register_again_with_what_is_held() {
    let mut scene = Scene::at_home(config());
    let first = attempt(1, 1, 1);
    scene.order(vec![start(first)]);
    let outputs = scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 });
    let [(HOME, register)] = &registers(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((register.registration, register.held[0].attempt), (2, first));
    // The answer to a heartbeat of the former registration does not start it all over.
    scene.registered(HOME, vec![(first, HeldVerdict::Continue)]);
    assert!(scene.receive(HOME, ToExecutor::NotRegistered { registration: 1 }).is_empty());
    assert_eq!(scene.held(), [first]);
}
