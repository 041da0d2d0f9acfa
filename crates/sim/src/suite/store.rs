//! What every [`MetadataStore`] must do.

mod peer;
mod reading;
mod run;

use core::fmt;

use reconvene_store::{Identity, Limits, MetadataStore, NetworkId};

/// Checks an implementation of [`MetadataStore`] against a model, in schedules of local writes, arriving versions and
/// claims over three replicas and four keys.
///
/// `make` gives an empty store each time. After every step:
/// * a commit is there as a whole, and a refused one (`Conflict`, `Foreign`, `Refused`, `Full`) has changed nothing;
/// * the live records are those that follow from Knowledge and the versions ever written, so that Knowledge is never
///   ahead of the data;
/// * `by_prefix`, `record` and `by_origin` agree, in pages of any size, without gap or repeat;
/// * fingerprints equal those worked out from the rows;
/// * snapshots taken earlier, or while another thread commits, are frozen and whole.
///
/// At the end of each schedule all versions go into two more stores, in other orders and batches: records, Knowledge
/// and digests must be equal.
///
/// # Errors
///
/// [`Failure`] with the first thing that is wrong, and the seed that shows it again by [`store_seed`].
pub fn store<S: MetadataStore>(make: impl Fn(Identity, NetworkId, Limits) -> S) -> Result<StoreReport, Failure> {
    let mut report = StoreReport::default();
    for seed in 0..SEEDS {
        report.add(&store_seed(&make, seed)?);
    }
    Ok(report)
}

/// The schedule of one seed of [`store`].
///
/// # Errors
///
/// As there.
pub fn store_seed<S: MetadataStore>(
    make: impl Fn(Identity, NetworkId, Limits) -> S,
    seed: u64,
) -> Result<StoreReport, Failure> {
    run::schedule(&make, seed, STEPS)
}

const SEEDS: u64 = 32;
const STEPS: usize = 60;

/// What the schedules came to. Tests look here whether a suite has exercised what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// Batches committed.
    pub commits: u64,
    /// Batches that were refused, whatever the reason.
    pub refusals: u64,
    /// Batches that were refused because the store was full.
    pub full: u64,
    /// Steps after which some key had siblings.
    pub siblings: u64,
    /// Steps after which some context was collapsed.
    pub collapsed: u64,
    /// Versions that arrived after something that replaced them.
    pub obsolete: u64,
    /// Pages read.
    pub pages: u64,
}

impl StoreReport {
    fn add(&mut self, other: &Self) {
        for (total, more) in [
            (&mut self.commits, other.commits),
            (&mut self.refusals, other.refusals),
            (&mut self.full, other.full),
            (&mut self.siblings, other.siblings),
            (&mut self.collapsed, other.collapsed),
            (&mut self.obsolete, other.obsolete),
            (&mut self.pages, other.pages),
        ] {
            *total = total.saturating_add(more);
        }
    }
}

/// The first thing that a store did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The seed of the schedule.
    pub seed: u64,
    /// The step of the schedule, counted from 0.
    pub step: usize,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)
    }
}

impl core::error::Error for Failure {}
