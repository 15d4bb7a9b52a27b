//! Descriptors that a peer sent, and how they are closed when nobody wants them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::Sender;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};

/// Most descriptors the kernel lets ride on one message (unix(7), SCM_RIGHTS). Receivers have room for all: those
/// that do not fit are closed by the kernel on the receiving thread.
pub(crate) const MOST_FDS: usize = 253;

/// Of the first reaper of the process, if it has one.
pub(crate) static REAPER: OnceLock<Sender<Vec<OwnedFd>>> = OnceLock::new();

/// Closes descriptors that came from a peer: on the reaper's thread where there is one, else here, in one call, so
/// that a [`Watchdog`](crate::Watchdog) ends the wait for all of them at once.
pub fn discard(fds: Vec<OwnedFd>) {
    if fds.is_empty() {
        return;
    }
    match REAPER.get() {
        // The thread ends with the process only.
        Some(reaper) => drop(reaper.send(fds)),
        None => close_together(fds),
    }
}

/// One call closes the queue they lie in; each close of their own could wait.
pub(crate) fn close_together(fds: Vec<OwnedFd>) {
    let kind = (AddressFamily::UNIX, SocketType::STREAM);
    let grave = match fds.len() {
        2..=MOST_FDS => socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).ok(),
        _ => None,
    };
    if let Some((into, _kept_until_the_end)) = &grave {
        let all: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        // When the kernel takes no more of them on their way, they close one by one.
        let _ = send(into.as_fd(), b"x", &all);
    }
    drop(fds);
    drop(grave);
}

/// One `sendmsg` with MSG_EOR. `fds` ride on the first byte.
pub(crate) fn send(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::INVAL);
    }
    let flags = SendFlags::EOR | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(to, &[std::io::IoSlice::new(bytes)], &mut control, flags))
}

/// Received and not handed on yet: discarded when dropped.
#[derive(Debug, Default)]
pub(crate) struct Fds(Vec<OwnedFd>);

impl Fds {
    /// Hands them on.
    pub(crate) fn take(mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<OwnedFd>> for Fds {
    fn from(fds: Vec<OwnedFd>) -> Self {
        Self(fds)
    }
}

impl Drop for Fds {
    fn drop(&mut self) {
        discard(std::mem::take(&mut self.0));
    }
}
