//! What can go wrong in the system layer.

use std::io;

use rustix::io::Errno;

use crate::sys::Said;

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
    /// What the kernel said, 0 where it was not asked.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::System { errno, .. } => errno.raw_os_error().unwrap_or_else(|| {
                let said = errno.get_ref().and_then(|e| e.downcast_ref::<Said>());
                said.map_or(0, |said| said.errno.raw_os_error())
            }),
            Self::NoSpace { .. } => Errno::NOSPC.raw_os_error(),
            Self::Unsupported { .. } | Self::Missing { .. } => Errno::OPNOTSUPP.raw_os_error(),
            Self::Invalid(_) => 0,
        }
    }
}

/// A result of the system layer.
pub type Result<T> = std::result::Result<T, HostError>;

pub(crate) fn unsupported<T>(operation: &'static str) -> Result<T> {
    Err(HostError::Unsupported { operation })
}

/// Names the call that failed.
pub(crate) trait At<T> {
    fn at(self, call: &'static str) -> Result<T>;
}

fn failed(call: &'static str, errno: Errno, source: impl FnOnce() -> io::Error) -> HostError {
    match errno {
        Errno::NOSPC | Errno::DQUOT => HostError::NoSpace { call },
        Errno::NOSYS | Errno::OPNOTSUPP => HostError::Unsupported { operation: call },
        _ => HostError::System {
            call,
            errno: source(),
        },
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, call: &'static str) -> Result<T> {
        self.map_err(|errno| failed(call, errno, || errno.into()))
    }
}

impl<T> At<T> for std::result::Result<T, Said> {
    fn at(self, call: &'static str) -> Result<T> {
        self.map_err(|said| failed(call, said.errno, || said.into()))
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
