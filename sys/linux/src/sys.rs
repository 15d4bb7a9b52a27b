//! System calls that rustix does not wrap, and nothing else.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::{Errno, Result};

use crate::process::Urgency;

/// The shortest slice the kernel gives (sched_setattr(2), `sched_runtime` of SCHED_OTHER, since Linux 6.12).
const BRIEF_NS: u64 = 100_000;

/// linux/sched.h; the constant in libc is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The answer of a raw system call as a result. None of those here writes to a disk: ENOSPC is a limit of
/// /proc/sys/user or of mounts (namespaces(7), mount_setattr(2)), and is told as EAGAIN is.
fn checked(answer: libc::c_long) -> Result<libc::c_long> {
    if answer >= 0 {
        return Ok(answer);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOSPC) => Err(Errno::AGAIN),
        errno => Err(Errno::from_raw_os_error(errno.unwrap_or(libc::EIO))),
    }
}

/// Forks with the namespace flags given, into the cgroup of version 2 given; `child` runs in the new
/// process, which exits with what it returns. Answers pid and pidfd. See clone3(2).
///
/// The caller must be single-threaded: the child goes on in a copy of this address space.
pub(crate) fn fork(
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<(u32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // The flags are bit masks: no sign is meant.
    args.flags = u64::from(namespaces.cast_unsigned() | libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args is a valid clone_args of the size given, and no stack is shared: the child has a
    // copy of everything, as after fork(2).
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut args),
            size_of::<libc::clone_args>(),
        )
    };
    if answer == 0 {
        // Nothing of the parent's frames may run again here: no unwinding, no destructors.
        let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(code) }
    }
    let pid = checked(answer)?;
    // SAFETY: the kernel stored a new descriptor, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((u32::try_from(pid).map_err(|_| Errno::INVAL)?, pidfd))
}

/// Replaces this process by the program in `file`, with an empty environment. Returns only on failure.
/// See execveat(2).
pub(crate) fn exec(file: BorrowedFd<'_>, args: &[&CStr]) -> Errno {
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the path, both arrays and every string in them end with a null and outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    checked(answer).err().unwrap_or(Errno::IO)
}

/// Sets attributes of the mount (not of the mounts below it) that `mount` is the root of; with `users`,
/// maps the ids of its files by that user namespace. See mount_setattr(2).
pub(crate) fn set_mount(
    mount: BorrowedFd<'_>,
    attributes: u64,
    users: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    if let Some(users) = users {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = users.as_raw_fd() as u64;
    }
    // SAFETY: the path ends with a null and attr is a mount_attr of the size given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attr),
            size_of::<libc::mount_attr>(),
        )
    };
    checked(answer).map(drop)
}

/// A descriptor that reads as the signals of `set`. See signalfd(2).
pub(crate) fn signalfd(set: &libc::sigset_t) -> Result<OwnedFd> {
    // SAFETY: set is valid; -1 asks for a new descriptor.
    let fd = unsafe {
        libc::signalfd(
            -1,
            std::ptr::from_ref(set),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    let fd = checked(fd.into())?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Moves this process into new namespaces. See unshare(2).
pub(crate) fn unshare(namespaces: libc::c_int) -> Result<()> {
    // SAFETY: takes an integer; never called with CLONE_FILES or CLONE_FS, on which Rust code could rely.
    let answer = unsafe { libc::unshare(namespaces) };
    checked(answer.into()).map(drop)
}

/// Installs a seccomp filter on this thread; without no_new_privs this takes CAP_SYS_ADMIN in the
/// user namespace. See seccomp(2).
pub(crate) fn seccomp(program: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::TOOBIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: program names a filter of the length given, which the kernel only reads.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&program),
        )
    };
    checked(answer).map(drop)
}

/// The version of Landlock this kernel has switched on. See landlock_create_ruleset(2).
pub(crate) fn landlock_version() -> Option<libc::c_long> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1; // linux/landlock.h
    let no_rules: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag no memory is read.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            no_rules,
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    checked(answer).ok()
}

/// Sets a socket option whose value is an int. See setsockopt(2).
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<()> {
    // SAFETY: the value is one int, of the size given, that outlives the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    checked(answer.into()).map(drop)
}

/// Keeps set-id bits and file capabilities from giving anything in this process and its descendants.
pub(crate) fn no_new_privileges() -> Result<()> {
    // SAFETY: takes integers.
    let answer = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    checked(answer.into()).map(drop)
}

/// Schedules this process as `urgency` says (sched_setattr(2)).
pub(crate) fn schedule(urgency: Urgency) -> Result<()> {
    // SAFETY: sched_attr is plain integers; zero is what SCHED_OTHER takes for each.
    let mut wish: libc::sched_attr = unsafe { std::mem::zeroed() };
    wish.size = size_of::<libc::sched_attr>() as u32;
    match urgency {
        Urgency::Realtime => {
            wish.sched_policy = libc::SCHED_FIFO as u32;
            wish.sched_priority = 1;
            wish.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
        }
        Urgency::Brief => wish.sched_runtime = BRIEF_NS,
        Urgency::Ordinary => {}
    }
    // SAFETY: wish is valid and says its own size; 0 names the caller.
    let answer =
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&wish), 0_u32) };
    checked(answer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, WaitOptions, waitpid};

    #[test]
    fn a_limit_of_namespaces_is_no_full_disk() {
        let child = || {
            if std::fs::write("/proc/sys/user/max_uts_namespaces", "0").is_err() {
                return 1;
            }
            let said = unshare(libc::CLONE_NEWUTS);
            if said == Err(Errno::AGAIN) { 0 } else { 2 }
        };
        let (pid, _pidfd) = fork(libc::CLONE_NEWUSER, None, child).expect("a user namespace");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a child");
        let ended = waitpid(Some(pid), WaitOptions::empty()).expect("ends");
        assert_eq!(ended.and_then(|(_, status)| status.exit_status()), Some(0));
    }
}
