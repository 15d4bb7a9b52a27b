//! Processes by descriptor (pdfork(2), pdgetpid(2)), and what becomes of one (fexecve(2), wait4(2)).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::{Errno, Result};

use super::{checked, last};

/// Forks; `child` runs in the new process, which exits with what it returns. Answers pid and descriptor. The pid
/// is nobody else's before the process was waited for. With `daemon` it outlives the descriptor, else it is killed
/// when the last copy of that closes. A process made so sends no SIGCHLD.
///
/// The caller must be single-threaded: the child goes on in a copy of this address space.
///
/// # Errors
/// Those of pdfork(2).
pub fn fork(daemon: bool, child: impl FnOnce() -> i32) -> Result<(u32, OwnedFd)> {
    let mut descriptor: RawFd = -1;
    let flags = libc::PD_CLOEXEC | if daemon { libc::PD_DAEMON } else { 0 };
    // SAFETY: the descriptor's place is valid, and no stack is shared: the child has a copy of everything.
    let answer = unsafe { libc::pdfork(&raw mut descriptor, flags) };
    if answer == 0 {
        // Nothing of the parent's frames may run again here: no unwinding, no destructors.
        let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(code) }
    }
    let pid = u32::try_from(answer).map_err(|_| last())?;
    // SAFETY: the kernel stored a new descriptor, which nobody else owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok((pid, descriptor))
}

/// Replaces this process by the program in `file`. Returns only on failure. See fexecve(2). A script is refused
/// with `ENOENT` where /dev/fd is not mounted.
pub fn exec(file: BorrowedFd<'_>, args: &[&CStr], environment: &[&CStr]) -> Errno {
    let ended = |texts: &[&CStr]| -> Vec<*const libc::c_char> {
        let all = texts.iter().map(|text| text.as_ptr());
        all.chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (ended(args), ended(environment));
    // SAFETY: both arrays and every string in them end with a null and outlive the call.
    unsafe { libc::fexecve(file.as_raw_fd(), argv.as_ptr(), envp.as_ptr()) };
    last()
}

/// Sheds what a session and a user leave on a daemon that somebody started: groups, a login name, a nice value.
/// The caller leads a session of its own.
///
/// # Errors
/// Those of setgroups(2), setlogin(2) and setpriority(2).
pub fn be_plain_root() -> Result<()> {
    let wheel: libc::gid_t = 0;
    // SAFETY: one group, at a valid place.
    checked(unsafe { libc::setgroups(1, &raw const wheel) })?;
    // SAFETY: the name ends with a null.
    checked(unsafe { libc::setlogin(c"root".as_ptr()) })?;
    // SAFETY: takes integers.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) }).map(drop)
}

/// The pid of the process of a descriptor, also once it has ended (pdgetpid(2)).
///
/// # Errors
/// `EBADF` for a descriptor of something else.
pub fn pid(process: BorrowedFd<'_>) -> Result<u32> {
    let mut pid = 0;
    // SAFETY: the pid's place is valid.
    checked(unsafe { libc::pdgetpid(process.as_raw_fd(), &raw mut pid) })?;
    u32::try_from(pid).map_err(|_| Errno::SRCH)
}

/// Sends a signal to the process of a descriptor.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn signal(process: BorrowedFd<'_>, signal: libc::c_int) -> Result<()> {
    // SAFETY: takes integers.
    checked(unsafe { libc::pdkill(process.as_raw_fd(), signal) }).map(drop)
}

/// The status of a child that has ended, which is reaped; with `hang`, waits until it does. By its number: nobody
/// else's, while it was not waited for.
///
/// # Errors
/// `ECHILD` when it is no child of this process, or was waited for already.
pub fn wait(pid: u32, hang: bool) -> Result<Option<libc::c_int>> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or(Errno::CHILD)?;
    let mut status = 0;
    let options = if hang { 0 } else { libc::WNOHANG };
    // SAFETY: the status is valid, usage is not asked for.
    let answer = unsafe { libc::wait4(pid, &raw mut status, options, std::ptr::null_mut()) };
    Ok((checked(answer)? != 0).then_some(status))
}
