//! The thread that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use reconvene_store::{Batch, ChangeFeed, CheckReport, CommitError, Limits, Revision, RowCodec, StoreError};

use crate::check::check;
use crate::engine::{Changes, Engine, Failed};
use crate::gate::no_room;
use crate::keeper::{Keeper, Prepared};
use crate::medium::Medium;
use crate::oneshot::Sender;
use crate::queue::Queue;
use crate::rows::view_of;
use crate::snapshot::View;

/// What the handle, its snapshots and the thread share.
pub(crate) struct Shared {
    /// The newest revision, or `None` once the store is closed.
    pub(crate) view: RwLock<Option<Arc<View>>>,
    pub(crate) queue: Queue<Request>,
    pub(crate) feed: ChangeFeed,
    pub(crate) limits: Limits,
    pub(crate) codec: RowCodec,
    /// Until the thread ends.
    pub(crate) open: Arc<AtomicBool>,
}

pub(crate) enum Request {
    Commit(Box<Job>),
    Check(Sender<Result<CheckReport, StoreError>>),
    Close(Sender<Result<(), CommitError>>),
}

/// A batch that waits to be committed.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    /// What it comes to in the tables, worked out by the caller, beside the thread.
    pub(crate) changes: Changes,
    pub(crate) reply: Sender<Result<Revision, CommitError>>,
}

/// How many bytes of rows join into one transaction, beyond the first batch.
const JOINED_BYTES: usize = 16 << 20;

/// How many batches join into one transaction.
const JOINED_BATCHES: usize = 1_024;

/// The only one who writes.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) engine: Engine,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) keeper: Keeper,
}

/// Whether the worker goes on.
enum After {
    Open(Box<Worker>),
    /// Closed in good order, or unusable.
    Over,
}

impl Worker {
    /// Ends the store for everybody who holds it. Whoever hears of a failure finds it closed.
    fn end(shared: &Shared) {
        shared.queue.shut();
        shared.open.store(false, Ordering::Release);
        shared.feed.close();
        *shared.view.write() = None;
    }

    /// Serves requests until the queue is shut, the store is closed, or a commit ends as unknown.
    pub(crate) fn run(self) {
        let shared = Arc::clone(&self.shared);
        let mut worker = self;
        while let Some(requests) = shared.queue.take(joins) {
            match worker.serve(requests) {
                After::Open(open) => worker = *open,
                After::Over => break,
            }
        }
        Self::end(&shared);
        for request in shared.queue.drain() {
            match request {
                Request::Commit(job) => job.reply.send(Err(CommitError::Closed)),
                Request::Check(reply) => reply.send(Err(StoreError::Closed)),
                Request::Close(reply) => reply.send(Err(CommitError::Closed)),
            }
        }
    }

    fn serve(self, requests: Vec<Request>) -> After {
        let mut jobs = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Commit(job) => jobs.push(*job),
                // These come alone.
                Request::Check(reply) => {
                    reply.send(check(&self.medium, &self.shared.codec));
                    return After::Open(Box::new(self));
                }
                Request::Close(reply) => {
                    let shared = Arc::clone(&self.shared);
                    let closed = self.close();
                    Self::end(&shared);
                    reply.send(closed);
                    return After::Over;
                }
            }
        }
        self.commit(jobs)
    }

    /// Commits jobs in one transaction: those that follow on each other. The others are answered.
    fn commit(self, jobs: Vec<Job>) -> After {
        let head = match &*self.shared.view.read() {
            Some(view) => view.head.clone(),
            None => return After::Over,
        };
        let (mut revision, mut replica) = (head.revision(), head.identity().replica);
        let (mut chain, mut refused) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            let (based_on, planned_for) = (job.batch.based_on(), job.batch.planned_for());
            if based_on == revision && planned_for == replica {
                (revision, replica) = (job.batch.head().revision(), job.batch.head().identity().replica);
                chain.push(job);
            } else {
                refused.push(job);
            }
        }
        let after = if chain.is_empty() { After::Open(Box::new(self)) } else { self.commit_chain(chain) };
        if let After::Open(worker) = &after {
            // What was refused is told by the head as it is now: if the chain failed, these follow on nothing.
            for job in refused {
                let error = worker.refusal(&job);
                job.reply.send(Err(error));
            }
        } else {
            for job in refused {
                job.reply.send(Err(CommitError::Closed));
            }
        }
        after
    }

    fn refusal(&self, job: &Job) -> CommitError {
        let Some(view) = self.shared.view.read().clone() else {
            return CommitError::Closed;
        };
        let (planned_for, store) = (job.batch.planned_for(), view.head.identity().replica);
        if planned_for == store {
            CommitError::Conflict { head: view.head.revision(), based_on: job.batch.based_on() }
        } else {
            CommitError::Foreign { planned_for, store }
        }
    }

    fn commit_chain(self, chain: Vec<Job>) -> After {
        let Some(head) = chain.last().map(|job| job.batch.head()) else {
            return After::Open(Box::new(self));
        };
        let beside = self.keeper.beside(head);
        let prepared = match self.keeper.prepare(head) {
            Ok(prepared) => prepared,
            Err(error) if no_room(&error) => return self.one_by_one(chain, error.into()),
            Err(error) => {
                Self::end(&self.shared);
                answer_unknown(chain, &error.to_string());
                return After::Over;
            }
        };
        match self.engine.apply(chain.iter().map(|job| &job.changes).chain(&beside)) {
            Ok(()) => self.committed(chain, prepared),
            Err(Failed::Unknown(source)) => {
                Self::end(&self.shared);
                answer_unknown(chain, &source.to_string());
                After::Over
            }
            Err(Failed::Full(source)) => self.full(chain, source),
        }
    }

    /// Shows what was committed, tells the feed, and answers.
    fn committed(mut self, chain: Vec<Job>, prepared: Prepared) -> After {
        let shown = self.engine.tables().map_err(|error| format!("{error:?}")).and_then(|tables| {
            let head = chain.last().map(|job| job.batch.head().clone()).ok_or("no batch")?;
            // Before anyone hears of it: what is seen outside must not be taken for unused later.
            self.keeper.keep(prepared, &head).map_err(|error| error.to_string())?;
            Ok(View { tables, head, codec: self.shared.codec.clone(), open: Arc::clone(&self.shared.open) })
        });
        let view = match shown {
            Ok(view) => view,
            Err(what) => {
                Self::end(&self.shared);
                answer_unknown(chain, &what);
                return After::Over;
            }
        };
        self.engine.confirm(view.head.revision());
        *self.shared.view.write() = Some(Arc::new(view));
        for job in chain {
            self.shared.feed.committed(&job.batch);
            let revision = job.batch.head().revision();
            job.reply.send(Ok(revision));
        }
        After::Open(Box::new(self))
    }

    /// There was no room, and nothing changed. The engine has stopped, so it is opened again, behind a shut gate: that
    /// writes nothing before the next commit does.
    fn full(self, chain: Vec<Job>, source: crate::engine::Source) -> After {
        let Self { shared, engine, medium, keeper } = self;
        drop(engine);
        let engine = Engine::open(Arc::clone(&medium)).map(|opened| opened.engine);
        let view = engine.as_ref().ok().and_then(|engine| view_of(engine, &shared.codec, &shared.open).ok());
        let as_before = |view: &View| shared.view.read().as_ref().is_some_and(|before| before.head == view.head);
        let (Ok(engine), Some(view)) = (engine, view.filter(as_before)) else {
            Self::end(&shared);
            answer_unknown(chain, "the disk is full, and the store could not be opened again");
            return After::Over;
        };
        *shared.view.write() = Some(Arc::new(view));
        Self { shared, engine, medium, keeper }.one_by_one(chain, source)
    }

    /// Together these were too much for the room there is; one after the other some may fit. The first that does not
    /// takes those behind it along, since they follow on it.
    fn one_by_one(self, chain: Vec<Job>, source: crate::engine::Source) -> After {
        let mut chain = chain.into_iter();
        let Some(first) = chain.next() else {
            return After::Open(Box::new(self));
        };
        if chain.len() == 0 {
            first.reply.send(Err(CommitError::NoSpace { source }));
            return After::Open(Box::new(self));
        }
        let mut after = self.commit(vec![first]);
        for job in chain {
            after = match after {
                After::Open(worker) => worker.commit(vec![job]),
                After::Over => {
                    job.reply.send(Err(CommitError::Closed));
                    After::Over
                }
            };
        }
        after
    }

    fn close(self) -> Result<(), CommitError> {
        let Self { shared, engine, medium: _, keeper } = self;
        let view = shared.view.write().take();
        let unknown = |source| CommitError::Unknown { source };
        if let Some(view) = view {
            engine.apply([&keeper.token(&view.head)]).map_err(|failed| match failed {
                Failed::Full(source) => CommitError::NoSpace { source },
                Failed::Unknown(source) => unknown(source),
            })?;
        }
        engine.close().map_err(unknown)
    }
}

/// Whether `next` goes into one transaction with what was `taken`.
fn joins(taken: &[Request], next: &Request) -> bool {
    let Request::Commit(next) = next else {
        return false;
    };
    let mut bytes = next.batch.byte_len();
    for request in taken {
        match request {
            Request::Commit(job) => bytes = bytes.saturating_add(job.batch.byte_len()),
            Request::Check(_) | Request::Close(_) => return false,
        }
    }
    bytes <= JOINED_BYTES && taken.len() < JOINED_BATCHES
}

fn answer_unknown(chain: Vec<Job>, what: &str) {
    for job in chain {
        job.reply.send(Err(CommitError::Unknown { source: what.into() }));
    }
}
