//! What can go wrong in the system layer.

use std::{fmt, io};

use rustix::io::Errno;

/// Why an operation of the system layer failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This kernel, or this build, cannot do it.
    #[error("{operation} is not supported on this system")]
    Unsupported {
        /// The operation, as in `cell::spawn`.
        operation: &'static str,
    },
    /// The host was not set up for it.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What: a kernel module, a tunable, a pool.
        what: &'static str,
        /// The line to write, and the file it belongs into.
        remedy: &'static str,
    },
    /// A call failed.
    #[error("{call}")]
    System {
        /// The call and what it was for.
        call: &'static str,
        /// What the kernel said.
        #[source]
        errno: io::Error,
    },
    /// The file system holding the state directory is full, or its quota is.
    #[error("no space left for {call}")]
    NoSpace {
        /// The call and what it was for.
        call: &'static str,
    },
    /// The caller passed something this operation does not take.
    #[error("{0}")]
    Invalid(&'static str),
}

impl HostError {
    /// What the kernel said in a number, 0 where it was not asked.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::System { errno, .. } => errno
                .raw_os_error()
                .or_else(|| said(errno).map(|said| said.errno.raw_os_error()))
                .unwrap_or(0),
            Self::NoSpace { .. } => Errno::NOSPC.raw_os_error(),
            Self::Unsupported { .. } | Self::Missing { .. } => Errno::OPNOTSUPP.raw_os_error(),
            Self::Invalid(_) => 0,
        }
    }

    /// The call that failed, with the kernel's own words for it where it had some.
    #[must_use]
    pub fn step(&self) -> String {
        match self {
            Self::System { call, errno } => match said(errno).map(|said| said.text.as_str()) {
                None | Some("") => (*call).to_owned(),
                Some(words) => format!("{call}: {words}"),
            },
            error => error.to_string(),
        }
    }
}

fn said(errno: &io::Error) -> Option<&Said> {
    errno.get_ref()?.downcast_ref()
}

/// A result of the system layer.
pub type Result<T> = std::result::Result<T, HostError>;

/// What the kernel said when it refused, in its own words where it had some.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// The error's number.
    pub errno: Errno,
    /// The kernel's words; empty when it had none.
    pub text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = io::Error::from(self.errno);
        match self.text.as_str() {
            "" => number.fmt(f),
            text => write!(f, "{text}: {number}"),
        }
    }
}

impl std::error::Error for Said {}

impl From<Errno> for Said {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            text: String::new(),
        }
    }
}

impl From<Said> for io::Error {
    fn from(said: Said) -> Self {
        Self::new(Self::from(said.errno).kind(), said)
    }
}

/// Names the call that failed.
pub trait At<T> {
    /// The error of `call`, by its kind.
    ///
    /// # Errors
    /// `NoSpace`, `Unsupported` or `System`, as the kernel said.
    fn at(self, call: &'static str) -> Result<T>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, call: &'static str) -> Result<T> {
        self.map_err(|errno| failed(call, errno, errno.into()))
    }
}

impl<T> At<T> for std::result::Result<T, Said> {
    fn at(self, call: &'static str) -> Result<T> {
        self.map_err(|said| failed(call, said.errno, said.into()))
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, call: &'static str) -> Result<T> {
        self.map_err(|errno| match errno.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                HostError::NoSpace { call }
            }
            io::ErrorKind::Unsupported => HostError::Unsupported { operation: call },
            _ => HostError::System { call, errno },
        })
    }
}

fn failed(call: &'static str, errno: Errno, source: io::Error) -> HostError {
    match errno {
        Errno::NOSPC | Errno::DQUOT => HostError::NoSpace { call },
        Errno::NOSYS | Errno::OPNOTSUPP => HostError::Unsupported { operation: call },
        _ => HostError::System {
            call,
            errno: source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_said_is_kept() {
        let said = Said {
            errno: Errno::PERM,
            text: "vnet jails are not allowed".into(),
        };
        let told: Result<()> = Err(said).at("jail_set");
        let told = told.expect_err("refused");
        assert_eq!(told.errno(), Errno::PERM.raw_os_error());
        assert_eq!(told.step(), "jail_set: vnet jails are not allowed");
        let plain: Result<()> = Err(Errno::PERM).at("mount");
        let plain = plain.expect_err("refused");
        assert_eq!(
            (plain.errno(), plain.step().as_str()),
            (Errno::PERM.raw_os_error(), "mount")
        );
    }

    #[test]
    fn kinds_are_told_apart() {
        let of = |errno: Errno| {
            let result: Result<()> = Err(errno).at("x");
            result.expect_err("refused")
        };
        assert!(matches!(of(Errno::NOSPC), HostError::NoSpace { call: "x" }));
        assert!(matches!(of(Errno::DQUOT), HostError::NoSpace { .. }));
        assert!(matches!(
            of(Errno::NOSYS),
            HostError::Unsupported { operation: "x" }
        ));
        assert!(matches!(
            of(Errno::OPNOTSUPP),
            HostError::Unsupported { .. }
        ));
        assert!(matches!(of(Errno::NOENT), HostError::System { .. }));
    }
}
