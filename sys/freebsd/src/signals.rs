//! Signals as events of the poll loop (kqueue(2), `EVFILT_SIGNAL`).

use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{At, Result};
use crate::sys::kqueue::Queue;
use crate::sys::signals;

/// A signal a daemon handles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caught {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGCHLD: at least one child changed state. Processes of this crate send none.
    Child,
}

/// Caught signals, readable as a descriptor.
#[derive(Debug)]
pub struct Signals {
    queue: Queue,
}

const CAUGHT: [(libc::c_int, Caught); 4] = [
    (libc::SIGTERM, Caught::Terminate),
    (libc::SIGINT, Caught::Interrupt),
    (libc::SIGHUP, Caught::Hangup),
    (libc::SIGCHLD, Caught::Child),
];

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
        let set = signals::set(&CAUGHT.map(|(number, _)| number));
        signals::mask(libc::SIG_BLOCK, &set).at("sigprocmask")?;
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
        let known = CAUGHT.iter().find(|(own, _)| Some(*own) == number);
        Ok(known.map(|(_, caught)| *caught))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
