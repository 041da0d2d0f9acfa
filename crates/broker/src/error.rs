//! What a command can be answered with when it was not done.

use serde::{Deserialize, Serialize};

use reconvene_clock::NodeId;
use reconvene_executor::{EmergencyId, JobId, SpecError, SubmissionId};
use reconvene_resolve::PolicyId;

/// Why a command was not done. Nothing has changed in any of these cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandError {
    /// The specification of the job is not one that a broker admits.
    #[error("job not admitted: {field} is {value}, expected {expected}")]
    Spec {
        /// The field.
        field: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// No job of this name is known here. It may be known elsewhere.
    #[error("no job {job} is known here")]
    UnknownJob {
        /// The name asked for.
        job: JobId,
    },
    /// No result of this name is known here. It may be known elsewhere.
    #[error("no result {result} is known here")]
    UnknownResult {
        /// The name asked for.
        result: SubmissionId,
    },
    /// The job was over for so long that nothing is kept of it but its name.
    #[error("job {job} was over for so long that it is forgotten")]
    Compacted {
        /// The name asked for.
        job: JobId,
    },
    /// No emergency of this name is known here. It may be known elsewhere.
    #[error("no emergency {id} is known here")]
    UnknownEmergency {
        /// The name asked for.
        id: EmergencyId,
    },
    /// No data of this name is known here. It may be known elsewhere.
    #[error("no data called {name:?} is known here")]
    UnknownData {
        /// The name asked for.
        name: String,
    },
    /// No broker of this name is known here. It may be known elsewhere.
    #[error("no broker {node} is known here")]
    UnknownMember {
        /// The name asked for.
        node: NodeId,
    },
    /// A broker that is there would have to go on under another name. It may be retired all the same if that is wanted.
    #[error("the broker {node} is heard, so it seems to be there")]
    StillHeard {
        /// The broker.
        node: NodeId,
    },
    /// No policy of this name is known here. It may be known elsewhere.
    #[error("no policy {policy} is known here")]
    UnknownPolicy {
        /// The name asked for.
        policy: PolicyId,
    },
    /// The bytes are no policy, or one of an algorithm that is not known to this program.
    #[error("policy not set: {reason}")]
    Policy {
        /// What is wrong with them.
        reason: String,
    },
    /// A limit is reached; try again later.
    #[error("{what} is at its limit, try again in {retry_after_ms} ms")]
    Busy {
        /// The limit.
        what: String,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The broker does not allow this.
    #[error("not authorised")]
    NotAuthorised,
    /// A value is out of range.
    #[error("{what} is {found}, expected {expected}")]
    OutOfRange {
        /// The value's name.
        what: String,
        /// The value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The store did not take the write.
    #[error("the store refused the write: {reason}")]
    Store {
        /// The store's word.
        reason: String,
    },
}

impl CommandError {
    pub(crate) fn out_of_range(what: &str, found: impl ToString, expected: impl ToString) -> Self {
        Self::OutOfRange { what: what.to_owned(), found: found.to_string(), expected: expected.to_string() }
    }
}

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> Self {
        Self::Spec { field: error.field.to_owned(), value: error.value, expected: error.expected }
    }
}
