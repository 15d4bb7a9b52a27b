//! A set of descriptors watched as one (kqueue(2)): a poll loop's own list stays short however many
//! cells there are.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use warder_common::{At, Result};

use crate::sys::kqueue::Queue;

/// Most tokens answered at once.
const AT_ONCE: usize = 64;

/// The set. It polls readable when one of its descriptors does.
#[derive(Debug)]
pub struct Set {
    queue: Queue,
}

impl Set {
    /// An empty set.
    ///
    /// # Errors
    /// `System`.
    pub fn new() -> Result<Self> {
        Ok(Self {
            queue: Queue::new().at("kqueue")?,
        })
    }

    /// Watches `fd` for being readable, under the name `token`. The end of a process is told once.
    ///
    /// # Errors
    /// `System`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        match self.queue.read(fd, token) {
            // A process's own descriptor is never readable, but has an event of its own.
            Err(Errno::INVAL) => self.queue.exit_of(fd, token),
            done => done,
        }
        .at("kevent add")
    }

    /// Watches `fd` no more. One that was not watched is no error.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // The only failures are that it was not there; the set itself is ours.
        let _ = self.queue.remove(fd);
    }

    /// Adds the tokens of readable descriptors to `out`, a bounded number at once. Never waits.
    ///
    /// # Errors
    /// `System`.
    pub fn ready(&self, out: &mut Vec<u64>) -> Result<()> {
        let mut events = Vec::with_capacity(AT_ONCE);
        self.queue.take(&mut events, AT_ONCE).at("kevent")?;
        out.extend(events.iter().map(|event| event.token));
        Ok(())
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
