//! Programs, and how a forked process becomes one.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::error::{At, HostError, Result};
use crate::{fds, signals};

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
    /// At once, or before others, as far as the kernel ends one that hangs in a loop. What it starts is ordinary again.
    Realtime,
    /// Soon, for a short while, with no greater share in all, where a kernel takes such a wish.
    Brief,
    /// In its turn.
    Ordinary,
}

/// What is started.
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

/// The steps that each kernel has its own calls for.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Schedules this process. privd has said so if it cannot choose.
    pub schedule: fn(Urgency),
    /// Replaces this process by the program in a file, with an empty environment. Returns only on failure.
    pub exec: fn(BorrowedFd<'_>, &[&CStr]) -> Errno,
}

impl Program<'_> {
    /// Starts it in a session of its own, in a process that `fork` makes, and waits (under a millisecond) until it
    /// runs; `reap` waits for a process that ends because it does not.
    ///
    /// # Errors
    /// `System` with what failed in the new process too, `Invalid` for a descriptor number below 3 or
    /// text with a zero byte.
    pub fn start<P>(
        &self,
        steps: Steps,
        fork: impl FnOnce(&dyn Fn() -> i32) -> Result<P>,
        reap: impl FnOnce(P) -> Result<()>,
    ) -> Result<P> {
        if self.fds.iter().any(|(_, target)| *target < 3) {
            return Err(HostError::Invalid("descriptor number below 3"));
        }
        let mut args = Vec::with_capacity(1 + self.args.len());
        for text in std::iter::once(&self.name).chain(self.args) {
            args.push(
                CString::new(*text).map_err(|_| HostError::Invalid("zero byte in argument"))?,
            );
        }
        let (news, report) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at("pipe")?;
        let process = fork(&|| {
            let errno = self.replace(steps, &args).errno().to_le_bytes();
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
                reap(process)?;
                Err(Errno::from_raw_os_error(i32::from_le_bytes(errno))).at("start a program")
            }
        }
    }

    /// In the new process: becomes the program. Returns only with the reason why not.
    fn replace(&self, steps: Steps, args: &[CString]) -> HostError {
        let become_program = || -> Result<()> {
            signals::reset().at("sigprocmask")?;
            rustix::process::setsid().at("setsid")?;
            (steps.schedule)(self.urgency);
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .at("open /dev/null")?;
            // Sources move above every target first, so that placing one never overwrites another.
            let highest = self.fds.iter().map(|(_, target)| *target).max();
            let above = 1 + highest.unwrap_or(2);
            let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, above).at("dup");
            let file = lift(self.file)?;
            let log = lift(self.log)?;
            let mut lifted = Vec::with_capacity(self.fds.len());
            for (fd, target) in self.fds {
                lifted.push((lift(*fd)?, *target));
            }
            fds::close_all_on_exec().at("close_range")?;
            let place = |fd: BorrowedFd<'_>, target| fds::place(fd, target).at("dup2");
            place(null.as_fd(), 0)?;
            place(null.as_fd(), 1)?;
            place(log.as_fd(), 2)?;
            for (fd, target) in &lifted {
                place(fd.as_fd(), *target)?;
            }
            let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
            Err((steps.exec)(file.as_fd(), &args)).at("exec")
        };
        match become_program() {
            Ok(()) => HostError::Invalid("exec returned"),
            Err(error) => error,
        }
    }
}
