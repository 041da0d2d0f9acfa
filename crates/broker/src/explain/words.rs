//! Explanations in words.

use core::fmt::{self, Display, Formatter};

use reconvene_executor::{AttemptId, Finality, Reappearance};
use reconvene_resolve::Reason;

use crate::explain::{Choice, Contest, EmergencyStanding, Explanation, Ground, Lead, Obstacle, Preference, ResultRule};
use crate::fact::{AttemptCause, HoldReason, OwnCause, Phase, Verdict};
use crate::{LossCause, WaitReason};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(result) = self.result {
            write!(f, "result {result} of ")?;
        }
        write!(f, "job {}: {}", self.job, self.status.name())?;
        write!(f, "\n  as broker {} knows it; owner {}, epoch {}", self.told_by, self.owner, self.epoch)?;
        for ground in &self.grounds {
            write!(f, "\n  {ground}")?;
        }
        Ok(())
    }
}

impl Display for Ground {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpecificationMissing => {
                f.write_str("its specification has not arrived here; something that did refers to it")
            }
            Self::Owned { cause } => f.write_str(match cause {
                OwnCause::HandedOver => "handed over to its owner, whose executors can run it or have more room",
                OwnCause::TakenOver => "taken over by its owner, because the one before was silent",
            }),
            Self::Emergency { id, level, standing } => match standing {
                EmergencyStanding::InForce => write!(f, "serves emergency {id}, level {level}"),
                EmergencyStanding::Ended => write!(f, "emergency {id}, which it names, has ended: no level"),
                EmergencyStanding::OutOfScope => {
                    write!(f, "emergency {id}, which it names, does not cover its region: no level")
                }
                EmergencyStanding::Unknown => write!(f, "emergency {id}, which it names, is not known here: no level"),
            },
            Self::OwnerPlaces { gone: false } => f.write_str("its owner places it: ask there what it waits for"),
            Self::OwnerPlaces { gone: true } => f.write_str("its owner is silent: another broker takes it over"),
            Self::Learning => f.write_str("this broker has come back and first learns what happened meanwhile"),
            Self::Held { reason, for_ms } => {
                f.write_str(held(*reason))?;
                match for_ms {
                    Some(ms) => write!(f, ", for {} more", seconds(*ms)),
                    None => Ok(()),
                }
            }
            Self::Queued { place, waiting, strategy } => {
                write!(f, "number {place} of {waiting} waiting here, ranked by {strategy}")
            }
            Self::Behind { job, by, needs } => {
                write!(f, "behind {job} in {} by {}; to go first: it {needs}", by.link, by.words)
            }
            Self::Executor { executor, obstacle } => write!(f, "executor {executor}: {obstacle}"),
            Self::MoreExecutors { more } => write!(f, "and {more} more executors"),
            Self::NoExecutors => f.write_str("no executor is registered here"),
            Self::CapableElsewhere { slots, within_ms } => {
                let within = seconds(*within_ms);
                write!(f, "{slots} slots at other brokers could run it; to hand it over is considered within {within}")
            }
            Self::RoomKept { executor, job, stopping, for_ms } => {
                write!(f, "room at executor {executor} is kept for {job}, for {} more at most", seconds(*for_ms))?;
                match stopping {
                    0 => Ok(()),
                    1 => f.write_str("; 1 attempt there comes to an end for it"),
                    _ => write!(f, "; {stopping} attempts there come to an end for it"),
                }
            }
            Self::NobodyPreempted { reason } => write!(f, "{reason}"),
            Self::Preempted { attempt, by } => {
                write!(f, "attempt {} was stopped so that {by}, which is graver, got its place", short(attempt))
            }
            Self::Reappeared { policy, keeps, stopped } => reappeared(*policy, *keeps, stopped, f),
            Self::WouldStartIf { executor, obstacle } => {
                write!(f, "it would start if executor {executor} ")?;
                wanted(obstacle, f)
            }
            Self::Attempt { .. } => attempt(self, f),
            Self::MoreAttempts { more } => write!(f, "and {more} more attempts"),
            Self::TriesUsed { failures, retries } => {
                write!(f, "{failures} attempts placed by its owner failed, and {retries} failures are tried again")
            }
            Self::Cancelled { by, ago_ms, too_late } => {
                write!(f, "cancelled by a client of")?;
                for broker in by {
                    write!(f, " {broker}")?;
                }
                write!(f, " {} ago", seconds(*ago_ms))?;
                if *too_late { f.write_str(", too late: a result was accepted, and stands") } else { Ok(()) }
            }
            Self::Quarantined { reason, losses, owner, release_in_ms } => {
                match reason {
                    HoldReason::LossBudget => {
                        write!(f, "in quarantine: {losses} attempts placed by {owner} were lost")?
                    }
                    HoldReason::PoisonSuspected => {
                        write!(
                            f,
                            "in quarantine: executors crashed under attempts placed by {owner}, and no others did"
                        )?;
                    }
                }
                match (release_in_ms, reason) {
                    (Some(ms), _) => write!(f, "; released in {}", seconds(*ms)),
                    (None, HoldReason::LossBudget) => f.write_str("; its owner releases it after a while"),
                    (None, HoldReason::PoisonSuspected) => f.write_str("; an operator has to release it"),
                }
            }
            Self::AwaitingPolicy { policy } => {
                write!(f, "policy {policy}, which must judge its results, is not known here")
            }
            Self::Decision { .. } => decision(self, f),
            Self::Judged { .. } => judged(self, f),
            Self::MoreResults { more } => write!(f, "and {more} more results"),
            Self::Parked { attempt, executor, for_ms } => write!(
                f,
                "a result of attempt {attempt} by executor {executor} is kept here until the job is known, for {} more \
                 at most",
                seconds(*for_ms)
            ),
        }
    }
}

/// An attempt, of a job that was named before.
fn short(attempt: &AttemptId) -> String {
    format!("{}.{} of {}", attempt.epoch, attempt.number, attempt.owner)
}

fn reappeared(
    policy: Reappearance,
    keeps: Option<AttemptId>,
    stopped: &[AttemptId],
    f: &mut Formatter<'_>,
) -> fmt::Result {
    if stopped.is_empty() {
        return write!(f, "a lost attempt came back while another ran: by {policy} all go on until one has a result");
    }
    write!(f, "a lost attempt came back while another ran: by {policy}")?;
    for (place, attempt) in stopped.iter().take(Explanation::LISTED).enumerate() {
        write!(f, "{} {}", if place == 0 { "" } else { "," }, short(attempt))?;
    }
    f.write_str(if stopped.len() == 1 { " was stopped" } else { " were stopped" })?;
    match keeps {
        Some(keeps) => write!(f, ", and {} goes on", short(&keeps)),
        None => Ok(()),
    }
}

fn attempt(ground: &Ground, f: &mut Formatter<'_>) -> fmt::Result {
    let Ground::Attempt { attempt, executor, phase, cause, choice, ago_ms, lost, replaced_by } = ground else {
        return Ok(());
    };
    write!(f, "attempt {}.{} of {}", attempt.epoch, attempt.number, attempt.owner)?;
    match executor {
        Some(executor) => write!(f, " on executor {executor}: ")?,
        None => f.write_str(" on an executor not known here: ")?,
    }
    f.write_str(match phase {
        Some(Phase::Offered) => "offered",
        Some(Phase::Leased) => "taken, not begun",
        Some(Phase::Running) => "running",
        Some(Phase::Lost) => "lost",
        Some(Phase::Refused) => "refused",
        Some(Phase::Preempted) => "preempted",
        Some(Phase::Cancelled) => "stopped",
        Some(Phase::Failed) => "failed",
        Some(Phase::Finished) => "finished",
        None => "nothing heard",
    })?;
    if let Some(cause) = lost {
        write!(f, ", as {}", loss(*cause))?;
    }
    if let Some(cause) = cause {
        f.write_str(match cause {
            AttemptCause::First => "; the first attempt",
            AttemptCause::Redeployed => "; made because the one before was lost",
            AttemptCause::Retried => "; made because the one before failed",
            AttemptCause::Refused => "; made because the one before was refused",
            AttemptCause::Preempted => "; made because the one before was preempted",
        })?;
    }
    if let Some(choice) = choice {
        write!(f, ", there because {choice}")?;
    } else if phase.is_some_and(Phase::is_live) && executor.is_some() {
        f.write_str(", there because it was the least busy with room for it")?;
        if *cause == Some(AttemptCause::Redeployed) {
            f.write_str(", of those that had not lost it if there were any")?;
        }
    }
    if let Some(ms) = ago_ms {
        write!(f, "; placed {} ago", seconds(*ms))?;
    }
    if let Some(next) = replaced_by {
        write!(f, "; replaced by {}.{} of {}", next.epoch, next.number, next.owner)?;
    }
    Ok(())
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeptRoom => f.write_str("its room was kept for the job"),
            Self::OnlyOne => f.write_str("no other could take the job then"),
            Self::Of { fitting, second, by } => {
                match by {
                    Preference::HadNotLostIt => write!(f, "it had not lost the job before, unlike {second}")?,
                    Preference::LessBusy { used, slots, second_used, second_slots } => write!(
                        f,
                        "it was less busy ({used} of {slots} slots) than {second} ({second_used} of {second_slots})"
                    )?,
                    Preference::MoreEvenly => {
                        write!(f, "it was as busy as {second} and is used more evenly with the job")?;
                    }
                    Preference::Name => write!(f, "it was as good as {second} and its name comes first")?,
                }
                write!(f, ", of {fitting} that could take it")
            }
        }
    }
}

fn decision(ground: &Ground, f: &mut Formatter<'_>) -> fmt::Result {
    let Ground::Decision { canonical, policy, strategy, candidates, by, finality, contest } = ground else {
        return Ok(());
    };
    write!(f, "its result is {canonical}: ")?;
    match by {
        Some(Lead { link, words, .. }) => {
            write!(f, "{strategy} chose it of {candidates}, in {link} {words} ahead of the second")?;
        }
        None => write!(f, "{strategy} had no other to choose from")?,
    }
    write!(f, " (policy {policy})")?;
    f.write_str(match contest {
        Contest::FirstStands => "; the first accepted result stands",
        Contest::Open => "; challengers are admitted until the job is settled",
        Contest::Settled => "; settled, no challenger is admitted",
    })?;
    f.write_str(match finality {
        Finality::Provisional => "; provisional: a broker not heard since may know one that goes before it",
        Finality::Stable => "; stable: every member has confirmed it",
    })
}

fn judged(ground: &Ground, f: &mut Formatter<'_>) -> fmt::Result {
    let Ground::Judged { submission, attempt, executor, success, rule, verdict, .. } = ground else { return Ok(()) };
    let Ground::Judged { standing, behind_by, needs, named, .. } = ground else { return Ok(()) };
    let what = if *success { "result" } else { "failure" };
    write!(f, "{what} {submission} of attempt {}.{} of {}", attempt.epoch, attempt.number, attempt.owner)?;
    write!(f, " on executor {executor}: ")?;
    match verdict {
        Verdict::Accepted if *rule == ResultRule::CurrentAttempt => f.write_str("taken, as of the current attempt")?,
        Verdict::Accepted if *rule == ResultRule::First => f.write_str("accepted, as no other was known there")?,
        Verdict::Accepted => write!(f, "accepted as a challenger ({})", rule.code())?,
        Verdict::Refused(rejection) => {
            write!(f, "refused ({}): ", rule.code())?;
            refusal(rejection, f)?;
        }
    }
    match standing {
        Some(Reason::Chosen | Reason::OnlyCandidate) => f.write_str("; it counts")?,
        Some(Reason::AgreesWith { .. }) => f.write_str("; the same result as the one that counts")?,
        Some(Reason::LostTo { winner, .. }) => {
            let [replica, number] = winner.0;
            let behind = if *verdict == Verdict::Accepted && *named { "superseded by" } else { "behind" };
            write!(f, "; {behind} {replica:016x}/{number}")?;
        }
        Some(standing) => write!(f, "; {standing}")?,
        None => {}
    }
    if let Some(Lead { link, words, .. }) = behind_by {
        write!(f, " in {link} by {words}")?;
    }
    match needs {
        Some(needs) => write!(f, "; to count: it {needs}"),
        None => Ok(()),
    }
}

fn refusal(rejection: &reconvene_executor::Rejection, f: &mut Formatter<'_>) -> fmt::Result {
    use reconvene_executor::Rejection as R;
    match rejection {
        R::NotAssigned => f.write_str("the attempt was never given to it"),
        R::StaleSpec { .. } => f.write_str("another specification was run"),
        R::Late { canonical: None } => f.write_str("the job was over"),
        R::Late { canonical: Some(canonical) } => write!(f, "the job was over, with {canonical}"),
        R::Equivalent { canonical, agreement } => {
            write!(f, "{canonical} is the same result, {agreement} attempts agree")
        }
        R::Divergent => f.write_str("the attempt had submitted another result"),
        R::AlreadyAccepted { by } => write!(f, "{by} was accepted first, and the first stands"),
        R::LostTo { canonical } => write!(f, "{canonical} goes before it"),
        R::Settled { canonical } => write!(f, "the job was settled, with {canonical}"),
        R::NotCurrent { token } => {
            write!(f, "attempt {}.{} of {} is the current one", token.epoch, token.number, token.owner)
        }
        R::DigestMismatch { found } => write!(f, "its digest is not that of its bytes, which is {found}"),
        R::TooLarge { limit } => write!(f, "more than {limit} bytes"),
    }
}

impl Display for Obstacle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("has room; what goes before it may take it"),
            Self::NoFreeSlot { slots } => write!(f, "none of its {slots} slots is free"),
            Self::Reason(reason) => reason.fmt(f),
            Self::Refused { again_in_ms: Some(ms) } => write!(f, "refused it; asked again in {}", seconds(*ms)),
            Self::Refused { again_in_ms: None } => f.write_str("refused it; asked again when it registers again"),
            Self::Silent { for_ms } => write!(f, "silent for {}", seconds(*for_ms)),
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::AwaitsRegistration => f.write_str("given nothing before it registers again"),
            Self::Draining => f.write_str("takes no more work"),
            Self::Gone => f.write_str("gone"),
            Self::TooSmall(Reason::WaitingForCapacity { dimension, short_by }) => {
                write!(f, "too small even when idle: short of {short_by} in {dimension}")
            }
            Self::TooSmall(reason) => write!(f, "too small even when idle: {reason}"),
            Self::Elsewhere { home } => write!(f, "takes its orders from broker {home}"),
        }
    }
}

/// What an executor would have to be like.
fn wanted(obstacle: &Obstacle, f: &mut Formatter<'_>) -> fmt::Result {
    match obstacle {
        Obstacle::None => f.write_str("were not taken by one before it"),
        Obstacle::NoFreeSlot { .. } => f.write_str("had a free slot"),
        Obstacle::Reason(Reason::WaitingForCapacity { dimension, short_by }) => {
            write!(f, "had {short_by} more {dimension} free")
        }
        Obstacle::Reason(Reason::KeptAsHeadRoom { dimension, short_by }) => {
            write!(f, "and the others had {short_by} more {dimension} free beside the head room")
        }
        Obstacle::Reason(Reason::NoExecutorWithTags { missing }) => {
            f.write_str("had the tags")?;
            missing.iter().try_for_each(|tag| write!(f, " {tag}"))
        }
        Obstacle::Reason(reason) => write!(f, "were not held back: {reason}"),
        Obstacle::Refused { .. } => f.write_str("took it when asked again"),
        Obstacle::Silent { .. } => f.write_str("were heard again"),
        Obstacle::Unreachable => f.write_str("could be reached"),
        Obstacle::AwaitsRegistration | Obstacle::Gone => f.write_str("registered again"),
        Obstacle::Draining => f.write_str("took work again"),
        Obstacle::TooSmall(Reason::WaitingForCapacity { dimension, short_by }) => {
            write!(f, "were larger by {short_by} {dimension}")
        }
        Obstacle::TooSmall(_) => f.write_str("were larger"),
        Obstacle::Elsewhere { .. } => f.write_str("registered here"),
    }
}

const fn held(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Capacity => "executors that could run it are busy",
        WaitReason::NoExecutor => "no executor known here could run it",
        WaitReason::Crashed => "executors crashed under it: waits until it is clear whether others did too",
        WaitReason::Recovering => "taken over: its attempts under the owner before may still be at work",
        WaitReason::StormGuard => "its last attempt was lost while this broker takes itself for cut off (storm guard)",
        WaitReason::Reappearing => "another broker has given up its attempt, which an executor here still has",
    }
}

const fn loss(cause: LossCause) -> &'static str {
    match cause {
        LossCause::Silence => "nothing was heard of it for longer than its lease",
        LossCause::NewSession => "its executor came back in a new session",
        LossCause::NotHeld => "its executor registered without it",
        LossCause::Left => "its executor left",
        LossCause::HomeSilent => "the broker of its executor is silent",
        LossCause::ResultRefused => "its result could not be taken as it came",
        LossCause::Unwatched => "no broker that is there sees it at work",
    }
}

pub(super) fn seconds(ms: u64) -> impl Display {
    struct Seconds(u64);
    impl Display for Seconds {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            let Self(ms) = self;
            match (ms / 1_000, ms % 1_000) {
                (0, ms) => write!(f, "{ms} ms"),
                (s, 0..100) => write!(f, "{s} s"),
                (s, ms) => write!(f, "{s}.{} s", ms / 100),
            }
        }
    }
    Seconds(ms)
}
