//! How a started process finds its channel.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

use warder_wire::start::{CHANNEL_FD, Start};

use crate::{Channel, IpcError};

/// How long a process waits for its first frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes descriptor 3, reads the first frame and compares versions. The first thing in `main`, once.
///
/// # Errors
/// Any; the process was not started by privd of its own version, and exits.
pub fn take_start() -> Result<(Channel, Start, Vec<OwnedFd>), IpcError> {
    rustix::io::fcntl_getfd(fd_number()).map_err(|e| IpcError::system("fcntl", e))?;
    // SAFETY: descriptor 3 is open (checked above) and nothing in this process has had time to own it:
    // this runs first in `main`, before any thread or library opens one.
    let fd = unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) };
    let mut channel = Channel::from_fd(fd)?;
    let (start, fds) = channel.recv_timeout::<Start>(PATIENCE)?;
    if start.version != warder_wire::VERSION {
        return Err(IpcError::Violation("started by another version"));
    }
    Ok((channel, start, fds))
}

fn fd_number() -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: used for one F_GETFD, which is harmless on a number that is not open.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(CHANNEL_FD) }
}

/// Takes descriptor 3 as the listener of links, as the agent of a sandbox finds it. The first thing in `main`, once.
///
/// # Errors
/// When it is not a `SOCK_SEQPACKET` socket of the Unix domain.
pub fn take_listener() -> Result<OwnedFd, IpcError> {
    rustix::io::fcntl_getfd(fd_number()).map_err(|e| IpcError::system("fcntl", e))?;
    // SAFETY: as in `take_start`: open, checked, and nobody else's yet.
    let fd = unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) };
    crate::check::unix_seqpacket(fd.as_fd())
        .map_err(|_| IpcError::Violation("descriptor 3 is no listener"))?;
    Ok(fd)
}
