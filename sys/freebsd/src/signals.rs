//! Signals as events of the poll loop (kqueue(2), `EVFILT_SIGNAL`).

use std::os::fd::{AsFd, BorrowedFd};

use warder_common::signals::CAUGHT;
pub use warder_common::signals::Caught;
use warder_common::{At, Result, signals};

use crate::sys::kqueue::Queue;

/// Caught signals, readable as a descriptor.
#[derive(Debug)]
pub struct Signals {
    queue: Queue,
}

impl Signals {
    /// Blocks the signals of [`Caught`] and collects them from now on. Processes started by this crate
    /// begin with nothing blocked.
    ///
    /// # Errors
    /// `System`.
    pub fn new() -> Result<Self> {
        let queue = Queue::new().at("kqueue")?;
        // Watched first: one that came between the two would stay pending, seen by nobody.
        for (number, _) in CAUGHT {
            queue.signal(number, 0).at("kevent")?;
        }
        signals::block_caught().at("sigprocmask")?;
        Ok(Self { queue })
    }

    /// The next signal, if one waits. Never blocks.
    ///
    /// # Errors
    /// `System`.
    pub fn next(&self) -> Result<Option<Caught>> {
        let mut events = Vec::with_capacity(1);
        self.queue.take(&mut events, 1).at("kevent")?;
        let number = events
            .first()
            .and_then(|event| i32::try_from(event.ident).ok());
        Ok(number.and_then(Caught::numbered))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
