//! What an executor does when it runs by itself. Time is tokio's, and moves on when nobody has work to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reconvene_executor::{
    AttemptId, Event, Executor, ExecutorHandle, JobSpec, Outcome, Report, Resources, RunControl, Runner, TraceJob,
    TraceRunner,
};
use tokio::time::{sleep, timeout};

use crate::network::{Link, Manner, Network, attempt, node, start, stop};

async fn start_executor(link: Link, runner: impl Runner) -> ExecutorHandle {
    let executor = Executor::builder().link(link).runner(runner).capacity(Resources::new(4_000, 0, 0)).slots(4);
    executor.broker("a").broker("b").start().await.unwrap()
}

fn trace(run_ms: u64) -> JobSpec {
    JobSpec::new(TraceJob { run_ms, input: b"input".to_vec(), varies: false }.encode().unwrap())
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Counts what it starts and what is dropped, and goes on for ever.
#[derive(Clone, Debug, Default)]
struct Endless {
    started: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Runner for Endless {
    async fn run(&self, _: AttemptId, _: &JobSpec, control: RunControl) -> Report {
        self.started.fetch_add(1, Ordering::SeqCst);
        let _guard = Guard(Arc::clone(&self.dropped));
        loop {
            control.progress(5_000);
            seconds(1).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_executor_runs_what_it_is_ordered_and_delivers_it() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let mut executor = start_executor(link, TraceRunner::new(node("x")).with_quality_bp(9_000)).await;
    let mut events = executor.events();
    assert!(matches!(events.next().await, Some(Event::Registered { broker, .. }) if broker == node("a")));
    network.order("a", start(attempt(1, 1), trace(12_000)));
    seconds(8).await;
    assert_eq!(network.running("a"), [attempt(1, 1)].into());
    assert_eq!(executor.status().running, 1);
    seconds(12).await;
    let submitted = network.submitted("a");
    assert_eq!(submitted.len(), 1, "a repeated order does not run it again");
    assert_eq!(submitted[0].outcome, Outcome::Success { output: b"input".to_vec() });
    assert_eq!((submitted[0].quality_bp, submitted[0].spec_digest), (9_000, trace(12_000).digest()));
    assert_eq!((executor.status().running, executor.status().kept), (0, 0));
    for expected in ["AttemptAccepted", "AttemptStarted", "AttemptFinished", "ResultAnswered"] {
        let event = format!("{:?}", events.next().await.unwrap());
        assert!(event.starts_with(expected), "{event}");
    }
    let ended = executor.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!((ended.stopped, ended.unanswered), (0, 0));
    assert!(network.was_left("a"));
}

#[tokio::test(start_paused = true)]
async fn a_result_reaches_the_next_broker_when_the_first_is_gone() {
    let (network, link) = Network::new(&[("a", Manner::Willing), ("b", Manner::Willing)]);
    let executor = start_executor(link, TraceRunner::new(node("x"))).await;
    network.order("a", start(attempt(1, 1), trace(20_000)));
    seconds(6).await;
    network.kill("a");
    seconds(30).await;
    assert_eq!((executor.status().home, executor.status().kept), (Some(node("a")), 1));
    // 60 s without an answer, and at most one discovery interval.
    let status = timeout(Duration::from_secs(60), executor.wait_for(|status| status.home == Some(node("b")))).await;
    assert!(status.unwrap().is_some());
    seconds(1).await;
    assert_eq!(network.submitted("b").len(), 1);
    assert_eq!(executor.status().kept, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_runner_becomes_a_failure_and_harms_no_other() {
    struct Fragile;
    impl Runner for Fragile {
        async fn run(&self, attempt: AttemptId, _: &JobSpec, _: RunControl) -> Report {
            assert!(attempt.job.sequence != 1, "job {} is too much", attempt.job);
            seconds(1).await;
            Report::success(vec![])
        }
    }
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let _executor = start_executor(link, Fragile).await;
    network.order("a", start(attempt(1, 1), JobSpec::new(vec![])));
    network.order("a", start(attempt(2, 1), JobSpec::new(vec![])));
    seconds(10).await;
    let mut submitted = network.submitted("a");
    submitted.sort_by_key(|submit| submit.attempt);
    let Outcome::Failure { error } = &submitted[0].outcome else { panic!("{submitted:?}") };
    assert_eq!(error, "the runner panicked: job 0000000000000001-1 is too much");
    assert!(submitted[1].outcome.is_success());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_attempt_is_dropped_and_reports_nothing() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let runner = Endless::default();
    let executor = start_executor(link, runner.clone()).await;
    network.order("a", start(attempt(1, 1), JobSpec::new(vec![])));
    seconds(6).await;
    assert_eq!(executor.status().running, 1);
    network.order("a", stop(attempt(1, 1)));
    seconds(6).await;
    assert_eq!((runner.started.load(Ordering::SeqCst), runner.dropped.load(Ordering::SeqCst)), (1, 1));
    assert_eq!((executor.status().running, executor.status().kept), (0, 0));
    assert!(network.submitted("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_nothing_in_holds_nothing_up() {
    let (network, link) = Network::new(&[("a", Manner::Stuck), ("b", Manner::Willing)]);
    let executor = start_executor(link, TraceRunner::new(node("x"))).await;
    let registered = executor.wait_for(|status| status.home == Some(node("b")));
    assert!(timeout(Duration::from_secs(31), registered).await.unwrap().is_some());
    network.order("b", start(attempt(1, 1), trace(1_000)));
    seconds(10).await;
    assert_eq!(network.submitted("b").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_what_runs_but_not_for_ever() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let executor = start_executor(link, TraceRunner::new(node("x"))).await;
    network.order("a", start(attempt(1, 1), trace(10_000)));
    seconds(6).await;
    let ended = executor.shutdown(Duration::from_secs(60)).await.unwrap();
    assert_eq!((ended.stopped, network.submitted("a").len()), (0, 1));

    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let runner = Endless::default();
    let executor = start_executor(link, runner.clone()).await;
    network.order("a", start(attempt(1, 1), JobSpec::new(vec![])));
    seconds(6).await;
    let ended = executor.shutdown(Duration::from_secs(60)).await.unwrap();
    assert_eq!(ended.stopped, 1);
    assert!(network.was_left("a"), "stopping what runs is told as well");
    seconds(1).await;
    assert_eq!(runner.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_ends_everything_without_a_word() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let runner = Endless::default();
    let executor = start_executor(link, runner.clone()).await;
    network.order("a", start(attempt(1, 1), JobSpec::new(vec![])));
    seconds(6).await;
    drop(executor);
    seconds(1).await;
    assert_eq!(runner.dropped.load(Ordering::SeqCst), 1);
    assert!(!network.was_left("a"));
}

#[tokio::test(start_paused = true)]
async fn a_finished_link_ends_the_executor() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let mut executor = start_executor(link, TraceRunner::new(node("x"))).await;
    seconds(1).await;
    network.finish_link();
    let error = executor.ended().await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "nobody there");
    assert!(executor.ended().await.is_err(), "asking again is no harm");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let builder = Executor::builder().link(link).runner(TraceRunner::new(node("x"))).event_buffer(2).broker("a");
    let mut executor = builder.start().await.unwrap();
    let mut events = executor.events();
    network.order("a", start(attempt(1, 1), trace(10)));
    seconds(20).await;
    assert!(matches!(events.next().await, Some(Event::Lagged { missed, .. }) if missed >= 3));
    assert!(!matches!(events.next().await, Some(Event::Lagged { .. }) | None));
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_no_messages_are_dropped() {
    let (network, link) = Network::new(&[("a", Manner::Willing)]);
    let executor = start_executor(link, TraceRunner::new(node("x"))).await;
    seconds(1).await;
    network.send_garbage("a");
    network.order("a", start(attempt(1, 1), trace(10)));
    network.order("a", start(attempt(2, 1), JobSpec::new(b"no trace job".to_vec())));
    seconds(10).await;
    assert_eq!(network.submitted("a").len(), 2);
    assert_eq!(executor.status().home, Some(node("a")));
}
