//! Datagrams whose destination is somebody else's address: received with the address they were for
//! (`IP_RECVORIGDSTADDR`), answered from that address (`IP_PKTINFO`); ip(7).

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Received;
use crate::Origins;

/// Whether this process can answer.
pub(super) const ANSWERS: bool = true;

/// Room for the control messages there may be, aligned as they must be.
#[repr(C, align(8))]
struct Control([u8; 128]);

fn address(raw: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr)),
        u16::from_be(raw.sin_port),
    )
}

fn no_address() -> libc::sockaddr_in {
    // SAFETY: plain integers, for which all zeroes is a value.
    unsafe { mem::zeroed() }
}

fn raw(of: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: of.port().to_be(),
        sin_addr: raw_ip(*of.ip()),
        ..no_address()
    }
}

fn raw_ip(of: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from(of).to_be(),
    }
}

fn no_header() -> libc::msghdr {
    // SAFETY: integers and pointers, for which all zeroes is a value: nothing to send or fill.
    unsafe { mem::zeroed() }
}

/// `None` for one that does not say whom it was for.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    _origins: &Origins,
) -> io::Result<Option<Received>> {
    let mut from = no_address();
    let mut control = Control([0; 128]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut header = no_header();
    header.msg_name = (&raw mut from).cast();
    header.msg_namelen = size_of_val(&from) as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header refers to buffers that are live and as long as it says.
    let got = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let whole = header.msg_namelen as usize >= size_of_val(&from)
        && header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0;
    Ok(meant(&header).filter(|_| whole).map(|to| Received {
        length,
        from: address(&from),
        to,
    }))
}

/// The address in the control messages of `header`, which the kernel has filled.
fn meant(header: &libc::msghdr) -> Option<SocketAddrV4> {
    // SAFETY: its control buffer is live, and as long as the kernel says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null, or a whole message within the buffer, which is aligned for it.
    while let Some(message) = unsafe { next.as_ref() } {
        let ours =
            (message.cmsg_level, message.cmsg_type) == (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR);
        // SAFETY: only computes where the data begin, and how long a message with an address is.
        let (data, whole) = unsafe { place(next) };
        if ours && message.cmsg_len >= whole {
            // SAFETY: the message is long enough to hold an address, which need not be aligned.
            let found = unsafe { data.cast::<libc::sockaddr_in>().read_unaligned() };
            return (i32::from(found.sin_family) == libc::AF_INET).then(|| address(&found));
        }
        // SAFETY: `next` is a message of this header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}

/// Where the data of a message begin, and its length if it holds an address.
///
/// # Safety
/// `message` is a control message.
#[allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "two computations, nothing is read"
)]
unsafe fn place(message: *const libc::cmsghdr) -> (*const u8, usize) {
    let size = size_of::<libc::sockaddr_in>() as libc::c_uint;
    // SAFETY: the caller's; neither reads anything.
    unsafe { (libc::CMSG_DATA(message), libc::CMSG_LEN(size) as usize) }
}

fn source(from: Ipv4Addr) -> libc::in_pktinfo {
    libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: raw_ip(from),
        ipi_addr: raw_ip(Ipv4Addr::UNSPECIFIED),
    }
}

pub(super) fn send(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    from: Ipv4Addr,
    to: SocketAddrV4,
) -> io::Result<()> {
    let mut to = raw(to);
    let mut control = Control([0; 128]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let size = size_of::<libc::in_pktinfo>() as libc::c_uint;
    let mut header = no_header();
    header.msg_name = (&raw mut to).cast();
    header.msg_namelen = size_of_val(&to) as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: computes a length.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: its control buffer is live, aligned, zero, and has room for this one message.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: null, or the message that is made there.
    let Some(message) = (unsafe { first.as_mut() }) else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    message.cmsg_level = libc::IPPROTO_IP;
    message.cmsg_type = libc::IP_PKTINFO;
    // SAFETY: computes a length.
    message.cmsg_len = unsafe { libc::CMSG_LEN(size) } as _;
    // SAFETY: computes where the data begin, in the room made for them above.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: there is room for it, and it need not be aligned.
    unsafe {
        data.cast::<libc::in_pktinfo>()
            .write_unaligned(source(from));
    }
    // SAFETY: the header refers to buffers that are live and as long as it says; none is written to.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
