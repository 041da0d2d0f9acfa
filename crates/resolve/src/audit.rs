//! Decisions as bytes: to compare them across brokers, and to chain them so that none can be taken out later.
//!
//! ```text
//! "RCVD" | format u8 = 1 | context u8 | subject 16 | algorithm u16 u16 | policy: 0, or 1, epoch u64, id 16 | inputs 16
//! | standings: count u64, each: id 16 | reason | links: count u64, each: name | unit u8 | word u64 | bucket u64
//!   | reversed u8 | factors: count u64, each: name | raw: 0, or 1, u64 | share u16 | weight u32 | contribution u64
//! ```
//! Names and reason codes are a count u64 and UTF-8; numbers are little endian. What decides is in the words, so the
//! deciding link is not written again.

use alloc::vec::Vec;
use core::fmt;

use reconvene_clock::digest::{sha256, sip24_128};

use crate::bytes::Writer;
use crate::{Context, Decision, FactorReading, JobFacts, LinkReading, RoundFacts, Standing, VersionFacts};

/// Fingerprint of the facts that went into a decision: equal facts, equal fingerprint, in any order. Not a proof against
/// somebody who makes up facts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "sixteen bytes")]
pub struct InputsDigest(pub [u8; 16]);

impl InputsDigest {
    /// Of all versions of one subject.
    #[must_use]
    pub fn of_versions(versions: &[VersionFacts]) -> Self {
        let mut sorted: Vec<&VersionFacts> = versions.iter().collect();
        sorted.sort_by_key(|version| version.id);
        sorted.dedup();
        let mut out = Writer::default();
        sorted.iter().for_each(|version| version.write(&mut out));
        Self::of_bytes(out)
    }

    /// Of all jobs of one round.
    #[must_use]
    pub fn of_jobs(jobs: &[JobFacts], round: &RoundFacts) -> Self {
        let mut sorted: Vec<&JobFacts> = jobs.iter().collect();
        sorted.sort_by_key(|job| job.id);
        sorted.dedup();
        let mut out = Writer::default();
        round.write(&mut out);
        sorted.iter().for_each(|job| job.write(&mut out));
        Self::of_bytes(out)
    }

    fn of_bytes(out: Writer) -> Self {
        Self(sip24_128(b"reconvene inputs", &out.finish()).to_be_bytes())
    }
}

impl fmt::Display for InputsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for InputsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InputsDigest({self})")
    }
}

impl Decision {
    /// The one spelling of this decision: brokers that decided the same of the same facts have the same bytes.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Writer::with_mark(*b"RCVD", 1);
        out.u8(match self.context {
            Context::Contention => 0,
            Context::Divergence => 1,
        });
        out.words(self.subject.0);
        out.u16(self.algorithm.id);
        out.u16(self.algorithm.version);
        out.option(self.policy.map(|policy| policy.epoch.0));
        if let Some(policy) = self.policy {
            out.raw(&policy.id.0);
        }
        out.raw(&self.inputs.0);
        out.count(self.standings.len());
        self.standings.iter().for_each(|standing| write_standing(standing, &mut out));
        out.finish()
    }
}

fn write_standing(standing: &Standing, out: &mut Writer) {
    out.id(standing.id);
    standing.reason.write(out);
    out.count(standing.key.links().len());
    standing.key.links().iter().for_each(|link| write_link(link, out));
}

fn write_link(link: &LinkReading, out: &mut Writer) {
    let LinkReading { name, unit, word, bucket, reversed, factors } = link;
    out.text(name);
    out.u8(unit.code());
    out.u64(*word);
    out.u64(bucket.get());
    out.u8((*reversed).into());
    out.count(factors.len());
    for FactorReading { name, raw, share, weight, contribution } in factors {
        out.text(name);
        out.option(*raw);
        out.u16(share.get());
        out.u32(*weight);
        out.u64(*contribution);
    }
}

/// A log of decisions in which each entry covers all before it: SHA-256 of the previous digest and the decision's bytes.
///
/// ```
/// use reconvene_clock::Hlc;
/// use reconvene_resolve::{CandidateId, DecisionChain, StrategyKind, SubjectId, VersionFacts, decide};
///
/// let version = VersionFacts::new(SubjectId::new(1, 7), CandidateId::new(1, 1), Hlc::default());
/// let decision = decide(StrategyKind::FirstComeFirstServed.reconcile(), &[version]).expect("one version");
/// let (mut here, mut there) = (DecisionChain::default(), DecisionChain::default());
/// assert_eq!(here.append(&decision), there.append(&decision));
/// assert_ne!(here.append(&decision), there.head(), "a decision once more is another log");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DecisionChain {
    head: [u8; 32],
}

impl DecisionChain {
    /// A log that goes on after an entry with this digest; all zeros is the empty log.
    #[must_use]
    pub const fn after(head: [u8; 32]) -> Self {
        Self { head }
    }

    /// The digest of the last entry, which covers all of them.
    #[must_use]
    pub const fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Adds a decision and returns the digest of its entry.
    pub fn append(&mut self, decision: &Decision) -> [u8; 32] {
        let mut out = Writer::default();
        out.raw(&self.head);
        out.raw(&decision.canonical_bytes());
        self.head = sha256(&out.finish());
        self.head
    }
}
