//! Datagrams whose destination is somebody else's address: received with the address they were for
//! (`IP_RECVORIGDSTADDR`), answered from that address (`IP_PKTINFO`, ip(7); `IP_SENDSRCADDR`, ip(4)).

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::io::Interest;

/// A datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// How many bytes there are in the buffer; the rest was cut.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Who it was for.
    pub to: SocketAddrV4,
}

/// A UDP socket for such datagrams.
#[derive(Debug)]
pub struct Datagrams(tokio::net::UdpSocket);

/// Room for the control messages there may be, aligned as they must be.
#[repr(C, align(8))]
struct Control([u8; 128]);

impl Datagrams {
    /// Takes over the socket; must be called on the runtime.
    ///
    /// # Errors
    /// When it is no UDP socket, or cannot be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = UdpSocket::from(fd);
        let inet = socket.local_addr()?.is_ipv4() && family(&socket)? == AddressFamily::INET;
        if !inet || sockopt::socket_type(&socket)? != SocketType::DGRAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a UDP socket",
            ));
        }
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(socket).map(Self)
    }

    /// The next datagram that says whom it was for.
    ///
    /// # Errors
    /// The kernel's; the next one may well be received.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let one = self
                .0
                .async_io(Interest::READABLE, || receive(borrow(&self.0), buffer));
            if let Some(got) = one.await? {
                return Ok(got);
            }
        }
    }

    /// Sends `bytes` to `to` as if from `from`, or not at all: what has no room now is lost, as datagrams may be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, bytes: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
        send(borrow(&self.0), bytes, from, to)
    }
}

fn family(socket: &UdpSocket) -> io::Result<AddressFamily> {
    Ok(rustix::net::getsockname(socket)?.address_family())
}

fn borrow(socket: &tokio::net::UdpSocket) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(socket)
}

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
fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
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
        #[allow(clippy::unnecessary_cast, reason = "32 bits on FreeBSD")]
        let length = message.cmsg_len as usize;
        if ours && length >= whole {
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

#[cfg(target_os = "linux")]
mod source {
    use std::net::Ipv4Addr;

    pub(super) const KIND: libc::c_int = libc::IP_PKTINFO;
    pub(super) type Data = libc::in_pktinfo;

    pub(super) fn data(from: Ipv4Addr) -> Data {
        libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: super::raw_ip(from),
            ipi_addr: super::raw_ip(Ipv4Addr::UNSPECIFIED),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod source {
    use std::net::Ipv4Addr;

    pub(super) const KIND: libc::c_int = libc::IP_SENDSRCADDR;
    pub(super) type Data = libc::in_addr;

    pub(super) fn data(from: Ipv4Addr) -> Data {
        super::raw_ip(from)
    }
}

fn send(fd: BorrowedFd<'_>, bytes: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
    let mut to = raw(to);
    let mut control = Control([0; 128]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let size = size_of::<source::Data>() as libc::c_uint;
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
    message.cmsg_type = source::KIND;
    // SAFETY: computes a length.
    message.cmsg_len = unsafe { libc::CMSG_LEN(size) } as _;
    // SAFETY: computes where the data begin, in the room made for them above.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: there is room for it, and it need not be aligned.
    unsafe {
        data.cast::<source::Data>()
            .write_unaligned(source::data(from));
    }
    // SAFETY: the header refers to buffers that are live and as long as it says; none is written to.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn on(option: libc::c_int, socket: &UdpSocket) {
        let one: libc::c_int = 1;
        // SAFETY: the value is live and as long as told.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                option,
                (&raw const one).cast(),
                size_of_val(&one) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    /// The whole of 127.0.0.0/8 is this host, so any of it can be meant and answered from.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_was_meant_is_told_and_answers_come_from_there() {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("free");
        let port = socket.local_addr().expect("bound").port();
        on(libc::IP_RECVORIGDSTADDR, &socket);
        let ours = Datagrams::new(socket.into()).expect("UDP");
        let guest = UdpSocket::bind("127.0.0.1:0").expect("free");
        let meant = SocketAddrV4::new(Ipv4Addr::new(127, 8, 8, 8), port);
        guest.connect(meant).expect("local");
        guest.send(b"ask").expect("local");
        let mut buffer = [0; 16];
        let got = ours.recv(&mut buffer).await.expect("sent");
        assert_eq!((got.to, &buffer[..got.length]), (meant, &b"ask"[..]));
        // The guest hears nothing from any other address: it is connected.
        ours.send(b"no", Ipv4Addr::new(127, 9, 9, 9), got.from)
            .expect("local");
        ours.send(b"yes", *got.to.ip(), got.from).expect("local");
        let (length, from) = guest.recv_from(&mut buffer).expect("answered");
        assert_eq!(&buffer[..length], b"yes");
        assert_eq!(from, meant.into());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_was_cut_or_meant_for_nobody_is_passed_over() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("free");
        let at = socket.local_addr().expect("bound");
        let guest = UdpSocket::bind("127.0.0.1:0").expect("free");
        guest.send_to(b"unsaid", at).expect("local");
        let copy = socket.try_clone().expect("fcntl");
        let ours = Datagrams::new(socket.into()).expect("UDP");
        let mut buffer = [0; 8];
        let soon = std::time::Duration::from_millis(50);
        let none = tokio::time::timeout(soon, ours.recv(&mut buffer)).await;
        assert!(none.is_err(), "{none:?}");
        on(libc::IP_RECVORIGDSTADDR, &copy);
        guest.send_to(b"longer than that", at).expect("local");
        guest.send_to(b"said", at).expect("local");
        let got = ours.recv(&mut buffer).await.expect("sent");
        assert_eq!(&buffer[..got.length], b"said");
    }

    #[tokio::test]
    async fn only_udp_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("free");
        assert!(Datagrams::new(listener.into()).is_err());
        let six = UdpSocket::bind("[::1]:0").expect("free");
        assert!(Datagrams::new(six.into()).is_err());
    }
}
