use crate::usage::reconvene;

/// Runs a demo that must succeed, and returns its report without the time it took.
fn report(arguments: &[&str]) -> serde_json::Value {
    let arguments: Vec<&str> = ["demo", "--quiet", "--json", "-"].iter().chain(arguments).copied().collect();
    let (status, stdout, stderr) = reconvene(&arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {stderr}\n{stdout}");
    let mut report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["elapsed_ms"].take().is_u64());
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["held"], true, "{check}");
    }
    report
}

fn on_memory(seed: &str, more: &[&str]) -> serde_json::Value {
    report(&[&["--transport", "memory", "--jobs", "120", "--seed", seed], more].concat())
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_seed_another() {
    let first = on_memory("11", &[]);
    assert_eq!(first, on_memory("11", &[]));
    assert_ne!(first, on_memory("12", &[]));
    assert_eq!(first["jobs"]["submitted"], 120);
    assert!(first["jobs"]["redeployed"].as_u64() > Some(0));
    assert_eq!(first["emergency"]["declared"], 1);
    assert_eq!(first["checks"].as_array().unwrap().len(), 9);
}

#[test]
fn every_strategy_brings_a_broken_network_together_again() {
    for strategy in ["fcfs", "priority", "emergency", "resource", "causal"] {
        let report = on_memory("5", &["--strategy", strategy]);
        assert_eq!((&report["strategy"], &report["jobs"]["completed"]), (&strategy.into(), &120.into()));
    }
}

#[test]
fn without_faults_nothing_is_redeployed_and_checks_without_occasion_say_so() {
    let report = on_memory("3", &["--no-faults"]);
    assert_eq!((&report["jobs"]["redeployed"], &report["emergency"]["declared"]), (&0.into(), &0.into()));
    let detail = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["detail"].clone()
    };
    assert_eq!(detail("redeployed_jobs_completed"), "nothing to check");
    assert_eq!(detail("emergency_reached_every_broker"), "nothing to check");
}

#[test]
fn the_timeline_is_one_file_that_needs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("timeline.html");
    on_memory("7", &["--timeline", path.to_str().unwrap()]);
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("broker-3") && page.contains("executor 6") && page.contains("<svg"));
    assert!(!page.contains("http") && !page.contains("<script"));
}

#[test]
fn a_network_of_real_sockets_comes_together_again() {
    let report = report(&["--jobs", "60"]);
    assert_eq!((&report["transport"], &report["jobs"]["completed"]), (&"quic".into(), &60.into()));
}

#[test]
fn a_network_with_stores_on_disk_does_its_jobs() {
    let dir = tempfile::tempdir().unwrap();
    // Every duration three times as long: on a machine with much else to do a commit takes its time.
    let data = dir.path().to_str().unwrap();
    let report = report(&["--jobs", "60", "--store", "redb", "--data", data, "--sync-interval", "3s", "--no-faults"]);
    assert_eq!((&report["store"], &report["jobs"]["completed"]), (&"redb".into(), &60.into()));
    assert!(dir.path().join("broker-1.redb").exists());
}
