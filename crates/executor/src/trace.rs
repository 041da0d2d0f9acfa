//! Jobs that only take time: for demos, simulations and replays of traces.

use reconvene_clock::NodeId;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::report::Report;

/// A job that takes a while and gives back what it was given: the payload that `TraceRunner` (feature `driver`) runs.
///
/// [`report`](Self::report) says what comes out without taking any time, for drivers in virtual time, which schedule
/// the end of a run themselves.
///
/// ```
/// use reconvene_executor::{JobSpec, NodeId, TraceJob};
///
/// let job = TraceJob { run_ms: 1_500, input: b"frame 12".to_vec(), varies: false };
/// let spec = JobSpec::new(job.encode()?).with_estimate_ms(job.run_ms);
/// assert_eq!(TraceJob::decode(&spec.payload)?, job);
/// // Every executor gets the same result, unless the job varies.
/// let (one, two) = (NodeId::new([1; 16]), NodeId::new([2; 16]));
/// assert_eq!(job.report(one), job.report(two));
/// let job = TraceJob { varies: true, ..job };
/// assert_ne!(job.report(one).digest, job.report(two).digest);
/// # Ok::<(), reconvene_executor::CodecError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "plain data that demos build")]
pub struct TraceJob {
    /// How long an attempt takes, in milliseconds.
    pub run_ms: u64,
    /// What comes out.
    #[serde(with = "crate::bytes")]
    pub input: Vec<u8>,
    /// Whether the executor's name comes out as well, so that no two executors get the same result.
    pub varies: bool,
}

impl TraceJob {
    /// The payload of a job.
    ///
    /// # Errors
    /// If the input is longer than any frame.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// The job in a payload.
    ///
    /// # Errors
    /// If the payload is none of [`encode`](Self::encode).
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        codec::decode(payload)
    }

    /// What an attempt on that executor reports: the input, and the executor's name if the job varies. It costs what
    /// it takes.
    #[must_use]
    pub fn report(&self, executor: NodeId) -> Report {
        let mut output = self.input.clone();
        if self.varies {
            output.extend_from_slice(executor.as_bytes());
        }
        Report::success(output).with_cost_resource_ms(self.run_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_v1_trace_job_bytes() {
        let job = TraceJob { run_ms: 300, input: vec![0xfe, 0xff], varies: true };
        assert_eq!(job.encode().unwrap(), [1, 0xfb, 0x2c, 0x01, 2, 0xfe, 0xff, 1]);
        assert_eq!(TraceJob::decode(&job.encode().unwrap()), Ok(job));
        assert!(TraceJob::decode(b"something else").is_err());
    }
}
