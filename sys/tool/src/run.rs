//! The exec itself.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;

use crate::error::plain;
use crate::{Call, Ended, Output, Result, ToolError};

/// What a tool may say on its standard error.
const MOST_ERRORS: usize = 64 << 10;
/// How often is looked whether a tool has ended that keeps its pipes open, or that closed them.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that was killed may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `call` and waits for it.
pub(crate) fn run(call: &Call) -> Result<Output> {
    let until = Instant::now() + call.deadline;
    let mut child = start(call).map_err(|errno| match errno.kind() {
        io::ErrorKind::NotFound => ToolError::Missing {
            path: call.tool.path(),
        },
        _ => ToolError::Start {
            call: call.to_string(),
            errno,
        },
    })?;
    let mut printed = Printed::of(&mut child, call.most);
    let status = wait(&mut child, &mut printed, until);
    if !matches!(status, Ok(Waited::Ended(_))) {
        // It is not reaped yet, so this is still its number.
        let _ = child.kill();
        reap(&mut child);
    }
    let status = match status {
        Ok(Waited::Ended(status)) => status,
        Ok(Waited::TooLong) => {
            return Err(ToolError::TimedOut {
                call: call.to_string(),
                after: call.deadline,
                words: printed.words(),
            });
        }
        Ok(Waited::TooMuch(most)) => {
            return Err(ToolError::TooMuch {
                call: call.to_string(),
                most,
            });
        }
        Err(errno) => {
            return Err(ToolError::Wait {
                call: call.to_string(),
                errno,
            });
        }
    };
    if status.success() {
        return Ok(Output {
            words: printed.words(),
            stdout: printed.out.bytes,
        });
    }
    let said_nothing = printed.err.bytes.is_empty();
    let signal = || Ended::Signal(status.signal().unwrap_or(0));
    Err(ToolError::Failed {
        call: call.to_string(),
        ended: status.code().map_or_else(signal, Ended::Code),
        words: if said_nothing {
            plain(&printed.out.bytes)
        } else {
            printed.words()
        },
    })
}

/// Waits for one that was killed. One that is in the kernel's hands and does not end is left behind: whoever ran it may
/// have others to serve, and learns in any case that it did not do what it was run for.
fn reap(child: &mut Child) {
    let until = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start(call: &Call) -> io::Result<Child> {
    let input = match &call.input {
        Some(bytes) => Stdio::from(held(bytes)?),
        None => Stdio::null(),
    };
    let parent = std::process::id();
    let mut command = Command::new(call.tool.path());
    command
        .args(&call.args)
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on the daemon's terminal is not for it.
        .process_group(0);
    // SAFETY: between fork and exec it makes system calls that are safe there (signal-safety(7), sigaction(2)) and
    // allocates nothing.
    unsafe { command.pre_exec(move || bare(parent)) };
    command.spawn()
}

/// An anonymous file of these bytes. Unlike a pipe it takes all of them at once, and a tool that does not read it raises
/// no SIGPIPE.
fn held(bytes: &[u8]) -> io::Result<File> {
    let file = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// In the new process: it keeps the standard descriptors only, and ends with the one that started it.
fn bare(parent: u32) -> io::Result<()> {
    // close_range(2) of both systems. Not closed at once: one of them tells the parent when exec fails.
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: plain numbers; changes the flags of descriptors.
    if unsafe { libc::close_range(3, u32::MAX, flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    die_with_parent()?;
    // It may have ended before that was asked for.
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

/// prctl(2), `PR_SET_PDEATHSIG`.
#[cfg(target_os = "linux")]
fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// procctl(2), `PROC_PDEATHSIG_CTL`: of the caller itself, whose id is 0.
#[cfg(target_os = "freebsd")]
fn die_with_parent() -> io::Result<()> {
    let mut signal = libc::SIGKILL;
    let (own, command) = (libc::P_PID, libc::PROC_PDEATHSIG_CTL);
    // SAFETY: the last argument points to an int, as this command wants it, for as long as the call takes.
    match unsafe { libc::procctl(own, 0, command, (&raw mut signal).cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

enum Waited {
    Ended(ExitStatus),
    TooLong,
    /// More than this.
    TooMuch(usize),
}

/// One of its pipes, and what came from it.
struct Pipe<T> {
    /// Until it is at its end.
    from: Option<T>,
    bytes: Vec<u8>,
    most: usize,
}

impl<T: Read + AsFd> Pipe<T> {
    fn of(from: Option<T>, most: usize) -> Self {
        Self {
            from,
            bytes: Vec::new(),
            most,
        }
    }

    /// Takes what is there without waiting. False when it is too much.
    fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        while let Some(from) = &mut self.from {
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(length) => {
                    if self.bytes.len() + length > self.most {
                        return Ok(false);
                    }
                    self.bytes.extend_from_slice(&buffer[..length]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

struct Printed {
    out: Pipe<std::process::ChildStdout>,
    err: Pipe<std::process::ChildStderr>,
}

impl Printed {
    fn of(child: &mut Child, most: usize) -> Self {
        Self {
            out: Pipe::of(child.stdout.take(), most),
            err: Pipe::of(child.stderr.take(), MOST_ERRORS),
        }
    }

    fn words(&self) -> String {
        plain(&self.err.bytes)
    }

    fn nonblocking(&self) -> io::Result<()> {
        let out = self.out.from.as_ref().map(AsFd::as_fd);
        let err = self.err.from.as_ref().map(AsFd::as_fd);
        for fd in out.into_iter().chain(err) {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(())
    }

    /// Takes what is there; the bound that was passed, if one was.
    fn drain(&mut self) -> io::Result<Option<usize>> {
        if !self.out.drain()? {
            return Ok(Some(self.out.most));
        }
        Ok((!self.err.drain()?).then_some(self.err.most))
    }

    /// Waits until there is something to take, for `patience` at most.
    fn ready(&self, patience: Duration) -> io::Result<()> {
        let out = self.out.from.as_ref().map(AsFd::as_fd);
        let err = self.err.from.as_ref().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> = out
            .into_iter()
            .chain(err)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let patience = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_over(&self) -> bool {
        self.out.from.is_none() && self.err.from.is_none()
    }
}

fn wait(child: &mut Child, printed: &mut Printed, until: Instant) -> io::Result<Waited> {
    printed.nonblocking()?;
    // One that closed its pipes is about to end.
    let mut soon = Duration::from_micros(100);
    loop {
        let ended = child.try_wait()?;
        // After that look: what it printed before its end is in the pipes now.
        if let Some(most) = printed.drain()? {
            return Ok(Waited::TooMuch(most));
        }
        if let Some(status) = ended {
            return Ok(Waited::Ended(status));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Waited::TooLong);
        }
        let mut patience = LOOK;
        if printed.is_over() {
            patience = soon;
            soon = (2 * soon).min(LOOK);
        }
        printed.ready(patience.min(left))?;
    }
}

#[cfg(test)]
mod tests;
