//! `peers clock|sync --json FILE|-`: measures, prints a table, and writes the rows as JSON.

use std::io::Write;

use anyhow::{Context, Result, bail};
use peers::{clock, row, sync};

const USAGE: &str = "usage: peers clock|sync [--json FILE|-]";
/// Runs of each workload, of which the median counts.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (command, json) = match arguments[..] {
        [command] => (command, None),
        [command, "--json", target] => (command, Some(target)),
        _ => bail!(USAGE),
    };
    let (table, rows) = match command {
        "clock" => {
            let rows = clock::rows()?;
            (row::table(&rows), serde_json::to_string_pretty(&rows)?)
        }
        "sync" => {
            let report = sync::report(1, RUNS)?;
            (report.table(), serde_json::to_string_pretty(&report.rows)?)
        }
        _ => bail!(USAGE),
    };
    match json {
        // The table goes where it does not mix with the rows.
        Some("-") => {
            eprint!("{table}");
            writeln!(std::io::stdout().lock(), "{rows}")?;
        }
        Some(path) => {
            print!("{table}");
            std::fs::write(path, rows + "\n").with_context(|| format!("write {path}"))?;
        }
        None => print!("{table}"),
    }
    Ok(())
}
