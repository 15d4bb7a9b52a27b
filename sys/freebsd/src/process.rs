//! Processes, named by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use crate::error::{Result, unsupported};

/// A process, held by its descriptor, which polls readable when it has ended.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
    pid: u32,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has ended; how is known only to its parent, which is not this process.
    Unknown,
}

/// Signals the daemons send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Asks it to end.
    Terminate,
    /// Ends it.
    Kill,
}

/// How soon a process gets a processor that others use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    /// At once (rtprio(2): RTP_PRIO_REALTIME, the lowest priority). What it starts is ordinary again.
    Realtime,
    /// Soon, for a short while; not known on this system.
    Brief,
    /// In its turn.
    Ordinary,
}

/// What [`Process::spawn`] starts.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The executable file.
    pub file: BorrowedFd<'a>,
    /// Its `argv[0]`.
    pub name: &'a str,
    /// Further arguments.
    pub args: &'a [&'a str],
    /// Descriptors it gets, each with its number there (3 or greater).
    pub fds: &'a [(BorrowedFd<'a>, RawFd)],
    /// Its standard error; standard input and output are `/dev/null`.
    pub log: BorrowedFd<'a>,
    /// How it is scheduled, where the host lets privd choose.
    pub urgency: Urgency,
}

impl Process {
    /// Starts a program with an empty environment, in a session of its own.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn spawn(_program: &Program<'_>) -> Result<Self> {
        unsupported("process::spawn")
    }

    /// Forks a worker that holds only `keep` and exits with what `job` returns.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn worker(_keep: &[BorrowedFd<'_>], _job: impl FnOnce() -> i32) -> Result<Self> {
        unsupported("process::worker")
    }

    /// The process with this pid if it started at `start_time`.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn reopen(_pid: u32, _start_time: u64) -> Result<Option<Self>> {
        unsupported("process::reopen")
    }

    /// Sends a signal; a process that has ended already is no error.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn signal(&self, _signal: Signal) -> Result<()> {
        unsupported("process::signal")
    }

    /// How it ended, if it has; reaps a child.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        unsupported("process::try_wait")
    }

    /// When it started.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn start_time(&self) -> Result<u64> {
        unsupported("process::start_time")
    }

    /// Its number, for logs and the ledger only.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
