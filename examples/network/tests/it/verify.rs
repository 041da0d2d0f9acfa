//! `reconvene verify` on real processes, a few quick rows of it, with good brokers and with broken ones.

use std::{fs, path::Path};

use serde_json::Value;

use crate::usage::reconvene;

#[test]
fn quick_rows_hold_and_are_reported_in_each_form() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("conformance.md");
    let rows = ["BB1", "BB14", "BA6", "SC8"];
    let mut arguments = vec!["verify", "--json", "-", "--markdown", page.to_str().unwrap()];
    rows.iter().for_each(|row| arguments.extend(["--only", row]));
    let (status, stdout, stderr) = reconvene(&arguments);
    assert_eq!(status, Some(0), "{stderr}");
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), rows.len());
    for (row, id) in shown.iter().zip(rows) {
        assert_eq!((&row["id"], &row["held"]), (&id.into(), &true.into()), "{row}");
        let text = |key: &str| !row[key].as_str().unwrap().is_empty();
        assert!(text("requirement") && text("detail") && row["elapsed_ms"].as_u64().unwrap() > 0, "{row}");
        assert_eq!(row.as_object().unwrap().len(), 5, "{row}");
    }
    let page = fs::read_to_string(page).unwrap();
    for id in rows {
        assert!(page.contains(&format!("### {id}: ")) && page.contains(&format!("| {id} | ")), "{page}");
    }
}

/// A script that runs this program as a broker, and what it changes first.
#[cfg(unix)]
fn broker_program(dir: &Path, changes: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;

    let path = dir.join("broken-broker");
    fs::write(&path, format!("#!/bin/sh\n{changes}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_reconvene"))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The rows that did not hold, with what was seen.
#[cfg(unix)]
fn broken(changes: &str, rows: &[&str]) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let program = broker_program(dir.path(), changes);
    let mut arguments = vec!["verify", "--broker-program", &program, "--json", "-"];
    rows.iter().for_each(|row| arguments.extend(["--only", row]));
    let (status, stdout, stderr) = reconvene(&arguments);
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    let broken = shown.as_array().unwrap().iter().filter(|row| row["held"] == false);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let broken: Vec<_> = broken.map(|row| (text(row, "id"), text(row, "detail"))).collect();
    assert_eq!(status, Some(if broken.is_empty() { 0 } else { 1 }), "{stderr}");
    for (id, _) in &broken {
        assert!(stderr.lines().last().unwrap().contains(id), "{stderr}");
    }
    broken
}

#[cfg(unix)]
#[test]
fn a_broker_that_orders_by_something_else_does_not_hold() {
    // As it is, a script between changes nothing.
    assert_eq!(broken("", &["BB5"]), []);
    let caught = broken("export RECONVENE_STRATEGY=fcfs", &["BB5"]);
    assert_eq!(caught, [("BB5".to_owned(), "the jobs ran in the order [0, 1, 2, 3] of their submission".to_owned())]);
}

#[cfg(unix)]
#[test]
fn a_broker_that_forgets_its_files_does_not_hold() {
    // Whatever was durable is gone at each start.
    let forgets = r#"for word in "$@"; do case "$word" in */data-*) rm -rf "$word"; esac; done"#;
    let caught = broken(forgets, &["BA7"]);
    assert!(matches!(&caught[..], [(id, _)] if id == "BA7"), "{caught:?}");
}

#[test]
fn a_row_that_does_not_exist_is_wrong_usage() {
    let (status, stdout, stderr) = reconvene(&["verify", "--only", "XX1"]);
    assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("XX1") && stderr.contains("BB1") && stderr.contains("SC9"), "{stderr}");
}

/// Ctrl-C while rows run: it ends soon, and so do all the processes that it started.
#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_process_behind() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let dir = tempfile::tempdir().unwrap();
    // The number of each broker process is written down before it becomes a broker.
    let pids = dir.path().join("pids");
    let program = broker_program(dir.path(), &format!("echo $$ >> '{}'", pids.display()));
    let mut verify = Command::new(env!("CARGO_BIN_EXE_reconvene"))
        .args(["verify", "--only", "SC1", "--only", "SC3", "--broker-program", &program])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = || fs::read_to_string(&pids).unwrap_or_default();
    for _ in 0..600 {
        if started().lines().count() >= 4 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(Command::new("kill").args(["-INT", &verify.id().to_string()]).status().unwrap().success());
    assert_eq!(verify.wait().unwrap().code(), Some(1));
    let started = started();
    assert!(started.lines().count() >= 4, "{started}");
    for pid in started.lines() {
        let there = Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().unwrap();
        assert!(!there.success(), "the broker process {pid} is still there");
    }
}
