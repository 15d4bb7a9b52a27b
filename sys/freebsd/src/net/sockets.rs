//! Sockets and other descriptors for those who may make none themselves (bpf(4), pf(4), rights(4)).

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::request::{NAME, Plain, changes, last, name, reads, request, writes};
use super::rights::{ioctls, of_connected};
use crate::sys::rights;

/// Connections that may wait to be accepted; the kernel takes less where `kern.ipc.soacceptqueue` is less.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams of all guests that may wait; half of what `kern.ipc.maxsockbuf` is by itself.
const BUFFER: usize = 1 << 20;
/// Bytes that the log may collect before it is read, and of each packet: `struct pfloghdr` (72), the longest IPv4 header
/// and what follows it.
const LOG_BUFFER: u32 = 65_536;
const LOG_BYTES: u32 = 192;
/// `DIOCNATLOOK` (net/pfvar.h), of 76 bytes.
pub const NATLOOK: libc::c_ulong = changes(b'D', 23, 76);

/// A number that a request sets.
#[repr(C)]
struct Number(u32);
/// `struct ifreq`.
#[repr(C)]
struct Named([u8; NAME], [u8; 16]);
/// `struct bpf_insn`.
#[repr(C)]
pub struct Instruction {
    /// `code`.
    pub code: u16,
    /// `jt`, `jf`.
    pub jump: u16,
    /// `k`.
    pub value: u32,
}
/// `struct bpf_program`.
#[repr(C)]
pub struct Program {
    /// `bf_len`.
    pub length: u32,
    /// `bf_insns`.
    pub instructions: *const Instruction,
}

// SAFETY: a number.
unsafe impl Plain for Number {}
// SAFETY: bytes.
unsafe impl Plain for Named {}
// SAFETY: a number, and a pointer that leads to as many instructions where it is used.
unsafe impl Plain for Program {}

/// `BIOCGBLEN` (net/bpf.h).
pub const GET_BUFFER: libc::c_ulong = writes(b'B', 102, 4);
/// `BIOCSBLEN`.
pub const SET_BUFFER: libc::c_ulong = changes(b'B', 102, 4);
/// `BIOCSETF`.
pub const SET_FILTER: libc::c_ulong = reads(b'B', 103, size_of::<Program>());
/// `BIOCGDLT`.
pub const GET_KIND: libc::c_ulong = writes(b'B', 106, 4);
/// `BIOCSETIF`.
pub const SET_INTERFACE: libc::c_ulong = reads(b'B', 108, size_of::<Named>());
/// `BIOCIMMEDIATE`.
pub const AT_ONCE: libc::c_ulong = reads(b'B', 112, 4);
/// `BIOCGSTATS`.
pub const GET_COUNTS: libc::c_ulong = writes(b'B', 111, 8);
/// `BIOCLOCK`.
pub const LOCK: libc::c_ulong = 0x2000_427a;

fn inet(kind: SocketType) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::INET, kind, flags, None)
}

/// A TCP listener at one address.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn listener(at: SocketAddrV4) -> Result<OwnedFd> {
    let socket = inet(SocketType::STREAM)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A UDP socket at one address.
///
/// # Errors
/// Those of socket(2), setsockopt(2) and bind(2).
pub fn datagrams(at: SocketAddrV4) -> Result<OwnedFd> {
    let socket = inet(SocketType::DGRAM)?;
    set_socket_recv_buffer_size(&socket, BUFFER)?;
    bind(&socket, &at)?;
    Ok(socket)
}

/// A socket that belongs to the user `owner`, by which pf knows it (pf.conf(5), `user`), connected to `to` or connecting
/// to it, and good for nothing else. Nobody waits for that here. The process is that user while the socket is made, so
/// it must have no other thread.
///
/// # Errors
/// Those of seteuid(2), socket(2), connect(2), other than that it takes a while, and cap_rights_limit(2).
pub fn owned(owner: u32, to: SocketAddrV4, stream: bool) -> Result<OwnedFd> {
    become_user(owner)?;
    let made = inet(if stream {
        SocketType::STREAM
    } else {
        SocketType::DGRAM
    });
    if become_user(0).is_err() {
        // Whatever it did next would be done as nobody.
        std::process::abort();
    }
    let socket = made?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    of_connected(socket.as_fd())?;
    Ok(socket)
}

fn become_user(user: u32) -> Result<()> {
    // SAFETY: takes a number.
    if unsafe { libc::seteuid(user) } == -1 {
        return Err(last());
    }
    Ok(())
}

/// What pf logs to `interface` (pflog(4)), to be read without waiting. Nothing about it can be changed any more.
///
/// # Errors
/// Those of open(2) and ioctl(2); `ENXIO` without the interface.
pub fn packet_log(interface: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open("/dev/bpf", flags, Mode::empty())?;
    let fd = log.as_fd();
    request(fd, SET_BUFFER, &mut Number(LOG_BUFFER))?;
    request(fd, SET_INTERFACE, &mut Named(name(interface)?, [0; 16]))?;
    // Not a timeout: kqueue(2) wakes for one only when it begins to wait, and its readers wait once.
    request(fd, AT_ONCE, &mut Number(1))?;
    let all = [Instruction {
        // BPF_RET | BPF_K: so many bytes of every packet.
        code: 6,
        jump: 0,
        value: LOG_BYTES,
    }];
    let mut program = Program {
        length: 1,
        instructions: all.as_ptr(),
    };
    request(fd, SET_FILTER, &mut program)?;
    // SAFETY: BIOCLOCK has no argument.
    if unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&log), LOCK) } == -1 {
        return Err(last());
    }
    let may = [
        libc::CAP_READ,
        libc::CAP_EVENT,
        libc::CAP_FSTAT,
        libc::CAP_IOCTL,
    ];
    rights::limit(fd, &may)?;
    ioctls(fd, &[GET_BUFFER, GET_KIND, GET_COUNTS])?;
    Ok(log)
}

/// pf's table of states, of which no more can be asked than what a flow that one knows was for before it was redirected
/// (pf(4), `DIOCNATLOOK`).
///
/// # Errors
/// `ENOENT` where pf is not loaded.
pub fn state_table() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let table = rustix::fs::open("/dev/pf", flags, Mode::empty())?;
    rights::limit(table.as_fd(), &[libc::CAP_IOCTL])?;
    ioctls(table.as_fd(), &[NATLOOK])?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_headers() {
        assert_eq!(NATLOOK, 0xc04c_4417);
        assert_eq!(SET_FILTER, 0x8010_4267);
        assert_eq!(SET_INTERFACE, 0x8020_426c);
        assert_eq!(AT_ONCE, 0x8004_4270);
    }
}
