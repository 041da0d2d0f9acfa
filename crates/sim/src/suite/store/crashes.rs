//! Faults at every operation of a session, and what is there afterwards.

use core::ops::Range;
use core::pin::pin;

use reconvene_clock::ReplicaId;
use reconvene_store::{Batch, Body, CommitError, Fingerprints, MetadataStore, SessionNonce};

use super::peer::{Peer, identity, keys, network, put};
use super::reading::{read_all, read_quickly};
use super::schedule::plan_from;
use super::script::{Call, CallError, Script};
use crate::disk::{Fault, Keep, Moment};
use crate::suite::block_on::{block_on, poll_once};
use crate::suite::check::Check;
use crate::suite::factory::{Setup, StoreFactory};
use crate::suite::random::Random;
use crate::suite::report::{Blame, Broken, Failure, Report};

/// How a session is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Crash,
    Error,
    Full,
}

/// Runs the session of `seed` once for every operation of the medium, and for each kind of fault, with the fault there.
/// If `per_call`, not for every operation but for one of each call.
pub(super) fn at_every_operation<F: StoreFactory>(
    factory: &F,
    seed: u64,
    calls: usize,
    per_call: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let session = Session::new(factory, seed, calls, report).map_err(|broken| broken.at(seed, 0))?;
    report.tally("calls of sessions", u64::try_from(session.script.len()).unwrap_or(u64::MAX));
    if per_call {
        return session.at_every_call(report);
    }
    for plan in [Plan::Crash, Plan::Error, Plan::Full] {
        let mut operation = 0_u64;
        loop {
            let mut random = Random::new(seed ^ operation.wrapping_mul(0x9e37_79b9) ^ u64::from(plan == Plan::Error));
            match session.broken_at(operation, plan, &mut random, report) {
                Ok(true) => {}
                Ok(false) => break,
                Err(broken) => return Err(broken.at(seed, operation)),
            }
            // Shortage of room is looked at less often: it is one case of few.
            operation = operation.saturating_add(if plan == Plan::Full { 3 } else { 1 });
        }
        report.tally("operations with a fault", operation);
    }
    Ok(())
}

/// Ends the session of `seed` between calls, by the end of its process or of its machine's power, with batches in
/// flight and without, and looks what is there.
pub(super) fn between_calls<F: StoreFactory>(
    factory: &F,
    seed: u64,
    calls: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let session = Session::new(factory, seed, calls, report).map_err(|broken| broken.at(seed, 0))?;
    let mut random = Random::new(seed);
    // First the process alone, then its machine as well.
    for nth in 0..24 {
        let call = random.below(session.script.len());
        let power = nth >= 8 && factory.abilities().power_cuts;
        let keep = if power { any_keep(&mut random) } else { Keep::All };
        let step = u64::try_from(call).unwrap_or(u64::MAX);
        session.killed_at(call, keep, &mut random, report).map_err(|broken| broken.at(seed, step))?;
    }
    Ok(())
}

struct Session<'a, F: StoreFactory> {
    factory: &'a F,
    seed: u64,
    script: Script,
}

/// How far a session got.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    call: usize,
    /// Batches that were acknowledged.
    acknowledged: usize,
    /// Batches that may have been applied.
    perhaps: usize,
}

impl<'a, F: StoreFactory> Session<'a, F> {
    fn new(factory: &'a F, seed: u64, calls: usize, report: &mut Report) -> Result<Self, Broken> {
        let place = factory.place(seed);
        let store = factory.create(&place, &Self::setup(0)).blame(Check::Reopens)?;
        let head = block_on(store.snapshot()).blame(Check::ReadsSeeCommits)?;
        let head = reconvene_store::Snapshot::head(&head).clone();
        let script = Script::new(&head, seed, calls, report)?;
        Ok(Self { factory, seed, script })
    }

    /// What to create with, and to open with for the nth time.
    fn setup(opened: u64) -> Setup {
        let setup = Setup::new(identity(0), network());
        match ReplicaId::new(opened.saturating_add(100)) {
            Some(fresh) if opened > 0 => setup.opened_as(SessionNonce::new(opened), fresh),
            _ => setup,
        }
    }

    fn start(&self) -> Result<(F::Place, F::Store), Broken> {
        let place = self.factory.place(self.seed);
        let store = self.factory.create(&place, &Self::setup(0)).blame(Check::Reopens)?;
        Ok((place, store))
    }

    /// Calls until something goes wrong, or to the end, or to the call with this number.
    fn play(&self, store: &F::Store, progress: &mut Progress, end: usize) -> Result<(), CallError> {
        while progress.call < end.min(self.script.len()) {
            let commits = matches!(self.script.calls.get(progress.call), Some(Call::Commit(_)));
            if commits {
                progress.perhaps = progress.acknowledged.saturating_add(1);
            }
            self.script.call(store, progress.call, progress.acknowledged)?;
            if commits {
                progress.acknowledged = progress.perhaps;
            }
            progress.call = progress.call.saturating_add(1);
        }
        Ok(())
    }

    /// Runs the session with each kind of fault at one operation of each call.
    fn at_every_call(&self, report: &mut Report) -> Result<(), Failure> {
        let at = |operation| move |broken: Broken| broken.at(self.seed, operation);
        let operations = self.operations_of_calls().map_err(at(0))?;
        let mut random = Random::new(self.seed);
        for plan in [Plan::Crash, Plan::Error, Plan::Full] {
            // A call without operations cannot fail where it does none.
            for range in operations.iter().filter(|range| !range.is_empty()) {
                let count = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
                let drawn = u64::try_from(random.below(count)).unwrap_or_default();
                let operation = range.start.saturating_add(drawn);
                self.broken_at(operation, plan, &mut random, report).map_err(at(operation))?;
                report.saw("calls with a fault");
            }
        }
        Ok(())
    }

    /// The operations of each call, counted from the beginning of the session.
    fn operations_of_calls(&self) -> Result<Vec<Range<u64>>, Broken> {
        let (place, store) = self.start()?;
        let begin = self.factory.operations(&place);
        let mut progress = Progress::default();
        let mut operations = Vec::with_capacity(self.script.len());
        for end in 1..=self.script.len() {
            let before = self.factory.operations(&place).saturating_sub(begin);
            let played = self.play(&store, &mut progress, end);
            played.map_err(|error| Check::ReadsSeeCommits.broken(format!("{error:?}")))?;
            operations.push(before..self.factory.operations(&place).saturating_sub(begin));
        }
        drop(store);
        Ok(operations)
    }

    /// Runs the session with a fault at one operation. `false` if the session has no such operation.
    fn broken_at(&self, operation: u64, plan: Plan, random: &mut Random, report: &mut Report) -> Result<bool, Broken> {
        let (place, store) = self.start()?;
        let keep = any_keep(random);
        let moment = if random.one_in(2) { Moment::Before } else { Moment::After };
        let (check, fault) = match plan {
            Plan::Crash => (Check::AtomicAtCrash, Fault::Crash { moment, keep }),
            Plan::Error => (Check::AtomicAtError, Fault::Fail),
            Plan::Full => (Check::AtomicAtError, Fault::Full),
        };
        let at = self.factory.operations(&place).saturating_add(operation);
        self.factory.arm(&place, at, fault);
        let mut progress = Progress::default();
        let mut store = Some(store);
        let mut errors = 0_u64;
        while let Some(open) = &store {
            match self.play(open, &mut progress, usize::MAX) {
                Ok(()) => break,
                Err(CallError::Wrong(what)) => return Err(check.broken(what)),
                Err(error) if plan == Plan::Crash => {
                    drop(error);
                    errors = 1;
                    break;
                }
                // One fault was armed. A read that failed is repeated, and so is a commit that found no room.
                Err(CallError::Read(error)) => {
                    errors = errors.saturating_add(1);
                    if errors > 2 {
                        return Err(check.broken(format!("one read failed, and now every one does: {error}")));
                    }
                }
                Err(CallError::Commit(error)) if error.is_full() => {
                    errors = errors.saturating_add(1);
                    if errors > 2 {
                        return Err(check.broken(format!("there is room again, and still: {error}")));
                    }
                    progress.perhaps = progress.acknowledged;
                    self.is_at(open, progress, Check::RefusalsChangeNothing, report)?;
                    report.saw("commits without room");
                    if random.one_in(2) {
                        // What was refused does not come back either.
                        self.factory.kill(&place, store.take(), keep);
                        let check = Check::RefusalsChangeNothing;
                        self.factory.relieve(&place);
                        self.reopens(&place, progress, check, random, report)?;
                        return Ok(true);
                    }
                    self.factory.relieve(&place);
                }
                Err(CallError::Commit(CommitError::Unknown { .. } | CommitError::Closed)) => {
                    errors = errors.saturating_add(1);
                    report.saw("commits of unknown outcome");
                    self.is_over(open, report)?;
                    self.factory.kill(&place, store.take(), Keep::All);
                }
                Err(CallError::Commit(error)) => return Err(check.broken(format!("after an error: {error}"))),
            }
        }
        let happened = self.factory.operations(&place) > at;
        self.factory.relieve(&place);
        match store {
            Some(store) if errors == 0 || plan != Plan::Crash => {
                self.is_at(&store, progress, check, report)?;
                drop(store);
                Ok(happened)
            }
            store => {
                self.factory.kill(&place, store, keep);
                self.reopens(&place, progress, check, random, report)?;
                Ok(true)
            }
        }
    }

    fn killed_at(&self, call: usize, keep: Keep, random: &mut Random, report: &mut Report) -> Result<(), Broken> {
        let check = if keep == Keep::All { Check::DurableAfterKill } else { Check::DurableAfterPowerCut };
        let (place, store) = self.start()?;
        let mut progress = Progress::default();
        self.play(&store, &mut progress, call).map_err(|error| check.broken(format!("{error:?}")))?;
        if random.one_in(2) {
            // Batches that follow each other, handed in and not waited for.
            let rest = self.script.calls.iter().skip(progress.call);
            let batches = rest.filter_map(|call| if let Call::Commit(batch) = call { Some(batch) } else { None });
            let flight: Vec<&Batch> = batches.take(random.below(4).saturating_add(1)).collect();
            let mut commits: Vec<_> = flight.iter().map(|batch| Box::pin(store.commit(batch))).collect();
            for commit in &mut commits {
                progress.perhaps = progress.perhaps.saturating_add(1);
                match poll_once(commit.as_mut()) {
                    Some(Ok(_)) => progress.acknowledged = progress.perhaps,
                    None => report.saw("commits in flight when it ended"),
                    Some(Err(error)) => return Err(check.broken(error)),
                }
            }
            report.saw("flights broken off");
        }
        self.factory.kill(&place, Some(store), keep);
        self.reopens(&place, progress, check, random, report)
    }

    /// Opens what is there, perhaps with another crash meanwhile, and holds it against the states it may be in.
    fn reopens(
        &self,
        place: &F::Place,
        progress: Progress,
        check: Check,
        random: &mut Random,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let mut opened = 1_u64;
        let store = loop {
            let again = self.factory.abilities().faults && opened < 3 && random.one_in(3);
            if again {
                let soon = u64::try_from(random.below(12)).unwrap_or_default();
                let at = self.factory.operations(place).saturating_add(soon);
                let moment = if random.one_in(2) { Moment::Before } else { Moment::After };
                self.factory.arm(place, at, Fault::Crash { moment, keep: any_keep(random) });
            }
            match self.factory.open(place, &Self::setup(opened)) {
                Ok(store) => break store,
                Err(_) if again => {
                    report.saw("crashes while opening");
                    self.factory.kill(place, None, any_keep(random));
                }
                Err(error) => return Err(check.broken(format!("it does not open again: {error}"))),
            }
            opened = opened.saturating_add(1);
        };
        self.factory.relieve(place);
        let found = self.is_at(&store, progress, check, report)?;
        report.saw("reopenings");
        if random.one_in(4) {
            let snapshot = block_on(store.snapshot()).blame(check)?;
            read_all(&snapshot, random, report)?;
            let sound = block_on(store.check()).blame(check)?;
            report.look(check, sound.is_sound(), || format!("the check of a reopened store says {sound:?}"))?;
        }
        // Life goes on, under numbers that nobody used.
        let mut plan = plan_from(&store)?;
        let key = keys().into_iter().next().ok_or("there are keys").blame(check)?;
        let dot = put(&mut plan, &key, Body::of("after")).blame(check)?;
        let dead = found.head.knowledge().contains(dot);
        report.look(Check::DotsUnique, !dead, || format!("{dot} was given out before and is given out again"))?;
        block_on(store.commit(&plan.finish())).blame(check)?;
        let after = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
        report.look(check, after.rows.get(&key) != found.rows.get(&key), || "a write is not there".to_owned())?;
        drop(store);
        Ok(())
    }

    /// Whether what the store shows is a state that it may be in.
    fn is_at(&self, store: &F::Store, progress: Progress, check: Check, report: &mut Report) -> Result<Peer, Broken> {
        let found = read_quickly(&block_on(store.snapshot()).blame(check)?).blame(check)?;
        let (from, to) = (progress.acknowledged, progress.perhaps);
        let rows = |nth: &usize| self.script.shows_rows_of(&found, *nth);
        report.look(check, (from..=to).any(|nth| rows(&nth)), || {
            let is = (0..self.script.states.len()).find(rows);
            let is =
                is.map_or_else(|| "of no state that it ever had".to_owned(), |nth| format!("those after batch {nth}"));
            format!("{from} batches were acknowledged and {to} begun, and the rows are {is}: {:?}", found.rows)
        })?;
        report.look(Check::KnowledgeNotAhead, self.script.state_of(&found, from, to).is_some(), || {
            format!("after {from} to {to} batches the rows are right and known is {:?}", found.head.knowledge())
        })?;
        let worked_out = Fingerprints::of_records(found.head.network(), found.rows.values());
        report.look(Check::Fingerprints, *found.head.fingerprints() == worked_out, || {
            "the fingerprints are not those of the records".to_owned()
        })?;
        Ok(found)
    }

    /// Whether a handle refuses everything.
    fn is_over(&self, store: &F::Store, report: &mut Report) -> Result<(), Broken> {
        let reads = block_on(store.snapshot()).is_ok();
        report.look(Check::UnknownEndsHandle, !reads, || "a snapshot is taken after Unknown".to_owned())?;
        for call in &self.script.calls {
            if let Call::Commit(batch) = call {
                let answer = block_on(store.commit(batch));
                let refused = matches!(answer, Err(CommitError::Unknown { .. } | CommitError::Closed));
                let what = || format!("a commit after Unknown says {answer:?}");
                return report.look(Check::UnknownEndsHandle, refused, what);
            }
        }
        Ok(())
    }
}

fn any_keep(random: &mut Random) -> Keep {
    match random.below(6) {
        0 => Keep::All,
        1 => Keep::Nothing,
        2 => Keep::Prefix(random.below(8)),
        3 => Keep::Subset(random.seed()),
        _ => Keep::Torn(random.seed()),
    }
}

/// Futures that are dropped after some polls.
pub(super) fn dropped_futures<F: StoreFactory>(
    factory: &F,
    seed: u64,
    calls: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let session = Session::new(factory, seed, calls, report).map_err(|broken| broken.at(seed, 0))?;
    let (_place, store) = session.start().map_err(|broken| broken.at(seed, 0))?;
    let mut random = Random::new(seed);
    let mut done = 0_usize;
    for (step, call) in session.script.calls.iter().enumerate() {
        let Call::Commit(batch) = call else { continue };
        let step = u64::try_from(step).unwrap_or(u64::MAX);
        session.drop_commit(&store, batch, done, &mut random, report).map_err(|broken| broken.at(seed, step))?;
        done = done.saturating_add(1);
    }
    Ok(())
}

impl<F: StoreFactory> Session<'_, F> {
    /// Drops the commit of a batch after some polls, looks, and commits it again until it is there.
    fn drop_commit(
        &self,
        store: &F::Store,
        batch: &Batch,
        done: usize,
        random: &mut Random,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let check = Check::DroppedFutures;
        let progress = Progress { call: 0, acknowledged: done, perhaps: done.saturating_add(1) };
        {
            let mut commit = pin!(store.commit(batch));
            for _ in 0..random.below(4) {
                match poll_once(commit.as_mut()) {
                    Some(Ok(_)) => break,
                    Some(Err(error)) => return Err(check.broken(error)),
                    None => report.saw("polls that had to wait"),
                }
            }
            report.saw("futures dropped");
        }
        {
            let mut reads = pin!(store.snapshot());
            let _: Option<Result<_, _>> = poll_once(reads.as_mut());
        }
        // A commit that was dropped on its way may still arrive.
        for _ in 0..8 {
            let found = self.is_at(store, progress, check, report)?;
            if found.head.revision() == batch.head().revision() {
                return Ok(());
            }
            match block_on(store.commit(batch)) {
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(check.broken(error)),
            }
        }
        Err(check.broken("a batch is neither applied nor can it be"))
    }
}
