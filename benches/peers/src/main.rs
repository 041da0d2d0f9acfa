//! `peers clock --json FILE|-`: measures, prints a table, and writes the rows as JSON.

use std::io::Write;

use anyhow::{Context, Result, bail};
use peers::{clock, row};

const USAGE: &str = "usage: peers clock [--json FILE|-]";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (rows, json) = match arguments[..] {
        ["clock"] => (clock::rows()?, None),
        ["clock", "--json", target] => (clock::rows()?, Some(target)),
        _ => bail!(USAGE),
    };
    let table = row::table(&rows);
    match json {
        // The table goes where it does not mix with the rows.
        Some("-") => {
            eprint!("{table}");
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &rows)?;
            writeln!(out)?;
        }
        Some(path) => {
            print!("{table}");
            let text = serde_json::to_string_pretty(&rows)? + "\n";
            std::fs::write(path, text).with_context(|| format!("write {path}"))?;
        }
        None => print!("{table}"),
    }
    Ok(())
}
