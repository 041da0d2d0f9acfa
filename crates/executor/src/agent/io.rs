//! What goes into an agent, and what comes out.

use reconvene_clock::NodeId;

use crate::event::Event;
use crate::id::AttemptId;
use crate::message::{ToBroker, ToExecutor};
use crate::report::Report;
use crate::spec::JobSpec;

/// What happens to an [`Agent`](crate::Agent).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver builds every one of them")]
pub enum Input {
    /// Time has passed; due at [`Agent::next_deadline`](crate::Agent::next_deadline).
    Tick,
    /// There is a link to a broker. No error if there was one.
    LinkUp {
        /// The broker, as the transport authenticated it.
        broker: NodeId,
        /// The address that was asked to connect to, if the link is an answer to that.
        address: Option<String>,
    },
    /// The link to a broker is gone.
    LinkDown {
        /// The broker.
        broker: NodeId,
    },
    /// An [`Output::Connect`] led to nothing.
    ConnectFailed {
        /// The address.
        address: String,
    },
    /// A broker said something.
    Received {
        /// The broker, as the transport authenticated it.
        from: NodeId,
        /// What it said.
        message: ToExecutor,
    },
    /// The runner has started an attempt.
    Started {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The runner says how far an attempt is.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// How far, in basis points.
        bp: u16,
    },
    /// An attempt has ended by itself.
    Finished {
        /// The attempt.
        attempt: AttemptId,
        /// What came out.
        report: Report,
    },
    /// Take no new orders; leave when nothing runs and no result is kept any more.
    Drain,
    /// Leave now: stop what runs, and tell the home.
    Leave,
}

/// What an [`Agent`](crate::Agent) asks its driver to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an unperformed output is a lost effect"]
#[expect(clippy::exhaustive_enums, reason = "a new effect must break every driver at compile time")]
pub enum Output {
    /// Connect to a broker; answer with [`Input::LinkUp`] or [`Input::ConnectFailed`].
    Connect {
        /// The address.
        address: String,
    },
    /// Close the link to a broker, if there is one. [`Input::LinkDown`] may follow or not.
    Disconnect {
        /// The broker.
        broker: NodeId,
    },
    /// Best effort: may be lost, repeated or reordered.
    Send {
        /// The broker.
        to: NodeId,
        /// What to say.
        message: ToBroker,
    },
    /// Start an attempt; answer with [`Input::Started`] and, in the end, [`Input::Finished`].
    Run {
        /// The attempt.
        attempt: AttemptId,
        /// What to run.
        spec: JobSpec,
    },
    /// Stop an attempt. Whatever its runner still says about it is ignored.
    Stop {
        /// The attempt.
        attempt: AttemptId,
    },
    /// No broker has been heard for so long that it is for this executor to start one, at
    /// [`AgentConfig::promote_at`](crate::AgentConfig::promote_at). Asked again if none is heard after that either;
    /// whether there is one already is for the driver to know.
    Promote {
        /// How many other executors had to be waited for.
        rank: u32,
        /// Where brokers were, or others of these executors would start one.
        known: Vec<String>,
    },
    /// Tell whoever watches.
    Notify(Event),
}
