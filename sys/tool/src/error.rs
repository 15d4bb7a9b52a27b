//! Why a tool did not do what it was run for.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::Call;

/// Bytes of a tool's own words that are kept.
const MOST_WORDS: usize = 2048;

/// How a tool ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// Why a tool did not do what it was run for. The text says what was run and what the tool said.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It does not exist here.
    #[error("{path} is not on this host; it is part of the base system it needs")]
    Missing {
        /// Where it would be.
        path: &'static str,
    },
    /// It could not be started.
    #[error("cannot run `{call}`")]
    Start {
        /// What was run.
        call: String,
        /// What the system said.
        #[source]
        errno: io::Error,
    },
    /// It could not be waited for, or read from. It was killed.
    #[error("cannot wait for `{call}`")]
    Wait {
        /// What was run.
        call: String,
        /// What the system said.
        #[source]
        errno: io::Error,
    },
    /// It ended otherwise than with exit code 0.
    #[error("`{call}` {ended}{}{words}", if words.is_empty() { "" } else { ": " })]
    Failed {
        /// What was run.
        call: String,
        /// How it ended.
        ended: Ended,
        /// What it said.
        words: String,
    },
    /// It took longer than it may, and was killed.
    #[error("`{call}` took more than {} ms and was killed{}{words}", after.as_millis(), if words.is_empty() { "" } else { ": " })]
    TimedOut {
        /// What was run.
        call: String,
        /// How long it might take.
        after: Duration,
        /// What it had said.
        words: String,
    },
    /// It printed more than it may, and was killed.
    #[error("`{call}` printed more than {most} bytes and was killed")]
    TooMuch {
        /// What was run.
        call: String,
        /// How much it might print.
        most: usize,
    },
}

impl ToolError {
    /// The error of a tool that ended with this exit code.
    #[must_use]
    pub fn failed(call: &Call, code: i32, words: &str) -> Self {
        Self::Failed {
            call: call.to_string(),
            ended: Ended::Code(code),
            words: plain(words.as_bytes()),
        }
    }

    /// The exit code, where it ended with one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed {
                ended: Ended::Code(code),
                ..
            } => Some(*code),
            _ => None,
        }
    }

    /// What the tool itself said, on one line.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Failed { words, .. } | Self::TimedOut { words, .. } => words,
            _ => "",
        }
    }
}

/// What a tool said, on one line fit for a log: names of things that others made may be in it.
pub(crate) fn plain(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MOST_WORDS)];
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim_end).filter(|l| !l.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    joined.replace(char::is_control, " ")
}
