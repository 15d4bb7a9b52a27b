//! What the agent does before anything else.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// How the gateway reaches this agent.
#[derive(Debug)]
pub enum Link {
    /// A listening `SOCK_SEQPACKET` socket: each gateway connects.
    Listener(OwnedFd),
    /// A connected stream socket: there is one gateway, and many streams are one.
    Stream(OwnedFd),
}

/// Takes over the socket the process was started with.
///
/// To be called once, first in `main`, while nothing else has opened a descriptor.
///
/// # Errors
/// `InvalidInput` when the descriptor is closed or anything else.
pub fn inherited_link(number: RawFd) -> io::Result<Link> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a listening SEQPACKET socket nor a connected stream",
        )
    };
    if number < 3 {
        return Err(wrong());
    }
    // SAFETY: the borrow ends with this function; if the number is not open the first call fails with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    let listens = sockopt::socket_acceptconn(borrowed)?;
    let kind = match sockopt::socket_type(borrowed)? {
        SocketType::SEQPACKET if listens => Link::Listener,
        SocketType::STREAM if !listens => Link::Stream,
        _ => return Err(wrong()),
    };
    if sockopt::socket_domain(borrowed)? != AddressFamily::UNIX {
        return Err(wrong());
    }
    // SAFETY: it is open, and whoever started this process meant it for us; nothing else here owns it.
    Ok(kind(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Whatever descends from this process and loses its parent becomes its child, and is reaped by it: on Linux as pid 1
/// of the sandbox, which needs no asking; on FreeBSD by procctl(2), PROC_REAP_ACQUIRE.
///
/// # Errors
/// The kernel's.
pub fn become_reaper() -> io::Result<()> {
    #[cfg(not(target_os = "linux"))]
    {
        let own = std::process::id().into();
        // SAFETY: a command without argument, for this process.
        let done = unsafe {
            libc::procctl(
                libc::P_PID,
                own,
                libc::PROC_REAP_ACQUIRE,
                std::ptr::null_mut(),
            )
        };
        if done < 0 {
            let error = io::Error::last_os_error();
            // It is one already.
            if rustix::io::Errno::from_io_error(&error) != Some(rustix::io::Errno::BUSY) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Settings of the process as a whole: files are made with the modes asked for less 022, descriptors up
/// to the hard limit (what it starts gets the old limit back), and freed memory goes back to the kernel.
pub fn tune() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    crate::spawn::raise_descriptor_limit();
    #[cfg(not(target_os = "linux"))]
    crate::usage::begin();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        // One heap: helper threads come and go, and each would leave a heap of its own behind.
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 64 * 1024),
        (libc::M_MMAP_THRESHOLD, 64 * 1024),
    ] {
        // SAFETY: mallopt only stores numbers, and there is one thread yet.
        unsafe { libc::mallopt(option, value) };
    }
}
