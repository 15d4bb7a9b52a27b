//! Network namespaces as descriptors: make, enter, compare, pin; and a worker process to do it in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// `NSFS_MAGIC` (linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// What makes a namespace that namespace while it lives: device and inode of its file in nsfs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NetnsId {
    /// Device number of nsfs.
    pub device: u64,
    /// Inode; used again by the kernel once the namespace is gone.
    pub inode: u64,
}

/// The calling thread's network namespace.
///
/// # Errors
/// Those of open(2); /proc must be mounted.
pub fn current() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        "/proc/thread-self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Which namespace `fd` is.
///
/// # Errors
/// `InvalidInput` when it is no network namespace.
pub fn id(fd: BorrowedFd<'_>) -> io::Result<NetnsId> {
    // Asked first, because NS_GET_NSTYPE is somebody else's request on another kind of file.
    let is_nsfs = rustix::fs::fstatfs(fd).is_ok_and(|s| s.f_type == NSFS_MAGIC);
    if !is_nsfs || namespace_type(fd) != libc::CLONE_NEWNET {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let stat = rustix::fs::fstat(fd)?;
    Ok(NetnsId {
        device: stat.st_dev,
        inode: stat.st_ino,
    })
}

fn namespace_type(fd: BorrowedFd<'_>) -> libc::c_int {
    // SAFETY: NS_GET_NSTYPE takes no argument and returns a number (ioctl_nsfs(2)).
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE as _) }
}

/// Runs `work` with the calling thread inside `ns`, and brings it back whatever `work` returned.
///
/// # Errors
/// Those of setns(2) on the way in. A thread that cannot be brought back ends the process: anything
/// it did next would be done in the wrong namespace.
pub fn inside<T>(ns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    let home = current()?;
    move_into_link_name_space(ns, Some(LinkNameSpaceType::Network))?;
    let result = work();
    if move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    Ok(result)
}

/// Makes a network namespace, owned by the calling thread's user namespace, runs `work` in it and brings
/// the thread back. `work` is given the namespace.
///
/// # Errors
/// Those of unshare(2), open(2) and setns(2).
pub fn make<T>(work: impl FnOnce(BorrowedFd<'_>) -> T) -> io::Result<(OwnedFd, T)> {
    let home = current()?;
    // SAFETY: NEWNET alone changes no descriptor table, the danger this function is marked for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    let made = current().map(|ns| {
        let result = work(ns.as_fd());
        (ns, result)
    });
    if move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
        std::process::abort();
    }
    made
}

/// Binds the namespace to the file `name` in `dir`, so that it lives without a process or descriptor.
/// The file is made if it is not there.
///
/// # Errors
/// Those of openat(2) and mount(2).
pub fn pin(ns: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    drop(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    Ok(rustix::mount::mount_bind(
        format!("/proc/self/fd/{}", ns.as_raw_fd()),
        format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()),
    )?)
}

/// The namespace pinned at `name` in `dir`, or `None` when nothing or something else is there.
///
/// # Errors
/// Those of openat(2), other than "not there".
pub fn pinned(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(id(fd.as_fd()).is_ok().then_some(fd)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Undoes [`pin`] as often as it was done, and removes the file.
///
/// # Errors
/// Those of umount2(2) and unlinkat(2), other than "not there".
pub fn unpin(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    while rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
    match rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Starts a copy of this process that runs `body` and ends with its result as exit code. The copy has
/// descriptors 0 to 2 and those in `keep`, no other.
///
/// # Errors
/// Those of fork(2); also `Unsupported` when the process has more than one thread, since the copy
/// would have only one and the locks of the others.
pub fn fork_worker(keep: &[BorrowedFd<'_>], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    // SAFETY: the process has one thread (checked above), so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(&kept);
            let code = body();
            // No destructors: they belong to the parent's state.
            leave(code)
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn leave(code: i32) -> ! {
    // SAFETY: ends the process at once; nothing is assumed afterwards.
    unsafe { libc::_exit(code) }
}

fn close_all_but(kept: &[RawFd]) {
    let mut from = 3;
    for fd in kept.iter().copied().filter(|fd| *fd >= 3) {
        close_range(from, fd - 1);
        from = fd + 1;
    }
    close_range(from, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: runs in the fresh copy of the process, where nothing uses or drops the other descriptors:
        // it ends by _exit. Arguments are numbers (close_range(2)).
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Writes a value to a file under /proc/sys as the calling thread sees it (its own network namespace).
/// False when this kernel has no such file.
///
/// # Errors
/// Those of open(2) and write(2).
pub fn sysctl_set(path: &str, value: &str) -> io::Result<bool> {
    use std::io::Write;
    match File::options()
        .write(true)
        .open(format!("/proc/sys/{path}"))
    {
        Ok(mut file) => file.write_all(value.as_bytes()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a value under /proc/sys, without its line end.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn sysctl_get(path: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/sys/{path}"))?
        .trim_end()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_not_a_namespace() {
        let file = File::open("/dev/null").expect("there");
        assert!(id(file.as_fd()).is_err());
        let pid = File::open("/proc/self/ns/pid").expect("there");
        assert!(id(pid.as_fd()).is_err(), "a namespace of another kind");
        assert!(id(current().expect("there").as_fd()).is_ok());
    }
}
