//! A planted offender for each law: rules that people write, each of which the kit must refuse by the law it breaks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use reconvene_clock::WallTime;
use reconvene_resolve::laws::{self, Law, Violation};
use reconvene_resolve::{
    AlgorithmId, CandidateId, CausalOrder, Chain, ClusterView, ContentionStrategy, Eviction, FactorReading, HeadRoom,
    HeadStartMinutes, JobFacts, KeyBreakdown, Level, Link, LinkReading, Policy, PolicyDecodeError, Preemption,
    PreemptionRules, Preemptor, Priority, RankKey, Reason, ReconcileStrategy, Reservation, ReservationCause,
    RoundFacts, RunningJob, StrategyKind, Unit, VersionFacts, job, plan_preemption, version,
};

const ID: AlgorithmId = AlgorithmId::new(AlgorithmId::FIRST_CUSTOM, 9);

/// A rule with one word, read with whatever state it likes.
struct Rule<F>(F);

fn key(id: CandidateId, word: u64) -> RankKey {
    RankKey::new([word, 0, 0, 0, 0, 0], id)
}

fn breakdown(id: CandidateId, word: u64) -> KeyBreakdown {
    KeyBreakdown::new(id, vec![LinkReading::plain("rule", Unit::Score, word)]).unwrap()
}

impl<F: Fn(&VersionFacts) -> u64 + Send + Sync> ReconcileStrategy for Rule<F> {
    fn algorithm(&self) -> AlgorithmId {
        ID
    }

    fn key(&self, version: &VersionFacts) -> RankKey {
        key(version.id, self.0(version))
    }

    fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
        breakdown(version.id, self.0(version))
    }
}

/// The same for jobs.
struct JobRule<F>(F);

impl<F: Fn(&JobFacts, &RoundFacts) -> u64 + Send + Sync> ContentionStrategy for JobRule<F> {
    fn algorithm(&self) -> AlgorithmId {
        ID
    }

    fn key(&self, job: &JobFacts, round: &RoundFacts) -> RankKey {
        key(job.id, self.0(job, round))
    }

    fn explain(&self, job: &JobFacts, round: &RoundFacts) -> KeyBreakdown {
        breakdown(job.id, self.0(job, round))
    }
}

/// A comparator made into a strategy, as one would: what was seen is kept sorted, whoever comes is put before the first
/// that it beats, and its place is its rank.
struct Compared<C> {
    beats: C,
    seen: Mutex<Vec<VersionFacts>>,
}

impl<C: Fn(&VersionFacts, &VersionFacts) -> bool> Compared<C> {
    fn new(beats: C) -> Self {
        Self { beats, seen: Mutex::default() }
    }

    fn place(&self, version: &VersionFacts) -> u64 {
        let mut seen = self.seen.lock().unwrap();
        // Another subject is another list.
        if seen.len() > 64 {
            seen.clear();
        }
        let place = seen.iter().position(|held| held == version).unwrap_or_else(|| {
            let place = seen.iter().position(|held| (self.beats)(version, held)).unwrap_or(seen.len());
            seen.insert(place, *version);
            place
        });
        u64::try_from(place).unwrap()
    }
}

impl<C: Fn(&VersionFacts, &VersionFacts) -> bool + Send + Sync> ReconcileStrategy for Compared<C> {
    fn algorithm(&self) -> AlgorithmId {
        ID
    }

    fn key(&self, version: &VersionFacts) -> RankKey {
        key(version.id, self.place(version))
    }

    fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
        breakdown(version.id, self.place(version))
    }
}

#[track_caller]
fn caught_by(law: Law, checked: Result<laws::Report, Violation>) {
    let violation = checked.expect_err("the kit certified an offender");
    assert_eq!(violation.law, law, "{violation}");
    assert!(!violation.what.is_empty());
}

#[track_caller]
fn refuses(law: Law, offender: &dyn ReconcileStrategy) {
    caught_by(law, laws::reconcile(offender).only(law).check());
}

#[track_caller]
fn refuses_jobs(law: Law, offender: &dyn ContentionStrategy) {
    caught_by(law, laws::contention(offender).only(law).check());
}

/// Whether `a` happened before `b`, from what the histories say of it.
fn happened_before(a: &VersionFacts, b: &VersionFacts) -> bool {
    b.digest[0] >> (a.id.0[1] - 1) & 1 == 1
}

/// "The causally later wins; if they are concurrent, the greater writer does": sound in each half, and cyclic.
fn causal_else_writer(a: &VersionFacts, b: &VersionFacts) -> bool {
    happened_before(b, a) || !happened_before(a, b) && (a.id.0[0], a.id.0[1]) > (b.id.0[0], b.id.0[1])
}

#[test]
fn causal_else_tie_break_is_refused() {
    let offender = || Compared::new(causal_else_writer);
    assert!(laws::reconcile(&offender()).check().is_err());
    for law in [Law::RankIgnoresOrder, Law::ResolveIsCommutative, Law::ResolveIsAssociative, Law::ResolvePrunes] {
        refuses(law, &offender());
    }
}

/// "Nearly as early is as early, then the better one": nearly is not transitive.
#[test]
fn an_epsilon_tie_is_refused() {
    let nearly = |a: &VersionFacts, b: &VersionFacts| {
        let (ours, theirs) = (a.accepted.as_u64() >> 16, b.accepted.as_u64() >> 16);
        match ours.abs_diff(theirs) {
            0 | 1 => (a.quality, a.id) > (b.quality, b.id),
            _ => ours < theirs,
        }
    };
    for law in [Law::RankIgnoresOrder, Law::ResolveIsAssociative, Law::ResolvePrunes, Law::ResolveIsCommutative] {
        refuses(law, &Compared::new(nearly));
    }
}

/// Whoever is seen first goes first, and so has another key on every broker.
#[test]
fn order_of_arrival_is_refused() {
    let arrivals: Mutex<BTreeMap<(CandidateId, [u8; 32]), u64>> = Mutex::default();
    let arrival = |version: &VersionFacts| {
        let mut arrivals = arrivals.lock().unwrap();
        let next = u64::try_from(arrivals.len()).unwrap();
        // What was seen is forgotten now and then, as in a process that restarts.
        if next > 7 {
            arrivals.clear();
        }
        *arrivals.entry((version.id, version.digest)).or_insert(next)
    };
    let offender = Rule(arrival);
    refuses(Law::RankIgnoresOrder, &offender);
    refuses(Law::ResolveIsCommutative, &offender);
}

/// A counter, a clock or a random number in the key.
#[test]
fn a_key_with_state_is_refused() {
    let calls = AtomicU64::new(0);
    // Of a period that no number of candidates divides.
    let offender = Rule(|_: &VersionFacts| calls.fetch_add(1, Relaxed) * 7 % 11);
    for law in [
        Law::KeyIsDeterministic,
        Law::ResolveIsIdempotent,
        Law::SupersessionIsMonotone,
        Law::ExplanationEqualsDecision,
        Law::IrrelevantCandidatesChangeNothing,
    ] {
        refuses(law, &offender);
    }
    let offender = JobRule(|_: &JobFacts, _: &RoundFacts| calls.fetch_add(1, Relaxed) * 7 % 11);
    refuses_jobs(Law::KeyIsDeterministic, &offender);
    refuses_jobs(Law::RankIgnoresOrder, &offender);
    refuses_jobs(Law::ExplanationEqualsDecision, &offender);
}

/// Every key only improves with time, and yet an old version may take the place of another.
#[test]
fn improving_by_turns_is_refused() {
    let calls = AtomicU64::new(0);
    let offender = Rule(|version: &VersionFacts| {
        let turn = calls.fetch_add(1, Relaxed) / 5;
        let luck = reconvene_resolve::tie_hash(reconvene_resolve::SubjectId::new(turn, 0), version.id) % 100;
        (1 << 50) - 1_000 * turn + luck
    });
    refuses(Law::SupersessionIsMonotone, &offender);
}

/// Priority as a share of the range that the last few candidates span.
#[test]
fn min_max_normalisation_is_refused() {
    let seen: Mutex<VecDeque<(u64, Priority)>> = Mutex::default();
    let normalised = |job: &JobFacts, _: &RoundFacts| {
        let mut seen = seen.lock().unwrap();
        let work = job.work_core_ms.unwrap_or(0).min(1 << 30);
        seen.push_back((work, job.priority));
        if seen.len() > 5 {
            seen.pop_front();
        }
        let most = seen.iter().map(|(work, _)| *work).max().unwrap_or(0).max(1);
        let highest = seen.iter().map(|(_, priority)| u64::from(priority.0)).max().unwrap_or(0).max(1);
        20_000 - work * 10_000 / most - u64::from(job.priority.0) * 10_000 / highest
    };
    refuses_jobs(Law::IrrelevantCandidatesChangeNothing, &JobRule(normalised));
    refuses_jobs(Law::KeyIsDeterministic, &JobRule(normalised));
}

/// Floating point, added up in one order for the key and in another for the explanation.
#[test]
fn a_sum_of_floats_is_refused() {
    struct Floats;

    impl Floats {
        fn parts(version: &VersionFacts) -> [f64; 4] {
            let part = |number: u64| f64::from(u32::try_from(number & 0xffff).unwrap()) * 0.1;
            [part(version.cost_resource_ms), 1e15, part(version.placement) + 0.3, part(version.accepted.as_u64())]
        }

        fn word(sum: f64) -> u64 {
            // The bits of a positive number are in its order.
            sum.to_bits()
        }
    }

    impl ReconcileStrategy for Floats {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, version: &VersionFacts) -> RankKey {
            key(version.id, Self::word(Self::parts(version).iter().sum()))
        }

        fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
            breakdown(version.id, Self::word(Self::parts(version).iter().rev().sum()))
        }
    }

    refuses(Law::ExplanationEqualsDecision, &Floats);
}

#[test]
fn keys_without_an_id_are_refused() {
    struct Nameless;

    impl ReconcileStrategy for Nameless {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, version: &VersionFacts) -> RankKey {
            key(CandidateId::new(0, 0), version.accepted.as_u64())
        }

        fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
            breakdown(CandidateId::new(0, 0), version.accepted.as_u64())
        }
    }

    refuses(Law::KeyIsInjective, &Nameless);
    let nameless = Compared::new(|_: &VersionFacts, _: &VersionFacts| false);
    assert!(
        laws::reconcile(&nameless).only(Law::KeyIsInjective).histories(500).check().is_ok(),
        "it breaks others, not this one"
    );

    struct NamelessJobs;

    impl ContentionStrategy for NamelessJobs {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, job: &JobFacts, _: &RoundFacts) -> RankKey {
            key(CandidateId::new(0, 0), job.submitted.as_u64())
        }

        fn explain(&self, job: &JobFacts, _: &RoundFacts) -> KeyBreakdown {
            breakdown(CandidateId::new(0, 0), job.submitted.as_u64())
        }
    }

    refuses_jobs(Law::KeyIsInjective, &NamelessJobs);
}

/// Rankings ask for words and never see the keys that these are not of.
#[test]
fn words_that_are_not_those_of_the_key_are_refused() {
    /// What it says of version or job, asked for one word, for many, and for the least.
    struct Hasty {
        word: u64,
        words: u64,
        least: u64,
    }

    impl ReconcileStrategy for Hasty {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, version: &VersionFacts) -> RankKey {
            key(version.id, 7)
        }

        fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
            breakdown(version.id, 7)
        }

        fn word(&self, _: &VersionFacts, index: usize) -> u64 {
            if index == 0 { self.word } else { 0 }
        }

        fn words(&self, _: &[&VersionFacts], index: usize, words: &mut [u64]) {
            words.fill(if index == 0 { self.words } else { 0 });
        }
    }

    impl ContentionStrategy for Hasty {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, job: &JobFacts, _: &RoundFacts) -> RankKey {
            key(job.id, 7)
        }

        fn explain(&self, job: &JobFacts, _: &RoundFacts) -> KeyBreakdown {
            breakdown(job.id, 7)
        }

        fn word(&self, _: &JobFacts, _: &RoundFacts, index: usize) -> u64 {
            if index == 0 { self.word } else { 0 }
        }

        fn least_words(&self, _: &JobFacts, _: &RoundFacts) -> [u64; 2] {
            [self.least, 0]
        }
    }

    let honest = Hasty { word: 7, words: 7, least: 7 };
    assert!(laws::reconcile(&honest).only(Law::KeyIsDeterministic).histories(50).check().is_ok());
    assert!(laws::contention(&honest).only(Law::KeyIsDeterministic).histories(50).check().is_ok());
    // Who overrides nothing has the words of its keys.
    let plain = Rule(|version: &VersionFacts| version.accepted.as_u64());
    assert!(laws::reconcile(&plain).only(Law::KeyIsDeterministic).histories(50).check().is_ok());
    let plain = JobRule(|job: &JobFacts, _: &RoundFacts| job.submitted.as_u64());
    assert!(laws::contention(&plain).only(Law::KeyIsDeterministic).histories(50).check().is_ok());
    refuses(Law::KeyIsDeterministic, &Hasty { word: 6, ..honest });
    refuses(Law::KeyIsDeterministic, &Hasty { words: 6, ..honest });
    refuses_jobs(Law::KeyIsDeterministic, &Hasty { word: 6, ..honest });
    refuses_jobs(Law::KeyIsDeterministic, &Hasty { least: 8, ..honest });
}

/// Unique keys, each with another candidate's name on it; and keys that are all the same.
#[test]
fn keys_with_the_wrong_id_are_refused() {
    struct Renamed(fn(CandidateId) -> CandidateId);

    impl ReconcileStrategy for Renamed {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, version: &VersionFacts) -> RankKey {
            key(self.0(version.id), 0)
        }

        fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
            breakdown(self.0(version.id), 0)
        }
    }

    impl ContentionStrategy for Renamed {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, job: &JobFacts, _: &RoundFacts) -> RankKey {
            key(self.0(job.id), 0)
        }

        fn explain(&self, job: &JobFacts, _: &RoundFacts) -> KeyBreakdown {
            breakdown(self.0(job.id), 0)
        }
    }

    let swapped = Renamed(|CandidateId([issuer, number])| CandidateId::new(number, issuer));
    refuses(Law::KeyIsInjective, &swapped);
    refuses_jobs(Law::KeyIsInjective, &swapped);
    let same = Renamed(|_| CandidateId::new(0, 0));
    for order in [CausalOrder::Earliest, CausalOrder::Latest] {
        let law = Law::CausalityIsRespected;
        caught_by(law, laws::reconcile(&same).causal(order).only(law).check());
        caught_by(law, laws::contention(&same).causal(order).only(law).check());
    }
}

/// The cheapest result first, which need not have worked.
#[test]
fn a_rule_without_outcome_is_refused() {
    let cheapest = Chain::<VersionFacts>::new(ID, [version::cost(), Link::id()]).unwrap();
    refuses(Law::FailureNeverBeatsSuccess, &cheapest);
}

#[test]
fn stamps_and_costs_are_not_causality() {
    let cheapest = Chain::<VersionFacts>::new(ID, [version::outcome(), version::cost(), Link::id()]).unwrap();
    for order in [CausalOrder::Earliest, CausalOrder::Latest] {
        let law = Law::CausalityIsRespected;
        caught_by(law, laws::reconcile(&cheapest).causal(order).only(law).check());
    }
    // The wrong end of it.
    let latest =
        Chain::<VersionFacts>::new(ID, [version::outcome(), version::height().reversed(), Link::id()]).unwrap();
    let law = Law::CausalityIsRespected;
    assert!(laws::reconcile(&latest).causal(CausalOrder::Latest).histories(500).check().is_ok());
    caught_by(law, laws::reconcile(&latest).causal(CausalOrder::Earliest).only(law).check());
    // The same for jobs.
    let latest = Chain::<JobFacts>::new(ID, [job::height().reversed(), Link::id()]).unwrap();
    assert!(laws::contention(&latest).causal(CausalOrder::Latest).histories(500).check().is_ok());
    caught_by(law, laws::contention(&latest).causal(CausalOrder::Earliest).only(law).check());
    let jobs = StrategyKind::PriorityBased.contention();
    caught_by(law, laws::contention(jobs).causal(CausalOrder::Earliest).only(law).check());
}

/// An emergency as a very large weight: many small things outweigh it.
#[test]
fn a_tier_made_of_weight_is_refused() {
    let by_weight = HeadStartMinutes { emergency: 600, ..HeadStartMinutes::PRIORITY_BASED };
    let policy = Policy::priority_based(by_weight).unwrap();
    let law = Law::TierDominates;
    caught_by(law, laws::contention(policy.contention()).tiers().only(law).check());
    let by_quality = StrategyKind::PriorityBased.reconcile();
    caught_by(law, laws::reconcile(by_quality).tiers().only(law).check());
}

/// The usual ageing: who waits gains a point a minute, which the epoch stands for here, unless its queue is the wrong one.
#[test]
fn ageing_by_the_clock_is_refused() {
    let ageing = |job: &JobFacts, round: &RoundFacts| {
        let gained = round.epoch * u64::from(job.priority.0);
        job.submitted.millis().saturating_sub(gained)
    };
    refuses_jobs(Law::WaitingNeverWorsensRank, &JobRule(ageing));
    let late_first = |job: &JobFacts, _: &RoundFacts| u64::from(!job.late);
    refuses_jobs(Law::WaitingNeverWorsensRank, &JobRule(late_first));
}

#[test]
fn more_head_start_than_is_claimed_is_refused() {
    let law = Law::OvertakeIsBounded;
    let priority = StrategyKind::PriorityBased.contention();
    caught_by(law, laws::contention(priority).overtake_bound_ms(3_600_000).only(law).check());
    caught_by(law, laws::contention(priority).overtake_bound_ms(0).only(law).check());
    let height = StrategyKind::VectorClockCausal.contention();
    caught_by(law, laws::contention(height).overtake_bound_ms(60_000).only(law).check());
}

/// A bound is a bound at exactly that distance too, where nothing but the id decides here.
#[test]
fn an_overtake_by_exactly_the_bound_is_refused() {
    let two = |job: &JobFacts, _: &RoundFacts| job.submitted.millis() + if job.priority.0 > 0 { 0 } else { 2 };
    let law = Law::OvertakeIsBounded;
    caught_by(law, laws::contention(&JobRule(two)).overtake_bound_ms(2).only(law).check());
    assert!(laws::contention(&JobRule(two)).overtake_bound_ms(3).only(law).check().is_ok());
}

/// A reading whose sum wrapped, as in a release build without checks, and one that is not what it says.
#[test]
fn a_sum_that_wraps_is_refused() {
    struct Wrapping;

    fn reading(version: &VersionFacts) -> LinkReading {
        let points = version.cost_resource_ms;
        let factor = |contribution| FactorReading {
            name: "cost",
            raw: Some(points),
            share: version.quality,
            weight: 3,
            contribution,
        };
        let word = points.wrapping_add(points).wrapping_add(points);
        let factors = vec![factor(points), factor(points), factor(points)];
        LinkReading { factors, ..LinkReading::plain("thrice", Unit::Score, word) }
    }

    impl ReconcileStrategy for Wrapping {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, version: &VersionFacts) -> RankKey {
            key(version.id, reading(version).word)
        }

        fn explain(&self, version: &VersionFacts) -> KeyBreakdown {
            KeyBreakdown::new(version.id, vec![reading(version)]).unwrap()
        }
    }

    refuses(Law::WeightsNeverOverflow, &Wrapping);

    struct WrappingJobs;

    fn job_reading(job: &JobFacts) -> LinkReading {
        let points = job.estimate_ms;
        let factor =
            FactorReading { name: "estimate", raw: None, share: Default::default(), weight: 1, contribution: points };
        let word = points.wrapping_mul(2);
        LinkReading { factors: vec![factor, factor], ..LinkReading::plain("twice", Unit::Score, word >> 1) }
    }

    impl ContentionStrategy for WrappingJobs {
        fn algorithm(&self) -> AlgorithmId {
            ID
        }

        fn key(&self, job: &JobFacts, _: &RoundFacts) -> RankKey {
            key(job.id, job_reading(job).word)
        }

        fn explain(&self, job: &JobFacts, _: &RoundFacts) -> KeyBreakdown {
            KeyBreakdown::new(job.id, vec![job_reading(job)]).unwrap()
        }
    }

    refuses_jobs(Law::WeightsNeverOverflow, &WrappingJobs);
}

fn careless(rules: PreemptionRules) -> Result<laws::Report, Violation> {
    let planner = move |preemptor: &Preemptor<'_>, view: &ClusterView, _: &PreemptionRules, now: WallTime| {
        plan_preemption(preemptor, view, &rules, &[], now)
    };
    laws::preemption(&planner).check()
}

#[test]
fn planners_that_forget_a_rule_are_refused() {
    let law = Law::PreemptionIsBounded;
    // No limit on how often.
    let rules = PreemptionRules { max_count: u32::MAX, min_run_ms: 0, cool_down_ms: 0, ..PreemptionRules::default() };
    caught_by(law, careless(rules));
    // Victims of any tier, the first that runs.
    let any = |preemptor: &Preemptor<'_>, view: &ClusterView, _: &PreemptionRules, now: WallTime| {
        let fits = |running: &&RunningJob| running.demand.holds(&preemptor.job.demand);
        let victim = view.running.iter().find(fits).ok_or(Reason::StormGuard)?;
        let eviction = Eviction { job: victim.id, level: victim.level, lost_core_ms: 0, checkpoint: false };
        let reservation = Reservation {
            executor: victim.executor,
            job: preemptor.job.id,
            level: preemptor.job.level,
            demand: preemptor.job.demand,
            cause: ReservationCause::Preempted,
            from: now,
            until: None,
        };
        Ok(Preemption { executor: victim.executor, evictions: vec![eviction], stop_at: now, reservation })
    };
    caught_by(law, laws::preemption(&any).check());
    // Whoever asks is taken for graver than it is.
    let raised = |preemptor: &Preemptor<'_>, view: &ClusterView, rules: &PreemptionRules, now: WallTime| {
        let level = Level::new(preemptor.job.level.get().saturating_add(100).min(150)).unwrap();
        let job = JobFacts { level: level.max(preemptor.job.level), ..preemptor.job.clone() };
        plan_preemption(&Preemptor { job: &job, ..*preemptor }, view, rules, &[], now)
    };
    caught_by(law, laws::preemption(&raised).check());
    // Nobody remembers for whom a job was stopped before.
    let forgetful = |preemptor: &Preemptor<'_>, view: &ClusterView, rules: &PreemptionRules, now: WallTime| {
        let preemptor = Preemptor { victims: &[], ..*preemptor };
        plan_preemption(&preemptor, view, rules, &[], now)
    };
    caught_by(law, laws::preemption(&forgetful).check());
    // Who was displaced a moment ago displaces the next.
    let cascading = |preemptor: &Preemptor<'_>, view: &ClusterView, rules: &PreemptionRules, now: WallTime| {
        let preemptor = Preemptor { displaced: None, ..*preemptor };
        plan_preemption(&preemptor, view, rules, &[], now)
    };
    caught_by(law, laws::preemption(&cascading).check());
}

#[test]
fn plans_without_regard_to_the_head_room_are_refused() {
    let law = Law::HeadRoomIsKept;
    let strategy = StrategyKind::EmergencyFirst.contention();
    type View<'a> = &'a ClusterView;
    let with = |head_room: HeadRoom, jobs: &[JobFacts], view: View<'_>, round: &RoundFacts, now| {
        strategy.plan(jobs, &ClusterView { head_room, ..view.clone() }, round, now)
    };
    // It is forgotten.
    let forgetful =
        |jobs: &[JobFacts], view: View<'_>, round: &RoundFacts, now| with(HeadRoom::NONE, jobs, view, round, now);
    caught_by(law, laws::plans(&forgetful).check());
    // It holds back everybody: emergencies are taken for routine.
    let blind = |jobs: &[JobFacts], view: View<'_>, round: &RoundFacts, now| {
        let jobs: Vec<_> = jobs.iter().map(|job| JobFacts { level: Level::ROUTINE, ..job.clone() }).collect();
        strategy.plan(&jobs, view, round, now)
    };
    caught_by(law, laws::plans(&blind).check());
    // What is too large for it waits for ever.
    let stubborn = |jobs: &[JobFacts], view: View<'_>, round: &RoundFacts, now| {
        let large = |job: &&JobFacts| {
            job.level < Level::LIFE_SAFETY && !view.total().saturating_sub(view.head_room.room()).holds(&job.demand)
        };
        let jobs: Vec<_> = jobs.iter().filter(|job| !large(job)).cloned().collect();
        strategy.plan(&jobs, view, round, now)
    };
    caught_by(law, laws::plans(&stubborn).check());
}

#[test]
fn swaps_that_pay_both_ways_are_refused() {
    caught_by(Law::SwapIsNotReversible, laws::swaps(&|gain, victims, _| gain >= victims).check());
}

/// Reads any order of parameters and ignores what follows: another spelling, hence another id, of the same policy.
#[test]
fn a_lenient_decoder_is_refused() {
    let lenient = |bytes: &[u8]| {
        let whole = Policy::decode(bytes);
        match whole {
            Err(PolicyDecodeError::Truncated | PolicyDecodeError::Unordered { .. }) => {
                // Drops bytes from the end until it reads.
                (0..bytes.len())
                    .rev()
                    .find_map(|length| Policy::decode(&bytes[..length]).ok())
                    .ok_or(PolicyDecodeError::Truncated)
            }
            other => other,
        }
    };
    caught_by(Law::PolicyRoundtrips, laws::policies(&lenient).check());
    let never = |_: &[u8]| Err(PolicyDecodeError::Truncated);
    caught_by(Law::PolicyRoundtrips, laws::policies(&never).check());
}

#[test]
fn a_violation_can_be_seen_again() {
    let cheapest = Chain::<VersionFacts>::new(ID, [version::cost(), Link::id()]).unwrap();
    let violation = laws::reconcile(&cheapest).seed(5).check().unwrap_err();
    assert!(violation.to_string().starts_with("law_failure_never_beats_success is broken in history "), "{violation}");
    let again = laws::reconcile(&cheapest).replay(5, violation.history).check().unwrap_err();
    assert_eq!(again, violation);
    // What is left out on purpose is not checked, and what is not claimed neither.
    let report = laws::reconcile(&cheapest).except(Law::FailureNeverBeatsSuccess).histories(100).check().unwrap();
    assert_eq!(report.histories, 100);
    assert_eq!(report.laws.len(), 11);
}
