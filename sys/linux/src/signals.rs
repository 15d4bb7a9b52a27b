//! Signals as events of the poll loop (signalfd(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
pub use warder_common::signals::Caught;
use warder_common::{At, Result, signals};

use crate::sys;

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
        let set = signals::block_caught().at("sigprocmask")?;
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
        Ok(number.and_then(Caught::numbered))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
