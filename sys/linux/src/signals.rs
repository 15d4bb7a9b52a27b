//! Signals as events of the poll loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Result, unsupported};

/// A signal a daemon handles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caught {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGCHLD: at least one child changed state.
    Child,
}

/// Caught signals, readable as a descriptor.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals of [`Caught`] and collects them from now on.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn new() -> Result<Self> {
        unsupported("signals::new")
    }

    /// The next signal, if one waits.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn next(&self) -> Result<Option<Caught>> {
        unsupported("signals::next")
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
