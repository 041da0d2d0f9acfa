//! Explanations as scripts see them.

use reconvene_broker::{Choice, Explanation, Ground, Lead, Obstacle};
use serde_json::{Map, Value, json};

use crate::show::{finality_name, phase_name, verdict_name};

/// An explanation: each ground with its code, its words, and what it speaks of.
pub(crate) fn json_of(explanation: &Explanation) -> Value {
    json!({
        "job": explanation.job.to_string(),
        "result": explanation.result.map(|result| result.to_string()),
        "status": explanation.status.name(),
        "told_by": explanation.told_by.to_string(),
        "owner": explanation.owner.to_string(),
        "epoch": explanation.epoch.0,
        "grounds": explanation.grounds.iter().map(ground).collect::<Vec<_>>(),
    })
}

fn ground(ground: &Ground) -> Value {
    let mut object =
        Map::from_iter([("code".to_owned(), json!(ground.code())), ("words".to_owned(), json!(ground.to_string()))]);
    if let Value::Object(about) = about(ground) {
        object.extend(about);
    }
    Value::Object(object)
}

fn about(ground: &Ground) -> Value {
    match ground {
        Ground::Owned { cause } => json!({"cause": format!("{cause:?}")}),
        Ground::Emergency { id, level, standing } => {
            json!({"emergency": id.to_string(), "level": level, "standing": format!("{standing:?}")})
        }
        Ground::OwnerPlaces { gone } => json!({"gone": gone}),
        Ground::Held { reason, for_ms } => json!({"reason": format!("{reason:?}"), "for_ms": for_ms}),
        Ground::Queued { place, waiting, strategy } => {
            json!({"place": place, "waiting": waiting, "strategy": strategy.short_name()})
        }
        Ground::Behind { job, by, needs } => json!({"job": job.to_string(), "by": lead(by), "needs": needs}),
        Ground::Executor { executor, obstacle } | Ground::WouldStartIf { executor, obstacle } => {
            json!({"executor": executor.to_string(), "obstacle": obstacle_json(obstacle)})
        }
        Ground::MoreExecutors { more } | Ground::MoreAttempts { more } | Ground::MoreResults { more } => {
            json!({"more": more})
        }
        Ground::RoomKept { executor, job, stopping, for_ms } => {
            json!({"executor": executor.to_string(), "job": job.to_string(), "stopping": stopping, "for_ms": for_ms})
        }
        Ground::NobodyPreempted { reason } => json!({"reason": reason.code()}),
        Ground::Preempted { attempt, by } => json!({"attempt": attempt.to_string(), "by": by.to_string()}),
        Ground::Reappeared { policy, keeps, stopped } => {
            let stopped: Vec<_> = stopped.iter().map(ToString::to_string).collect();
            json!({"policy": policy.to_string(), "keeps": keeps.map(|keeps| keeps.to_string()), "stopped": stopped})
        }
        Ground::CapableElsewhere { slots, within_ms } => json!({"slots": slots, "within_ms": within_ms}),
        Ground::Attempt { attempt, executor, phase, cause, choice, ago_ms, lost, replaced_by } => json!({
            "attempt": attempt.to_string(),
            "executor": executor.map(|executor| executor.to_string()),
            "phase": phase.map(phase_name),
            "cause": cause.map(|cause| format!("{cause:?}")),
            "choice": choice.map(choice_json),
            "ago_ms": ago_ms,
            "lost": lost.map(|cause| format!("{cause:?}")),
            "replaced_by": replaced_by.map(|next| next.to_string()),
        }),
        Ground::TriesUsed { failures, retries } => json!({"failures": failures, "retries": retries}),
        Ground::Cancelled { by, ago_ms, too_late } => {
            let by: Vec<_> = by.iter().map(ToString::to_string).collect();
            json!({"by": by, "ago_ms": ago_ms, "too_late": too_late})
        }
        Ground::Quarantined { reason, losses, owner, release_in_ms } => json!({
            "reason": format!("{reason:?}"),
            "losses": losses,
            "owner": owner.to_string(),
            "release_in_ms": release_in_ms,
        }),
        Ground::AwaitingPolicy { policy } => json!({"policy": policy.to_string()}),
        Ground::Decision { canonical, policy, strategy, candidates, by, finality, contest } => json!({
            "canonical": canonical.to_string(),
            "policy": policy.to_string(),
            "strategy": strategy.short_name(),
            "candidates": candidates,
            "by": by.as_ref().map(lead),
            "finality": finality_name(*finality),
            "contest": format!("{contest:?}"),
        }),
        Ground::Judged { submission, attempt, executor, success, rule, verdict, standing, behind_by, needs, named } => {
            json!({
                "submission": submission.to_string(),
                "attempt": attempt.to_string(),
                "executor": executor.to_string(),
                "success": success,
                "rule": rule.code(),
                "verdict": verdict_name(*verdict),
                "standing": standing.as_ref().map(reconvene_resolve::Reason::code),
                "behind_by": behind_by.as_ref().map(lead),
                "needs": needs,
                "named": named,
            })
        }
        Ground::Parked { attempt, executor, for_ms } => {
            json!({"attempt": attempt.to_string(), "executor": executor.to_string(), "for_ms": for_ms})
        }
        Ground::SpecificationMissing | Ground::Learning | Ground::NoExecutors | _ => json!({}),
    }
}

fn lead(by: &Lead) -> Value {
    json!({"link": by.link, "margin": by.margin, "words": by.words})
}

fn choice_json(choice: Choice) -> Value {
    let (second, fitting) = match choice {
        Choice::Of { fitting, second, .. } => (Some(second.to_string()), Some(fitting)),
        Choice::KeptRoom | Choice::OnlyOne | _ => (None, None),
    };
    json!({"words": choice.to_string(), "fitting": fitting, "second": second})
}

fn obstacle_json(obstacle: &Obstacle) -> Value {
    json!({"code": obstacle.code(), "words": obstacle.to_string()})
}
