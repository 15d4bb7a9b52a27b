//! What can go wrong, and the exit code each case has.

use std::io;
use std::path::PathBuf;

/// Exit code of `exec` and `shell` when the command did not run to an end: Warder failed, not the command.
pub(crate) const EXEC_FAILED: u8 = 125;
/// Exit code of `exec` when its `--timeout` ended the command, as timeout(1) has it.
pub(crate) const TIMED_OUT: u8 = 124;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something on this machine failed.
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// No server behind the socket.
    #[error("no server runs for {} (start one with `warder up`, or name its directory with --state-dir)", state_dir.display())]
    NoServer { state_dir: PathBuf },
    /// The user of this command may not use the socket.
    #[error("{} is for root and the operator group only: run this with sudo", path.display())]
    NotOperator { path: PathBuf },
    /// The connection failed half-way.
    #[error("the connection to the server failed")]
    Http(#[from] hyper::Error),
    /// The server said no.
    #[error("{message} ({status})")]
    Refused { status: u16, message: String },
    /// A call to the agent failed.
    #[error(transparent)]
    Agent(#[from] warder_connect::ConnectError),
    /// The server answered what it never should.
    #[error("unexpected answer from the server: {0}")]
    Answer(String),
    /// Root is needed.
    #[error("Warder needs root on Linux for now. Run:\n  {0}")]
    NotRoot(String),
    /// The command line is wrong in a way its parser does not see.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// The exit code:
    ///
    /// | code | meaning |
    /// |---|---|
    /// | 0 | done |
    /// | 1 | failed |
    /// | 2 | wrong command line |
    /// | 3 | no such sandbox, template or key |
    /// | 4 | the server refuses: bad value, conflict, no right |
    /// | 5 | no server, or it has no room or time now: try later |
    /// | 77 | root is needed |
    /// | 124, 125 | `exec`, `shell`: time limit; Warder failed. Else the command's own code |
    pub(crate) fn code(&self) -> u8 {
        use warder_connect::Code;
        match self {
            Self::Usage(_) => 2,
            Self::Refused { status: 404, .. } => 3,
            Self::Refused {
                status: 400..=499, ..
            }
            | Self::NotOperator { .. } => 4,
            Self::NoServer { .. }
            | Self::Refused {
                status: 502 | 503 | 504 | 507,
                ..
            } => 5,
            Self::Agent(error) => match error.code {
                Code::NotFound => 3,
                Code::Unavailable | Code::ResourceExhausted => 5,
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => 4,
                _ => 1,
            },
            Self::NotRoot(_) => 77,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_documented() {
        let refused = |status| Error::Refused {
            status,
            message: String::new(),
        };
        assert_eq!(refused(404).code(), 3);
        assert_eq!(refused(409).code(), 4);
        assert_eq!(refused(507).code(), 5);
        assert_eq!(refused(500).code(), 1);
        assert_eq!(Error::Usage(String::new()).code(), 2);
    }
}
