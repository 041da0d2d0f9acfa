//! No broker left: executors start one, and the jobs go on.

#![allow(clippy::disallowed_methods, reason = "tests wait for other processes by the clock on the wall")]

use std::{fs, net::UdpSocket, time::Duration};

use serde_json::Value;

use crate::processes::{BROKER, EXECUTOR, Served, Site, submit, until};

/// Ports that nothing listens at. Somebody else may take one before it is used, which is unlikely for so short a time.
fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that they differ.
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// An executor that may start a broker at this port, later than it would give up its home.
fn heir(site: &Site, broker: &Served, name: &str, port: u16) -> Served {
    let settings = BROKER.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let file = format!("{name}-broker.toml");
    fs::write(site.path(&file), format!("data = \"{name}-data\"\n{settings}")).unwrap();
    let timing = "promote_after = \"4s\"\npromote_step = \"4s\"\n";
    fs::write(site.path(&format!("{name}.toml")), format!("promote = \"{file}\"\n{EXECUTOR}{timing}")).unwrap();
    site.serve(&["executor", "--config", &format!("{name}.toml"), "--broker", &broker.address])
}

/// The job at this address, if somebody answers there and knows it.
fn job_at(site: &Site, address: &str, job: &str) -> Option<Value> {
    let (status, stdout, _) = site.run(&["job", job, "--connect", address, "--json"]);
    (status == Some(0)).then(|| serde_json::from_str(&stdout).unwrap())
}

#[cfg(unix)]
#[test]
fn an_executor_starts_a_broker_when_none_is_left() {
    let site = Site::new();
    let mut broker = site.broker(&["--data", "first"]);
    let ports: [u16; 2] = free_ports();
    let mut heirs = [heir(&site, &broker, "one", ports[0]), heir(&site, &broker, "two", ports[1])];
    // Both run, one for longer than there is no broker, and one that ends while there is none.
    let long = submit(&site, &broker, "run = \"14s\"\ninput = \"long\"\npriority = 77\n").pop_first().unwrap();
    let short = submit(&site, &broker, "run = \"3s\"\ninput = \"short\"\n").pop_first().unwrap();
    for job in [&long, &short] {
        until("the job runs", Duration::from_secs(20), || {
            (job_at(&site, &broker.address, job)?["status"] == "running").then_some(())
        });
    }
    broker.crash();

    // The one whose name comes first starts a broker, whichever that is. The other finds it, or on a slow machine starts one
    // too, and the two sync.
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let (serves, known) = until("a broker is started that learns of the jobs", Duration::from_secs(40), || {
        let knows = |address: &str| job_at(&site, address, &long).filter(|job| job["status"] != "unknown");
        addresses.iter().find_map(|address| Some((address, knows(address)?)))
    });
    assert_eq!(known["priority"], 77, "{known}");
    for (job, output) in [(&short, "short"), (&long, "long")] {
        let done = until("the job completes", Duration::from_secs(40), || {
            let job = job_at(&site, serves, job)?;
            (job["status"] == "completed").then_some(job)
        });
        assert_eq!(done["result"]["output"], output, "{done}");
        // Nothing was run a second time.
        assert_eq!(done["attempts"].as_array().unwrap().len(), 1, "{done}");
    }
    let homes = || {
        let running = |address: &String| {
            let (status, stdout, _) = site.run(&["status", "--connect", address, "--json"]);
            let status: Value = serde_json::from_str(&stdout).ok().filter(|_| status == Some(0))?;
            Some(status["executors"].as_array()?.len())
        };
        (addresses.iter().filter_map(running).sum::<usize>() == 2).then_some(())
    };
    until("both executors have a home again", Duration::from_secs(20), homes);
    assert!(heirs.iter().filter(|heir| heir.log().contains("this executor has started")).count() >= 1);

    // It stays a peer when others return.
    let back = site.broker(&["--data", "first", "--listen", &broker.address]);
    until("the broker that is back has the results", Duration::from_secs(30), || {
        (job_at(&site, &back.address, &long)?["status"] == "completed").then_some(())
    });
    for heir in &mut heirs {
        heir.signal("-INT");
        assert_eq!(heir.ends(), Some(0), "{}", heir.log());
    }
}

#[test]
fn an_heir_needs_an_address() {
    let site = Site::new();
    let (status, _, stderr) = site.run(&["executor", "--promote", "broker.toml"]);
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("broker.toml") && stderr.contains("'listen'"), "{stderr}");
    let (status, _, stderr) = site.run(&["executor", "--promote", "missing.toml"]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("missing.toml"), "{stderr}");
}
