//! What came of the rows, for people, for scripts and for the documentation.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::row::Row;

/// What came of one row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: &'static str,
    pub(crate) requirement: &'static str,
    pub(crate) held: bool,
    pub(crate) detail: String,
    pub(crate) elapsed_ms: u64,
}

/// A table for people.
pub(crate) fn table(shown: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ID", "HELD", "SECONDS", "REQUIREMENT", "SEEN"]);
    for row in shown {
        let held = if row.held { "yes" } else { "NO" };
        table.add_row([row.id, held, &seconds(row.elapsed_ms), row.requirement, &row.detail]);
    }
    format!("{table}\n")
}

/// The page of the documentation: what each row proves, and what came of it.
pub(crate) fn markdown(rows: &[(&Row, &Shown)], speed: u32) -> String {
    let mut page = format!(
        "# Conformance\n\nWritten by `reconvene verify --markdown docs/conformance.md`: brokers and executors as processes \
         of their own on loopback sockets, with redb stores, cut by a proxy between them; every duration of the design \
         divided by {speed}. A row holds by what an observer outside the brokers saw: what clients were answered, what \
         executors wrote down that they ran, what an executor in the observer's own hands was told, and files.\n\n\
         | id | requirement | held | seconds |\n|---|---|---|---|\n"
    );
    // A String takes everything.
    for (row, shown) in rows {
        let held = if shown.held { "yes" } else { "**no**" };
        let _ = writeln!(page, "| {} | {} | {held} | {} |", row.id, row.requirement, seconds(shown.elapsed_ms));
    }
    page.push_str("\n## What each row proves\n");
    for (row, shown) in rows {
        let Row { id, requirement, given, when, then, proof, .. } = row;
        let _ = write!(
            page,
            "\n### {id}: {requirement}\n\n- *Given* {given}\n- *When* {when}\n- *Then* {then}\n- *Why that proves it*: \
             {proof}\n- *Seen*: {}\n",
            shown.detail
        );
    }
    page.push_str(REAL_LOG);
    page.push_str(BROKEN_ON_PURPOSE);
    page
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

/// What is shown on simulated brokers alone.
const REAL_LOG: &str = "
## A real log

Beside these rows, on simulated brokers: `reconvene-sim lcg --longest-hours 1` replays the first day of the log of the LCG grid,
13,651 jobs on 17 brokers and 34 executors, with 4 cuts through the network, 34 silences and 14 crashes of executors and 3
restarts of brokers. No job was lost, each had one canonical result, the same everywhere, and all brokers held the same
records at the end.

| redeployments | duplicate results | superseded | wait, jobs under 10 minutes: nine of ten | longer jobs |
|---|---|---|---|---|
| 1,156 | 265 | 119 | 16 s | 60 s |

The whole log, eleven days and 188,041 jobs with compaction on, keeps the same promises, with 44 cuts, 374 silences, 202 crashes of
executors and 33 restarts of brokers (`reconvene-sim lcg --days 0 --longest-hours 1 --forget`); the 17 brokers together took 953 MiB:

| redeployments | duplicate results | superseded | wait, jobs under 10 minutes: nine of ten | longer jobs |
|---|---|---|---|---|
| 15,138 | 4,307 | 1,862 | 1 s | 60 s |

[lcg.md](lcg.md) has the rest of the figures, and says what was not run.
";

/// How to see a row fail.
const BROKEN_ON_PURPOSE: &str = "
## Brokers that are broken on purpose

A row that cannot fail proves nothing. `--broker-program FILE` runs other brokers, and a build with `--cfg
reconvene_sabotage` breaks the rule that the environment names:

```console
$ RUSTFLAGS='--cfg reconvene_sabotage' cargo build -p reconvene-network --target-dir target/sabotage
$ RECONVENE_SABOTAGE=26 reconvene verify --broker-program target/sabotage/debug/reconvene --only SC1 --only BB8 --only BB11
$ RECONVENE_SABOTAGE=29 reconvene verify --broker-program target/sabotage/debug/reconvene --only SC1
```

With X26 (the first result to arrive stays the job's) SC1, BB8 and BB11 do not hold; with X29 (a change is reported at
each exchange) SC1 does not. The status is 1 both times. Without a rule to break the same build holds. The tests of the
program run brokers that order by another strategy (BB5 does not hold) and brokers that forget their files (BA7).
";
