//! Processes, named by descriptor: one of their own (pdfork(2)), or a queue that watches one found again
//! (kqueue(2)). Never by a bare pid: a pid is compared with the start of its process.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{At, HostError, Result};
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
    /// Before others (setpriority(2)). What it starts is ordinary again. Not rtprio(2): a realtime process that hangs
    /// in a loop would hold its processor for good, since nothing here ends it.
    Realtime,
    /// As others: the scheduler prefers those that run briefly by itself.
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

impl Urgency {
    /// Schedules the calling process so.
    pub(crate) fn apply(self) -> rustix::io::Result<()> {
        let niceness = match self {
            Self::Realtime => -20,
            Self::Brief | Self::Ordinary => 0,
        };
        rustix::process::setpriority_process(None, niceness)
    }
}

impl Process {
    /// Starts a program with an empty environment, in a session of its own, and waits (under a
    /// millisecond) until it runs. The caller must be single-threaded.
    ///
    /// # Errors
    /// `System` with what failed in the new process too, `Invalid` for a descriptor number below 3 or
    /// text with a zero byte.
    pub fn spawn(program: &Program<'_>) -> Result<Self> {
        if program.fds.iter().any(|(_, target)| *target < 3) {
            return Err(HostError::Invalid("descriptor number below 3"));
        }
        let mut args = Vec::with_capacity(1 + program.args.len());
        for text in std::iter::once(&program.name).chain(program.args) {
            args.push(
                CString::new(*text).map_err(|_| HostError::Invalid("zero byte in argument"))?,
            );
        }
        let (news, report) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at("pipe")?;
        let process = Self::fork(|| {
            let errno = replace(program, &args).errno().to_le_bytes();
            // When the parent has gone there is nobody to tell.
            let _ = rustix::io::write(&report, &errno);
            127
        })?;
        drop(report);
        let mut errno = [0; 4];
        match rustix::io::retry_on_intr(|| rustix::io::read(&news, &mut errno))
            .at("read from child")?
        {
            0 => Ok(process),
            _ => {
                process.reap()?;
                Err(Errno::from_raw_os_error(i32::from_le_bytes(errno))).at("start a program")
            }
        }
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
            if sys::fds::close_all_but(keep).is_err() || sys::signals::reset().is_err() {
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
            let _ = Urgency::Ordinary.apply();
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

/// In the new process: becomes the program. Returns only with the reason why not.
fn replace(program: &Program<'_>, args: &[CString]) -> HostError {
    let become_program = || -> Result<()> {
        sys::signals::reset().at("sigprocmask")?;
        rustix::process::setsid().at("setsid")?;
        // privd has said so if it cannot choose.
        let _ = program.urgency.apply();
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .at("open /dev/null")?;
        // Sources move above every target first, so that placing one never overwrites another.
        let above = 1 + program
            .fds
            .iter()
            .map(|(_, target)| *target)
            .max()
            .unwrap_or(2);
        let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, above).at("dup");
        let file = lift(program.file)?;
        let log = lift(program.log)?;
        let mut lifted = Vec::with_capacity(program.fds.len());
        for (fd, target) in program.fds {
            lifted.push((lift(*fd)?, *target));
        }
        sys::fds::close_all_on_exec().at("close_range")?;
        let place = |fd: BorrowedFd<'_>, target| sys::fds::place(fd, target).at("dup2");
        place(null.as_fd(), 0)?;
        place(null.as_fd(), 1)?;
        place(log.as_fd(), 2)?;
        for (fd, target) in &lifted {
            place(fd.as_fd(), *target)?;
        }
        let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
        Err(sys::process::exec(file.as_fd(), &args, &[])).at("fexecve")
    };
    match become_program() {
        Ok(()) => HostError::Invalid("exec returned"),
        Err(error) => error,
    }
}
