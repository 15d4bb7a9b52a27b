//! Datagrams whose destination is somebody else's address: received with the address they were for, and answered from
//! that address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::io::Interest;

use crate::Origins;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod redirected;
#[cfg(not(target_os = "linux"))]
use redirected as system;

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
pub struct Datagrams {
    socket: tokio::net::UdpSocket,
    origins: Arc<Origins>,
}

impl Datagrams {
    /// Whether this process can [`Self::send`]. In capability mode nothing can be sent to an address (sendto(2),
    /// ECAPMODE), so whoever gave the socket has to.
    pub const ANSWERS: bool = system::ANSWERS;

    /// Takes over the socket, whose origins `origins` knows; must be called on the runtime.
    ///
    /// # Errors
    /// When it is no UDP socket, or cannot be watched.
    pub fn new(fd: OwnedFd, origins: Arc<Origins>) -> io::Result<Self> {
        let socket = UdpSocket::from(fd);
        let inet = socket.local_addr()?.is_ipv4() && family(&socket)? == AddressFamily::INET;
        if !inet || sockopt::socket_type(&socket)? != SocketType::DGRAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a UDP socket",
            ));
        }
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { socket, origins })
    }

    /// The next datagram that says whom it was for.
    ///
    /// # Errors
    /// The kernel's; the next one may well be received.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let one = self.socket.async_io(Interest::READABLE, || {
                system::receive(borrow(&self.socket), buffer, &self.origins)
            });
            if let Some(got) = one.await? {
                return Ok(got);
            }
        }
    }

    /// Sends `bytes` to `to` as if from `from`, or not at all: what has no room now is lost, as datagrams may be.
    ///
    /// # Errors
    /// The kernel's; [`Unsupported`](crate::Unsupported) where it cannot.
    pub fn send(&self, bytes: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
        system::send(borrow(&self.socket), bytes, from, to)
    }
}

fn family(socket: &UdpSocket) -> io::Result<AddressFamily> {
    Ok(rustix::net::getsockname(socket)?.address_family())
}

fn borrow(socket: &tokio::net::UdpSocket) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(socket)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;

    use super::*;

    fn datagrams(fd: impl Into<OwnedFd>) -> io::Result<Datagrams> {
        Datagrams::new(fd.into(), Arc::new(Origins::default()))
    }

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
        let ours = datagrams(socket).expect("UDP");
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
        let ours = datagrams(socket).expect("UDP");
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
        assert!(datagrams(listener).is_err());
        let six = UdpSocket::bind("[::1]:0").expect("free");
        assert!(datagrams(six).is_err());
    }
}
