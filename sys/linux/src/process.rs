//! Processes, named by descriptor (pidfd_open(2)), never by a bare pid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use warder_common::program::Steps;
pub use warder_common::program::{Exit, Program, Signal, Urgency};
use warder_common::{At, HostError, Result, fds, signals};

use crate::sys;

/// A process, held by its descriptor, which polls readable when it has ended.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
    pid: u32,
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
                let _ = sys::schedule(urgency);
            },
            exec: sys::exec,
        };
        let fork = |child: &dyn Fn() -> i32| Self::fork(0, None, child);
        program.start(steps, fork, |process| process.reap())
    }

    /// Forks a worker that holds only `keep` (and 0, 1, 2), exits with what `job` returns and is killed when
    /// the caller ends. The caller must be single-threaded.
    ///
    /// # Errors
    /// `System` when fork fails.
    pub fn worker(keep: &[BorrowedFd<'_>], job: impl FnOnce() -> i32) -> Result<Self> {
        let parent = rustix::process::getpid();
        Self::fork(0, None, || {
            if !dies_with(parent) || fds::close_all_but(keep).is_err() || signals::reset().is_err()
            {
                return 126;
            }
            job()
        })
    }

    pub(crate) fn fork(
        namespaces: libc::c_int,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce() -> i32,
    ) -> Result<Self> {
        let (pid, descriptor) = sys::fork(namespaces, cgroup, child).at("clone3")?;
        Ok(Self { descriptor, pid })
    }

    /// The process with this pid if it started at `start_time` and has not ended.
    ///
    /// # Errors
    /// `System` when the kernel refuses to say.
    pub fn reopen(pid: u32, start_time: u64) -> Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let descriptor = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno).at("pidfd_open"),
        };
        let process = Self { descriptor, pid };
        // Read by number, so believed only if the descriptor's process still lives afterwards.
        let started = process.start_time();
        if process.has_ended()? || started? != start_time {
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
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        match rustix::process::pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).at("pidfd_send_signal"),
        }
    }

    /// How it ended, if it has; reaps a child.
    ///
    /// # Errors
    /// `System`.
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.descriptor.as_fd()), options) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => Ok(Some(
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unknown,
                },
            )),
            Err(Errno::CHILD) => Ok(self.has_ended()?.then_some(Exit::Unknown)),
            Err(errno) => Err(errno).at("waitid"),
        }
    }

    /// Waits for a child that is about to end.
    pub(crate) fn reap(&self) -> Result<()> {
        let wait = || {
            rustix::process::waitid(
                WaitId::PidFd(self.descriptor.as_fd()),
                WaitIdOptions::EXITED,
            )
        };
        rustix::io::retry_on_intr(wait).at("waitid").map(drop)
    }

    pub(crate) fn has_ended(&self) -> Result<bool> {
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now))).at("poll")?;
        Ok(ready > 0)
    }

    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22).
    ///
    /// # Errors
    /// `System` when it has ended.
    pub fn start_time(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .at("read /proc/PID/stat")?;
        field(&text, 22).ok_or(HostError::Invalid("/proc/PID/stat has no start time"))
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

/// A field of proc_pid_stat(5) that stands behind the name, which may hold anything, by its number there.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    fields.nth(number - 3)?.parse().ok()
}

/// Bytes of memory that a process has, and microseconds of processor time that it has used; `None` when it has ended.
#[must_use]
pub fn uses(pid: u32) -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = field(&stat, 14)? + field(&stat, 15)?;
    let time = ticks * 1_000_000 / rustix::param::clock_ticks_per_second();
    Some((field(&stat, 24)? * rustix::param::page_size() as u64, time))
}

/// In a new process: has it killed when its parent ends. False when it cannot be, or that has ended already.
pub(crate) fn dies_with(parent: Pid) -> bool {
    let kill = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(kill).is_ok()
        && rustix::process::getppid() == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(field(&format!("12 (a) b) {tail}"), 22), Some(4711));
        assert_eq!(field("12 (a", 22), None);
    }

    #[test]
    fn what_a_process_uses_grows() {
        let (memory, before) = uses(std::process::id()).expect("it runs");
        let held = vec![1_u8; 64 << 20];
        let used = || uses(std::process::id()).expect("it runs");
        while used().1 < before + 50_000 {}
        assert!(used().0 > memory + (32 << 20));
        drop(std::hint::black_box(held));
        assert_eq!(uses(u32::MAX), None);
    }
}
