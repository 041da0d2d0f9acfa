//! What an operator tells brokers, with the program itself.

#![allow(clippy::disallowed_methods, reason = "tests wait for other processes by the clock on the wall")]

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::processes::{Served, Site, sees_alive, submit, until};

/// Runs a command that must be refused, with this in its error.
fn refused(site: &Site, arguments: &[&str], expected: &str) {
    let (status, _, stderr) = site.run(arguments);
    assert_eq!(status, Some(1), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
}

fn names(array: &Value, field: &str) -> Vec<String> {
    array.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

/// Asks a broker in JSON until the answer is good. A command that fails is asked again.
fn soon(site: &Site, broker: &Served, arguments: &[&str], good: impl Fn(&Value) -> bool) -> Value {
    let all = [arguments, &["--connect", &broker.address, "--json"]].concat();
    until("the broker answers as expected", Duration::from_secs(20), || {
        let (status, stdout, _) = site.run(&all);
        let value: Value = serde_json::from_str(&stdout).ok()?;
        (status == Some(0) && good(&value)).then_some(value)
    })
}

#[test]
fn jobs_are_cancelled_and_strategies_switched_from_the_command_line() {
    let site = Site::new();
    let first = site.broker(&["--strategy", "fcfs"]);
    let second = site.broker(&["--strategy", "fcfs", "--peer", &first.address]);
    sees_alive(&site, &first, &[&second]);

    // Nobody is there to run it; both brokers hear that nobody has to.
    let job = submit(&site, &first, "run = \"1s\"\ninput = \"one\"\n").pop_first().unwrap();
    soon(&site, &second, &["job", &job], |view| view["status"] == "waiting");
    let released = site.json(&["release", &job, "--connect", &first.address]);
    assert_eq!(released, json!({"job": job, "was_held": false}));
    let cancelled = site.json(&["cancel", &job, "--connect", &second.address]);
    assert_eq!(cancelled, json!({"job": job, "cancelled": true, "result": null}));
    soon(&site, &first, &["job", &job], |view| view["status"] == "cancelled");
    refused(&site, &["cancel", "00000000000000ab-1", "--connect", &first.address], "no job 00000000000000ab-1");

    // A job that has a result keeps it.
    let executor = site.executor(&first, &[]);
    let done = submit(&site, &first, "run = \"10ms\"\ninput = \"two\"\n").pop_first().unwrap();
    soon(&site, &first, &["job", &done], |view| view["status"] == "completed");
    let (status, stdout, stderr) = site.run(&["cancel", &done, "--connect", &first.address, "--json"]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("already"), "{stderr}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&told["cancelled"], told["result"].is_string()), (&json!(false), true));
    drop(executor);

    let before = site.json(&["strategy", "get", "--connect", &second.address]);
    assert_eq!((&before["strategy"], &before["epoch"]), (&json!("fcfs"), &json!(0)));
    let set = site.json(&["strategy", "set", "priority", "--rank", "3", "--connect", &first.address]);
    assert_eq!((&set["strategy"], &set["epoch"], &set["rank"]), (&json!("priority"), &json!(1), &json!(3)));
    let after = soon(&site, &second, &["strategy", "get"], |view| view["strategy"] == "priority");
    assert_eq!(after["policy"], set["policy"]);

    let ended = site.json(&["storm", "end", "--connect", &first.address]);
    assert_eq!(ended, json!({"was_on": false}));
}

#[test]
fn emergencies_are_declared_listed_and_revoked_from_the_command_line() {
    let site = Site::new();
    let first = site.broker(&[]);
    let second = site.broker(&["--peer", &first.address]);
    sees_alive(&site, &first, &[&second]);
    let at_first = ["--connect", &first.address];
    let declare = ["emergency", "declare", "--level", "200", "--scope", "city/north", "--for", "30m"];
    let declared = site.json(&[&declare[..], &at_first].concat());
    let id = declared["id"].as_str().unwrap();
    let list = soon(&site, &second, &["emergency", "list"], |list| !list["emergencies"].as_array().unwrap().is_empty());
    let known = &list["emergencies"][0];
    assert_eq!((&known["id"], &known["level"], &known["scope"]), (&json!(id), &json!(200), &json!("city/north")));
    assert_eq!(known["state"], "in force");
    let stands_ms = known["expires_ms"].as_u64().unwrap() - known["declared_ms"].as_u64().unwrap();
    assert_eq!(stands_ms, 30 * 60_000);

    let revoked = site.json(&["emergency", "revoke", id, "--connect", &second.address]);
    assert_eq!(revoked["revoked"], true);
    soon(&site, &first, &["emergency", "list"], |list| names(&list["emergencies"], "state") == ["revoked"]);

    refused(&site, &["emergency", "revoke", "00000000000000ab-1", at_first[0], at_first[1]], "no emergency");
    refused(&site, &[&["emergency", "declare", "--level", "9", "--for", "25h"], &at_first[..]].concat(), "lifetime");
    let (status, _, stderr) = site.run(&["emergency", "declare", "--level", "201"]);
    assert_eq!(status, Some(2), "{stderr}");
}

#[test]
fn data_is_published_located_and_withdrawn_from_the_command_line() {
    let site = Site::new();
    let mut first = site.broker(&[]);
    let second = site.broker(&["--peer", &first.address]);
    sees_alive(&site, &first, &[&second]);
    // Longer than the pieces in which it is read.
    let content = vec![b'a'; 100_000];
    fs::write(site.path("map.bin"), &content).unwrap();
    // sha256sum of 100,000 times the letter a.
    let hash = "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee";
    let publish = ["data", "publish", "map", "--file", "map.bin", "--connect"];
    let published = site.json(&[&publish[..], &[&first.address]].concat());
    assert_eq!(published, json!({"name": "map", "hash": hash, "size": 100_000, "diverges": false}));
    let found = soon(&site, &second, &["data", "locate", "map"], |_| true);
    assert_eq!((&found["name"], &found["last_known"]), (&json!("map"), &json!(false)));
    assert_eq!(names(&found["contents"], "hash"), [hash]);
    let holder = &found["contents"][0]["holders"][0];
    assert_eq!((&holder["broker"], &holder["reachable"]), (&json!(first.node), &json!(true)));
    assert_eq!(holder["address"], first.address);

    // Other data under the same name: both are listed.
    let other = "0".repeat(64);
    let arguments = ["data", "publish", "map", "--hash", &other, "--size", "7", "--connect", &second.address];
    assert_eq!(site.json(&arguments)["diverges"], true);
    let both = soon(&site, &first, &["data", "locate", "map"], |view| names(&view["contents"], "hash").len() == 2);
    let mut hashes = names(&both["contents"], "hash");
    hashes.sort();
    assert_eq!(hashes, [other.as_str(), hash]);
    let withdrawn = site.json(&["data", "withdraw", "map", "--connect", &second.address]);
    assert_eq!(withdrawn, json!({"name": "map", "was_held": true, "was_sole": true}));
    soon(&site, &first, &["data", "locate", "map"], |view| names(&view["contents"], "hash") == [hash]);
    refused(&site, &["data", "locate", "no such map", "--connect", &first.address], "no data called");
    refused(&site, &["data", "publish", "map", "--file", "missing", "--connect", &first.address], "missing");
    let (status, _, stderr) = site.run(&["data", "publish", "map"]);
    assert_eq!(status, Some(2), "{stderr}");

    // It says what goes with it, and is named all the same.
    first.signal("-INT");
    assert_eq!(first.ends(), Some(0), "{}", first.log());
    assert!(first.log().contains("no other broker that is heard holds the data \"map\""), "{}", first.log());
    let left = soon(&site, &second, &["data", "locate", "map"], |view| view["last_known"] == true);
    assert_eq!(left["contents"][0]["holders"][0]["broker"], first.node);
}

#[test]
fn a_broker_that_is_gone_for_good_is_retired_from_the_command_line() {
    let site = Site::new();
    let mut first = site.broker(&[]);
    let second = site.broker(&["--peer", &first.address]);
    sees_alive(&site, &second, &[&first]);
    let job = submit(&site, &first, "run = \"1s\"\ninput = \"one\"\n").pop_first().unwrap();
    soon(&site, &second, &["job", &job], |view| view["status"] == "waiting");
    refused(&site, &["retire", &first.node, "--connect", &second.address], "is heard");
    first.crash();
    let retired = site.json(&["retire", &first.node, "--force", "--connect", &second.address]);
    assert_eq!((&retired["peer"], retired["replicas"].as_array().unwrap().len()), (&json!(first.node), 1));
    let owned = soon(&site, &second, &["job", &job], |view| view["epoch"] == 2);
    assert_eq!(owned["status"], "waiting");
    let status = site.status(&second);
    assert_eq!(status["peers"][0]["state"], "retired", "{status}");
    let again = site.json(&["retire", &first.node, "--connect", &second.address]);
    assert_eq!(again["replicas"], json!([]));
    refused(&site, &["retire", &"ab".repeat(16), "--connect", &second.address], "no broker");
    refused(&site, &["retire", &second.node, "--connect", &second.address], "other than the one that is asked");
}
