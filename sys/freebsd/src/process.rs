//! Processes, named by descriptor: one of their own (pdfork(2)), or a queue that watches one found again
//! (kqueue(2)). Never by a bare pid: a pid is compared with the start of its process.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use warder_common::program::Steps;
pub use warder_common::program::{Exit, Program, Signal, Urgency};
use warder_common::{At, Result, fds, signals};

use crate::sys;

/// A process, held by its descriptor, which polls readable when it has ended.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
    pid: u32,
    held: Held,
}

/// By what its descriptor is.
#[derive(Debug)]
enum Held {
    /// Its own: it is a child of this process.
    Child {
        /// Waited for: from then on its pid may be another's.
        reaped: Cell<bool>,
    },
    /// A queue that is told its end.
    Watched {
        /// When it started.
        started: u64,
    },
}

/// Schedules the calling process. Realtime is a niceness (setpriority(2)), not rtprio(2): a realtime process that hangs
/// in a loop would hold its processor for good, since nothing here ends it. The scheduler prefers those that run briefly
/// by itself.
pub(crate) fn schedule(urgency: Urgency) -> rustix::io::Result<()> {
    let niceness = match urgency {
        Urgency::Realtime => -20,
        Urgency::Brief | Urgency::Ordinary => 0,
    };
    rustix::process::setpriority_process(None, niceness)
}

impl Process {
    /// Starts a program with an empty environment, in a session of its own, and waits (under a
    /// millisecond) until it runs. The caller must be single-threaded.
    ///
    /// # Errors
    /// `System` with what failed in the new process too, `Invalid` for a descriptor number below 3 or
    /// text with a zero byte.
    pub fn spawn(program: &Program<'_>) -> Result<Self> {
        let steps = Steps {
            schedule: |urgency| {
                // privd has said so if it cannot choose.
                let _ = schedule(urgency);
            },
            exec: |file, args| sys::process::exec(file, args, &[]),
        };
        let fork = |child: &dyn Fn() -> i32| Self::fork(child);
        program.start(steps, fork, |process| process.reap().map(drop))
    }

    /// Forks a worker that holds only `keep` (and 0, 1, 2), exits with what `job` returns and is killed when
    /// the caller ends, or drops it. The caller must be single-threaded.
    ///
    /// # Errors
    /// `System` when fork fails.
    pub fn worker(keep: &[BorrowedFd<'_>], job: impl FnOnce() -> i32) -> Result<Self> {
        // Not by PROC_PDEATHSIG_CTL: descriptors close first when a process ends, and a child that outlives its own
        // is another's by the time the signal would be sent (procdesc_close, sys_procdesc.c; exit1, kern_exit.c).
        Self::forked(false, || {
            if fds::close_all_but(keep).is_err() || signals::reset().is_err() {
                return 126;
            }
            job()
        })
    }

    /// Forks; the child outlives this process and its descriptor.
    pub(crate) fn fork(child: impl FnOnce() -> i32) -> Result<Self> {
        Self::forked(true, child)
    }

    fn forked(daemon: bool, child: impl FnOnce() -> i32) -> Result<Self> {
        let child = || {
            // privd's own urgency is inherited; it has said so if it cannot choose.
            let _ = schedule(Urgency::Ordinary);
            child()
        };
        let (pid, descriptor) = sys::process::fork(daemon, child).at("pdfork")?;
        Ok(Self {
            descriptor,
            pid,
            held: Held::Child {
                reaped: Cell::new(false),
            },
        })
    }

    /// The process with this pid if it started at `start_time` and has not ended.
    ///
    /// # Errors
    /// `System` when the kernel refuses to say.
    pub fn reopen(pid: u32, start_time: u64) -> Result<Option<Self>> {
        let queue = sys::kqueue::Queue::new().at("kqueue")?;
        match queue.exit_of_pid(pid, 0) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno).at("watch a process"),
        }
        let process = Self {
            descriptor: queue.into(),
            pid,
            held: Held::Watched {
                started: start_time,
            },
        };
        // Read by number, so believed only if the process that is watched still lives afterwards.
        let found = sys::procs::get(pid).at("look a process up")?;
        if process.has_ended()? || found.is_none_or(|found| found.started != start_time) {
            return Ok(None);
        }
        Ok(Some(process))
    }

    /// Sends a signal; a process that has ended already is no error.
    ///
    /// # Errors
    /// `System`.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let signal = match signal {
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        let sent = match &self.held {
            Held::Child { .. } => sys::process::signal(self.descriptor.as_fd(), signal),
            Held::Watched { started } => {
                // No descriptor holds it: its number is compared with its start as late as can be.
                let found = sys::procs::get(self.pid).at("look a process up")?;
                if self.has_ended()? || found.is_none_or(|found| found.started != *started) {
                    return Ok(());
                }
                sys::procs::kill(self.pid, signal)
            }
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).at("send a signal"),
        }
    }

    /// How it ended, if it has; reaps a child.
    ///
    /// # Errors
    /// `System`.
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        if !self.has_ended()? {
            return Ok(None);
        }
        self.reap().map(Some)
    }

    /// Waits for a child that has ended or is about to.
    pub(crate) fn reap(&self) -> Result<Exit> {
        let Held::Child { reaped } = &self.held else {
            return Ok(Exit::Unknown);
        };
        if reaped.replace(true) {
            return Ok(Exit::Unknown);
        }
        match rustix::io::retry_on_intr(|| sys::process::wait(self.pid, true)) {
            Ok(Some(status)) if libc::WIFEXITED(status) => {
                Ok(Exit::Code(libc::WEXITSTATUS(status)))
            }
            Ok(Some(status)) if libc::WIFSIGNALED(status) => {
                Ok(Exit::Signal(libc::WTERMSIG(status)))
            }
            Ok(_) | Err(Errno::CHILD) => Ok(Exit::Unknown),
            Err(errno) => Err(errno).at("wait4"),
        }
    }

    pub(crate) fn has_ended(&self) -> Result<bool> {
        // A process's own descriptor answers POLLHUP, which need not be asked for.
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now))).at("poll")?;
        Ok(ready > 0)
    }

    /// When it started, in microseconds since the host did.
    ///
    /// # Errors
    /// `System` when it has ended.
    pub fn start_time(&self) -> Result<u64> {
        let found = sys::procs::get(self.pid).at("look a process up")?;
        let found = found.ok_or(Errno::SRCH).at("look a process up")?;
        Ok(found.started)
    }

    /// Its number, for logs and the ledger only.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

/// Bytes of memory that a process has, and microseconds of processor time that it has used; `None` when it has ended.
#[must_use]
pub fn uses(pid: u32) -> Option<(u64, u64)> {
    let found = sys::procs::get(pid).ok()??;
    let page = sys::sysctl::u64("hw.pagesize").ok()?;
    Some((found.resident * page, found.runtime_us))
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// In a new process: whether its parent is still there. A child that outlives its descriptor becomes another's when
/// its parent ends.
pub(crate) fn has_parent(parent: Pid) -> bool {
    rustix::process::getppid() == Some(parent)
}
