//! What things are called: jobs, attempts, sessions, digests, and the token that fences an attempt.

use core::fmt::{self, Debug, Display};
use core::str::FromStr;

use reconvene_clock::{Hlc, ReplicaId};
use serde::{Deserialize, Serialize};

/// The name of a job: the incarnation of the broker that admitted it, and its number there.
///
/// Written as `<16 hexadecimal digits>-<number>`.
///
/// ```
/// use reconvene_executor::JobId;
///
/// let job: JobId = "00000000000a11ce-42".parse()?;
/// assert_eq!(job.sequence, 42);
/// assert_eq!(job.to_string(), "00000000000a11ce-42");
/// # Ok::<(), reconvene_executor::ParseIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a name is these two parts and will stay so")]
pub struct JobId {
    /// The incarnation of the broker that admitted the job.
    pub admitted_by: ReplicaId,
    /// The number that this incarnation gave it.
    pub sequence: u64,
}

impl JobId {
    /// The job with this name.
    #[must_use]
    pub const fn new(admitted_by: ReplicaId, sequence: u64) -> Self {
        Self { admitted_by, sequence }
    }
}

impl Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.admitted_by, self.sequence)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    /// Reads what `Display` writes, and nothing else: one name has one spelling.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { what: "job id", form: "<16 hexadecimal digits>-<number>" };
        let (replica, sequence) = text.split_once('-').ok_or_else(error)?;
        let id = Self {
            admitted_by: u64::from_str_radix(replica, 16).ok().and_then(ReplicaId::new).ok_or_else(error)?,
            sequence: sequence.parse().map_err(|_| error())?,
        };
        // Signs, leading zeros and capitals parse as numbers, but they are no spelling of an id.
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}

/// A text was not the name it should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {form}")]
pub struct ParseIdError {
    what: &'static str,
    form: &'static str,
}

/// How often a job has changed its owner: 1 for the broker that admitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number with a type of its own")]
pub struct OwnershipEpoch(pub u32);

impl OwnershipEpoch {
    /// The epoch of the broker that admitted the job.
    pub const FIRST: Self = Self(1);

    /// The epoch of the next owner, or `None` if there is no greater number.
    #[must_use]
    pub const fn checked_next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl Display for OwnershipEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// The name of one attempt at a job: who owned the job, in which epoch, and the number of the attempt there.
///
/// Two owners on two sides of a cut never give out the same name. `Ord` sorts; which attempt outranks which is the
/// [`FencingToken`]'s to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a name is these four parts and will stay so")]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// The epoch of the owner that ordered the attempt.
    pub epoch: OwnershipEpoch,
    /// The owner that ordered the attempt.
    pub owner: ReplicaId,
    /// The number of the attempt within the epoch of that owner, from 1.
    pub number: u32,
}

impl Display for AttemptId {
    /// `<job>/<epoch>.<number>@<owner>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}@{}", self.job, self.epoch, self.number, self.owner)
    }
}

/// What an executor compares to refuse an order of a former owner.
///
/// The order of the fields is the order of ownership. (With the number first, the loser of two claims to one epoch
/// could outrank the winner for good.) Jobs with side effects pass the token on to what they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the comparison is these four fields and will stay so")]
pub struct FencingToken {
    /// The epoch of the owner.
    pub epoch: OwnershipEpoch,
    /// The hash that decides between owners of one epoch. Brokers compute it; here it is only compared.
    pub tie: u64,
    /// The owner.
    pub owner: ReplicaId,
    /// The number of the attempt.
    pub number: u32,
}

impl FencingToken {
    /// Whether this is a token of that attempt.
    #[must_use]
    pub fn belongs_to(&self, attempt: &AttemptId) -> bool {
        (self.epoch, self.owner, self.number) == (attempt.epoch, attempt.owner, attempt.number)
    }
}

/// One run of an executor process. A greater one has replaced the smaller ones, whose attempts no longer run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the comparison is these two fields and will stay so")]
pub struct SessionEpoch {
    /// When the process started, by its own clock.
    pub start: Hlc,
    /// Drawn at random, so that two starts at one moment differ.
    pub random: u64,
}

impl SessionEpoch {
    /// The session that started then.
    #[must_use]
    pub const fn new(start: Hlc, random: u64) -> Self {
        Self { start, random }
    }
}

impl Display for SessionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.start, self.random)
    }
}

/// The name of an emergency declaration: the incarnation of the broker that declared it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a name is these two parts and will stay so")]
pub struct EmergencyId {
    /// The incarnation of the broker that declared it.
    pub declared_by: ReplicaId,
    /// The number that this incarnation gave it.
    pub number: u64,
}

impl Display for EmergencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.declared_by, self.number)
    }
}

impl FromStr for EmergencyId {
    type Err = ParseIdError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let id = text
            .parse::<JobId>()
            .map_err(|_| ParseIdError { what: "emergency id", form: "<16 hexadecimal digits>-<number>" })?;
        Ok(Self { declared_by: id.admitted_by, number: id.sequence })
    }
}

/// The name of a submission: the incarnation of the broker that took it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a name is these two parts and will stay so")]
pub struct SubmissionId {
    /// The incarnation of the broker that took it.
    pub accepted_by: ReplicaId,
    /// The number that this incarnation gave it.
    pub number: u64,
}

impl Display for SubmissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.accepted_by, self.number)
    }
}

impl FromStr for SubmissionId {
    type Err = ParseIdError;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { what: "result id", form: "<16 hexadecimal digits>/<number>" };
        let (replica, number) = text.split_once('/').ok_or_else(error)?;
        let id: JobId = format!("{replica}-{number}").parse().map_err(|_| error())?;
        Ok(Self { accepted_by: id.admitted_by, number: id.sequence })
    }
}

macro_rules! digest {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[expect(clippy::exhaustive_structs, reason = "a SHA-256 digest is 32 bytes and will stay so")]
        pub struct $name(pub [u8; 32]);

        impl Display for $name {
            /// 64 hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

digest! {
    /// SHA-256 of what an attempt produced. Equal digests are equal results.
    ResultDigest
}

digest! {
    /// SHA-256 of a job's specification in its canonical encoding.
    SpecDigest
}

impl ResultDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(output: &[u8]) -> Self {
        Self(reconvene_clock::digest::sha256(output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(id: u64) -> ReplicaId {
        ReplicaId::new(id).unwrap()
    }

    #[test]
    fn an_id_has_one_spelling() {
        let job = JobId::new(replica(0xa11ce), 7);
        assert_eq!(job.to_string().parse(), Ok(job));
        for wrong in ["", "-", "a11ce-7", "00000000000A11CE-7", "00000000000a11ce-07", "00000000000a11ce-+7"] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
        assert!("0000000000000000-7".parse::<JobId>().is_err(), "no replica is called zero");
        let emergency = EmergencyId { declared_by: replica(3), number: 9 };
        assert_eq!(emergency.to_string().parse(), Ok(emergency));
        let result = SubmissionId { accepted_by: replica(3), number: 9 };
        assert_eq!(result.to_string().parse(), Ok(result));
        for wrong in ["", "/", "3/9", "0000000000000003-9", "0000000000000003/09", "0000000000000003/9/9"] {
            assert!(wrong.parse::<SubmissionId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_order_by_epoch_then_tie_then_owner_then_number() {
        let token = |epoch, tie, owner, number| FencingToken {
            epoch: OwnershipEpoch(epoch),
            tie,
            owner: replica(owner),
            number,
        };
        let ascending = [token(1, 9, 9, 9), token(2, 1, 9, 9), token(2, 2, 1, 9), token(2, 2, 2, 1), token(2, 2, 2, 2)];
        assert!(ascending.is_sorted());
    }
}
