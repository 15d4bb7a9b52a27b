//! Network stacks, by sockets of theirs.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
    socketpair,
};
use warder_common::fds;

use super::routes;
use crate::sys::{jail, process};

/// A network stack.
#[derive(Debug)]
pub struct Stack {
    inet: OwnedFd,
    /// None on a kernel without IPv6.
    inet6: Option<OwnedFd>,
    route: OwnedFd,
}

impl Stack {
    /// That of the calling process.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn own() -> Result<Self> {
        let datagrams = |family| {
            let flags = SocketFlags::CLOEXEC;
            socket_with(family, SocketType::DGRAM, flags, None)
        };
        let inet6 = match datagrams(AddressFamily::INET6) {
            Ok(socket) => Some(socket),
            Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => None,
            Err(errno) => return Err(errno),
        };
        Ok(Self {
            inet: datagrams(AddressFamily::INET)?,
            inet6,
            route: routes::socket()?,
        })
    }

    /// That of a jail with a stack of its own: a copy of this process goes in and hands the sockets out. The caller
    /// must be single-threaded. Nothing of it is left in the jail afterwards.
    ///
    /// # Errors
    /// Those of pdfork(2), jail_attach(2) and socket(2).
    pub fn of_jail(jid: i32) -> Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (pid, process) = process::fork(false, || {
            let handed = (|| {
                fds::close_all_but(&[theirs.as_fd()])?;
                jail::attach(jid)?;
                Self::own()?.send(theirs.as_fd())
            })();
            handed.map_or_else(Errno::raw_os_error, |()| 0)
        })?;
        drop(theirs);
        let status = process::wait(pid, true)?;
        drop(process);
        match status.map(|status| (libc::WIFEXITED(status), libc::WEXITSTATUS(status))) {
            Some((true, 0)) => Self::receive(ours.as_fd()),
            Some((true, code)) => Err(Errno::from_raw_os_error(code)),
            _ => Err(Errno::INTR),
        }
    }

    fn send(&self, to: BorrowedFd<'_>) -> Result<()> {
        let mut all = vec![self.inet.as_fd(), self.route.as_fd()];
        all.extend(self.inet6.as_ref().map(AsFd::as_fd));
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&all));
        sendmsg(
            to,
            &[IoSlice::new(b"s")],
            &mut ancillary,
            SendFlags::empty(),
        )
        .map(|_| ())
    }

    fn receive(from: BorrowedFd<'_>) -> Result<Self> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        recvmsg(
            from,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            flags,
        )?;
        let mut all = ancillary.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<OwnedFd>>(),
            _ => Vec::new(),
        });
        let (Some(inet), Some(route)) = (all.next(), all.next()) else {
            return Err(Errno::PROTO);
        };
        let inet6 = all.next();
        Ok(Self { inet, inet6, route })
    }

    pub(super) fn inet6(&self) -> Option<BorrowedFd<'_>> {
        self.inet6.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn route(&self) -> BorrowedFd<'_> {
        self.route.as_fd()
    }
}

impl AsFd for Stack {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inet.as_fd()
    }
}
