//! What the law kit draws: the same on every machine, or a violation could not be seen again elsewhere.

use std::cell::RefCell;
use std::fmt::Debug;

use reconvene_clock::digest::sha256;
use reconvene_resolve::laws::{self, JobHistory, Random, VersionHistory};
use reconvene_resolve::{Policy, plan_preemption, swap_pays};

/// The first eight bytes of SHA-256 of all of it.
fn fingerprint(drawn: &str) -> String {
    sha256(drawn.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn many<T: Debug>(count: u64, mut draw: impl FnMut(&mut Random) -> T) -> String {
    let all: Vec<String> =
        (0..count).map(|history| format!("{:?}", draw(&mut Random::of_history(3, history)))).collect();
    fingerprint(&all.concat())
}

#[test]
fn golden_random_numbers() {
    let mut random = Random::new(1);
    assert_eq!([random.next(), random.next()], [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
    let mut random = Random::new(1);
    let below: Vec<u64> = (0..8).map(|_| random.below(10)).collect();
    assert_eq!(below, [5, 9, 0, 5, 1, 8, 5, 3]);
    assert_eq!(random.below(0), 0);
    assert_eq!(random.place(1), 0);
    let mut list: Vec<u32> = (0..10).collect();
    random.shuffle(&mut list);
    let mut sorted = list.clone();
    sorted.sort_unstable();
    assert!(list != sorted && sorted == (0..10).collect::<Vec<_>>());
    let once = (0..1_000).filter(|_| random.once_in(10)).count();
    assert!((50..200).contains(&once), "{once} of 1000");
    let extreme = (0..1_000).filter(|_| [0, u64::MAX].contains(&random.extreme())).count();
    assert!((300..700).contains(&extreme), "{extreme} of 1000");
    assert_ne!(Random::of_history(1, 2).next(), Random::of_history(2, 1).next());
    assert_eq!(format!("{:?}", Random::new(1)), "Random(0000000000000001)");
}

#[test]
fn golden_histories() {
    assert_eq!(many(300, VersionHistory::draw), "cbd613f81e2040ae");
    assert_eq!(many(300, JobHistory::draw), "4f6e3126b4115988");
    assert_eq!(many(300, |random| laws::random_reconcile(random).unwrap()), "a0e07e16da3eab91");
    assert_eq!(many(300, |random| laws::random_contention(random).unwrap()), "0adce458416b251c");
}

#[test]
fn golden_systems_policies_and_swaps() {
    let seen = RefCell::new(String::new());
    let see = |what: String| seen.borrow_mut().push_str(&what);
    laws::preemption(&|preemptor, view, rules, now| {
        see(format!("{preemptor:?} {view:?} {rules:?} {now}"));
        plan_preemption(preemptor, view, rules, &[], now)
    })
    .seed(4)
    .histories(100)
    .check()
    .unwrap();
    assert_eq!(fingerprint(&seen.take()), "8a411014af52fcbf");
    laws::policies(&|bytes| {
        see(format!("{bytes:?}"));
        Policy::decode(bytes)
    })
    .histories(200)
    .check()
    .unwrap();
    assert_eq!(fingerprint(&seen.take()), "c75ee36428c6db61");
    laws::swaps(&|gain, victims, lost| {
        see(format!("{gain} {victims} {lost} "));
        swap_pays(gain, victims, lost)
    })
    .histories(200)
    .check()
    .unwrap();
    assert_eq!(fingerprint(&seen.take()), "6dcb3bec87fb51d9");
}

/// What histories say of causality is what happened: whoever knows somebody is higher and later, and knows what they knew.
#[test]
fn histories_are_causal() {
    let mut pairs = 0;
    for history in 0..500 {
        let drawn = VersionHistory::draw(&mut Random::of_history(9, history));
        let jobs = JobHistory::draw(&mut Random::of_history(9, history));
        for (b, effect) in drawn.versions.iter().enumerate() {
            for (a, cause) in drawn.versions.iter().enumerate().filter(|(a, _)| drawn.happened_before(*a, b)) {
                pairs += 1;
                assert!(a < b && cause.height < effect.height && cause.accepted < effect.accepted);
                assert!((0..a).all(|before| !drawn.happened_before(before, a) || drawn.happened_before(before, b)));
            }
        }
        for (b, effect) in jobs.jobs.iter().enumerate() {
            for (a, cause) in jobs.jobs.iter().enumerate().filter(|(a, _)| jobs.happened_before(*a, b)) {
                pairs += 1;
                assert!(a < b && cause.height < effect.height && cause.submitted < effect.submitted);
            }
        }
        assert!(!drawn.happened_before(64, 0) && !drawn.happened_before(0, 64) && !jobs.happened_before(64, 0));
    }
    assert!(pairs > 1_000, "{pairs}");
}
