//! Section 3, "Reappearance", and the attempt rules of section 5.

use reconvene_broker::{Config, EventKind, JobStatus, Phase, StrategyKind};
use reconvene_executor::message::{HeldVerdict, Order, StopReason};
use reconvene_executor::{
    Answer, AttemptId, AttemptRule, FencingToken, Finality, JobId, JobSpec, OwnershipEpoch, Reappearance, Rejection,
    Resources,
};

use crate::world::{World, attempt, replica, spec};

const A: usize = 0;
const B: usize = 1;

const ACCEPTED: Answer = Answer::Accepted { finality: Finality::Provisional };

/// One attempt on X, which falls silent, and another on Y, which runs when X comes back at 150.
pub struct Replaced {
    pub world: World,
    pub job: JobId,
    x: usize,
    y: usize,
}

impl Replaced {
    pub fn new(spec: JobSpec) -> Self {
        Self::with(spec, |_| {})
    }

    fn with(spec: JobSpec, change: impl FnOnce(&mut Config)) -> Self {
        let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
        change(&mut world.brokers[A].config);
        world.stop(A);
        world.start(A);
        let x = world.add_executor(A, 2);
        let job = world.submit_job(A, spec);
        world.run_to(20);
        let y = world.add_executor(A, 1);
        world.run_to(100);
        world.executors[x].alive = false;
        world.run_to(149);
        assert_eq!(world.started(y).1, attempt(job, 1, 1, 2));
        Self { world, job, x, y }
    }

    /// X is back. The numbers of the attempts that run after that.
    pub fn reappear(&mut self) -> Vec<u32> {
        self.world.run_to(150);
        self.world.register(self.x, A);
        self.world.run_to(160);
        self.running()
    }

    fn running(&self) -> Vec<u32> {
        let mut running: Vec<_> = [self.x, self.y]
            .iter()
            .flat_map(|executor| self.world.executors[*executor].running.keys().map(|attempt| attempt.number))
            .collect();
        running.sort_unstable();
        running
    }

    fn phases(&self) -> Vec<Phase> {
        self.world.job(A, self.job).attempts.iter().map(|attempt| attempt.phase.unwrap()).collect()
    }

    fn first(&self) -> AttemptId {
        attempt(self.job, 1, 1, 1)
    }

    fn second(&self) -> AttemptId {
        attempt(self.job, 1, 1, 2)
    }
}

#[test]
fn first_result_lets_all_run_on() {
    let mut replaced = Replaced::new(spec());
    assert_eq!(replaced.reappear(), [1, 2]);
    let first = replaced.first();
    assert_eq!(replaced.world.finish(replaced.x, A, first, b"one"), ACCEPTED);
    assert_eq!(replaced.running(), [], "the first result stops the rest");
    assert_eq!(replaced.world.coordinator(A).statistics().replaced, 0);
}

#[test]
fn keep_original_stops_the_replacement() {
    let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::KeepOriginal));
    assert_eq!(replaced.reappear(), [1]);
    assert_eq!(replaced.phases(), [Phase::Running, Phase::Cancelled]);
    let (world, first, second) = (&mut replaced.world, attempt(replaced.job, 1, 1, 1), attempt(replaced.job, 1, 1, 2));
    let stop = world.orders.last().unwrap();
    assert!(
        matches!(stop, (_, to, Order::Stop { attempt, reason: StopReason::Replaced, .. }) if *to == replaced.y && *attempt == second),
        "{stop:?}"
    );
    assert_eq!(
        world.count(
            A,
            |kind| matches!(kind, EventKind::AttemptReplaced { attempt, by } if *attempt == second && *by == first)
        ),
        1
    );
    assert_eq!(world.coordinator(A).statistics().replaced, 1);
    // It goes on with a lease, and nothing is placed again.
    world.run_to(400);
    assert_eq!(world.starts(replaced.job).len(), 2);
    assert_eq!(world.finish(replaced.x, A, first, b"one"), ACCEPTED);
}

#[test]
fn keep_original_places_again_when_the_original_is_lost_again() {
    let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::KeepOriginal));
    assert_eq!(replaced.reappear(), [1]);
    replaced.world.executors[replaced.x].alive = false;
    replaced.world.run_to(300);
    assert_eq!(replaced.world.starts(replaced.job).len(), 3);
    assert_eq!(replaced.world.started(replaced.y).1, attempt(replaced.job, 1, 1, 3));
    // Nobody needs the original any more when it comes back once more, but it is the original.
    replaced.world.register(replaced.x, A);
    replaced.world.run_to(310);
    assert_eq!(replaced.running(), [1]);
}

#[test]
fn keep_replacement_stops_the_original_which_may_submit_if_it_has_finished() {
    let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::KeepReplacement));
    assert_eq!(replaced.reappear(), [2]);
    assert_eq!(replaced.phases(), [Phase::Cancelled, Phase::Running]);
    // It had ended before the order to stop came.
    let (x, first) = (replaced.x, replaced.first());
    assert_eq!(replaced.world.finish(x, A, first, b"one"), ACCEPTED);
    assert_eq!(replaced.running(), []);
    assert_eq!(replaced.phases(), [Phase::Finished, Phase::Running]);
    // Whoever was stopped, and comes with the same attempt again, is told so again.
    let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::KeepReplacement));
    replaced.reappear();
    let (x, first) = (replaced.x, replaced.first());
    let token = replaced.world.executors[x].tokens[&replaced.job];
    replaced.world.executors[x].running.insert(first, token);
    replaced.world.register(x, A);
    assert_eq!(
        replaced.world.verdicts.last().map(|(_, _, attempt, verdict)| (*attempt, *verdict)),
        Some((first, HeldVerdict::Stop))
    );
}

#[test]
fn keep_replacement_waits_until_the_replacement_runs() {
    let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::KeepReplacement));
    // Y falls silent; a third attempt is ordered on an executor that does not take it.
    replaced.world.executors[replaced.y].alive = false;
    replaced.world.run_to(170);
    let z = replaced.world.add_executor(A, 1);
    replaced.world.executors[z].refusing = true;
    replaced.world.run_to(191);
    replaced.world.run_to(193);
    replaced.world.register(replaced.x, A);
    replaced.world.run_to(230);
    assert_eq!(replaced.running().first(), Some(&1), "nothing is stopped for what does not run");
}

#[test]
fn best_score_keeps_the_attempt_that_was_placed_better() {
    // Both were idle. Then one of two places of X was taken when the first was placed, and one of four of Y.
    let best = || spec().with_reappearance(Reappearance::BestScore);
    let mut replaced = Replaced::new(best());
    assert_eq!(replaced.reappear(), [1], "of equals, the original");
    let mut world = World::new(1, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 2);
    let other = world.submit_job(A, spec().with_demand(Resources::new(4_000, 0, 0)));
    let job = world.submit_job(A, best());
    world.run_to(20);
    assert_eq!((world.starts(other)[0].1, world.starts(job)[0].1), (x, x));
    let y = world.add_executor(A, 4);
    world.executors[x].alive = false;
    world.run_to(70);
    let second = world.starts(job)[1];
    assert_eq!((second.1, second.2), (y, attempt(job, 1, 1, 2)));
    world.register(x, A);
    world.run_to(80);
    assert!(world.executors[y].running.contains_key(&second.2));
    assert!(!world.executors[x].running.contains_key(&attempt(job, 1, 1, 1)));
}

#[test]
fn most_progress_keeps_the_attempt_that_is_further() {
    for (x_bp, y_bp, keeps) in [(5_000, 100, 1), (100, 5_000, 2), (0, 0, 1)] {
        let mut replaced = Replaced::new(spec().with_reappearance(Reappearance::MostProgress));
        let (first, second) = (replaced.first(), replaced.second());
        replaced.world.executors[replaced.x].progress.insert(first, x_bp);
        replaced.world.executors[replaced.y].progress.insert(second, y_bp);
        assert_eq!(replaced.reappear(), [keeps], "{x_bp} and {y_bp}");
    }
}

#[test]
fn the_broker_that_admits_the_job_says_what_becomes_of_attempts_unless_the_job_does() {
    let mut replaced = Replaced::with(spec(), |config| config.reappearance = Reappearance::KeepReplacement);
    assert_eq!(replaced.reappear(), [2]);
    let own = spec().with_reappearance(Reappearance::FirstResult);
    let mut replaced = Replaced::with(own, |config| config.reappearance = Reappearance::KeepReplacement);
    assert_eq!(replaced.reappear(), [1, 2]);
}

/// A has the original on X, B its replacement on Z; the cut heals at 250.
fn healed(policy: Reappearance) -> (World, JobId, usize, usize) {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 1);
    let job = world.submit_job(A, spec().with_reappearance(policy));
    world.run_to(10);
    world.cut(A, B);
    world.run_to(250);
    assert_eq!(world.started(z).1, attempt(job, 2, 2, 1));
    assert!(world.executors[x].running.contains_key(&attempt(job, 1, 1, 1)));
    world.heal(A, B);
    world.run_to(270);
    (world, job, x, z)
}

#[test]
fn a_healed_cut_is_settled_by_the_present_owner_for_executors_of_both_sides() {
    let (world, job, x, z) = healed(Reappearance::FirstResult);
    assert_eq!((world.executors[x].running.len(), world.executors[z].running.len()), (1, 1));
    let (world, _, x, z) = healed(Reappearance::KeepOriginal);
    assert_eq!((world.executors[x].running.len(), world.executors[z].running.len()), (1, 0));
    let (world, _, x, z) = healed(Reappearance::KeepReplacement);
    assert_eq!((world.executors[x].running.len(), world.executors[z].running.len()), (0, 1));
    // B owns the job, so B decides; A only stops its executor.
    let replaced = |kind: &EventKind| matches!(kind, EventKind::AttemptReplaced { .. });
    let stopped = |kind: &EventKind| matches!(kind, EventKind::AttemptStopped { reason: StopReason::Replaced, .. });
    assert_eq!((world.count(A, replaced), world.count(B, replaced)), (0, 1));
    assert_eq!((world.count(A, stopped), world.count(B, stopped)), (1, 0));
    assert_eq!(world.job(A, job).attempts, world.job(B, job).attempts);
}

#[test]
fn current_attempt_only_refuses_the_original() {
    let mut replaced = Replaced::new(spec().with_attempts(AttemptRule::CurrentAttemptOnly));
    assert_eq!(replaced.reappear(), [1, 2]);
    let (first, second) = (replaced.first(), replaced.second());
    let (x, y) = (replaced.x, replaced.y);
    let answer = replaced.world.finish(x, A, first, b"one");
    let Answer::Rejected(Rejection::NotCurrent { token }) = answer else { panic!("{answer:?}") };
    assert!(token.belongs_to(&second));
    assert_eq!(replaced.world.job(A, replaced.job).status, JobStatus::Running);
    assert_eq!(replaced.world.finish(y, A, second, b"two"), ACCEPTED);
    assert_eq!(replaced.world.coordinator(A).statistics().not_current, 1);
}

#[test]
fn current_attempt_only_counts_what_was_not_stopped() {
    let spec = spec().with_attempts(AttemptRule::CurrentAttemptOnly).with_reappearance(Reappearance::KeepOriginal);
    let mut replaced = Replaced::new(spec);
    assert_eq!(replaced.reappear(), [1]);
    let (x, first) = (replaced.x, replaced.first());
    assert_eq!(replaced.world.finish(x, A, first, b"one"), ACCEPTED);
}

#[test]
fn owner_epoch_only_refuses_what_an_owner_before_has_started() {
    let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
    let x = world.add_executor(A, 1);
    let z = world.add_executor(B, 1);
    let job = world.submit_job(A, spec().with_attempts(AttemptRule::OwnerEpochOnly));
    world.run_to(10);
    world.cut(A, B);
    world.run_to(250);
    world.heal(A, B);
    let (first, second) = (attempt(job, 1, 1, 1), attempt(job, 2, 2, 1));
    for broker in [A, B] {
        let answer = world.finish(x, broker, first, b"one");
        let Answer::Rejected(Rejection::NotCurrent { token }) = answer else { panic!("{answer:?}") };
        assert_eq!((token.epoch, token.owner), (OwnershipEpoch(2), replica(2)));
    }
    assert_eq!(world.finish(z, A, second, b"two"), ACCEPTED);
    assert_eq!(world.coordinator(B).canonical(job).map(|id| id.accepted_by), Some(replica(1)));
}

#[test]
fn an_attempt_of_an_owner_whose_claim_is_on_the_way_is_not_outranked() {
    for rule in [AttemptRule::CurrentAttemptOnly, AttemptRule::OwnerEpochOnly] {
        let mut world = World::new(2, StrategyKind::FirstComeFirstServed);
        let x = world.add_executor(A, 1);
        let z = world.add_executor(B, 1);
        let job = world.submit_job(A, spec().with_attempts(rule));
        world.run_to(10);
        world.cut(A, B);
        world.run_to(250);
        // A has not heard that B owns the job.
        let token: FencingToken = world.executors[z].tokens[&job];
        assert!(token.belongs_to(&attempt(job, 2, 2, 1)));
        assert_eq!(world.finish(z, A, attempt(job, 2, 2, 1), b"two"), ACCEPTED, "{rule}");
        assert!(world.executors[x].running.is_empty());
    }
}
