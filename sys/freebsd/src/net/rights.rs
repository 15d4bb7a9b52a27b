//! What is left of a descriptor before it is given to a process that reads hostile bytes (rights(4)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;

use super::request::last;
use crate::sys::rights;

/// Leaves a connected socket with what its peer and options need: nothing that gives it another address, so that it
/// leads where it was made to lead (`CAP_CONNECT` is also what sendto(2) with an address needs), and ioctl(2) and
/// fcntl(2) for not waiting alone.
pub(super) fn of_connected(socket: BorrowedFd<'_>) -> Result<()> {
    const MAY: [u64; 10] = [
        libc::CAP_READ,
        libc::CAP_WRITE,
        libc::CAP_SHUTDOWN,
        libc::CAP_EVENT,
        libc::CAP_GETSOCKNAME,
        libc::CAP_GETPEERNAME,
        libc::CAP_GETSOCKOPT,
        libc::CAP_SETSOCKOPT,
        libc::CAP_IOCTL,
        libc::CAP_FCNTL,
    ];
    rights::limit(socket, &MAY)?;
    ioctls(socket, &[libc::FIONBIO, libc::FIONREAD])?;
    let kept = libc::CAP_FCNTL_GETFL | libc::CAP_FCNTL_SETFL;
    // SAFETY: takes numbers.
    if unsafe { libc::cap_fcntls_limit(socket.as_raw_fd(), kept) } == -1 {
        return Err(last());
    }
    Ok(())
}

/// Leaves a descriptor with these ioctl(2) commands.
pub(super) fn ioctls(fd: BorrowedFd<'_>, commands: &[libc::c_ulong]) -> Result<()> {
    // SAFETY: as many commands as there are are read.
    let answer =
        unsafe { libc::cap_ioctls_limit(fd.as_raw_fd(), commands.as_ptr(), commands.len()) };
    if answer == -1 {
        return Err(last());
    }
    Ok(())
}
