//! Datagrams that the packet filter has redirected: the packets bear the socket's own address by now (ip(4),
//! `IP_RECVORIGDSTADDR`, tells no other), so the filter is asked what they were for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, getsockname, recvfrom};

use super::Received;
use crate::Origins;
use crate::origins::UDP;

/// Whether this process can answer.
pub(super) const ANSWERS: bool = false;

/// `None` for one that was cut, or of which nobody knows whom it was for.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    origins: &Origins,
) -> io::Result<Option<Received>> {
    let room = buffer.len();
    let (length, _, from) = recvfrom(fd, buffer, RecvFlags::DONTWAIT)?;
    let Some(Ok(SocketAddr::V4(from))) = from.map(SocketAddr::try_from) else {
        return Ok(None);
    };
    let Ok(SocketAddr::V4(at)) = SocketAddr::try_from(getsockname(fd)?) else {
        return Ok(None);
    };
    // One that fills the buffer may have been longer.
    let whole = length < room;
    let to = origins.of(UDP, from, at).ok().filter(|_| whole);
    Ok(to.map(|to| Received { length, from, to }))
}

pub(super) fn send(
    _fd: BorrowedFd<'_>,
    _bytes: &[u8],
    _from: Ipv4Addr,
    _to: SocketAddrV4,
) -> io::Result<()> {
    Err(crate::unsupported("sending to an address"))
}
