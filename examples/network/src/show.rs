//! Jobs and brokers as people and scripts see them.

use std::{fmt::Write as _, io::Write as _};

use anyhow::Context as _;
use comfy_table::{Table, presets};
use reconvene_broker::{AttemptView, JobView, NodeStatus, Phase, ResultView, Statistics, SubmissionView, Verdict};
use reconvene_executor::{Finality, Rejection};
use reconvene_sync::PeerState;
use serde_json::{Value, json};

use crate::exit::Failure;

/// Writes data to standard output.
///
/// # Errors
/// If it takes nothing.
pub(crate) fn print(data: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush());
    written.context("cannot write to standard output").map_err(Failure::from)
}

/// Writes a JSON value to standard output, for people to read as well.
///
/// # Errors
/// If it takes nothing.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    // The alternate form of a value is JSON with lines and indents.
    print(&format!("{value:#}\n"))
}

/// One job with everything known of it.
pub(crate) fn job_json(job: &JobView) -> Value {
    json!({
        "id": job.id.to_string(),
        "status": job.status.name(),
        "client": job.client,
        "key": job.client_key,
        "priority": job.priority,
        "region": job.region,
        "level": job.level,
        "submitted_ms": job.submitted.map(|stamp| stamp.millis()),
        "strategy": job.strategy.map(|strategy| strategy.short_name()),
        "owner": job.owner.to_string(),
        "epoch": job.epoch.0,
        "settled": job.settled,
        "attempts": job.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        "submissions": job.submissions.iter().map(submission_json).collect::<Vec<_>>(),
        "result": job.result.as_ref().map(result_json),
    })
}

fn attempt_json(attempt: &AttemptView) -> Value {
    json!({
        "id": attempt.id.to_string(),
        "executor": attempt.executor.map(|executor| executor.to_string()),
        "phase": attempt.phase.map(phase_name),
    })
}

fn submission_json(submission: &SubmissionView) -> Value {
    json!({
        "id": submission.id.to_string(),
        "attempt": submission.attempt.to_string(),
        "executor": submission.executor.to_string(),
        "digest": submission.digest.to_string(),
        "success": submission.success,
        "accepted": submission.accepted,
        "verdict": verdict_name(submission.verdict),
        "judged_ms": submission.stamp.millis(),
        "quality_bp": submission.quality_bp,
        "cost_resource_ms": submission.cost_resource_ms,
    })
}

fn result_json(result: &ResultView) -> Value {
    let text = result.output.as_deref().map(std::str::from_utf8);
    json!({
        "submission": result.submission.to_string(),
        "digest": result.digest.to_string(),
        "finality": finality_name(result.finality),
        "agreement": result.agreement,
        // One of the two, or neither where only the digest is kept.
        "output": text.and_then(Result::ok),
        "output_hex": text.is_some_and(|text| text.is_err()).then(|| result.output.as_deref().map(hex)),
    })
}

/// One job for people.
pub(crate) fn job_text(job: &JobView) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // A String takes everything.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("job", &job.id);
    line("status", &job.status.name());
    if !job.client.is_empty() {
        line("client", &format_args!("{}, key {}", shown(job.client.as_bytes()), job.client_key));
    }
    line("priority", &job.priority);
    if job.level > 0 {
        line("level", &job.level);
    }
    if let Some(strategy) = job.strategy {
        line("strategy", &strategy.short_name());
    }
    line("owner", &format_args!("{} (epoch {})", job.owner, job.epoch.0));
    for attempt in &job.attempts {
        let executor = attempt.executor.map_or_else(|| "an executor not known here".to_owned(), |id| id.to_string());
        let phase = attempt.phase.map_or("unknown", phase_name);
        line("attempt", &format_args!("{} on {executor}: {phase}", attempt.id));
    }
    for submission in &job.submissions {
        let what = if submission.success { "result" } else { "failure" };
        line("judged", &format_args!("{what} of {}: {}", submission.attempt, verdict_name(submission.verdict)));
    }
    match &job.result {
        Some(result) => {
            line("result", &format_args!("{} ({})", result.digest, finality_name(result.finality)));
            if let Some(output) = &result.output {
                line("output", &shown(output));
            }
        }
        None => line("result", &"none yet"),
    }
    text
}

/// Jobs, one a line.
pub(crate) fn jobs_text(jobs: &[JobView]) -> String {
    let mut table = table(&["JOB", "STATUS", "PRIORITY", "OWNER", "ATTEMPTS", "RESULT"]);
    for job in jobs {
        let digest = job.result.as_ref().map(|result| result.digest.to_string().chars().take(16).collect::<String>());
        table.add_row(vec![
            job.id.to_string(),
            job.status.name().to_owned(),
            job.priority.to_string(),
            job.owner.to_string(),
            job.attempts.len().to_string(),
            digest.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    text_of(&table)
}

/// A broker with every counter.
pub(crate) fn status_json(address: &str, status: &NodeStatus, statistics: &Statistics) -> anyhow::Result<Value> {
    let peers = status.peers.iter().map(|peer| {
        json!({
            "node": peer.node.to_string(),
            "address": peer.address,
            "state": peer_state_name(peer.state),
            "converged_ms_ago": peer.converged_ms_ago,
        })
    });
    Ok(json!({
        "node": status.node.to_string(),
        "address": address,
        "replica": status.replica.to_string(),
        "incarnation": status.incarnation,
        "strategy": status.strategy.short_name(),
        "digest": status.digest,
        "peers": peers.collect::<Vec<_>>(),
        "executors": status.executors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "jobs": {"known": status.jobs, "completed": status.completed},
        "sync": {"sessions": status.sessions, "bytes_sent": status.bytes_sent},
        "counters": serde_json::to_value(statistics)?,
    }))
}

/// A broker for people.
pub(crate) fn status_text(address: &str, status: &NodeStatus, statistics: &Statistics) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("broker", &format_args!("{} at {address}", status.node));
    line("replica", &format_args!("{} (incarnation {})", status.replica, status.incarnation));
    line("strategy", &status.strategy.short_name());
    line("digest", &status.digest);
    let Statistics { jobs_open, jobs_waiting, .. } = statistics;
    line(
        "jobs",
        &format_args!(
            "{} known, {} completed, {jobs_open} open, {jobs_waiting} waiting here",
            status.jobs, status.completed
        ),
    );
    line("sync", &format_args!("{} sessions, {} bytes sent", status.sessions, status.bytes_sent));
    line("executors", &status.executors.len());
    for executor in &status.executors {
        line("", executor);
    }
    line("peers", &status.peers.len());
    let mut table = table(&["PEER", "ADDRESS", "STATE", "IN SYNC"]);
    for peer in &status.peers {
        table.add_row(vec![
            peer.node.to_string(),
            peer.address.as_deref().map_or_else(|| "-".to_owned(), |address| shown(address.as_bytes())),
            peer_state_name(peer.state).to_owned(),
            peer.converged_ms_ago.map_or_else(|| "no".to_owned(), |ms| format!("{ms} ms ago")),
        ]);
    }
    if !status.peers.is_empty() {
        text.push_str(&text_of(&table));
    }
    text
}

pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.to_vec());
    table
}

pub(crate) fn text_of(table: &Table) -> String {
    table.lines().fold(String::new(), |mut text, line| {
        text.push_str(line.trim());
        text.push('\n');
        text
    })
}

pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Offered => "offered",
        Phase::Leased => "leased",
        Phase::Running => "running",
        Phase::Lost => "lost",
        Phase::Refused => "refused",
        Phase::Preempted => "preempted",
        Phase::Cancelled => "cancelled",
        Phase::Failed => "failed",
        Phase::Finished => "finished",
    }
}

pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Refused(rejection) => match rejection {
            Rejection::NotAssigned => "not_assigned",
            Rejection::StaleSpec { .. } => "stale_spec",
            Rejection::Late { .. } => "late",
            Rejection::Equivalent { .. } => "equivalent",
            Rejection::Divergent => "divergent",
            Rejection::AlreadyAccepted { .. } => "already_accepted",
            Rejection::LostTo { .. } => "lost_to",
            Rejection::Settled { .. } => "settled",
            Rejection::NotCurrent { .. } => "not_current",
            Rejection::DigestMismatch { .. } => "digest_mismatch",
            Rejection::TooLarge { .. } => "too_large",
        },
        _ => "unknown",
    }
}

pub(crate) fn finality_name(finality: Finality) -> &'static str {
    match finality {
        Finality::Provisional => "provisional",
        Finality::Stable => "stable",
    }
}

fn peer_state_name(state: PeerState) -> &'static str {
    match state {
        PeerState::Alive => "alive",
        PeerState::Suspect => "suspect",
        PeerState::Unreachable => "unreachable",
        PeerState::Left => "left",
        PeerState::Retired => "retired",
        _ => "unknown",
    }
}

/// Text on one line of a terminal; what other people wrote cannot move the cursor.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => format!("0x{}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(shown(b"frame 12"), "frame 12");
        assert_eq!(shown(b"a\n\x1b[2J"), "a\\n\\u{1b}[2J");
        assert_eq!(shown(&[0xff, 0x01]), "0xff01");
    }

    #[test]
    fn every_counter_has_a_name() {
        let counters = serde_json::to_value(Statistics::default()).unwrap();
        assert_eq!(counters["submitted"], 0);
        assert!(counters.as_object().unwrap().len() > 20);
    }
}
