//! Where data is: section 7 of the design of the life of jobs, "Data".

use reconvene_broker::{
    Command, CommandError, ContentHash, DataName, DataView, EventKind, Input, JobStatus, Reply, StrategyKind,
};
use reconvene_executor::JobSpec;

use crate::world::{World, replica};

const NAME: &str = "maps/north.pmtiles";

fn publish(world: &mut World, broker: usize, name: &str, content: &[u8]) -> bool {
    let (hash, size) = (ContentHash::of(content), content.len() as u64);
    match world.command(broker, Command::PublishData { name: name.to_owned(), hash, size }) {
        Ok(Reply::DataPublished { diverges, .. }) => diverges,
        other => panic!("{other:?}"),
    }
}

fn withdraw(world: &mut World, broker: usize, name: &str) -> (bool, bool) {
    match world.command(broker, Command::WithdrawData { name: name.to_owned() }) {
        Ok(Reply::DataWithdrawn { was_held, was_sole, .. }) => (was_held, was_sole),
        other => panic!("{other:?}"),
    }
}

fn locate(world: &mut World, broker: usize, name: &str) -> DataView {
    match world.command(broker, Command::Locate { name: name.to_owned() }) {
        Ok(Reply::Located(view)) => *view,
        other => panic!("{other:?}"),
    }
}

/// Contents in order, each with its holders and whether they are heard.
fn holders(view: &DataView) -> Vec<(ContentHash, Vec<(u64, bool)>)> {
    let of = |holder: &reconvene_broker::DataHolder| (holder.replica.get(), holder.reachable);
    view.contents.iter().map(|content| (content.hash, content.holders.iter().map(of).collect())).collect()
}

fn told(world: &World, broker: usize) -> Vec<&'static str> {
    let kinds = world.events.iter().filter(|(_, at, _)| *at == broker).filter_map(|(_, _, event)| match &event.kind {
        EventKind::DataPublished { .. } => Some("published"),
        EventKind::DataWithdrawn { .. } => Some("withdrawn"),
        EventKind::NameDivergence { .. } => Some("divergence"),
        EventKind::SoleHolder { .. } => Some("sole"),
        _ => None,
    });
    kinds.collect()
}

#[test]
fn data_is_found_at_every_broker_reachable_holders_first() {
    let mut world = World::new(3, StrategyKind::FirstComeFirstServed);
    publish(&mut world, 0, NAME, b"north");
    publish(&mut world, 2, NAME, b"north");
    let hash = ContentHash::of(b"north");
    for broker in 0..3 {
        assert_eq!(holders(&locate(&mut world, broker, NAME)), [(hash, vec![(1, true), (3, true)])]);
    }

    world.stop(0);
    world.run_to(200);
    let view = locate(&mut world, 1, NAME);
    assert_eq!(holders(&view), [(hash, vec![(3, true), (1, false)])], "who is heard comes first");
    assert!(!view.last_known);

    world.stop(2);
    world.run_to(400);
    let view = locate(&mut world, 1, NAME);
    assert_eq!(holders(&view), [(hash, vec![(1, false), (3, false)])], "nothing is lost with its holders");
    assert!(view.last_known);
}

#[test]
fn different_data_under_one_name_is_all_listed_and_reported_once() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    world.cut(0, 1);
    assert!(!publish(&mut world, 0, NAME, b"old"));
    assert!(!publish(&mut world, 1, NAME, b"new"));
    world.heal(0, 1);
    for broker in 0..2 {
        let mut found: Vec<_> = holders(&locate(&mut world, broker, NAME)).into_iter().map(|(hash, _)| hash).collect();
        found.sort();
        let mut both = [ContentHash::of(b"old"), ContentHash::of(b"new")];
        both.sort();
        assert_eq!(found, both);
        assert_eq!(told(&world, broker), ["published", "published", "divergence"]);
    }
    world.cut(0, 1);
    world.heal(0, 1);
    assert_eq!(told(&world, 0).len(), 3, "a repeated heal says nothing");

    // The same name at one more broker's will: the divergence ends, and begins again.
    assert_eq!(withdraw(&mut world, 1, NAME), (true, true));
    assert!(publish(&mut world, 1, NAME, b"newer"));
    assert_eq!(told(&world, 0)[3..], ["withdrawn", "published", "divergence"]);
}

#[test]
fn a_repeated_publish_writes_nothing_and_another_content_replaces_the_first() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    publish(&mut world, 0, NAME, b"one");
    let facts = world.brokers[0].store.clone();
    publish(&mut world, 0, NAME, b"one");
    assert_eq!(world.brokers[0].store, facts);
    assert!(!publish(&mut world, 0, NAME, b"two"), "a holder holds one content under a name");
    assert_eq!(holders(&locate(&mut world, 0, NAME)), [(ContentHash::of(b"two"), vec![(1, true)])]);
    assert_eq!(told(&world, 0), ["published", "published"]);
}

#[test]
fn withdrawn_data_has_no_holder_and_keeps_its_name() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    publish(&mut world, 0, NAME, b"north");
    publish(&mut world, 1, NAME, b"north");
    assert_eq!(withdraw(&mut world, 0, NAME), (true, false));
    assert_eq!(withdraw(&mut world, 0, NAME), (false, false));
    assert_eq!(withdraw(&mut world, 1, NAME), (true, true));
    let view = locate(&mut world, 0, NAME);
    assert_eq!((view.contents.len(), view.last_known), (0, true));
    assert_eq!(view.name, DataName::new(NAME).unwrap());
    assert_eq!(told(&world, 0), ["published", "published", "withdrawn", "withdrawn"]);
}

#[test]
fn a_holder_that_leaves_is_warned_of_what_only_it_holds() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    publish(&mut world, 0, "alone", b"a");
    publish(&mut world, 0, "shared", b"b");
    publish(&mut world, 1, "shared", b"b");
    publish(&mut world, 0, "other", b"c");
    publish(&mut world, 1, "other", b"C");
    world.events.clear();
    world.input(0, Input::Leaving);
    let warned = world.events.iter().filter_map(|(_, _, event)| match &event.kind {
        EventKind::SoleHolder { name, holder, .. } => Some((name.as_str().to_owned(), *holder)),
        _ => None,
    });
    let mut warned = warned.collect::<Vec<_>>();
    warned.sort();
    assert_eq!(warned, [("alone".to_owned(), replica(1)), ("other".to_owned(), replica(1))]);

    // A holder that is not heard any more is of no use.
    world.stop(1);
    world.run_to(200);
    let coordinator = world.brokers[0].coordinator.as_ref().unwrap();
    assert_eq!(coordinator.sole_holdings().count(), 3);
}

/// A restart forgets nothing and tells nothing anew; a broker that comes back without its store has to say again what
/// it holds, and until then is where the data was last known to be.
#[test]
fn a_later_incarnation_speaks_for_the_broker() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    publish(&mut world, 0, NAME, b"north");
    world.events.clear();
    world.stop(0);
    world.start(0);
    assert!(told(&world, 0).is_empty());
    assert_eq!(holders(&locate(&mut world, 0, NAME)), [(ContentHash::of(b"north"), vec![(1, true)])]);

    world.stop(0);
    world.brokers[0].store.clear();
    world.brokers[0].identity.replica = replica(9);
    world.brokers[0].identity.incarnation = 2;
    world.start(0);
    world.exchange(0, 1);
    for broker in 0..2 {
        assert_eq!(holders(&locate(&mut world, broker, NAME)), [(ContentHash::of(b"north"), vec![(1, false)])]);
    }
    assert_eq!(withdraw(&mut world, 0, NAME), (true, true));
    for broker in 0..2 {
        assert!(locate(&mut world, broker, NAME).contents.is_empty());
    }
    publish(&mut world, 0, NAME, b"north again");
    for broker in 0..2 {
        assert_eq!(holders(&locate(&mut world, broker, NAME)), [(ContentHash::of(b"north again"), vec![(9, true)])]);
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_and_changes_nothing() {
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let hash = ContentHash::of(b"");
    for name in [String::new(), "a\nb".to_owned(), "x".repeat(256)] {
        let refused = |result: Result<Reply, CommandError>| matches!(result, Err(CommandError::OutOfRange { .. }));
        assert!(refused(world.command(0, Command::PublishData { name: name.clone(), hash, size: 0 })));
        assert!(refused(world.command(0, Command::WithdrawData { name: name.clone() })));
        assert!(refused(world.command(0, Command::Locate { name })));
    }
    let unknown = Err(CommandError::UnknownData { name: "n".to_owned() });
    assert_eq!(world.command(0, Command::Locate { name: "n".to_owned() }), unknown);
    assert_eq!(world.command(0, Command::WithdrawData { name: "n".to_owned() }), unknown);

    world.brokers[0].config.max_data = 2;
    world.start(0);
    publish(&mut world, 0, "a", b"1");
    publish(&mut world, 0, "b", b"1");
    let third = Command::PublishData { name: "c".to_owned(), hash, size: 0 };
    assert!(matches!(world.command(0, third.clone()), Err(CommandError::Busy { .. })));
    publish(&mut world, 0, "a", b"2");
    withdraw(&mut world, 0, "b");
    assert!(world.command(0, third).is_ok());

    let job = world.submit_job(0, JobSpec::new(b"work".to_vec()));
    assert_eq!(world.job(0, job).status, JobStatus::Waiting, "data and jobs do not get into each other's way");
}
