//! The system calls without a safe wrapper, one each.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::io::Errno;

fn check(result: i64) -> Result<i64, Errno> {
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(result)
}

/// fcntl(2) `F_GETFD`: whether the number is an open descriptor.
pub(super) fn is_open(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: F_GETFD touches no memory and changes nothing, whatever the number.
    check(i64::from(unsafe { libc::fcntl(fd, libc::F_GETFD) })).map(drop)
}

/// poll(2) without waiting for anything: which of the numbers in `all` are no open descriptors shows in `revents`.
pub(super) fn look(all: &mut [libc::pollfd]) -> Result<(), Errno> {
    let count = libc::nfds_t::try_from(all.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the slice is valid for its length and nothing but its `revents` is written.
    check(i64::from(unsafe { libc::poll(all.as_mut_ptr(), count, 0) })).map(drop)
}

/// close_range(2), both ends inclusive.
pub(super) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: touches no memory. The caller of `enter_early` promises that nothing owns these descriptors.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) }).map(drop)
}

/// unshare(2): mounts, network, System V and POSIX queues, host name.
pub(super) fn unshare_spaces() -> Result<(), Errno> {
    use rustix::thread::UnshareFlags;
    let spaces =
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: none of the flags takes descriptors or memory from under another thread.
    unsafe { rustix::thread::unshare_unsafe(spaces) }
}

/// mount_setattr(2) of the mount that `mount` is the root of: read-only, no devices, no setuid programs.
pub(super) fn make_read_only(mount: impl AsFd) -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid mount_attr (three integers and a flag word).
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // SAFETY: the path is an empty C string, `attr` outlives the call and its size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw mut attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Highest Landlock ABI of this kernel; `None` where there is none.
pub(super) fn landlock_abi() -> Option<i32> {
    const VERSION: u32 = 1;
    // SAFETY: with no attributes and this flag the call only returns a number.
    let abi = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    });
    abi.ok().and_then(|abi| i32::try_from(abi).ok())
}

/// signal(2): a write past `RLIMIT_FSIZE` is an error, not the end (a log that is a plain file, say).
pub(super) fn ignore_file_size_signal() -> Result<(), Errno> {
    // SAFETY: no handler of ours is installed; SIG_IGN is always valid.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(Errno::INVAL);
    }
    Ok(())
}
