//! The system calls without a safe wrapper, one each.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// fcntl(2) `F_GETFD`: whether the number is an open descriptor.
pub(super) fn is_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFD touches no memory and changes nothing, whatever the number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    check(flags)
}

/// close_range(2), both ends inclusive.
pub(super) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: touches no memory. The caller of `enter_early` promises that nothing owns these descriptors.
    check(unsafe { libc::close_range(first, last, 0) })
}

/// sysctl(3) of one value of a fixed size; how much of it the kernel filled.
fn sysctl<T>(name: &[c_int], value: &mut T) -> io::Result<usize> {
    let mut length = size_of::<T>();
    let count = libc::c_uint::try_from(name.len()).unwrap_or_default();
    // SAFETY: name and value are live and as long as told, and nothing is set.
    check(unsafe {
        libc::sysctl(
            name.as_ptr(),
            count,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    })?;
    Ok(length)
}

/// How many threads this process has (`kern.proc.pid`).
pub(super) fn threads() -> io::Result<usize> {
    // SAFETY: integers, arrays and pointers that are not read, for which all zeroes is a value.
    let mut process: libc::kinfo_proc = unsafe { std::mem::zeroed() };
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid()];
    let length = sysctl(&name, &mut process)?;
    let whole = usize::try_from(process.ki_structsize) == Ok(size_of_val(&process));
    if length != size_of_val(&process) || !whole {
        return Err(io::Error::other("kinfo_proc of another size"));
    }
    usize::try_from(process.ki_numthreads).map_err(io::Error::other)
}

/// How many descriptors this process has (`kern.proc.nfds`; zero is the caller).
pub(super) fn descriptors() -> io::Result<usize> {
    let mut count: c_int = 0;
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_NFDS, 0];
    sysctl(&name, &mut count)?;
    usize::try_from(count).map_err(io::Error::other)
}

fn pid() -> libc::pid_t {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// setrlimit(2), hard and soft, only ever down.
pub(super) fn limit(resource: c_int, most: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is live and written to only during the call.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    let most = libc::rlim_t::try_from(most).unwrap_or(libc::rlim_t::MAX);
    limit.rlim_max = limit.rlim_max.min(most);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is live.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// signal(2): a write past `RLIMIT_FSIZE` is an error, not the end (a log that is a plain file, say).
pub(super) fn ignore_file_size_signal() -> io::Result<()> {
    // SAFETY: no handler of ours is installed; SIG_IGN is always valid.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// chroot(2), and chdir(2) into it.
pub(super) fn chroot(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a C string.
    check(unsafe { libc::chroot(path.as_ptr()) })?;
    // SAFETY: the path is a C string.
    check(unsafe { libc::chdir(c"/".as_ptr()) })
}

/// umask(2): files are for this user only.
pub(super) fn private_files() {
    // SAFETY: always succeeds, and touches no memory.
    unsafe { libc::umask(0o077) };
}

/// setgroups(2) to none.
pub(super) fn no_groups() -> io::Result<()> {
    // SAFETY: no group is read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })
}

/// setresgid(2), all three.
pub(super) fn set_group(id: libc::gid_t) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { libc::setresgid(id, id, id) })
}

/// setresuid(2), all three.
pub(super) fn set_user(id: libc::uid_t) -> io::Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { libc::setresuid(id, id, id) })
}

/// getresuid(2) and getresgid(2): real, effective, saved.
pub(super) fn ids() -> io::Result<([u32; 3], [u32; 3])> {
    let [mut real, mut effective, mut saved] = [0; 3];
    // SAFETY: all three are live.
    check(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    let users = [real, effective, saved];
    // SAFETY: all three are live.
    check(unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) })?;
    Ok((users, [real, effective, saved]))
}

/// getgroups(2).
pub(super) fn groups() -> io::Result<Vec<u32>> {
    // SAFETY: with no room the call only answers how many there are.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    check(count)?;
    let mut list = vec![0; usize::try_from(count).unwrap_or_default()];
    // SAFETY: there is room for `count`.
    let got = unsafe { libc::getgroups(count, list.as_mut_ptr()) };
    check(got)?;
    list.truncate(usize::try_from(got).unwrap_or_default());
    Ok(list)
}

/// procctl(2) of this process with an integer.
pub(super) fn control(command: c_int, value: c_int) -> io::Result<()> {
    let mut value = value;
    let own = libc::id_t::from(pid());
    // SAFETY: these commands read one integer, which is live.
    check(unsafe { libc::procctl(libc::P_PID, own, command, (&raw mut value).cast()) })
}

/// cap_fcntls_limit(2): to those of `most` that it has.
pub(super) fn limit_fcntls(fd: BorrowedFd<'_>, most: u32) -> io::Result<()> {
    let mut has = 0;
    // SAFETY: writes one integer, which is live.
    check(unsafe { libc::cap_fcntls_get(fd.as_raw_fd(), &raw mut has) })?;
    // SAFETY: touches no memory.
    check(unsafe { libc::cap_fcntls_limit(fd.as_raw_fd(), has & most) })
}

/// What was done about SIGTRAP before.
pub(super) struct Trap(libc::sigaction);

/// sigaction(2): SIGTRAP is minded by a handler that does nothing. Ignored or blocked it would end the process, since
/// it is raised by the thread's own call.
pub(super) fn mind_traps() -> io::Result<Trap> {
    extern "C" fn nothing(_signal: c_int) {}
    // SAFETY: integers and a mask, for which all zeroes is a value: no flags, nothing masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int) = nothing;
    action.sa_sigaction = handler as libc::sighandler_t;
    let mut before = action;
    // SAFETY: both actions are live, and the handler touches nothing.
    check(unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, &raw mut before) })?;
    Ok(Trap(before))
}

/// The reverse of [`mind_traps`].
pub(super) fn restore_traps(before: &Trap) -> io::Result<()> {
    // SAFETY: the action came from the kernel and is live.
    check(unsafe { libc::sigaction(libc::SIGTRAP, &raw const before.0, std::ptr::null_mut()) })
}
