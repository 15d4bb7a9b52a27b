//! What the agent does before anything else.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// How the gateway reaches this agent.
#[derive(Debug)]
pub enum Link {
    /// A listening `SOCK_SEQPACKET` socket: each gateway connects.
    Listener(OwnedFd),
    /// A connected stream socket, on which many streams are one.
    Stream(OwnedFd),
    /// A device of a virtual machine, of the same use ([`crate::console`]).
    Console(PathBuf),
}

/// How this process was told to be reached: `--console PATH`, or by descriptor `number` ([`inherited_link`]).
///
/// # Errors
/// `InvalidInput` for other arguments, or as [`inherited_link`].
pub fn link(arguments: impl IntoIterator<Item = OsString>, number: RawFd) -> io::Result<Link> {
    let mut arguments = arguments.into_iter().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => inherited_link(number),
        (Some(option), Some(path), None) if option == "--console" => {
            Ok(Link::Console(PathBuf::from(path)))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "arguments: none, or --console PATH",
        )),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_how_it_is_reached() {
        let given = |words: &[&str]| link(words.iter().map(OsString::from), 1);
        assert!(
            matches!(given(&["envd", "--console", "/dev/ttyV0.1"]), Ok(Link::Console(path)) if path.as_os_str() == "/dev/ttyV0.1")
        );
        for wrong in [
            // No descriptor to inherit.
            &["envd"][..],
            &["envd", "--console"],
            &["envd", "/dev/ttyV0.1"],
            &["envd", "--console", "/dev/a", "/dev/b"],
        ] {
            let error = given(wrong).expect_err("nothing is there");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
