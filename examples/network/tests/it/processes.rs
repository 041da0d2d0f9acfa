//! Brokers and executors as separate processes on loopback sockets, asked by clients as people ask them.

#![allow(clippy::disallowed_methods, reason = "tests wait for other processes by the clock on the wall")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with keys, configurations and plans, and the processes that use it.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broker.toml"), BROKER).unwrap();
        fs::write(dir.path().join("executor.toml"), EXECUTOR).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plan(&self, text: &str) -> String {
        let path = self.path("plan.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program in an environment of its own.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconvene"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("RECONVENE_")) {
                command.env_remove(variable);
            }
        }
        command
            .env("XDG_DATA_HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command().args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// What a command that must succeed prints in JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (status, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(status, Some(0), "{arguments:?}: {stdout}{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    pub(crate) fn status(&self, broker: &Served) -> Value {
        self.json(&["status", "--connect", &broker.address])
    }

    pub(crate) fn broker(&self, more: &[&str]) -> Served {
        self.serve(&[&["broker", "--config", "broker.toml"], more].concat())
    }

    pub(crate) fn executor(&self, broker: &Served, more: &[&str]) -> Served {
        self.serve(&[&["executor", "--config", "executor.toml", "--broker", &broker.address], more].concat())
    }

    pub(crate) fn serve(&self, arguments: &[&str]) -> Served {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(self.dir.path()).unwrap();
        let (log, path) = log.keep().unwrap();
        Served::start(self.command().args(arguments), log, path)
    }
}

/// A process that serves. It is killed when this goes, however the test ends.
pub(crate) struct Served {
    child: Child,
    name: String,
    pub(crate) node: String,
    pub(crate) address: String,
    log: PathBuf,
}

impl Served {
    /// Starts it and waits for its one line.
    fn start(command: &mut Command, log: File, path: PathBuf) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut served = Self { child, name: String::new(), node: String::new(), address: String::new(), log: path };
        let mut stdout = BufReader::new(served.child.stdout.take().unwrap());
        let (said, hears) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // An end without a line shows as an empty one.
            let _ = stdout.read_line(&mut line);
            let _ = said.send(line);
        });
        let line = hears.recv_timeout(Duration::from_secs(20)).expect("a process is ready within 20 s");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", name, node, address] = words[..] else { panic!("not ready: {line:?}") };
        (served.name, served.node, served.address) = (name.to_owned(), node.to_owned(), address.to_owned());
        served
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit status, which must come within 10 s.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        until("the process ends", Duration::from_secs(10), || self.child.try_wait().unwrap()).code()
    }

    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} {} said:\n{}", self.name, self.node, self.log());
        }
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn strings(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The state in which a broker sees the node, if it has heard of it.
fn peer_state(status: &Value, node: &str) -> Option<String> {
    let peers = status["peers"].as_array().unwrap();
    peers.iter().find(|peer| peer["node"] == node).map(|peer| peer["state"].as_str().unwrap().to_owned())
}

pub(crate) fn sees_alive(site: &Site, broker: &Served, others: &[&Served]) {
    until("brokers see each other", Duration::from_secs(15), || {
        let status = site.status(broker);
        let alive = |other: &&Served| peer_state(&status, &other.node).as_deref() == Some("alive");
        others.iter().all(alive).then_some(())
    });
}

fn have_executors(site: &Site, brokers: &[&Served], executors: &[&Served], within: Duration) {
    let start = Instant::now();
    until("executors have a home", within, || {
        let statuses: Vec<Value> = brokers.iter().map(|broker| site.status(broker)).collect();
        let home = |executor: &&Served| {
            statuses.iter().any(|status| strings(&status["executors"]).contains(&executor.node.as_str()))
        };
        executors.iter().all(home).then_some(())
    });
    assert!(start.elapsed() <= within, "executors have a home after {:?}, expected {within:?}", start.elapsed());
}

#[cfg(unix)]
#[test]
fn executors_work_for_another_broker_when_theirs_is_killed() {
    let site = Site::new();
    let mut killed = site.broker(&["--name", "north"]);
    assert_eq!(killed.name, "north");
    let mut second = site.broker(&["--peer", &killed.address]);
    let mut third = site.broker(&["--peer", &killed.address]);
    let mut executors = [site.executor(&killed, &[]), site.executor(&killed, &["--tag", "x-ray", "--slots", "2"])];

    // A mesh, although the second and the third were told of the first alone.
    sees_alive(&site, &second, &[&killed, &third]);
    sees_alive(&site, &third, &[&killed, &second]);
    have_executors(&site, &[&killed], &executors.each_ref(), Duration::from_secs(15));

    let plan = site.plan(
        "[[job]]\nrun = \"4s\"\ninput = \"one\"\n\n[[job]]\nrun = \"4s\"\ninput = \"two\"\ntags = [\"x-ray\"]\n\n\
         [[job]]\nrun = \"4s\"\ninput = \"three\"\n\n[[job]]\nrun = \"500ms\"\ninput = \"four\"\ntags = [\"x-ray\"]\n",
    );
    let submitted = site.json(&["submit", &plan, "--connect", &killed.address]);
    let jobs: Vec<&str> = submitted["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(jobs.len(), 4);
    // What nobody else has heard of is lost with its broker; and at least one must be at work when it dies.
    until("the jobs are known elsewhere and run", Duration::from_secs(3), || {
        let known = site.json(&["jobs", "--connect", &second.address]);
        let known = known["jobs"].as_array().unwrap();
        (known.len() == 4 && known.iter().any(|job| job["status"] == "running")).then_some(())
    });

    killed.crash();
    have_executors(&site, &[&second, &third], &executors.each_ref(), ORPHAN_AFTER + DISCOVERY_INTERVAL);

    for (job, output) in jobs.iter().zip(["one", "two", "three", "four"]) {
        let done = until("the job completes", Duration::from_secs(15), || {
            let job = site.json(&["job", job, "--connect", &third.address]);
            (job["status"] == "completed").then_some(job)
        });
        assert_eq!(done["result"]["output"], output, "{done}");
        assert_ne!(done["owner"], Value::Null);
    }
    let both_agree = || {
        let digest = |broker: &Served| site.status(broker)["digest"].clone();
        (digest(&second) == digest(&third)).then_some(())
    };
    until("the brokers that are left agree", Duration::from_secs(10), both_agree);
    assert_ne!(peer_state(&site.status(&third), &killed.node).as_deref(), Some("alive"));

    second.signal("-INT");
    assert_eq!(second.ends(), Some(0), "{}", second.log());
    until("a broker that ends says so", Duration::from_secs(5), || {
        (peer_state(&site.status(&third), &second.node)? == "left").then_some(())
    });
    for executor in &mut executors {
        executor.signal("-INT");
        assert_eq!(executor.ends(), Some(0), "{}", executor.log());
    }
    third.signal("-INT");
    assert_eq!(third.ends(), Some(0), "{}", third.log());
}

/// The ids of the jobs that a broker knows.
fn known_jobs(site: &Site, broker: &Served) -> BTreeSet<String> {
    let known = site.json(&["jobs", "--connect", &broker.address]);
    known["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn submit(site: &Site, broker: &Served, plan: &str) -> BTreeSet<String> {
    let submitted = site.json(&["submit", &site.plan(plan), "--connect", &broker.address]);
    submitted["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_broker_with_files_outlives_its_kill() {
    let site = Site::new();
    let kept = ["--data", "kept"];
    // Nobody else knows of these jobs when the broker dies, and no executor is there to run them.
    let mut alone = site.broker(&kept);
    let mut jobs = BTreeSet::new();
    for job in ["one", "two", "three"] {
        jobs.extend(submit(&site, &alone, &format!("run = \"100ms\"\ninput = \"{job}\"\n")));
    }
    assert_eq!(jobs.len(), 3);
    alone.crash();

    let mut peer = site.broker(&["--data", "other"]);
    let later = submit(&site, &peer, "run = \"100ms\"\ninput = \"four\"\n");
    let mut back = site.broker(&[&kept[..], &["--peer", &peer.address]].concat());
    assert_eq!((&back.name, &back.node), (&alone.name, &alone.node), "the same broker");
    assert!(!back.log().contains("new incarnation"), "{}", back.log());
    assert!(known_jobs(&site, &back).is_superset(&jobs), "what was acknowledged is there at once");
    jobs.extend(later);
    let agree = || {
        let digest = |broker: &Served| site.status(broker)["digest"].clone();
        let all = |broker: &Served| known_jobs(&site, broker) == jobs;
        (all(&peer) && all(&back) && digest(&peer) == digest(&back)).then_some(())
    };
    until("both brokers know all jobs", Duration::from_secs(15), agree);

    // And it goes on: the jobs are run, and the results survive another kill.
    let executor = site.executor(&back, &[]);
    have_executors(&site, &[&back], &[&executor], Duration::from_secs(15));
    for job in &jobs {
        until("the job completes", Duration::from_secs(20), || {
            let job = site.json(&["job", job, "--connect", &peer.address]);
            (job["status"] == "completed").then_some(())
        });
    }
    until("the result is known here too", Duration::from_secs(10), agree);
    back.crash();
    let mut again = site.broker(&kept);
    for job in &jobs {
        assert_eq!(site.json(&["job", job, "--connect", &again.address])["status"], "completed");
    }
    for broker in [&mut again, &mut peer] {
        broker.signal("-INT");
        assert_eq!(broker.ends(), Some(0), "{}", broker.log());
    }

    // In use by nobody, and damaged: refused by name, and left alone.
    let store = site.path("kept").join("broker.redb");
    let sound = fs::read(&store).unwrap();
    fs::write(&store, &sound[..sound.len() / 2]).unwrap();
    let (status, _, stderr) = site.run(&["broker", "--config", "broker.toml", "--data", "kept"]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("broker.redb") && stderr.contains("damaged"), "{stderr}");
    assert_eq!(fs::read(&store).unwrap(), sound[..sound.len() / 2]);
}

#[test]
fn who_has_other_keys_is_refused_and_learns_nothing() {
    let site = Site::new();
    let ours = site.broker(&[]);
    let stranger = site.broker(&["--keys", "other-keys", "--peer", &ours.address]);
    let strange_executor = site.executor(&ours, &["--keys", "other-keys"]);
    // A member that comes after them is in long before they would be.
    let friend = site.broker(&["--peer", &ours.address]);
    let executor = site.executor(&ours, &[]);
    sees_alive(&site, &ours, &[&friend]);
    sees_alive(&site, &friend, &[&ours]);
    have_executors(&site, &[&ours], &[&executor], Duration::from_secs(15));

    let (status, stdout, stderr) = site.run(&["status", "--connect", &ours.address, "--keys", "other-keys"]);
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with(&format!("error: cannot reach a broker at {}", ours.address)), "{stderr}");
    assert!(stderr.contains("has the same keys") && !stderr.contains("within"), "{stderr}");

    thread::sleep(Duration::from_secs(1));
    let status = site.status(&ours);
    assert_eq!(peer_state(&status, &stranger.node), None);
    assert_eq!(strings(&status["executors"]), [executor.node.as_str()]);
    let (_, strange, _) = site.run(&["status", "--connect", &stranger.address, "--keys", "other-keys", "--json"]);
    let strange: Value = serde_json::from_str(&strange).unwrap();
    assert_eq!((&strange["peers"], &strange["executors"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert!(!strange_executor.log().contains("error"), "{}", strange_executor.log());
}

#[test]
fn clients_get_results_and_see_the_same_job_in_each_form() {
    let site = Site::new();
    let broker = site.broker(&[]);
    assert!(broker.log().contains("warning: made a development root in"), "{}", broker.log());
    assert!(broker.log().contains("keeps everything in memory"), "{}", broker.log());
    let executor = site.executor(&broker, &["--name", "bench-3"]);
    assert_eq!(executor.name, "bench-3");
    assert!(!executor.log().contains("warning"), "keys are made once: {}", executor.log());
    have_executors(&site, &[&broker], &[&executor], Duration::from_secs(15));

    let plan =
        site.plan("[[job]]\nrun = \"100ms\"\ninput = \"frame 1\"\nclient = \"studio\"\nkey = 1\npriority = 200\n");
    let waited = site.json(&["submit", &plan, "--connect", &broker.address, "--wait"]);
    let job = &waited["jobs"][0];
    assert_eq!((&job["status"], &job["priority"]), (&"completed".into(), &200.into()));
    assert_eq!(job["result"]["output"], "frame 1");
    assert_eq!(job["attempts"][0]["executor"], executor.node.as_str());

    // The environment says where the broker is; the same client and key are the same job.
    let asked = |arguments: &[&str]| {
        let output = site.command().env("RECONVENE_CONNECT", &broker.address).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let id = job["id"].as_str().unwrap();
    assert_eq!(asked(&["submit", &plan]), format!("{id}\n"));
    let shown = asked(&["job", id]);
    assert!(shown.contains("status     completed") && shown.contains("output     frame 1"), "{shown}");
    let listed = asked(&["jobs"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.starts_with("JOB") && listed.contains(id) && listed.contains("completed"), "{listed}");
    let status = asked(&["status"]);
    assert!(status.contains("1 known, 1 completed") && status.contains(&broker.node), "{status}");
    let counters = &site.status(&broker)["counters"];
    assert_eq!((&counters["submitted"], &counters["repeated_submits"]), (&1.into(), &1.into()));

    let submission = job["submissions"][0]["id"].as_str().unwrap();
    for of in [id, submission] {
        let words = asked(&["explain", of]);
        let expected = format!("its result is {submission}: EMERGENCY_FIRST had no other to choose from");
        assert!(words.contains(&format!("job {id}: completed\n")) && words.contains(&expected), "{words}");
    }
    let explained = site.json(&["explain", id, "--connect", &broker.address]);
    let codes = |explained: &Value| strings_of(&explained["grounds"], "code");
    assert_eq!(codes(&explained), ["Decision", "Attempt", "Judged"]);
    assert_eq!(explained["grounds"][1]["executor"], executor.node.as_str());

    // Nobody can run this one.
    let plan = site.plan("run = \"100ms\"\ntags = [\"nobody-has-this\"]\n");
    let (status, stdout, stderr) =
        site.run(&["submit", &plan, "--connect", &broker.address, "--wait", "--timeout", "500ms"]);
    assert_eq!((status, stdout.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("after 500ms there is no result yet of") && stderr.contains(stdout.trim()), "{stderr}");
    let explained = site.json(&["explain", stdout.trim(), "--connect", &broker.address]);
    assert_eq!(codes(&explained), ["Queued", "Executor", "WouldStartIf"]);
    assert_eq!(explained["grounds"][1]["obstacle"]["code"], "NoExecutorWithTags");
    assert_eq!(
        explained["grounds"][2]["words"],
        format!("it would start if executor {} had the tags nobody-has-this", executor.node)
    );
    let (status, _, stderr) = site.run(&["explain", "00000000000a11ce/42", "--connect", &broker.address]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("no result 00000000000a11ce/42 is known here"), "{stderr}");
    let (status, _, stderr) = site.run(&["job", "00000000000a11ce-42", "--connect", &broker.address]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("no job 00000000000a11ce-42 is known here"), "{stderr}");
}

#[cfg(unix)]
/// Their keys differ, so each refuses the other's connections, though a bundle tells where it listens.
#[test]
fn brokers_that_can_never_connect_agree_by_files() {
    let site = Site::new();
    // At the settings of people: nobody takes jobs over within the seconds of a test.
    let north = site.serve(&["broker", "--listen", "127.0.0.1:0", "--name", "north"]);
    let south = site.serve(&["broker", "--listen", "127.0.0.1:0", "--name", "south", "--keys", "other"]);
    let ask = |broker: &Served, arguments: &[&str]| {
        let keys: &[&str] = if broker.name == "south" { &["--keys", "other"] } else { &[] };
        site.json(&[arguments, &["--connect", &broker.address], keys].concat())
    };
    let submit = |broker: &Served, input: &str| {
        let plan = site.plan(&format!("run = \"1s\"\ninput = \"{input}\"\n"));
        ask(broker, &["submit", &plan]);
    };
    let claimed = |answer: &Value| {
        let bundles = answer["bundles"].as_array().unwrap();
        bundles.iter().filter(|bundle| bundle["claimed"] == true).count()
    };
    let digest = |broker: &Served| ask(broker, &["status"])["digest"].clone();

    submit(&north, "one");
    submit(&south, "two");
    let lost = ask(&north, &["bundle", "export", "lost.bundle", "--to", &south.node]);
    assert_eq!(lost["whole"], true);
    submit(&north, "three");
    ask(&north, &["bundle", "export", "second.bundle", "--to", &south.node]);
    // The second builds on the first, which does not arrive.
    let early = ask(&south, &["bundle", "import", "second.bundle", "second.bundle"]);
    assert_eq!(claimed(&early), 0, "{early}");
    ask(&north, &["bundle", "export", "again.bundle", "--to", &south.node, "--again"]);
    let complete = ask(&south, &["bundle", "import", "again.bundle", "second.bundle"]);
    assert!(claimed(&complete) >= 1, "{complete}");
    ask(&south, &["bundle", "export", "back.bundle", "--to", &north.node]);
    assert_eq!(claimed(&ask(&north, &["bundle", "import", "back.bundle"])), 1);
    // Whatever either wrote because of what it learnt travels as well.
    until("both hold the same", Duration::from_secs(20), || {
        ask(&north, &["bundle", "export", "n.bundle", "--to", &south.node]);
        ask(&south, &["bundle", "import", "n.bundle"]);
        ask(&south, &["bundle", "export", "s.bundle", "--to", &north.node]);
        ask(&north, &["bundle", "import", "s.bundle"]);
        (digest(&north) == digest(&south)).then_some(())
    });
    for broker in [&north, &south] {
        assert_eq!(ask(broker, &["jobs"])["jobs"].as_array().unwrap().len(), 3);
        let other = if broker.name == "north" { &south } else { &north };
        assert_ne!(peer_state(&ask(broker, &["status"]), &other.node).as_deref(), Some("alive"));
    }
    fs::write(site.path("text"), "no bundle at all").unwrap();
    refused(&site, &["bundle", "import", "text", "--connect", &north.address], 1, "this is no bundle");
}

#[test]
fn processes_end_in_good_order_and_at_once_if_pressed() {
    let site = Site::new();
    let mut broker = site.broker(&["--for", "6s"]);
    let mut executor = site.executor(&broker, &["--shutdown-timeout", "30s"]);
    have_executors(&site, &[&broker], &[&executor], Duration::from_secs(5));
    let plan = site.plan("run = \"60s\"\n");
    let job = site.json(&["submit", &plan, "--connect", &broker.address])["jobs"][0]["id"].clone();
    until("the job runs", Duration::from_secs(4), || {
        let job = site.json(&["job", job.as_str().unwrap(), "--connect", &broker.address]);
        (job["status"] == "running").then_some(())
    });
    // It waits for its job, and would for 30 s.
    executor.signal("-TERM");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(executor.child.try_wait().unwrap(), None, "{}", executor.log());
    executor.signal("-INT");
    assert_eq!(executor.ends(), Some(130));
    assert_eq!(broker.ends(), Some(0), "{}", broker.log());
}

#[test]
fn settings_say_where_they_come_from_and_mistakes_their_line() {
    let site = Site::new();
    let output = site
        .command()
        .args(["broker", "--config", "broker.toml", "--print-config", "--listen", "[::1]:7000"])
        .env("RECONVENE_STRATEGY", "causal")
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for line in [
        "listen = \"[::1]:7000\"  # flag",
        "strategy = \"causal\"  # environment, RECONVENE_STRATEGY",
        "sync-interval = \"1s\"  # broker.toml, line 3",
        "shutdown-timeout = \"5s\"  # default",
        "orphan_after = \"3s\"  # broker.toml, line 19",
        "parked_limit = 4096  # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
    }
    // What is shown is a file that says the same.
    fs::write(site.path("shown.toml"), &shown).unwrap();
    let (status, again, stderr) = site.run(&["broker", "--config", "shown.toml", "--print-config"]);
    let without_sources = |text: &str| text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect();
    let [before, after]: [Vec<String>; 2] = [without_sources(&shown), without_sources(&again)];
    assert_eq!((status, before), (Some(0), after), "{stderr}");

    for (command, text, expected) in [
        ("broker", "listen = \"127.0.0.1:0\"\nlease = \"3s\"\n", "bad.toml, line 2: unknown key `lease`"),
        (
            "broker",
            "[lifecycle]\norphan-after = \"3s\"\n",
            "line 2: unknown key `orphan-after` in [lifecycle]; write `orphan_after`",
        ),
        (
            "broker",
            "peer = [\n  \"10.0.0.7:7400\",\n  \"nowhere\"\n]\n",
            "bad.toml, line 3: `peer`: `nowhere` cannot be used",
        ),
        ("executor", "slots = \"all\"\n", "bad.toml, line 1: `slots`"),
        ("executor", "tag = [\"ok\"\n", "bad.toml, line "),
    ] {
        fs::write(site.path("bad.toml"), text).unwrap();
        refused(&site, &[command, "--config", "bad.toml"], 1, expected);
    }
}

/// The text under this name in each object of a list.
fn strings_of(list: &Value, name: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[name].as_str().unwrap().to_owned()).collect()
}

fn refused(site: &Site, arguments: &[&str], expected_status: i32, expected: &str) {
    let (status, stdout, stderr) = site.run(arguments);
    assert_eq!((status, stdout.as_str()), (Some(expected_status), ""), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{arguments:?}: {stderr}");
}

#[test]
fn wrong_usage_of_each_command_is_named() {
    let site = Site::new();
    let plan = site.plan("run = \"1s\"\npriority = 900\n");
    for (arguments, expected) in [
        (&["broker", "--listen", "7400"][..], "--listen"),
        (&["broker", "--peer", "somewhere"], "expected a host and a port"),
        (&["broker", "--strategy", "coin-toss"], "fcfs, priority, emergency, resource or causal"),
        (&["broker", "--sync-interval", "60"], "--sync-interval"),
        (&["broker", "--sync-interval", "10m"], "owner_timeout"),
        (&["broker", "--name", "Not A Name"], "Not A Name"),
        (&["executor", "--data", "somewhere"], "not built into this version"),
        (&["executor", "--slots", "0"], "slots is 0"),
        (&["executor", "--tag", "No Tag"], "--tag"),
        (&["submit"], "FILE.toml"),
        (&["submit", &plan, "--timeout", "1s"], "--wait"),
        (&["job", "42"], "not a job id"),
        (&["explain", "42"], "not a job id"),
        (&["explain", "a11ce/42"], "not a result id"),
        (&["status", "--connect", "nowhere"], "--connect"),
        (&["jobs", "--all"], "--all"),
        (&["bundle", "export"], "FILE"),
        (&["bundle", "export", "file", "--again"], "--to"),
        (&["bundle", "import"], "FILE"),
    ] {
        refused(&site, arguments, 2, expected);
    }
    refused(&site, &["submit", &plan], 1, "plan.toml, line 2: `priority`: `900` cannot be used");
    refused(&site, &["submit", "no/such/plan.toml"], 1, "cannot open no/such/plan.toml");
    refused(&site, &["broker", "--config", "no/such.toml"], 1, "cannot open no/such.toml");
    let none = Path::new("no-keys");
    assert!(!site.path("no-keys").exists());
    refused(&site, &["status", "--keys", none.to_str().unwrap()], 1, "there are no keys in no-keys");

    for command in ["broker", "executor", "submit", "jobs", "job", "explain", "status", "bundle", "verify"] {
        let (status, stdout, _) = site.run(&[command, "--help"]);
        assert_eq!(status, Some(0));
        assert!(stdout.contains(&format!("Examples:\n  reconvene {command}")), "{stdout}");
    }
}

/// Everything some twenty times as fast as by default.
pub(crate) const BROKER: &str = "\
listen = \"127.0.0.1:0\"
[sync]
interval = \"1s\"
cascade_min = \"50ms\"
cascade_max = \"200ms\"
backoff_min = \"100ms\"
backoff_max = \"1s\"
probe_interval = \"300ms\"
suspect_after = \"1s\"
unreachable_after = \"2s\"

[lifecycle]
heartbeat_interval = \"300ms\"
lease = \"2s\"
drift_allowance = \"100ms\"
redeploy_grace = \"400ms\"
owner_timeout = \"3s\"
takeover_step = \"500ms\"
orphan_after = \"3s\"
place_after = \"1s\"
contest_window = \"1s\"
discovery_interval = \"2s\"
";

pub(crate) const EXECUTOR: &str = "\
[lifecycle]
heartbeat_interval = \"300ms\"
lease = \"2s\"
drift_allowance = \"100ms\"
orphan_after = \"3s\"
discovery_interval = \"2s\"
connect_retry = \"200ms\"
resend_first = \"200ms\"
resend_max = \"1s\"
";

const ORPHAN_AFTER: Duration = Duration::from_secs(3);
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(2);
