//! What holds whatever happens to an agent.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// One step of anything that may happen, of a small world in which everything collides.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Sleep(u64),
    Next,
    LinkUp(u8),
    LinkDown(u8),
    ConnectFailed,
    Registered(u8, u8),
    Behind(u8, i8),
    Answer { from: u8, back: u8, renew: bool, starts: Vec<(u8, u8, u8)>, stops: Vec<(u8, u8, u8)> },
    NotRegistered(u8),
    Submitted(u8, u8),
    Finish(u8),
    Progress(u8, u16),
    Drain,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let attempts = || proptest::collection::vec((1..6_u8, 1..3_u8, 1..3_u8), 0..4);
    // Mostly the broker that is the home at first, so that things happen.
    let from = || prop_oneof![4 => Just(0_u8), 1 => 1..3_u8];
    prop_oneof![
        8 => (0..8_000_u64).prop_map(Step::Pass),
        8 => Just(Step::Next),
        2 => (0..10_000_u64).prop_map(Step::Sleep),
        8 => from().prop_map(Step::LinkUp),
        3 => from().prop_map(Step::LinkDown),
        3 => Just(Step::ConnectFailed),
        16 => (from(), 0..4_u8).prop_map(|(from, verdict)| Step::Registered(from, verdict)),
        2 => (from(), -1..2_i8).prop_map(|(from, above)| Step::Behind(from, above)),
        40 => (from(), 0..3_u8, any::<bool>(), attempts(), attempts())
            .prop_map(|(from, back, renew, starts, stops)| Step::Answer { from, back, renew, starts, stops }),
        2 => from().prop_map(Step::NotRegistered),
        12 => (from(), 0..4_u8).prop_map(|(from, kind)| Step::Submitted(from, kind)),
        20 => any::<u8>().prop_map(Step::Finish),
        2 => (any::<u8>(), any::<u16>()).prop_map(|(which, bp)| Step::Progress(which, bp)),
        1 => Just(Step::Drain),
        1 => Just(Step::Leave),
    ]
}

/// What an observer outside the agent knows.
#[derive(Default)]
struct Observer {
    ran: BTreeSet<AttemptId>,
    running: BTreeSet<AttemptId>,
    /// Results that were made, and neither answered nor given up by leaving.
    unanswered: BTreeSet<AttemptId>,
    submitted: Vec<Submit>,
    registrations: BTreeSet<(SessionEpoch, u64)>,
    outputs: Vec<Output>,
}

impl Observer {
    fn watch(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match &output {
                Output::Run { attempt, .. } => {
                    assert!(self.ran.insert(*attempt), "{attempt} runs twice");
                    assert!(self.running.insert(*attempt));
                }
                Output::Stop { attempt } => assert!(self.running.remove(attempt), "{attempt} does not run"),
                Output::Send { message: ToBroker::Submit(submit), .. } => {
                    let same = |old: &&Submit| (old.attempt, old.sequence) == (submit.attempt, submit.sequence);
                    match self.submitted.iter().find(same) {
                        Some(old) => assert_eq!(old, submit, "one submission with two contents"),
                        None => self.submitted.push(submit.clone()),
                    }
                }
                Output::Send { message: ToBroker::Register(register), .. } => {
                    assert!(self.registrations.insert((register.session, register.registration)));
                }
                Output::Promote { .. } => panic!("nobody said that it may start a broker"),
                Output::Send { .. } | Output::Connect { .. } | Output::Disconnect { .. } | Output::Notify(_) => {}
            }
            self.outputs.push(output);
        }
    }
}

/// Plays the steps, checks after each of them, and gives back everything that came out.
fn play(config: AgentConfig, steps: &[Step]) -> Vec<Output> {
    let capacity = config.capacity;
    let slots = config.slots as usize;
    let mut scene = Scene::at_home(config);
    let mut observer = Observer::default();
    let broker = |which: u8| NodeId::new([which + 1; 16]);
    let address = |which: u8| ["home", "other", "roster"][usize::from(which)];
    for step in steps {
        let running: Vec<_> = observer.running.iter().copied().collect();
        let pick = |which: u8| running.get(usize::from(which).checked_rem(running.len()).unwrap_or(0)).copied();
        let left = scene.agent.has_left();
        let outputs = match step.clone() {
            Step::Pass(ms) => scene.pass(ms),
            Step::Sleep(ms) => {
                scene.now.wall = scene.now.wall.saturating_add(ms);
                scene.input(Input::Tick)
            }
            Step::Next => match scene.agent.next_deadline() {
                Some(deadline) => scene.pass(deadline.saturating_since(scene.now.mono)),
                None => vec![],
            },
            Step::LinkUp(from) => scene.link_up(broker(from), address(from)),
            Step::LinkDown(from) => scene.input(Input::LinkDown { broker: broker(from) }),
            Step::ConnectFailed => {
                let address = scene.agent.candidates.current().unwrap_or_default().to_owned();
                scene.input(Input::ConnectFailed { address })
            }
            Step::Registered(from, verdict) => {
                let verdicts = [HeldVerdict::Continue, HeldVerdict::Stop, HeldVerdict::SubmitOnly];
                let verdict = verdicts.get(usize::from(verdict)).copied();
                let held = running.iter().filter_map(|attempt| Some((*attempt, verdict?))).collect();
                scene.registered(broker(from), held)
            }
            Step::Behind(from, above) => {
                let session = scene.agent.session();
                let start = Hlc::from_u64(session.start.as_u64().saturating_add_signed(above.into()));
                scene.receive(broker(from), ToExecutor::SessionBehind { known: SessionEpoch { start, ..session } })
            }
            Step::Answer { from, back, renew, starts, stops } => {
                let of = |(job, epoch, number): (u8, u8, u8)| attempt(job.into(), epoch.into(), number.into());
                let spec = |job: u8| JobSpec::new(vec![job]).with_fenced(job == 2);
                let mut orders: Vec<_> = starts.into_iter().map(|start| start_spec(of(start), spec(start.0))).collect();
                let stop = |stop| Order::Stop { attempt: of(stop), reason: StopReason::Replaced, drain_ms: 0 };
                orders.extend(stops.into_iter().map(stop));
                let message = ToExecutor::HeartbeatAnswer {
                    session: scene.agent.session(),
                    registration: scene.agent.registration(),
                    sequence: scene.agent.heartbeat.saturating_sub(back.into()),
                    renewed: if renew { running.clone() } else { vec![] },
                    lost: vec![],
                    orders,
                    roster: vec![],
                };
                scene.receive(broker(from), message)
            }
            Step::NotRegistered(from) => {
                let registration = scene.agent.registration();
                scene.receive(broker(from), ToExecutor::NotRegistered { registration })
            }
            Step::Submitted(from, kind) => {
                let canonical = SubmissionId { accepted_by: ReplicaId::new(4).unwrap(), number: 2 };
                let answer = [
                    ACCEPTED,
                    Answer::Rejected(Rejection::Settled { canonical }),
                    Answer::Busy { retry_after_ms: 0 },
                    Answer::Parked { until_ms: 0 },
                ][usize::from(kind)];
                match observer.submitted.last().cloned() {
                    Some(submit) => {
                        if answer.is_final() && !left {
                            observer.unanswered.remove(&submit.attempt);
                        }
                        scene.submit_answer(broker(from), &submit, answer)
                    }
                    None => vec![],
                }
            }
            Step::Finish(which) => match pick(which) {
                Some(attempt) => {
                    observer.running.remove(&attempt);
                    // Stop and finish may cross only in one direction: what runs is held.
                    assert!(left || scene.held().contains(&attempt));
                    observer.unanswered.insert(attempt);
                    scene.finish(attempt, &[which])
                }
                None => vec![],
            },
            Step::Progress(which, bp) => match pick(which) {
                Some(attempt) => scene.input(Input::Progress { attempt, bp }),
                None => vec![],
            },
            Step::Drain => scene.input(Input::Drain),
            Step::Leave => scene.input(Input::Leave),
        };
        observer.watch(outputs);
        let held = scene.held();
        assert_eq!(held, observer.running.iter().copied().collect::<Vec<_>>());
        assert!(held.len() <= slots);
        let used = Resources::new(1_000 * held.len() as u64, 0, 0);
        assert_eq!(scene.agent.free(), capacity.saturating_sub(used), "what runs is what is used");
        assert_eq!(scene.agent.kept(), observer.unanswered.len(), "no result is dropped");
    }
    observer.outputs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn law_no_attempt_runs_twice_and_no_result_is_dropped(steps in proptest::collection::vec(step(), 0..150)) {
        play(config(), &steps);
    }

    #[test]
    fn law_same_seed_same_outputs(steps in proptest::collection::vec(step(), 0..100)) {
        prop_assert_eq!(play(config(), &steps), play(config(), &steps));
    }

    #[test]
    fn law_an_agent_with_a_willing_broker_delivers(
        steps in proptest::collection::vec(step().prop_filter("stays", |step| !matches!(step, Step::Leave)), 0..100),
    ) {
        let mut scene = Scene::new(config());
        scene.outputs();
        scene.link_up(HOME, "home");
        scene.registered(HOME, vec![]);
        scene.order((1..=4).map(|job| start(attempt(job, 1, 1))).collect());
        for job in 1..=4 {
            scene.finish(attempt(job, 1, 1), b"out");
        }
        // Whatever happens then, short of a final answer,
        for step in &steps {
            match step {
                Step::Pass(ms) => drop(scene.pass(*ms)),
                Step::LinkUp(from) => drop(scene.link_up(NodeId::new([from + 1; 16]), "other")),
                Step::LinkDown(from) => drop(scene.input(Input::LinkDown { broker: NodeId::new([from + 1; 16]) })),
                Step::Registered(from, _) => drop(scene.registered(NodeId::new([from + 1; 16]), vec![])),
                Step::ConnectFailed => drop(scene.input(Input::ConnectFailed { address: "other".into() })),
                _ => {}
            }
        }
        // a broker that answers everything gets every result before two discovery rounds are over.
        let mut delivered = BTreeSet::new();
        let mut pending: Vec<Output> = Vec::new();
        let end = scene.now.mono.saturating_add(400_000);
        while scene.now.mono < end && delivered.len() < 4 {
            let wait = scene.agent.next_deadline().map_or(1, |deadline| deadline.saturating_since(scene.now.mono));
            pending.extend(scene.pass(wait.min(1_000)));
            while let Some(output) = pending.pop() {
                match output {
                    Output::Connect { address } => pending.extend(scene.link_up(OTHER, &address)),
                    Output::Send { to, message: ToBroker::Register(_) } => pending.extend(scene.registered(to, vec![])),
                    Output::Send { message: ToBroker::Heartbeat(beat), .. } if scene.agent.home().is_some() => {
                        pending.extend(scene.answer(beat.sequence, vec![], vec![]));
                    }
                    Output::Send { to, message: ToBroker::Submit(submit) } => {
                        delivered.insert(submit.attempt);
                        pending.extend(scene.submit_answer(to, &submit, ACCEPTED));
                    }
                    _ => {}
                }
            }
        }
        prop_assert_eq!(delivered.len(), 4);
        prop_assert_eq!(scene.agent.kept(), 0);
    }
}
