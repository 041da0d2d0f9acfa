use std::path::Path;

use assert_cmd::Command;

/// Runs the program with these arguments; its status, standard output and standard error.
pub(crate) fn reconvene(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("reconvene").unwrap().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (arguments, expected) in [
        (&["nonsense"][..], "nonsense"),
        (&["demo", "--nonsense"], "--nonsense"),
        (&["demo", "--strategy", "coin-toss"], "coin-toss"),
        (&["demo", "--brokers", "1"], "--brokers"),
        (&["demo", "--jobs", "0"], "--jobs"),
        (&["demo", "--executors", "many"], "many"),
        (&["demo", "--sync-interval", "1"], "--sync-interval"),
        (&["demo", "--sync-interval", "1ms"], "200ms"),
        (&["demo", "--store", "redb", "--transport", "memory"], "--transport quic"),
        (&["demo", "--data", "somewhere"], "--data"),
        (&["demo", "--log", "=nonsense="], "--log"),
        (&["demo", "-v", "-q"], "cannot be used with"),
    ] {
        let (status, stdout, stderr) = reconvene(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains(expected), "{arguments:?}: {stdout} {stderr}");
    }
}

#[test]
fn help_names_every_flag_and_shows_an_example() {
    let (status, stdout, _) = reconvene(&["demo", "--help"]);
    assert_eq!(status, Some(0));
    for flag in [
        "brokers",
        "executors",
        "jobs",
        "workload",
        "strategy",
        "sync-interval",
        "seed",
        "transport",
        "store",
        "data",
        "time-scale",
        "no-faults",
        "json",
        "timeline",
    ] {
        assert!(stdout.contains(&format!("--{flag}")), "--{flag} is missing in {stdout}");
    }
    assert!(stdout.contains("reconvene demo --transport memory"));
}

/// Runs a demo on this workload, which must fail without a word on standard output, and returns its one line of error.
fn refused(workload: &Path) -> String {
    let (status, stdout, stderr) = reconvene(&["demo", "--workload", workload.to_str().unwrap(), "--json", "-"]);
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn a_missing_workload_exits_with_1_and_is_named() {
    let error = refused(Path::new("no/such/file.swf"));
    assert!(error.starts_with("error: cannot open the workload no/such/file.swf: "), "{error}");
}

#[test]
fn a_malformed_line_exits_with_1_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.swf");
    let good = "1 0 -1 20 1 -1 -1 -1 60 -1 1 7 2 -1 -1 3 -1 -1\n";
    std::fs::write(&path, format!("; a comment\n{good}{good}2 ten -1 20 1\n")).unwrap();
    assert!(refused(&path).contains("line 4"));
    std::fs::write(&path, good.replace(" 20 ", " 2O ")).unwrap();
    let error = refused(&path);
    assert!(error.contains("line 1") && error.contains("run time is \"2O\""), "{error}");
}
