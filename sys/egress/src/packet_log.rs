//! The netfilter log of packets that the rules refused (netlink(7), `NETLINK_NETFILTER`): a socket that netd has
//! bound to its group.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::LogFormat;

/// The largest piece that is read at once; the kernel sends what it has collected.
const PIECE: usize = 64 * 1024;

/// Messages of the log, as the kernel sends them.
#[derive(Debug)]
pub struct PacketLog(AsyncFd<OwnedFd>);

impl PacketLog {
    /// How the pieces are to be read.
    pub const FORMAT: LogFormat = LogFormat::Nflog;

    /// How many bytes the buffer should have.
    #[must_use]
    pub fn piece(&self) -> usize {
        PIECE
    }

    /// Takes over the socket; must be called on the runtime.
    ///
    /// # Errors
    /// When it is no netlink socket, or cannot be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_domain(&fd)? != rustix::net::AddressFamily::NETLINK {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a netlink socket",
            ));
        }
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }

    /// The next datagram of the kernel's, cut to the buffer.
    ///
    /// # Errors
    /// `ENOBUFS` when the kernel had to drop some, after which there are more; any other ends the log.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self
                .0
                .async_io(Interest::READABLE, |fd| {
                    // SAFETY: the descriptor is open while it is borrowed here.
                    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
                    receive(fd, buffer)
                })
                .await?;
            if let (length, 0) = got {
                return Ok(length);
            }
        }
    }
}

/// Bytes received, and the port of the sender; the kernel's is zero.
fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: plain integers, for which all zeroes is a value.
    let mut from: libc::sockaddr_nl = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&from)).unwrap_or_default();
    // SAFETY: buffer and address are live, and their lengths are told.
    let got = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut from).cast(),
            &raw mut length,
        )
    };
    match usize::try_from(got) {
        Ok(got) => Ok((got, from.nl_pid)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
