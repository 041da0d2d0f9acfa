//! The results that nobody has answered for good yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reconvene_clock::{Timestamp, sabotage};

use crate::answer::Answer;
use crate::config::AgentConfig;
use crate::id::AttemptId;
use crate::message::Submit;
use crate::report::Outcome;
use crate::rng::Rng;
use crate::spec::JobSpec;

/// A result, and when it is sent again.
#[derive(Clone, Debug)]
struct Kept {
    submit: Submit,
    /// What was run, for brokers that have never heard of the job.
    spec: Arc<JobSpec>,
    /// Its place in `waiting` or `flying`.
    due: Timestamp,
    flying: bool,
    /// How long to wait for an answer the next time, in milliseconds.
    wait_ms: u64,
}

/// The results kept until a final answer, sent again and again, a bounded number of them at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    kept: BTreeMap<AttemptId, Kept>,
    bytes: usize,
    /// To be sent when due, in the order of (due, submission).
    waiting: BTreeSet<(Timestamp, u64, AttemptId)>,
    /// Sent and not answered; when due, they wait again.
    flying: BTreeSet<(Timestamp, u64, AttemptId)>,
}

impl Results {
    /// Keeps a result and makes it due at once.
    pub(super) fn keep(&mut self, submit: Submit, spec: Arc<JobSpec>, now: Timestamp, config: &AgentConfig) {
        let (attempt, sequence) = (submit.attempt, submit.sequence);
        self.bytes = self.bytes.saturating_add(size(&submit, &spec));
        self.waiting.insert((now, sequence, attempt));
        self.kept.insert(attempt, Kept { submit, spec, due: now, flying: false, wait_ms: config.resend_first_ms });
    }

    /// The next result to send now, if one is due and not too many are on their way.
    pub(super) fn next(&mut self, now: Timestamp, config: &AgentConfig, rng: &mut Rng) -> Option<Submit> {
        while let Some(&(due, sequence, attempt)) = self.flying.first()
            && due <= now
        {
            self.flying.pop_first();
            self.waiting.insert((due, sequence, attempt));
            if let Some(kept) = self.kept.get_mut(&attempt) {
                kept.flying = false;
            }
        }
        if self.flying.len() >= config.submits_in_flight {
            return None;
        }
        let &(due, sequence, attempt) = self.waiting.first()?;
        if due > now {
            return None;
        }
        self.waiting.pop_first();
        let kept = self.kept.get_mut(&attempt)?;
        kept.due = now.saturating_add(rng.jitter(kept.wait_ms).max(1));
        kept.flying = true;
        kept.wait_ms = kept.wait_ms.saturating_mul(2).min(config.resend_max_ms);
        // X28: what was sent counts as having arrived.
        if !sabotage::on(28) {
            self.flying.insert((kept.due, sequence, attempt));
        }
        Some(kept.submit.clone())
    }

    /// When [`next`](Self::next) may have something to send.
    pub(super) fn next_due(&self, config: &AgentConfig) -> Option<Timestamp> {
        let flying = self.flying.first().map(|(due, ..)| *due);
        let waiting = self.waiting.first().map(|(due, ..)| *due);
        match (flying, waiting) {
            (Some(flying), Some(waiting)) if self.flying.len() < config.submits_in_flight => Some(flying.min(waiting)),
            (Some(flying), _) => Some(flying),
            (None, waiting) => waiting,
        }
    }

    /// Takes an answer. `None` if no such submission is kept, or it does not change anything.
    pub(super) fn answer(
        &mut self,
        attempt: AttemptId,
        sequence: u64,
        answer: Answer,
        now: Timestamp,
        config: &AgentConfig,
    ) -> Option<Answer> {
        let kept = self.kept.get_mut(&attempt).filter(|kept| kept.submit.sequence == sequence)?;
        let place = (kept.due, sequence, attempt);
        if answer.is_final() {
            self.bytes = self.bytes.saturating_sub(size(&kept.submit, &kept.spec));
            self.flying.remove(&place);
            self.waiting.remove(&place);
            self.kept.remove(&attempt);
            return Some(answer);
        }
        let again_ms = match answer {
            Answer::Busy { retry_after_ms } => retry_after_ms.clamp(1, config.resend_max_ms),
            // The broker has a copy and answers when it can, but may be lost before; or it cannot take this result, and
            // the next home may: ask again, though seldom.
            Answer::Parked { .. }
            | Answer::Rejected(_)
            | Answer::Accepted { .. }
            | Answer::AcceptedFailure
            | Answer::Fault(_) => config.resend_max_ms,
        };
        // An answer that is not final counts once for each time the result was sent.
        if !kept.flying {
            return None;
        }
        self.flying.remove(&place);
        kept.flying = false;
        kept.due = now.saturating_add(again_ms);
        self.waiting.insert((kept.due, sequence, attempt));
        Some(answer)
    }

    /// Makes every result due now: there is somebody new to send it to.
    pub(super) fn all_due(&mut self, now: Timestamp, config: &AgentConfig) {
        self.flying.clear();
        self.waiting.clear();
        for (attempt, kept) in &mut self.kept {
            if sabotage::on(28) && kept.flying {
                continue;
            }
            kept.due = now;
            kept.flying = false;
            kept.wait_ms = config.resend_first_ms;
            self.waiting.insert((now, kept.submit.sequence, *attempt));
        }
    }

    /// Whether as many results can be kept as `running` attempts and one more may produce.
    pub(super) fn has_room(&self, running: usize, config: &AgentConfig) -> bool {
        self.kept.len().saturating_add(running) < config.kept_results && self.bytes < config.kept_bytes
    }

    /// What the attempt was ordered with whose result is kept.
    pub(super) fn spec(&self, attempt: AttemptId) -> Option<&JobSpec> {
        self.kept.get(&attempt).map(|kept| kept.spec.as_ref())
    }

    pub(super) fn contains(&self, attempt: AttemptId) -> bool {
        self.kept.contains_key(&attempt)
    }

    pub(super) fn ids(&self) -> Vec<AttemptId> {
        self.kept.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// What counts towards `kept_bytes`: the parts that clients and runners choose.
const fn size(submit: &Submit, spec: &JobSpec) -> usize {
    let outcome = match &submit.outcome {
        Outcome::Success { output } => output.len(),
        Outcome::Failure { error } => error.len(),
    };
    outcome.saturating_add(spec.payload.len())
}
