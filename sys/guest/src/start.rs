//! What the agent does before anything else.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// Takes over the listening `SOCK_SEQPACKET` socket the process was started with.
///
/// To be called once, first in `main`, while nothing else has opened a descriptor.
///
/// # Errors
/// `InvalidInput` when the descriptor is closed or anything but such a listener.
pub fn inherited_listener(number: RawFd) -> io::Result<OwnedFd> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a listening SEQPACKET socket",
        )
    };
    if number < 3 {
        return Err(wrong());
    }
    // SAFETY: the borrow ends with this function; if the number is not open the first call fails with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    if sockopt::socket_domain(borrowed)? != AddressFamily::UNIX
        || sockopt::socket_type(borrowed)? != SocketType::SEQPACKET
        || !sockopt::socket_acceptconn(borrowed)?
    {
        return Err(wrong());
    }
    // SAFETY: it is open, and whoever started this process meant it for us; nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
