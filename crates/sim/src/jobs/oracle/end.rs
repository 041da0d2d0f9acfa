//! What must hold when faults are over: that all comes to its end, and then everywhere alike.

use std::collections::{BTreeMap, BTreeSet};

use reconvene_broker::{JobStatus, JobView, Node, Subject};
use reconvene_clock::ReplicaId;
use reconvene_executor::{Finality, JobId, SubmissionId};
use reconvene_store::{Body, Cursor, Key, MemoryStore, MetadataStore, Prefix, Record, Snapshot, Version, ready};

use super::{Accepted, Oracle, Placed, violation};
use crate::jobs::Violation;
use crate::world::{Place, World};

impl Oracle {
    /// What is not done yet; `None` if all is.
    pub(in crate::jobs) fn unrest(&self, world: &World) -> Option<String> {
        let (brokers, executors) = world.counts();
        let up: Vec<_> = (0..brokers).filter(|broker| world.runs(Place::Broker(*broker))).collect();
        let mut root = None;
        for broker in up {
            let node = world.broker(broker)?;
            for job in self.admitted.keys().filter(|job| !self.lost.contains(job) && !self.is_forgotten(node, **job)) {
                let Some(view) = node.coordinator().job(*job).filter(|view| view.spec.is_some()) else {
                    return Some(format!("broker {broker} does not know {job}, which was acknowledged (S1)"));
                };
                if !is_over(&view) {
                    let why = self.explained(world, &view);
                    return Some(format!("at broker {broker}, {}: {why}", brief(&view)));
                }
            }
            if node.coordinator().is_storm_guard_on() {
                return Some(format!("broker {broker} takes itself for cut off, and will yet say who is gone"));
            }
            let own = node.replica().head().digest().root;
            if root.is_some_and(|root| root != own) {
                return Some(format!("broker {broker} holds other records than those before"));
            }
            root = Some(own);
        }
        for executor in (0..executors).filter(|executor| !self.dead.contains(executor)) {
            let agent = world.executor(executor)?;
            if agent.home().is_none() {
                return Some(format!("executor {executor} has no home"));
            }
            // Also what no broker knows any more: its result is taken in all the same.
            if let Some(held) = agent.held().next() {
                return Some(format!("executor {executor} still runs {}", held.attempt));
            }
            if agent.kept() > 0 {
                return Some(format!("executor {executor} keeps {} results without an answer", agent.kept()));
            }
        }
        None
    }

    /// What the owner of a job says of it, to those who have to find out; nothing is checked by it.
    fn explained(&self, world: &World, job: &JobView) -> String {
        let of = Subject::Job(job.id);
        let mut brokers = (0..world.counts().0).filter_map(|broker| world.broker(broker));
        let owner = brokers.find(|node| node.replica().head().identity().replica == job.owner);
        match owner.and_then(|owner| owner.coordinator().explain(of).ok()) {
            Some(explanation) => explanation.to_string(),
            None => "its owner is not there".to_owned(),
        }
    }

    /// A job that is over and that somebody still knows, though every member could say so; `None` if there is none.
    pub(in crate::jobs) fn left(&self, world: &World) -> Option<String> {
        // A member that is gone for good, and that nobody has retired, is waited for.
        if self.membership_changed || self.brokers.iter().any(|told| told.killed) {
            return None;
        }
        let brokers = (0..world.counts().0).filter(|broker| world.runs(Place::Broker(*broker)));
        let mut known = brokers.filter_map(|broker| {
            let over = |job: &JobView| matches!(job.status, JobStatus::Completed | JobStatus::Cancelled);
            let job = world.broker(broker)?.coordinator().jobs().find(over)?;
            Some(format!("broker {broker} has not forgotten {}", brief(&job)))
        });
        known.next()
    }

    /// What must hold when all is done.
    pub(in crate::jobs) fn check_done(&self, world: &World) -> Result<(), Violation> {
        let up: Vec<_> = (0..world.counts().0).filter(|broker| world.runs(Place::Broker(*broker))).collect();
        // What a member that is gone for good had, some heard from it and others never will: they forget other deletes.
        let waits = self.brokers.iter().any(|told| told.killed);
        let mut first: Option<(usize, Vec<JobView>, Versions)> = None;
        for broker in up {
            let Some(node) = world.broker(broker) else { continue };
            let held = world.store(broker).map(records).unwrap_or_default();
            let (views, records) = (views(node), versions(&held, !waits));
            for job in &views {
                self.check_ended(world, broker, job)?;
                let named = job.result.as_ref().map(|result| result.submission);
                let changed =
                    self.stable.get(&job.id).filter(|(_, stable)| Some(*stable) != named && !self.membership_changed);
                if let Some((by, stable)) = changed.filter(|_| !self.repinned.contains(&job.id)) {
                    let what = format!("broker {by:?} called {stable} of {} stable, and it is {named:?}", job.id);
                    return Err(violation(world, "S2", what));
                }
            }
            self.check_accepted(world, broker, node)?;
            check_stamps(world, &views)?;
            let again = world.reopened(broker)?;
            if let Some(what) = difference(&views, &self::views(&again)) {
                let what = format!("broker {broker} and its store differ: {what}");
                return Err(violation(world, "what is shown is what is stored", what));
            }
            let Some((other, other_views, other_records)) = &first else {
                first = Some((broker, views, records));
                continue;
            };
            let digests =
                [*other, broker].map(|broker| world.broker(broker).map(|node| node.replica().head().digest().root));
            if *other_records != records || digests.first() != digests.last() {
                let at = difference_at(other_records, &records);
                let what = format!("brokers {other} and {broker}: records or digests differ, {digests:?}, at {at:?}");
                return Err(violation(world, "S3", what));
            }
            if let Some(what) = difference(other_views, &views) {
                return Err(violation(world, "S3", format!("brokers {other} and {broker} differ: {what}")));
            }
        }
        Ok(())
    }

    fn check_ended(&self, world: &World, broker: usize, job: &JobView) -> Result<(), Violation> {
        let Some(admitted) = self.admitted.get(&job.id) else { return Ok(()) };
        if self.lost.contains(&job.id) {
            return Ok(());
        }
        let cancelled = self.cancelled.contains_key(&job.id);
        let right = match job.status {
            JobStatus::Completed => !admitted.fails,
            JobStatus::Failed => admitted.fails && !cancelled,
            // A cancel that its broker confirmed may have died with that broker, or not.
            JobStatus::Cancelled => true,
            JobStatus::Unknown
            | JobStatus::Waiting
            | JobStatus::Dispatched
            | JobStatus::Running
            | JobStatus::Redeploying
            | _ => false,
        };
        if let Some(Placed { attempts, causes }) =
            self.placed.get(&job.id).filter(|of| of.attempts > of.causes.saturating_add(1))
        {
            let what =
                format!("{} was placed {attempts} times for {causes} losses, failures and changes of owner", job.id);
            return Err(violation(world, "S15", what));
        }
        if !right {
            let what = format!("broker {broker} ends {} as {:?}, cancelled: {cancelled}", job.id, job.status);
            return Err(violation(world, "L3", what));
        }
        Ok(())
    }

    /// Accepted results are canonical or listed, and changes were reported once, by whoever told otherwise.
    fn check_accepted(&self, world: &World, broker: usize, node: &Node) -> Result<(), Violation> {
        let current = self.brokers.iter().enumerate();
        let current =
            current.flat_map(|(by, told)| told.accepted.iter().map(move |(job, accepted)| (by, *job, accepted)));
        let former = self.former.iter().map(|(by, job, accepted)| (*by, *job, accepted));
        let known = |job: &JobId| !self.lost.contains(job) && !self.is_forgotten(node, *job);
        for (by, job, accepted) in current.chain(former).filter(|(_, job, _)| known(job)) {
            let view = node.coordinator().job(job);
            let listed = |accepted: &Accepted| {
                let same = |other: &reconvene_broker::SubmissionView| {
                    other.id == accepted.submission
                        && other.attempt == accepted.attempt
                        && other.digest == accepted.digest
                        && other.accepted
                };
                view.as_ref().is_some_and(|view| view.submissions.iter().any(same))
            };
            let kept = |accepted: &&Accepted| !self.lost_results.contains(&accepted.submission);
            if let Some(missing) = accepted.iter().filter(kept).find(|accepted| !listed(accepted)) {
                let what =
                    format!("broker {by} accepted {} of {job}, broker {broker} does not list it", missing.submission);
                return Err(violation(world, "S4", what));
            }
        }
        for (number, told) in self.brokers.iter().enumerate() {
            for (job, accepted) in told.accepted.iter().filter(|(job, _)| !self.lost.contains(job)) {
                let view = node.coordinator().job(*job);
                if number == broker {
                    let named = view.as_ref().and_then(|view| view.result.as_ref()).map(|result| result.submission);
                    // What is forgotten was over when it was, and nobody's result is passed over for that.
                    let canonical = match self.forgotten.get(job).filter(|_| self.is_forgotten(node, *job)) {
                        Some(_) if self.membership_changed => continue,
                        Some(result) => *result,
                        None => named,
                    };
                    let changes = told.changes.get(job).map_or(&[][..], Vec::as_slice);
                    let first = accepted.first().map(|accepted| accepted.submission);
                    check_reports(*job, first, changes, canonical)
                        .map_err(|what| violation(world, "S4", format!("broker {broker}: {what}")))?;
                }
            }
            if number == broker && told.changes.keys().any(|job| !told.accepted.contains_key(job)) {
                let what = format!("broker {broker} reports changes of what it had never named");
                return Err(violation(world, "S4", what));
            }
        }
        for attempt in self.accepted.iter().filter(|attempt| known(&attempt.job)) {
            let view = node.coordinator().job(attempt.job);
            let digest = self.produced.get(attempt);
            let listed = view.is_some_and(|view| {
                view.submissions
                    .iter()
                    .any(|other| other.attempt == *attempt && other.accepted && Some(&other.digest) == digest)
            });
            if !listed {
                let what =
                    format!("an executor was told that its result of {attempt} is accepted, {broker} lists none");
                return Err(violation(world, "S4", what));
            }
        }
        Ok(())
    }
}

/// From what was named first, each change goes on from the one before, none twice, and the last one ends at what is
/// canonical.
fn check_reports(
    job: JobId,
    first: Option<SubmissionId>,
    changes: &[(SubmissionId, SubmissionId)],
    canonical: Option<SubmissionId>,
) -> Result<(), String> {
    let mut named = first;
    let mut seen = BTreeSet::new();
    for change in changes {
        if !seen.insert(*change) {
            return Err(format!("the change of {job} from {} to {} is reported twice", change.0, change.1));
        }
        if named != Some(change.0) {
            return Err(format!("{job} was said to be {named:?}, and a change from {} is reported", change.0));
        }
        named = Some(change.1);
    }
    if named == canonical { Ok(()) } else { Err(format!("{job} was said to be {named:?} and is {canonical:?}")) }
}

/// What a broker accepted later has a greater stamp.
fn check_stamps(world: &World, views: &[JobView]) -> Result<(), Violation> {
    let mut by_broker: BTreeMap<ReplicaId, BTreeMap<u64, _>> = BTreeMap::new();
    for submission in views.iter().flat_map(|view| &view.submissions) {
        let id = submission.id;
        by_broker.entry(id.accepted_by).or_default().insert(id.number, submission.stamp);
    }
    for (broker, stamps) in by_broker {
        if !stamps.values().is_sorted_by(|a, b| a < b) {
            return Err(violation(world, "S9", format!("stamps of {broker} go back: {stamps:?}")));
        }
    }
    Ok(())
}

fn is_over(view: &JobView) -> bool {
    match view.status {
        JobStatus::Completed => view.settled || view.strategy.is_some_and(|strategy| !strategy.admits_challengers()),
        JobStatus::Failed | JobStatus::Cancelled => true,
        JobStatus::Unknown
        | JobStatus::Waiting
        | JobStatus::Dispatched
        | JobStatus::Running
        | JobStatus::Redeploying
        | _ => false,
    }
}

/// What a broker shows of all jobs, but for what depends on the time of day.
fn views(node: &Node) -> Vec<JobView> {
    let timeless = |mut view: JobView| {
        view.level = 0;
        if let Some(result) = &mut view.result {
            // That is a broker's own knowledge of the others.
            result.finality = Finality::Provisional;
        }
        view
    };
    node.coordinator().jobs().map(timeless).collect()
}

fn difference(a: &[JobView], b: &[JobView]) -> Option<String> {
    let different = a.iter().zip(b).find(|(a, b)| a != b);
    match different {
        Some((a, b)) => Some(format!("{}; {}", brief(a), brief(b))),
        None => (a.len() != b.len()).then(|| format!("{} and {} jobs", a.len(), b.len())),
    }
}

/// A job in one line.
fn brief(view: &JobView) -> String {
    let JobView { id, status, owner, epoch, settled, .. } = view;
    let attempts = view.attempts.iter().map(|attempt| {
        let executor = attempt.executor.map(|executor| executor.to_string()).unwrap_or_default();
        format!(" {} on {executor:.4} {:?}", attempt.id, attempt.phase)
    });
    let submissions = view.submissions.iter().map(|submission| {
        format!(" {} of {} {:?} at {}", submission.id, submission.attempt, submission.verdict, submission.stamp)
    });
    let (attempts, submissions): (String, String) = (attempts.collect(), submissions.collect());
    let named = view.result.as_ref().map(|result| result.submission);
    format!(
        "{id} is {status:?}, settled {settled}, of {owner} since {epoch:?}:{attempts};{submissions}; named {named:?}"
    )
}

type Versions = BTreeMap<Key, Vec<Version>>;

/// What a store holds under each key.
fn versions(records: &[Record], deletes: bool) -> Versions {
    let of = |record: &Record| -> Vec<Version> {
        record.siblings().iter().filter(|version| deletes || version.body != Body::Tombstone).cloned().collect()
    };
    let held = records.iter().map(|record| (record.key().clone(), of(record)));
    held.filter(|(_, versions)| !versions.is_empty()).collect()
}

/// The keys under which two stores hold something else.
fn difference_at<'a>(one: &'a Versions, other: &'a Versions) -> BTreeSet<&'a Key> {
    let keys = one.keys().chain(other.keys());
    keys.filter(|key| one.get(*key) != other.get(*key)).collect()
}

/// All that a store holds.
pub(super) fn records(store: &MemoryStore) -> Vec<Record> {
    let all = Cursor::new(Prefix::all()).with_rows(usize::MAX).with_bytes(usize::MAX);
    let snapshot = ready(store.snapshot()).and_then(Result::ok);
    let page = snapshot.and_then(|snapshot| ready(snapshot.by_prefix(&all)).and_then(Result::ok));
    page.map(|page| page.items).unwrap_or_default()
}
