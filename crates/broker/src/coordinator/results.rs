//! Judging results: the table of duplicates, row by row, in its order.

use reconvene_clock::NodeId;
use reconvene_executor::message::{Submit, ToExecutor};
use reconvene_executor::{
    Answer, AttemptId, Equivocation, FencingToken, Finality, JobId, Outcome, Rejection, ResultDigest, SessionEpoch,
    SubmissionId, limits,
};
use reconvene_store::sabotage;

use crate::coordinator::Coordinator;
use crate::coordinator::parked::Kept;
use crate::coordinator::timers::Timer;
use crate::fact::{SubmissionFact, Verdict};
use crate::statistics::count;
use crate::view::JobRecord;
use crate::{Config, EventKind, Fact, FactKey, LossCause, Statistics, strategy};

/// What a row of the table says.
struct Judgement {
    answer: Answer,
    counter: fn(&mut Statistics) -> &mut u64,
    /// Whether it is written down.
    kept: bool,
    /// Whether it only repeats what was answered before.
    again: bool,
}

impl Judgement {
    const fn kept(answer: Answer, counter: fn(&mut Statistics) -> &mut u64) -> Self {
        Self { answer, counter, kept: true, again: false }
    }

    const fn answered(answer: Answer, counter: fn(&mut Statistics) -> &mut u64) -> Self {
        Self { answer, counter, kept: false, again: false }
    }

    const fn rejected(rejection: Rejection, counter: fn(&mut Statistics) -> &mut u64) -> Self {
        Self::kept(Answer::Rejected(rejection), counter)
    }
}

impl Coordinator {
    pub(super) fn submitted(&mut self, from: NodeId, submit: Submit) {
        if self.linked.len() < self.config.max_executors {
            self.linked.insert(from);
        }
        let id = submit.attempt.job;
        let known = self.view.job(id).is_some_and(|job| job.spec.is_some());
        if known || self.view.is_done(id) {
            let (attempt, sequence) = (submit.attempt, submit.sequence);
            let session = submit.session;
            let answer = self.judge(from, submit);
            if answer.is_final() {
                self.release(from, attempt);
            } else if matches!(answer, Answer::Rejected(_)) {
                self.came_to_nothing(from, session, attempt);
            }
            self.send(from, ToExecutor::SubmitAnswer { attempt, sequence, answer });
        } else {
            self.park(from, submit);
        }
    }

    /// D7: the job is unknown here.
    fn park(&mut self, from: NodeId, submit: Submit) {
        let (attempt, sequence, job) = (submit.attempt, submit.sequence, submit.attempt.job);
        let answer = if let Some(kept) = self.parked.find(&submit) {
            if kept.submit.digest == submit.digest {
                let until_ms = kept.until.saturating_since(self.at.mono);
                count(&mut self.statistics.retransmission);
                // It may have been out of reach when it was to be asked for the job.
                self.await_spec(job);
                Answer::Parked { until_ms }
            } else {
                count(&mut self.statistics.fault);
                Answer::Fault(Equivocation { first: kept.submit.digest, second: submit.digest })
            }
        } else if let Some(rejection) = unfit(&submit, self.config.result_max) {
            count(&mut self.statistics.damaged);
            Answer::Rejected(rejection)
        } else {
            let until_ms = self.config.parked_ttl_ms;
            let kept = Kept { from, submit, until: self.at.mono.saturating_add(until_ms) };
            if self.parked.keep(kept, self.config.parked_limit, self.config.parked_bytes) {
                count(&mut self.statistics.parked);
                if !self.timers.is_armed(Timer::Parked(job)) {
                    self.arm(Timer::Parked(job), until_ms);
                }
                self.await_spec(job);
                self.notify(EventKind::ResultParked { job, attempt });
                Answer::Parked { until_ms }
            } else {
                count(&mut self.statistics.parked_refused);
                Answer::Busy { retry_after_ms: self.config.sync_interval_ms }
            }
        };
        self.send(from, ToExecutor::SubmitAnswer { attempt, sequence, answer });
    }

    /// The result of an attempt cannot be taken as it came. The executor keeps it; the job is not to wait for that.
    fn came_to_nothing(&mut self, from: NodeId, session: SessionEpoch, attempt: AttemptId) {
        let record = self.view.job(attempt.job).and_then(|job| job.attempts.get(&attempt));
        if record.and_then(|record| record.given_to()) == Some((from, session)) {
            self.lose(attempt, from, LossCause::ResultRefused);
        }
    }

    /// The job is known now: its kept results are judged in the order they came.
    pub(super) fn judge_parked(&mut self, id: JobId) {
        self.timers.disarm(Timer::Parked(id));
        for kept in self.parked.take(id) {
            let (attempt, sequence) = (kept.submit.attempt, kept.submit.sequence);
            let answer = self.judge(kept.from, kept.submit);
            self.release(kept.from, attempt);
            if self.linked.contains(&kept.from) {
                self.send(kept.from, ToExecutor::SubmitAnswer { attempt, sequence, answer });
            }
        }
    }

    pub(super) fn expire_parked(&mut self, id: JobId) {
        let at = self.at.mono;
        for kept in self.parked.take(id) {
            if kept.until > at {
                let until = kept.until;
                self.parked.keep(kept, usize::MAX, usize::MAX);
                if !self.timers.is_armed(Timer::Parked(id)) {
                    self.timers.arm(Timer::Parked(id), until);
                }
            } else {
                count(&mut self.statistics.parked_expired);
                self.notify(EventKind::ParkedExpired { job: id, attempt: kept.submit.attempt });
            }
        }
    }

    /// Judges a result of a job that is known here, and writes down what is to be kept of it.
    fn judge(&mut self, from: NodeId, submit: Submit) -> Answer {
        let id = submit.attempt.job;
        if self.view.is_done(id) {
            return self.refuse_done(&submit);
        }
        let Some(job) = self.view.job(id) else { return Answer::Busy { retry_after_ms: self.config.sync_interval_ms } };
        let level = self.view.level(job, self.at.wall);
        let candidate = self.candidate(from, &submit, level);
        let Some(job) = self.view.job(id) else { return Answer::Busy { retry_after_ms: self.config.sync_interval_ms } };
        let challenges = job.canonical().is_some();
        let unnamed = job.told_by(self.own.replica).is_none();
        let judgement = row(job, &self.config, from, &submit, (self.next_submission(), &candidate));
        let Judgement { answer, counter, kept, again } = judgement;
        count(counter(&mut self.statistics));
        let (attempt, digest) = (submit.attempt, submit.digest);
        let full = kept && !again && !self.may_record(id, matches!(answer, Answer::Accepted { .. }));
        if full {
            count(&mut self.statistics.over_limits);
        }
        match answer {
            _ if again => {}
            // Nothing is acknowledged that is not written down. The first success always is.
            Answer::Accepted { .. } | Answer::AcceptedFailure if full && (challenges || !candidate.success) => {
                return Answer::Busy { retry_after_ms: self.config.sync_interval_ms };
            }
            Answer::Accepted { .. } if kept => {
                if challenges {
                    count(&mut self.statistics.accepted);
                }
                let output = self.inline(submit.outcome);
                let submission = self.record(SubmissionFact { named: unnamed, output, ..candidate });
                self.notify(EventKind::ResultAccepted { job: id, submission, attempt, digest });
            }
            Answer::AcceptedFailure if kept => {
                let error = error_shown(&submit.outcome);
                let output = self.inline(submit.outcome);
                self.record(SubmissionFact { output, ..candidate });
                self.notify(EventKind::AttemptFailed { attempt, error });
            }
            Answer::Rejected(rejection) => {
                if kept && !full {
                    let wasted = &mut self.statistics.wasted_resource_ms;
                    *wasted = wasted.saturating_add(candidate.cost_resource_ms);
                    self.record(SubmissionFact { verdict: Verdict::Refused(rejection), ..candidate });
                }
                self.notify(EventKind::ResultRejected { job: id, attempt, digest, answer });
            }
            Answer::Fault(_) => self.notify(EventKind::ResultRejected { job: id, attempt, digest, answer }),
            Answer::Accepted { .. } | Answer::AcceptedFailure | Answer::Parked { .. } | Answer::Busy { .. } => {}
        }
        answer
    }

    /// D5: the job is over and forgotten.
    fn refuse_done(&mut self, submit: &Submit) -> Answer {
        let (attempt, digest) = (submit.attempt, submit.digest);
        let answer = Answer::Rejected(Rejection::Late { canonical: None });
        count(&mut self.statistics.late);
        self.notify(EventKind::ResultRejected { job: attempt.job, attempt, digest, answer });
        answer
    }

    fn inline(&self, outcome: Outcome) -> Option<Vec<u8>> {
        let bytes = match outcome {
            Outcome::Success { output } => output,
            Outcome::Failure { error } => error.into_bytes(),
        };
        (bytes.len() <= self.config.inline_result_max).then_some(bytes)
    }

    /// The submission as it would be written if it were accepted.
    fn candidate(&mut self, from: NodeId, submit: &Submit, level: u8) -> SubmissionFact {
        SubmissionFact {
            attempt: submit.attempt,
            executor: from,
            session: submit.session,
            sequence: submit.sequence,
            spec: submit.spec_digest,
            digest: submit.digest,
            success: submit.outcome.is_success(),
            verdict: Verdict::Accepted,
            stamp: self.next_stamp(),
            height: self.next_height(),
            level,
            cost_resource_ms: submit.cost_resource_ms.min(limits::AMOUNT_MAX),
            quality_bp: submit.quality_bp.min(limits::WHOLE_BP),
            named: false,
            output: None,
        }
    }

    fn next_submission(&self) -> SubmissionId {
        let number = self.last_submission.checked_add(1).expect("2^64 submissions are never made");
        SubmissionId { accepted_by: self.own.replica, number }
    }

    fn record(&mut self, fact: SubmissionFact) -> SubmissionId {
        let id = self.next_submission();
        self.last_submission = id.number;
        let job = fact.attempt.job;
        self.write(FactKey::Submission { job, id }, Fact::Submission(Box::new(fact)));
        id
    }
}

/// What an event shows of an error.
fn error_shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Success { .. } => String::new(),
        Outcome::Failure { error } => error.split_at(error.floor_char_boundary(ERROR_SHOWN)).0.to_owned(),
    }
}

/// The first row of the table that applies.
fn row(
    job: &JobRecord,
    config: &Config,
    from: NodeId,
    submit: &Submit,
    (next, candidate): (SubmissionId, &SubmissionFact),
) -> Judgement {
    let same = |fact: &&SubmissionFact| {
        (fact.attempt, fact.session, fact.sequence) == (submit.attempt, submit.session, submit.sequence)
    };
    // D0, D1: the same submission again. Two brokers may both have judged it; the first answer stands.
    let before = job.submissions.values().filter(same).min_by_key(|fact| (fact.stamp, fact.verdict));
    if let Some(before) = before {
        if before.digest == submit.digest {
            let judgement = Judgement::answered(stored_answer(before), |s| &mut s.retransmission);
            return Judgement { again: true, ..judgement };
        }
        let evidence = Equivocation { first: before.digest, second: submit.digest };
        return Judgement::answered(Answer::Fault(evidence), |s| &mut s.fault);
    }
    // D8: the attempt was given to somebody else. An attempt that is not known yet is not foreign.
    let given = job.attempts.get(&submit.attempt).and_then(|record| record.given_to());
    if given.is_some_and(|given| given != (from, submit.session)) {
        return Judgement::answered(Answer::Rejected(Rejection::NotAssigned), |s| &mut s.foreign);
    }
    // D6: something else was run.
    if let Some(spec) = job.spec.as_ref().filter(|spec| spec.digest != submit.spec_digest) {
        let rejection = Rejection::StaleSpec { current: spec.digest };
        return Judgement::answered(Answer::Rejected(rejection), |s| &mut s.stale);
    }
    // It is not what it says it is, or more than is taken here.
    if let Some(rejection) = unfit(submit, config.result_max) {
        return Judgement::answered(Answer::Rejected(rejection), |s| &mut s.damaged);
    }
    // Nobody here can tell which of its results counts, or whether another may challenge it.
    let unresolved =
        || Judgement::answered(Answer::Busy { retry_after_ms: config.sync_interval_ms }, |s| &mut s.unresolved);
    if job.is_unresolved() {
        return unresolved();
    }
    let Some((canonical, standing)) = job.canonical_fact() else {
        // D5: nobody wants the result any more. (X25: it is taken all the same.)
        if job.is_cancelled() && !sabotage::on(25) {
            return Judgement::rejected(Rejection::Late { canonical: None }, |s| &mut s.late);
        }
        return match job.outranked(&submit.attempt) {
            Some(token) => not_current(token),
            None => first(job, config.retries, submit, candidate),
        };
    };
    if let Some(token) = job.outranked(&submit.attempt) {
        return not_current(token);
    }
    let repeated = job.submissions.values().any(|fact| fact.attempt == submit.attempt && fact.success);
    // D2 to D4, equal digest.
    if candidate.success && standing.digest == submit.digest {
        let agreement = job.agreement(submit.digest, Some(submit.attempt));
        return Judgement::rejected(Rejection::Equivalent { canonical, agreement }, |s| &mut s.equivalent);
    }
    if repeated {
        return Judgement::rejected(Rejection::Divergent, |s| &mut s.divergent);
    }
    // D3, D4, other digest.
    let Some(policy) = job.policy() else { return unresolved() };
    if job.first_stands() {
        return Judgement::rejected(Rejection::AlreadyAccepted { by: canonical }, |s| &mut s.divergent);
    }
    if job.is_settled() {
        return Judgement::rejected(Rejection::Settled { canonical }, |s| &mut s.late);
    }
    let wins = candidate.success && strategy::wins(job.id, policy, next, candidate, (canonical, standing));
    if wins {
        return Judgement::kept(Answer::Accepted { finality: Finality::Provisional }, |s| &mut s.divergent);
    }
    Judgement::rejected(Rejection::LostTo { canonical }, |s| &mut s.divergent)
}

/// Another attempt is to bring the result.
const fn not_current(token: FencingToken) -> Judgement {
    Judgement::rejected(Rejection::NotCurrent { token }, |s| &mut s.not_current)
}

/// Why a result cannot be taken as it came.
fn unfit(submit: &Submit, result_max: usize) -> Option<Rejection> {
    let bytes = match &submit.outcome {
        Outcome::Success { output } => output.as_slice(),
        Outcome::Failure { error } => error.as_bytes(),
    };
    if bytes.len() > result_max {
        return Some(Rejection::TooLarge { limit: u64::try_from(result_max).unwrap_or(u64::MAX) });
    }
    let found = ResultDigest::of(bytes);
    (found != submit.digest).then_some(Rejection::DigestMismatch { found })
}

/// No success is known here yet.
fn first(job: &JobRecord, retries: u32, submit: &Submit, candidate: &SubmissionFact) -> Judgement {
    if candidate.success {
        return Judgement::kept(Answer::Accepted { finality: Finality::Provisional }, |s| &mut s.accepted);
    }
    let mut reported = job.accepted().filter(|(_, fact)| fact.attempt == submit.attempt);
    if let Some((canonical, before)) = reported.next() {
        if before.digest == submit.digest {
            let rejection = Rejection::Equivalent { canonical, agreement: 1 };
            return Judgement::rejected(rejection, |s| &mut s.equivalent);
        }
        return Judgement::rejected(Rejection::Divergent, |s| &mut s.divergent);
    }
    // A failure counts only if nothing newer was started, and only while there is something to decide.
    let token = job.token(&submit.attempt);
    let current = job.attempt_in_force().map(|current| job.token(&current));
    match current.filter(|current| *current > token) {
        Some(token) => not_current(token),
        None if job.is_replaced(&submit.attempt) => not_current(current.unwrap_or(token)),
        None if job.failures() > retries => not_current(token),
        None => Judgement::kept(Answer::AcceptedFailure, |s| &mut s.failures),
    }
}

fn stored_answer(fact: &SubmissionFact) -> Answer {
    match fact.verdict {
        Verdict::Accepted if fact.success => Answer::Accepted { finality: Finality::Provisional },
        Verdict::Accepted => Answer::AcceptedFailure,
        Verdict::Refused(rejection) => Answer::Rejected(rejection),
    }
}

/// Bytes of an error's text that an event shows.
const ERROR_SHOWN: usize = 256;
