//! How a command fails: one clear error on standard error and the exit status that scripts look at.

use std::{fmt, io::Write as _, process::ExitCode};

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Wrong usage: the command line itself asks for something that cannot be.
    Usage,
    /// The command was understood and did not succeed.
    Failed,
}

impl Failure {
    /// Wrong usage; exit status 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Usage, error: anyhow::Error::msg(message.to_string()) }
    }

    /// Writes the error with its causes to standard error and returns the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = std::io::stderr().lock();
        // Nothing can be done about a standard error that takes nothing; the status still tells.
        let _ = writeln!(stderr, "error: {self}");
        if self.kind == Kind::Usage {
            let _ = writeln!(stderr, "\nFor more information, try '--help'.");
        }
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Failed => 1,
        }
    }
}

/// The error with its causes, in one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { kind: Kind::Failed, error: error.into() }
    }
}

/// The exit status after a second Ctrl-C, as shells count it: 128 + SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_and_failure_have_different_statuses() {
        assert_eq!(Failure::usage("no").status(), 2);
        assert_eq!(Failure::from(anyhow::anyhow!("no")).status(), 1);
    }
}
