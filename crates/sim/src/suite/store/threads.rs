//! Readers and writers at once, and batches in flight.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::thread;

use reconvene_store::{Batch, Body, Changes, CommitError, Key, Limits, MetadataStore, PageLimit, Revision, Snapshot};

use super::peer::{Peer, keys, put};
use super::reading::read_quickly;
use super::schedule::plan_from;
use crate::suite::block_on::{block_on, poll_once, wait};
use crate::suite::check::Check;
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Report};

/// One call, from when it was made to when it returned, by a counter that all threads share.
#[derive(Debug)]
struct Event {
    began: u64,
    ended: u64,
    what: Happened,
}

#[derive(Debug)]
enum Happened {
    Committed(Box<Batch>),
    /// Refused, because the store was at this revision.
    Conflict {
        head: Revision,
        based_on: Revision,
    },
    Saw(Box<Peer>),
    Fed {
        after: Revision,
        changes: Changes,
    },
}

const WRITERS: usize = 3;
const READERS: usize = 2;
const COMMITS: usize = 12;

/// Writers, readers and a follower of the feed on threads of their own. What they saw must be what they could have seen
/// one after the other: revisions give the order, so that only real time has to be held against it.
pub(super) fn histories<S: MetadataStore>(store: &S, seed: u64, report: &mut Report) -> Result<(), Broken> {
    let check = Check::Linearisable;
    let start = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
    let clock = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let histories: Vec<Result<Vec<Event>, Broken>> = thread::scope(|scope| {
        let (clock, done) = (&clock, &done);
        let mut threads = Vec::new();
        for number in 0..WRITERS {
            threads.push(scope.spawn(move || {
                let history = write(store, clock, Random::new(seed.wrapping_add(u64::try_from(number).unwrap_or(0))));
                done.fetch_add(1, Ordering::SeqCst);
                history
            }));
        }
        for _ in 0..READERS {
            threads.push(scope.spawn(move || read(store, clock, done)));
        }
        let from = start.head.revision();
        threads.push(scope.spawn(move || follow(store, clock, from)));
        let panicked = || Err(check.broken("a thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut events = Vec::new();
    for history in histories {
        events.extend(history?);
    }
    judge(start, &events, report)
}

fn timed<T>(clock: &AtomicU64, call: impl FnOnce() -> T) -> (u64, T, u64) {
    let began = clock.fetch_add(1, Ordering::SeqCst);
    let answer = call();
    (began, answer, clock.fetch_add(1, Ordering::SeqCst))
}

fn write<S: MetadataStore>(store: &S, clock: &AtomicU64, mut random: Random) -> Result<Vec<Event>, Broken> {
    let check = Check::Linearisable;
    let mut events = Vec::new();
    let mut done = 0_usize;
    while done < COMMITS {
        let mut plan = plan_from(store)?;
        for _ in 0..=random.below(2) {
            let key = random.pick(&keys()).cloned().ok_or("there are keys").blame(check)?;
            put(&mut plan, &key, Body::of(random.below(1_000).to_le_bytes())).blame(check)?;
        }
        let batch = plan.finish();
        let (began, answer, ended) = timed(clock, || block_on(store.commit(&batch)));
        let what = match answer {
            Ok(_) => {
                done = done.saturating_add(1);
                Happened::Committed(Box::new(batch))
            }
            Err(CommitError::Conflict { head, based_on }) => Happened::Conflict { head, based_on },
            Err(error) => return Err(check.broken(error)),
        };
        events.push(Event { began, ended, what });
    }
    Ok(events)
}

fn read<S: MetadataStore>(store: &S, clock: &AtomicU64, done: &AtomicU64) -> Result<Vec<Event>, Broken> {
    let check = Check::Linearisable;
    let mut events = Vec::new();
    loop {
        let last = done.load(Ordering::SeqCst) >= u64::try_from(WRITERS).unwrap_or(u64::MAX);
        let (began, snapshot, ended) = timed(clock, || block_on(store.snapshot()));
        let saw = read_quickly(&snapshot.blame(check)?).blame(check)?;
        events.push(Event { began, ended, what: Happened::Saw(Box::new(saw)) });
        if last {
            return Ok(events);
        }
        thread::yield_now();
    }
}

/// Follows the feed to the last of all commits.
fn follow<S: MetadataStore>(store: &S, clock: &AtomicU64, mut after: Revision) -> Result<Vec<Event>, Broken> {
    let check = Check::FeedComplete;
    let mut events = Vec::new();
    let all = u64::try_from(WRITERS.saturating_mul(COMMITS)).unwrap_or(u64::MAX);
    let end = Revision::new(after.get().saturating_add(all));
    while after < end {
        let (began, changes, ended) =
            timed(clock, || wait(store.changes(after, PageLimit { items: 3, bytes: 1 << 20 })));
        let changes = changes.ok_or("nobody is told of a commit").blame(Check::FeedWakes)?;
        let changes = changes.blame(check)?;
        let before = after;
        match &changes {
            Changes::Keys { upto, .. } => after = *upto,
            Changes::Rescan { at } => after = *at,
        }
        if after <= before {
            return Err(check.broken(format!("{changes:?} is no answer to what is newer than {before}")));
        }
        events.push(Event { began, ended, what: Happened::Fed { after: before, changes } });
    }
    Ok(events)
}

fn judge(start: Peer, events: &[Event], report: &mut Report) -> Result<(), Broken> {
    let check = Check::Linearisable;
    // The order: revisions, each of one batch.
    let mut committed: BTreeMap<Revision, (&Event, &Batch)> = BTreeMap::new();
    for event in events {
        if let Happened::Committed(batch) = &event.what {
            let twice = committed.insert(batch.head().revision(), (event, batch));
            report.look(check, twice.is_none(), || format!("revision {} is two batches", batch.head().revision()))?;
        }
    }
    let mut states = BTreeMap::from([(start.head.revision(), start.clone())]);
    let mut state = start;
    for (revision, (_, batch)) in &committed {
        let follows = batch.based_on() == state.head.revision();
        report.look(check, follows, || format!("revision {revision} does not follow {}", state.head.revision()))?;
        state.commit(batch);
        states.insert(*revision, state.clone());
    }
    for event in events {
        // What had returned before this began, and what had not begun when this returned.
        let before = committed.iter().filter(|(_, (other, _))| other.ended < event.began).map(|(at, _)| *at).max();
        let not_yet = committed.iter().filter(|(_, (other, _))| other.began > event.ended).map(|(at, _)| *at).min();
        let possible = |at: Revision| before.is_none_or(|before| before <= at) && not_yet.is_none_or(|not| at < not);
        let (holds, what) = match &event.what {
            Happened::Committed(batch) => {
                let at = batch.head().revision();
                (before.is_none_or(|before| before < at) && not_yet.is_none_or(|not| at < not), format!("commit {at}"))
            }
            Happened::Conflict { head, based_on } => {
                (possible(*head) && head != based_on, format!("a conflict of {based_on} with {head}"))
            }
            Happened::Saw(saw) => {
                let at = saw.head.revision();
                let same = states.get(&at).is_some_and(|state| saw.same(state).is_ok());
                (possible(at) && same, format!("a snapshot of revision {at}"))
            }
            Happened::Fed { after, changes: Changes::Keys { keys, upto } } => {
                // A key that changed again later may come with that change only.
                let expected = last_changes(&committed, *after, *upto);
                let later = last_changes(&committed, *upto, Revision::new(u64::MAX));
                let due = expected.iter().filter(|key| keys.contains(key) || !later.contains(key));
                let right = keys.iter().eq(due);
                (
                    not_yet.is_none_or(|not| *upto < not) && right,
                    format!("{keys:?} changed after {after}, up to {upto}"),
                )
            }
            Happened::Fed { changes: Changes::Rescan { at }, .. } => (possible(*at), format!("a rescan at {at}")),
        };
        let check = if matches!(event.what, Happened::Fed { .. }) { Check::FeedComplete } else { check };
        report
            .look(check, holds, || format!("{what} fits no order: {before:?} was there before, {not_yet:?} was not"))?;
        report.saw("events of histories");
    }
    Ok(())
}

/// The keys that changed after one revision and up to another, each once, in the order of their last changes.
fn last_changes(committed: &BTreeMap<Revision, (&Event, &Batch)>, after: Revision, upto: Revision) -> Vec<Key> {
    let range = committed.iter().filter(|(at, _)| **at > after && **at <= upto);
    let mut keys: Vec<Key> = Vec::new();
    for key in range.flat_map(|(_, (_, batch))| batch.rows().iter().map(|row| row.key())) {
        keys.retain(|held| held != key);
        keys.push(key.clone());
    }
    keys
}

/// Batches that are handed in one after the other without waiting are applied in that order; when one is refused, those
/// that follow it are as well.
pub(super) fn in_flight<S: MetadataStore>(store: &S, seed: u64, report: &mut Report) -> Result<(), Broken> {
    let check = Check::InFlight;
    let mut random = Random::new(seed);
    let limits = store.capabilities().limits;
    for round in 0..12 {
        let mut model = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
        let count = random.below(4).saturating_add(2);
        // In some rounds one batch is too large for the store.
        let poisoned = (round % 3 == 2 && limits.batch_rows < keys().len()).then(|| random.below(count));
        let (mut batches, mut expected) = (Vec::new(), model.clone());
        for nth in 0..count {
            let mut plan = model.plan_within(&Limits::default());
            let all = keys();
            let few = if poisoned == Some(nth) {
                all.len()
            } else {
                random.below(limits.batch_rows.min(2)).saturating_add(1)
            };
            for key in all.iter().cycle().skip(random.below(4)).take(few) {
                put(&mut plan, key, Body::of(random.below(1_000).to_le_bytes())).blame(check)?;
            }
            let batch = plan.finish();
            model.commit(&batch);
            batches.push(batch);
            if poisoned.is_none_or(|poisoned| nth < poisoned) {
                expected = model.clone();
            }
        }
        let mut commits: Vec<_> = batches.iter().map(|batch| Some(Box::pin(store.commit(batch)))).collect();
        let mut answers: BTreeMap<usize, Result<Revision, CommitError>> = BTreeMap::new();
        // They begin in order, and go on in any.
        for (nth, commit) in commits.iter_mut().enumerate() {
            if let Some(answer) = commit.as_mut().and_then(|commit| poll_once(commit.as_mut())) {
                answers.insert(nth, answer);
                *commit = None;
            } else {
                report.saw("commits that waited in flight");
            }
        }
        let mut rest: Vec<usize> = (0..commits.len()).collect();
        random.shuffle(&mut rest);
        for nth in rest {
            if let Some(commit) = commits.get_mut(nth).and_then(Option::take) {
                answers.insert(nth, block_on(commit));
            }
        }
        for (nth, answer) in &answers {
            let batch = batches.get(*nth).map(Batch::based_on);
            let right = match poisoned {
                Some(poisoned) if *nth == poisoned => matches!(answer, Err(CommitError::Refused { .. })),
                Some(poisoned) if *nth > poisoned => matches!(answer, Err(CommitError::Conflict { .. })),
                Some(_) | None => answer.is_ok(),
            };
            report.look(check, right, || format!("batch {nth} of {count}, based on {batch:?}, says {answer:?}"))?;
        }
        let found = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
        let same = found.same(&expected);
        report.look(check, same.is_ok(), || same.err().unwrap_or_default())?;
    }
    Ok(())
}

/// The head of a snapshot.
pub(super) fn head_of<S: MetadataStore>(store: &S, check: Check) -> Result<reconvene_store::Head, Broken> {
    Ok(block_on(store.snapshot()).blame(check)?.head().clone())
}
