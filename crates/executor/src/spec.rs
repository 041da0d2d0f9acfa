//! What a job asks for.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::str::FromStr;

use reconvene_clock::WallTime;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{EmergencyId, SpecDigest};
use crate::limits;
use crate::rule::{AttemptRule, Reappearance};

/// An amount of the things that jobs use up while they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a new dimension must be thought about wherever amounts are compared")]
pub struct Resources {
    /// Thousandths of a processor core.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Thousandths of an accelerator.
    pub gpu_milli: u64,
}

impl Resources {
    /// Nothing at all.
    pub const NONE: Self = Self { cpu_milli: 0, memory_mib: 0, gpu_milli: 0 };

    /// This many thousandths of a core, MiB of memory and thousandths of an accelerator.
    #[must_use]
    pub const fn new(cpu_milli: u64, memory_mib: u64, gpu_milli: u64) -> Self {
        Self { cpu_milli, memory_mib, gpu_milli }
    }

    /// Whether this much fits into `room`, in every dimension.
    ///
    /// ```
    /// use reconvene_executor::Resources;
    ///
    /// let room = Resources::new(4_000, 8_192, 0);
    /// assert!(Resources::new(500, 8_192, 0).fits_in(room));
    /// assert!(!Resources::new(500, 16, 1_000).fits_in(room));
    /// ```
    #[must_use]
    pub const fn fits_in(self, room: Self) -> bool {
        self.cpu_milli <= room.cpu_milli && self.memory_mib <= room.memory_mib && self.gpu_milli <= room.gpu_milli
    }

    /// The sum, or `None` if a dimension overflows.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_add(other.cpu_milli)?,
            memory_mib: self.memory_mib.checked_add(other.memory_mib)?,
            gpu_milli: self.gpu_milli.checked_add(other.gpu_milli)?,
        })
    }

    /// What is left after `used` is taken away; zero in a dimension where more is used than there is.
    #[must_use]
    pub const fn saturating_sub(self, used: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(used.cpu_milli),
            memory_mib: self.memory_mib.saturating_sub(used.memory_mib),
            gpu_milli: self.gpu_milli.saturating_sub(used.gpu_milli),
        }
    }
}

/// A capability that executors have and jobs require, such as `medical-imaging`.
///
/// 1 to 64 bytes of `a-z`, `0-9`, `.`, `_` and `-`.
///
/// ```
/// use reconvene_executor::Tag;
///
/// let tag: Tag = "medical-imaging".parse()?;
/// assert_eq!(tag.as_str(), "medical-imaging");
/// assert!("Medical Imaging".parse::<Tag>().is_err());
/// # Ok::<(), reconvene_executor::TagError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag with this name.
    ///
    /// # Errors
    /// [`TagError`] if the name is empty, too long or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, TagError> {
        let name = name.into();
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=limits::TAG_BYTES).contains(&name.len()) && name.bytes().all(good) {
            Ok(Self(name))
        } else {
            Err(TagError { bytes: name.len() })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(name: &str) -> Result<Self, TagError> {
        Self::new(name)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(name: String) -> Result<Self, TagError> {
        Self::new(name)
    }
}

/// A text cannot be a [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag is 1 to {} bytes of a-z, 0-9, '.', '_' and '-'; this text of {bytes} bytes is not", limits::TAG_BYTES)]
pub struct TagError {
    bytes: usize,
}

/// What a job asks for, as its client wrote it. It never changes once a broker has admitted it.
///
/// Fields are public and may hold anything; whoever takes a specification from somebody else calls
/// [`validate`](Self::validate). [`codec`] does so for every specification it reads.
///
/// ```
/// use reconvene_executor::{JobSpec, Resources};
///
/// let spec = JobSpec::new(b"render frame 12".to_vec())
///     .with_client("studio", 12)
///     .with_priority(200)
///     .with_demand(Resources::new(2_000, 512, 0));
/// spec.validate()?;
/// assert_eq!(spec.digest(), spec.clone().digest());
/// # Ok::<(), reconvene_executor::SpecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data that demos and brokers build field by field")]
pub struct JobSpec {
    /// Who submits. With [`client_key`](Self::client_key) it makes repeated submissions recognisable. At most
    /// [`limits::CLIENT_BYTES`] bytes; empty means nobody in particular.
    pub client: String,
    /// A number that the client gives each of its jobs.
    pub client_key: u64,
    /// How urgent the client finds it; greater is more urgent.
    pub priority: u8,
    /// When the result loses its worth, if ever.
    pub deadline: Option<WallTime>,
    /// How long the job is expected to run, in milliseconds; 0 if unknown.
    pub estimate_ms: u64,
    /// The work expected, in core-milliseconds; 0 if unknown.
    pub work_core_ms: u64,
    /// What the job uses up while it runs.
    pub demand: Resources,
    /// Tags that an executor must have, at most [`limits::TAGS`].
    pub requires: BTreeSet<Tag>,
    /// What the result is worth to the client, 1 to [`limits::VALUE_MAX`].
    pub value: u32,
    /// Where the job belongs, for emergencies with a region. At most [`limits::REGION_BYTES`] bytes; may be empty.
    pub region: String,
    /// The emergency that the job serves, if any.
    pub emergency: Option<EmergencyId>,
    /// Whether an attempt must stop when its lease ends, because what it does outside cannot be done twice.
    pub fenced: bool,
    /// Which attempts may bring the result.
    pub attempts: AttemptRule,
    /// What becomes of the attempts when a lost one comes back; `None` for what the broker that admits the job does.
    pub reappearance: Option<Reappearance>,
    /// What the runner gets. At most [`limits::PAYLOAD_BYTES`] bytes.
    #[serde(with = "crate::bytes")]
    pub payload: Vec<u8>,
}

impl JobSpec {
    /// A job of this payload that asks for one core while it runs, with priority 100, value 1 and nothing else set.
    #[must_use]
    pub const fn new(payload: Vec<u8>) -> Self {
        Self {
            client: String::new(),
            client_key: 0,
            priority: 100,
            deadline: None,
            estimate_ms: 0,
            work_core_ms: 0,
            demand: Resources { cpu_milli: 1_000, memory_mib: 0, gpu_milli: 0 },
            requires: BTreeSet::new(),
            value: 1,
            region: String::new(),
            emergency: None,
            fenced: false,
            attempts: AttemptRule::AnyAttempt,
            reappearance: None,
            payload,
        }
    }

    /// Sets who submits and the number that they give the job.
    #[must_use]
    pub fn with_client(mut self, client: impl Into<String>, client_key: u64) -> Self {
        self.client = client.into();
        self.client_key = client_key;
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: WallTime) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the expected duration, in milliseconds.
    #[must_use]
    pub const fn with_estimate_ms(mut self, estimate_ms: u64) -> Self {
        self.estimate_ms = estimate_ms;
        self
    }

    /// Sets the expected work, in core-milliseconds.
    #[must_use]
    pub const fn with_work_core_ms(mut self, work_core_ms: u64) -> Self {
        self.work_core_ms = work_core_ms;
        self
    }

    /// Sets what the job uses up while it runs.
    #[must_use]
    pub const fn with_demand(mut self, demand: Resources) -> Self {
        self.demand = demand;
        self
    }

    /// Adds a tag that an executor must have.
    #[must_use]
    pub fn with_tag(mut self, tag: Tag) -> Self {
        self.requires.insert(tag);
        self
    }

    /// Sets what the result is worth.
    #[must_use]
    pub const fn with_value(mut self, value: u32) -> Self {
        self.value = value;
        self
    }

    /// Sets where the job belongs.
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Says which emergency the job serves.
    #[must_use]
    pub const fn with_emergency(mut self, emergency: EmergencyId) -> Self {
        self.emergency = Some(emergency);
        self
    }

    /// Says whether attempts must stop when their lease ends.
    #[must_use]
    pub const fn with_fenced(mut self, fenced: bool) -> Self {
        self.fenced = fenced;
        self
    }

    /// Says which attempts may bring the result.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: AttemptRule) -> Self {
        self.attempts = attempts;
        self
    }

    /// Says what becomes of the attempts when a lost one comes back.
    #[must_use]
    pub const fn with_reappearance(mut self, reappearance: Reappearance) -> Self {
        self.reappearance = Some(reappearance);
        self
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`SpecError`] with the first field that is out of range.
    pub fn validate(&self) -> Result<(), SpecError> {
        let at_most = |field, found: usize, limit: usize| {
            if found <= limit { Ok(()) } else { Err(SpecError::new(field, found, format_args!("at most {limit}"))) }
        };
        at_most("client bytes", self.client.len(), limits::CLIENT_BYTES)?;
        at_most("tags", self.requires.len(), limits::TAGS)?;
        at_most("region bytes", self.region.len(), limits::REGION_BYTES)?;
        at_most("payload bytes", self.payload.len(), limits::PAYLOAD_BYTES)?;
        if !(1..=limits::VALUE_MAX).contains(&self.value) {
            return Err(SpecError::new("value", self.value, format_args!("1 to {}", limits::VALUE_MAX)));
        }
        for (field, amount) in [
            ("demand.cpu_milli", self.demand.cpu_milli),
            ("demand.memory_mib", self.demand.memory_mib),
            ("demand.gpu_milli", self.demand.gpu_milli),
            ("estimate_ms", self.estimate_ms),
            ("work_core_ms", self.work_core_ms),
        ] {
            if amount > limits::AMOUNT_MAX {
                return Err(SpecError::new(field, amount, format_args!("at most {}", limits::AMOUNT_MAX)));
            }
        }
        Ok(())
    }

    /// The digest of the specification in its canonical encoding: equal specifications have equal digests.
    ///
    /// # Complexity
    /// One pass over the payload and a copy of it.
    #[must_use]
    pub fn digest(&self) -> SpecDigest {
        SpecDigest(reconvene_clock::digest::sha256(&codec::canonical_spec(self)))
    }
}

/// A specification that no broker admits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job specification refused: {field} is {value}, expected {expected}")]
#[non_exhaustive]
pub struct SpecError {
    /// The field, and its unit where it has one.
    pub field: &'static str,
    /// What it holds.
    pub value: String,
    /// What it may hold.
    pub expected: String,
}

impl SpecError {
    fn new(field: &'static str, value: impl Display, expected: fmt::Arguments<'_>) -> Self {
        Self { field, value: value.to_string(), expected: expected.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_out_of_range_is_named() {
        let good = JobSpec::new(vec![1]);
        assert_eq!(good.validate(), Ok(()));
        let bad: [(&str, JobSpec); 7] = [
            ("client bytes", good.clone().with_client("x".repeat(129), 1)),
            ("value", good.clone().with_value(0)),
            ("value", good.clone().with_value(1_000_001)),
            ("region bytes", good.clone().with_region("x".repeat(129))),
            ("payload bytes", JobSpec::new(vec![0; limits::PAYLOAD_BYTES + 1])),
            ("estimate_ms", good.clone().with_estimate_ms(u64::MAX)),
            ("demand.gpu_milli", good.clone().with_demand(Resources::new(0, 0, u64::MAX))),
        ];
        for (field, spec) in bad {
            assert_eq!(spec.validate().unwrap_err().field, field);
        }
        let tags = (0..=limits::TAGS).fold(good, |spec, n| spec.with_tag(Tag::new(format!("t{n}")).unwrap()));
        assert_eq!(tags.validate().unwrap_err().field, "tags");
    }

    #[test]
    fn the_digest_sees_every_kind_of_change() {
        let spec = JobSpec::new(vec![1, 2, 3]);
        let changed = [
            spec.clone().with_client("a", 0),
            spec.clone().with_client("", 1),
            spec.clone().with_priority(1),
            spec.clone().with_fenced(true),
            spec.clone().with_attempts(AttemptRule::CurrentAttemptOnly),
            spec.clone().with_reappearance(Reappearance::FirstResult),
            spec.clone().with_tag("gpu".parse().unwrap()),
            JobSpec::new(vec![1, 2]),
        ];
        for other in changed {
            assert_ne!(spec.digest(), other.digest());
        }
        let (a, b) = ("a".parse::<Tag>().unwrap(), "b".parse::<Tag>().unwrap());
        assert_eq!(
            spec.clone().with_tag(a.clone()).with_tag(b.clone()).digest(),
            spec.with_tag(b).with_tag(a).digest(),
            "the order of adding tags is no part of the specification"
        );
    }

    #[test]
    fn amounts_fit_in_every_dimension_or_not_at_all() {
        let room = Resources::new(10, 10, 10);
        assert!(room.fits_in(room));
        for more in [Resources::new(11, 0, 0), Resources::new(0, 11, 0), Resources::new(0, 0, 11)] {
            assert!(!more.fits_in(room));
        }
        assert_eq!(room.checked_add(Resources::new(0, u64::MAX, 0)), None);
        assert_eq!(Resources::new(1, 20, 10).saturating_sub(room), Resources::new(0, 10, 0));
    }
}
