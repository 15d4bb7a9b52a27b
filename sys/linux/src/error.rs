//! What can go wrong in the system layer.

use std::io;

/// Why an operation of the system layer failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This kernel, or this build, cannot do it.
    #[error("{operation} is not supported on this system")]
    Unsupported {
        /// The operation, as in `cell::spawn`.
        operation: &'static str,
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

/// A result of the system layer.
pub type Result<T> = std::result::Result<T, HostError>;

pub(crate) fn unsupported<T>(operation: &'static str) -> Result<T> {
    Err(HostError::Unsupported { operation })
}
