//! The signals the first process of a sandbox looks at: a child ended, and the host wants the sandbox to end.
//!
//! They are blocked and read as events, so no handler runs at odd moments, and the sender is known: SIGTERM counts
//! only from outside the sandbox. Every other signal that can be ignored is: on Linux by the kernel, for pid 1; on
//! FreeBSD, where the agent has an ordinary pid, by its own choice. There root in the sandbox can still kill the
//! agent, and with it its own sandbox, by SIGKILL.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A source of [`Event`]s.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

/// What a signal said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// One or more children ended or changed.
    Child,
    /// The host asks the sandbox to end.
    Terminate,
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::terminate_all;

#[cfg(not(target_os = "linux"))]
mod freebsd;
#[cfg(not(target_os = "linux"))]
pub use freebsd::terminate_all;
