//! Replicas and their stores under every fault, in virtual time, and an oracle that believes none of them.
//!
//! One thread, one queue of events, one number. [`Options::from_seed`] expands a seed into a complete set of options,
//! [`Plan::draw`] into everything that will happen; a run follows from its [`Plan`] alone, byte for byte. It has two
//! parts: faults and writes, with safety looked at after every event; then calm, at the end of which everything that
//! liveness promises must have come true.
//!
//! ```
//! use reconvene_sim::{FaultPlan, Options, Sim};
//!
//! let report = Sim::new(Options::from_seed(7)).faults(FaultPlan::swarm()).minutes(10, 20).run();
//! assert_eq!(report.violations, []);
//! ```

#![expect(clippy::arithmetic_side_effects, reason = "numbers here are small, and an overflow may end a test")]
#![expect(clippy::indexing_slicing, reason = "brokers, ways and steps are numbered from 0 to their count")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a run looks at few of the many things that brokers report")]

mod chance;
mod checks;
mod client;
mod clock;
mod draw;
mod flow;
mod marks;
mod net;
mod node;
mod oracle;
mod perform;
mod plan;
mod queue;
mod rot;
mod run;
mod scale;
mod shrink;
mod steps;
mod trace;

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::draw::FaultPlan;
use self::draw::MINUTE_MS;
pub use self::marks::{Mark, Marks};
pub use self::plan::{Act, Options, Plan, PlannedWrite, Restart, Side, Step};
use self::run::Run;
pub use self::scale::{Phase, Scale, ScaleReport};
pub use self::shrink::{fails, shrink};
use self::trace::Trace;

/// A run about to be made.
#[derive(Clone, Debug)]
pub struct Sim {
    options: Options,
    faults: FaultPlan,
}

impl Sim {
    /// A run with these options and all classes of faults, each with probability one half.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options, faults: FaultPlan::swarm() }
    }

    /// As many brokers as the seed has it, within these bounds.
    #[must_use]
    pub fn brokers(mut self, brokers: RangeInclusive<usize>) -> Self {
        let (low, high) = (*brokers.start().max(&2), *brokers.end().min(&32));
        self.options.brokers = self.options.brokers.clamp(low, high.max(low));
        self.options.skew_ms.resize(self.options.brokers, 0);
        self
    }

    /// Which faults there may be.
    #[must_use]
    pub const fn faults(mut self, faults: FaultPlan) -> Self {
        self.faults = faults;
        self
    }

    /// How long faults last, and how long the network is left alone after that, in virtual minutes.
    #[must_use]
    pub const fn minutes(mut self, faulty: u64, calm: u64) -> Self {
        self.options.faulty_ms = faulty.saturating_mul(MINUTE_MS);
        self.options.calm_ms = calm.saturating_mul(MINUTE_MS);
        self
    }

    /// Everything that will happen.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::draw(self.options.clone(), &self.faults)
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        run_plan(&self.plan(), None)
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// A hash of every frame and every input, in order: the same for the same plan, always.
    pub trace_hash: u64,
    /// Events that were handled.
    pub steps: u64,
    /// Versions that were written.
    pub versions: usize,
    /// The first promise that was broken, if any.
    pub violations: Vec<Violation>,
    /// What was met, and how often.
    pub reached: Marks,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Its number.
    pub promise: &'static str,
    /// When, in virtual milliseconds since the start.
    pub at_ms: u64,
    /// What was found.
    pub what: String,
}

impl Violation {
    fn new(promise: &'static str, what: String) -> Self {
        Self { promise, at_ms: 0, what }
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.promise, self.at_ms, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs a plan. `listen` hears everything that happens, in words.
///
/// A panic of the code under test is a broken promise like any other.
#[must_use]
pub fn run_plan<'a>(plan: &'a Plan, listen: Option<&'a mut dyn FnMut(&str)>) -> Report {
    let run = || Run::new(plan, Trace::new(listen)).run();
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned();
        Report {
            trace_hash: 0,
            steps: 0,
            versions: 0,
            violations: vec![Violation::new("S13", format!("panicked: {what}"))],
            reached: Marks::default(),
        }
    })
}
