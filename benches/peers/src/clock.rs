//! Vector clocks and hybrid logical clocks.

mod hlc;
pub mod inputs;
mod roster;
pub mod subject;
mod vector;

use anyhow::{Context, Result, ensure};

use crate::row::Row;

/// Every row, in the order of the goals.
pub fn rows() -> Result<Vec<Row>> {
    let mut rows = vector::rows()?;
    rows.extend(roster::rows()?);
    rows.extend(heap()?);
    rows.extend(hlc::rows()?);
    Ok(rows)
}

/// What clocks hold on the heap. A program of its own measures it, since the allocator that counts is slower.
fn heap() -> Result<Vec<Row>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--manifest-path", manifest, "--bin", "heap"])
        .output()
        .context("run the program that counts allocations")?;
    ensure!(output.status.success(), "counting allocations failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut rows = Vec::new();
    for line in std::str::from_utf8(&output.stdout)?.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [name, n, bytes] = parts[..] else { continue };
        let (n, bytes) = (n.parse()?, bytes.parse()?);
        let (op, peer) = match name {
            "ours" => ("heap", None),
            "roster" => ("heap, roster form", None),
            "crdts" => ("heap", Some("crdts")),
            "vclock" => ("heap", Some("vclock")),
            _ => ("heap", Some("loro")),
        };
        let index = rows.iter().position(|row: &Row| row.op == op && row.n == n).unwrap_or_else(|| {
            rows.push(Row::new(op, n));
            rows.len() - 1
        });
        match peer {
            None => rows[index].ours_bytes = Some(bytes),
            Some(peer) => _ = rows[index].peer_bytes.insert(peer, bytes),
        }
    }
    let goal = |row: Row| {
        let each = if row.op == "heap" { 16.0 } else { 8.0 };
        let at_most = if row.n <= 4 && row.op == "heap" { 0.0 } else { each * row.n as f64 };
        row.bytes(at_most)
    };
    Ok(rows.into_iter().map(goal).collect())
}
