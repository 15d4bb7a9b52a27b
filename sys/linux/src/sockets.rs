//! Sockets of a network namespace for those who may make none themselves (ip(7), socket(7), linux/netfilter/nfnetlink_log.h).
//! Each is made in the calling thread's namespace, which it stays in.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};

use crate::netlink::{Message, NetlinkError, Protocol, REQUEST, Socket};
use crate::sys;

/// Connections that may wait to be accepted; the kernel takes less where `net.core.somaxconn` is less.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams of all guests that may wait.
const BUFFER: usize = 4 << 20;
/// `NFNL_SUBSYS_ULOG` << 8 | `NFULNL_MSG_CONFIG`.
const LOG_CONFIG: u16 = 0x0401;

fn inet(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::INET, kind, flags, None)?)
}

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

fn ip(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    Ok(sys::set_option(socket, libc::IPPROTO_IP, option, 1)?)
}

/// A TCP listener that packets for any address can be diverted to (`IP_TRANSPARENT`); the local address of
/// what it accepts is the one they were for.
///
/// # Errors
/// Those of socket(2), setsockopt(2), bind(2) and listen(2).
pub fn transparent_tcp(port: u16) -> io::Result<OwnedFd> {
    let socket = inet(SocketType::STREAM)?;
    set_socket_reuseaddr(&socket, true)?;
    ip(socket.as_fd(), libc::IP_TRANSPARENT)?;
    bind(&socket, &any(port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A UDP socket of that kind. Each datagram comes with the address it was for (`IP_ORIGDSTADDR`), and one that is
/// sent may name any source (`IP_PKTINFO`).
///
/// # Errors
/// Those of socket(2), setsockopt(2) and bind(2).
pub fn transparent_udp(port: u16) -> io::Result<OwnedFd> {
    let socket = inet(SocketType::DGRAM)?;
    for option in [
        libc::IP_TRANSPARENT,
        libc::IP_RECVORIGDSTADDR,
        libc::IP_PKTINFO,
    ] {
        ip(socket.as_fd(), option)?;
    }
    // What a guest sends as one packet, to be cut into many, counts as one: it fills no buffer, and is no message.
    sys::set_option(socket.as_fd(), libc::IPPROTO_UDP, libc::UDP_GRO, 1)?;
    set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    bind(&socket, &any(port))?;
    Ok(socket)
}

/// A socket whose packets bear `mark`, connected to `to`, or connecting to it: nobody waits for that here.
///
/// # Errors
/// Those of socket(2), setsockopt(2) and connect(2), other than that it takes a while.
pub fn connecting(mark: u32, to: SocketAddrV4, stream: bool) -> io::Result<OwnedFd> {
    let socket = inet(if stream {
        SocketType::STREAM
    } else {
        SocketType::DGRAM
    })?;
    sys::set_option(
        socket.as_fd(),
        libc::SOL_SOCKET,
        libc::SO_MARK,
        mark.cast_signed(),
    )?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// What the packet filter logs to `group`, at most `bytes` of each packet, as netlink messages to read. Its owner
/// can be given away without authority: the group is its own from now on.
///
/// # Errors
/// [`NetlinkError`]; `EBUSY` or `EPERM` where the group is somebody else's.
pub fn packet_log(group: u16, bytes: u32) -> Result<OwnedFd, NetlinkError> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    // struct nfgenmsg: family, version, group.
    let [high, low] = group.to_be_bytes();
    let config = || Message::new(LOG_CONFIG, REQUEST, &[0, 0, high, low]);
    let [a, b, c, d] = bytes.to_be_bytes();
    // NFULA_CFG_CMD: bind. NFULA_CFG_MODE: so many bytes, NFULNL_COPY_PACKET. NFULA_CFG_QTHRESH: each at once.
    socket.ack(config().bytes(1, &[1]))?;
    socket.ack(config().bytes(2, &[a, b, c, d, 2, 0]))?;
    socket.ack(config().be32(5, 1))?;
    socket.into_fd()
}
