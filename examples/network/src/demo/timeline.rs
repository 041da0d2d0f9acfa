//! A picture of a run: brokers as lanes, executors below, what happened when. One HTML file without scripts or links.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use reconvene_executor::AttemptId;

use super::{
    evidence::{Announced, Evidence, Run},
    report::{BrokerName, Report},
};

/// What the picture shows beside the evidence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// When a broker finished an exchange with another one.
    pub(crate) syncs: Vec<(u64, usize)>,
    /// When the network was cut and healed, and the brokers of the one side.
    pub(crate) cut: Option<(u64, u64, BTreeSet<usize>)>,
    /// Which executors vanished, from when until when.
    pub(crate) vanished: Vec<(u64, u64, usize)>,
    /// When all was over.
    pub(crate) end_ms: u64,
}

impl Timeline {
    /// The whole file.
    pub(crate) fn html(&self, report: &Report, evidence: &Evidence) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut page, report, evidence);
        page
    }

    fn write(&self, page: &mut String, report: &Report, evidence: &Evidence) -> fmt::Result {
        let rows = rows(report.executors, &evidence.runs);
        let broker_lanes = count(report.brokers).saturating_mul(LANE);
        let executors_top = TOP.saturating_add(broker_lanes).saturating_add(GAP);
        let mut tops = Vec::new();
        let mut bottom = executors_top;
        for rows in &rows {
            tops.push(bottom);
            let slots = rows.values().max().map_or(1, |last| last.saturating_add(1));
            bottom = bottom.saturating_add(slots.saturating_mul(ROW)).saturating_add(GAP);
        }
        let height = bottom.saturating_add(2 * GAP);
        let verdict = if report.all_held() { "every check held" } else { "NOT every check held" };
        writeln!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Reconvene demo</title>"
        )?;
        writeln!(page, "<style>{STYLE}</style></head><body>")?;
        writeln!(
            page,
            "<h1>{} brokers, {} executors, {} jobs: {verdict}</h1>\n<p>Strategy {}, over {}, seed {}.</p>\n<p>{LEGEND}</p>",
            report.brokers, report.executors, report.jobs.submitted, report.strategy, report.transport, report.seed
        )?;
        writeln!(
            page,
            "<svg viewBox=\"0 0 {} {height}\" role=\"img\">",
            LEFT.saturating_add(WIDTH).saturating_add(GAP)
        )?;
        self.write_axis(page, bottom)?;
        if let Some((from, until, side)) = &self.cut {
            let text = format!("cut: {} on one side", list(side.iter().map(|broker| BrokerName(*broker))));
            let height = bottom.saturating_sub(TOP);
            writeln!(page, "{}", self.rect("cut", *from, *until, TOP, height, &text))?;
        }
        for broker in 0..report.brokers {
            self.write_broker(page, broker, evidence)?;
        }
        for (from, until, executor) in &self.vanished {
            if let (Some(top), Some(next)) =
                (tops.get(*executor), tops.get(executor.saturating_add(1)).or(Some(&bottom)))
            {
                let height = next.saturating_sub(*top).saturating_sub(GAP);
                let text = format!("executor {} out of reach", executor.saturating_add(1));
                writeln!(page, "{}", self.rect("vanished", *from, *until, *top, height, &text))?;
            }
        }
        let canonical: BTreeSet<AttemptId> = evidence
            .ends
            .first()
            .into_iter()
            .flat_map(|end| end.jobs.values())
            .filter_map(|job| Some(job.result()?.0))
            .collect();
        for (executor, (top, rows)) in tops.iter().zip(&rows).enumerate() {
            let label = top.saturating_add(ROW);
            writeln!(page, "<text x=\"4\" y=\"{label}\">executor {}</text>", executor.saturating_add(1))?;
            for (index, row) in rows {
                let Some(run) = evidence.runs.get(*index) else { continue };
                let (class, what) = match run.digest {
                    Some(_) if canonical.contains(&run.attempt) => ("counts", "its result counts"),
                    Some(_) => ("kept", "its result is kept, another one counts"),
                    None => ("stopped", "no result"),
                };
                let text =
                    format!("{} attempt {}.{}: {what}", run.attempt.job, run.attempt.epoch.0, run.attempt.number);
                let top = top.saturating_add(row.saturating_mul(ROW));
                let end = run.ended_ms.unwrap_or(self.end_ms);
                writeln!(page, "{}", self.rect(class, run.started_ms, end, top, ROW.saturating_sub(1), &text))?;
            }
        }
        writeln!(page, "</svg>\n<ul>")?;
        for check in &report.checks {
            let (class, mark) = if check.held { ("held", "held") } else { ("broken", "BROKEN") };
            let (name, detail) = (check.name.replace('_', " "), escaped(&check.detail));
            writeln!(page, "<li class=\"{class}\"><b>{mark}</b> {name} <i>{detail}</i></li>")?;
        }
        writeln!(page, "</ul></body></html>")
    }

    fn write_axis(&self, page: &mut String, bottom: u64) -> fmt::Result {
        let step = (self.end_ms / 12 / 1_000).max(1).saturating_mul(1_000);
        let mut at = 0_u64;
        while at <= self.end_ms {
            let x = self.x(at);
            writeln!(page, "<line class=\"axis\" x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\"/>")?;
            writeln!(page, "<text class=\"axis\" x=\"{x}\" y=\"{}\">{} s</text>", TOP.saturating_sub(4), at / 1_000)?;
            at = at.saturating_add(step);
        }
        Ok(())
    }

    fn write_broker(&self, page: &mut String, broker: usize, evidence: &Evidence) -> fmt::Result {
        let y = TOP.saturating_add(count(broker).saturating_mul(LANE)).saturating_add(LANE / 2);
        let name = BrokerName(broker);
        writeln!(page, "<text x=\"4\" y=\"{}\">{name}</text>", y.saturating_add(4))?;
        writeln!(
            page,
            "<line class=\"lane\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>",
            LEFT.saturating_add(WIDTH)
        )?;
        for (at, _) in self.syncs.iter().filter(|(_, by)| *by == broker) {
            let x = self.x(*at);
            let (top, bottom) = (y.saturating_sub(4), y.saturating_add(4));
            writeln!(page, "<line class=\"sync\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>")?;
        }
        for seen in evidence.seen.iter().filter(|seen| seen.broker == broker) {
            let (class, what) = match seen.what {
                Announced::Accepted(_) => continue,
                Announced::Redeployed => ("redeployed", "redeployed"),
                Announced::Superseded { .. } => ("superseded", "its result was superseded"),
            };
            let text = format!("{} s: {} {what}", seconds(seen.at_ms), seen.job);
            writeln!(page, "{}", self.dot(class, seen.at_ms, y, &text))?;
        }
        if let Some(record) = &evidence.emergency
            && let Some(at) = record.known_ms.get(broker).copied().flatten()
        {
            let text = format!("{} s: {name} knows of the emergency", seconds(at));
            writeln!(page, "{}", self.dot("emergency", at, y, &text))?;
        }
        Ok(())
    }

    fn rect(&self, class: &str, from_ms: u64, until_ms: u64, top: u64, height: u64, text: &str) -> String {
        let x = self.x(from_ms);
        let width = self.x(until_ms).saturating_sub(x).max(1);
        let text = escaped(text);
        format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"><title>{text}</title></rect>"
        )
    }

    fn dot(&self, class: &str, at_ms: u64, y: u64, text: &str) -> String {
        let (x, text) = (self.x(at_ms), escaped(text));
        format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"><title>{text}</title></circle>")
    }

    fn x(&self, at_ms: u64) -> u64 {
        let along = at_ms.min(self.end_ms).saturating_mul(WIDTH).checked_div(self.end_ms).unwrap_or(0);
        LEFT.saturating_add(along)
    }
}

/// For each executor, the row of each of its runs (by index), such that runs at the same time are in different rows.
fn rows(executors: usize, runs: &[Run]) -> Vec<BTreeMap<usize, u64>> {
    let mut lanes = vec![(BTreeMap::new(), Vec::<u64>::new()); executors];
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|index| runs.get(*index).map(|run| run.started_ms));
    for index in order {
        let Some(run) = runs.get(index) else { continue };
        let Some((rows, free_at)) = lanes.get_mut(run.executor) else { continue };
        let end = run.ended_ms.unwrap_or(u64::MAX);
        let row = match free_at.iter().position(|free| *free <= run.started_ms) {
            Some(row) => row,
            None => {
                free_at.push(0);
                free_at.len().saturating_sub(1)
            }
        };
        if let Some(free) = free_at.get_mut(row) {
            *free = end;
        }
        rows.insert(index, count(row));
    }
    lanes.into_iter().map(|(rows, _)| rows).collect()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn seconds(at_ms: u64) -> String {
    format!("{}.{:03}", at_ms / 1_000, at_ms % 1_000)
}

fn list(items: impl Iterator<Item = impl fmt::Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const LEFT: u64 = 96;
const WIDTH: u64 = 1_200;
const TOP: u64 = 24;
const LANE: u64 = 30;
const ROW: u64 = 7;
const GAP: u64 = 8;
const LEGEND: &str = "Brokers above, executors below; time runs to the right. \
<span class=\"k cut\">cut in two</span> <span class=\"k vanished\">executor out of reach</span> \
<span class=\"k counts\">run whose result counts</span> <span class=\"k kept\">run whose result is kept only</span> \
<span class=\"k stopped\">run without result</span> <span class=\"k redeployed\">job redeployed</span> \
<span class=\"k superseded\">result superseded</span> <span class=\"k emergency\">emergency known</span>; \
small strokes are exchanges between brokers. Point at anything for more.";
const STYLE: &str = "\
body{font:14px system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff;max-width:90rem}\
h1{font-size:1.2rem}svg{width:100%;height:auto}text{font-size:11px;fill:currentColor}\
.axis{stroke:#8884;font-size:10px}text.axis{stroke:none}.lane{stroke:#888}.sync{stroke:#38c}\
.k{padding:0 .4em;border-radius:3px;color:#111}\
.cut{fill:#f5d76e55;background:#f5d76e88}.vanished{fill:#9995;background:#9997}\
.counts{fill:#4a9;background:#4a9}.kept{fill:#e90;background:#e90}.stopped{fill:#b9b9c9;background:#b9b9c9}\
.redeployed{fill:#e90;background:#e90}.superseded{fill:#a5d;background:#a5d}.emergency{fill:#d33;background:#d33}\
.broken{color:#d33}li i{opacity:.7}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1b}}";

#[cfg(test)]
mod tests {
    use reconvene_clock::ReplicaId;
    use reconvene_executor::{JobId, OwnershipEpoch};

    use super::*;

    fn run(from: u64, to: Option<u64>) -> Run {
        let job = JobId { admitted_by: ReplicaId::new(1).unwrap(), sequence: from };
        let attempt = AttemptId { job, epoch: OwnershipEpoch(1), owner: job.admitted_by, number: 1 };
        Run { executor: 0, attempt, started_ms: from, ended_ms: to, digest: None }
    }

    #[test]
    fn runs_at_the_same_time_get_rows_of_their_own() {
        let runs = [run(0, Some(10)), run(5, None), run(10, Some(20)), run(12, Some(14))];
        let rows = rows(2, &runs);
        assert_eq!(rows[0], BTreeMap::from([(0, 0), (1, 1), (2, 0), (3, 2)]));
        assert!(rows[1].is_empty());
    }

    #[test]
    fn text_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
