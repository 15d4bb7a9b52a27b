//! Signals as events of the poll loop (signalfd(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{At, Result};
use crate::sys;

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
    /// Blocks the signals of [`Caught`] and collects them from now on. Processes started by this crate
    /// begin with nothing blocked.
    ///
    /// # Errors
    /// `System`.
    pub fn new() -> Result<Self> {
        let set = sys::signal_set(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]);
        sys::mask_signals(libc::SIG_BLOCK, &set).at("sigprocmask")?;
        Ok(Self {
            descriptor: sys::signalfd(&set).at("signalfd")?,
        })
    }

    /// The next signal, if one waits. Never blocks.
    ///
    /// # Errors
    /// `System`.
    pub fn next(&self) -> Result<Option<Caught>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let length = match rustix::io::read(&self.descriptor, &mut info) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno).at("read from signalfd"),
        };
        // The number is the first field of signalfd_siginfo.
        let number = info[..length]
            .first_chunk()
            .map(|number| i32::from_ne_bytes(*number));
        Ok(match number {
            Some(libc::SIGTERM) => Some(Caught::Terminate),
            Some(libc::SIGINT) => Some(Caught::Interrupt),
            Some(libc::SIGHUP) => Some(Caught::Hangup),
            Some(libc::SIGCHLD) => Some(Caught::Child),
            _ => None,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
