//! What kind of descriptor is this? Asked of every descriptor that comes from a less trusted process,
//! before anything else is done with it.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};

/// The descriptor is not of the kind asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not {0}")]
pub struct CheckError(pub &'static str);

fn kind(fd: BorrowedFd<'_>) -> Option<(AddressFamily, SocketType)> {
    let stat = fstat(fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return None;
    }
    let socket_type = sockopt::socket_type(fd).ok()?;
    let domain = domain(fd)?;
    Some((domain, socket_type))
}

/// SO_DOMAIN exists on Linux and FreeBSD (socket(7), getsockopt(2)).
fn domain(fd: BorrowedFd<'_>) -> Option<AddressFamily> {
    #[cfg(target_os = "linux")]
    return sockopt::socket_domain(fd).ok();
    #[cfg(not(target_os = "linux"))]
    rustix::net::getsockname(fd)
        .ok()
        .map(|a| a.address_family())
}

/// A `SOCK_SEQPACKET` socket of the Unix domain.
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn unix_seqpacket(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    match kind(fd) {
        Some((AddressFamily::UNIX, SocketType::SEQPACKET)) => Ok(()),
        _ => Err(CheckError("a SEQPACKET socket of the Unix domain")),
    }
}

/// A connected stream socket of the Unix domain.
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn unix_stream(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    match kind(fd) {
        Some((AddressFamily::UNIX, SocketType::STREAM))
            if !listens(fd) && getpeername(fd).is_ok() =>
        {
            Ok(())
        }
        _ => Err(CheckError("a connected stream socket of the Unix domain")),
    }
}

/// A listening stream socket of the Unix domain.
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn unix_listener(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    match kind(fd) {
        Some((AddressFamily::UNIX, SocketType::STREAM)) if listens(fd) => Ok(()),
        _ => Err(CheckError("a listening stream socket of the Unix domain")),
    }
}

/// A listening TCP socket.
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn tcp_listener(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    match kind(fd) {
        Some((AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM)) if listens(fd) => {
            Ok(())
        }
        _ => Err(CheckError("a listening TCP socket")),
    }
}

/// A TCP socket connected to `peer_port`.
///
/// # Errors
/// [`CheckError`] when it is anything else: a file, a listener, another protocol, another port.
pub fn connected_tcp(fd: BorrowedFd<'_>, peer_port: u16) -> Result<(), CheckError> {
    const WHAT: CheckError = CheckError("a TCP socket connected to the port asked for");
    let Some((AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM)) = kind(fd) else {
        return Err(WHAT);
    };
    if listens(fd) || !speaks_tcp(fd) {
        return Err(WHAT);
    }
    let peer = getpeername(fd).map_err(|_| WHAT)?.ok_or(WHAT)?;
    match std::net::SocketAddr::try_from(peer) {
        Ok(address) if address.port() == peer_port => Ok(()),
        _ => Err(WHAT),
    }
}

/// A directory.
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn directory(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    match fstat(fd) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
        _ => Err(CheckError("a directory")),
    }
}

/// The reading end of a pipe. FreeBSD's pipes have two ends that do both (pipe(2)).
///
/// # Errors
/// [`CheckError`] when it is anything else.
pub fn pipe_reader(fd: BorrowedFd<'_>) -> Result<(), CheckError> {
    const WHAT: CheckError = CheckError("the reading end of a pipe");
    let stat = fstat(fd).map_err(|_| WHAT)?;
    let mode = fcntl_getfl(fd).map_err(|_| WHAT)? & OFlags::RWMODE;
    let reads = mode == OFlags::RDONLY || (cfg!(target_os = "freebsd") && mode == OFlags::RDWR);
    if reads && FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
        Ok(())
    } else {
        Err(WHAT)
    }
}

fn listens(fd: BorrowedFd<'_>) -> bool {
    // A socket that cannot say is taken for a listener, which no caller but a listener's accepts.
    sockopt::socket_acceptconn(fd).unwrap_or(true)
}

/// Not MPTCP, SCTP or anything else that calls itself a stream of the internet domain.
fn speaks_tcp(fd: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    return matches!(
        sockopt::socket_protocol(fd),
        Ok(Some(rustix::net::ipproto::TCP))
    );
    // FreeBSD: SO_PROTOCOL is in socket.h since 13.1; TCP_NODELAY can be read from TCP sockets only.
    #[cfg(not(target_os = "linux"))]
    sockopt::tcp_nodelay(fd).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_kind_is_told_from_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("loopback");
        let (unix, _other) = UnixStream::pair().expect("socketpair");
        let file = std::fs::File::open("/").expect("root");

        assert!(connected_tcp(stream.as_fd(), port).is_ok());
        assert!(connected_tcp(stream.as_fd(), port ^ 1).is_err());
        for fd in [listener.as_fd(), unix.as_fd(), file.as_fd()] {
            assert!(connected_tcp(fd, port).is_err());
        }
        assert!(tcp_listener(listener.as_fd()).is_ok());
        assert!(tcp_listener(stream.as_fd()).is_err());
        assert!(unix_stream(unix.as_fd()).is_ok());
        assert!(unix_stream(stream.as_fd()).is_err());
        assert!(unix_seqpacket(unix.as_fd()).is_err());
        assert!(directory(file.as_fd()).is_ok());
        assert!(directory(unix.as_fd()).is_err());
        assert!(pipe_reader(file.as_fd()).is_err());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        assert!(pipe_reader(reader.as_fd()).is_ok());
        assert_eq!(
            pipe_reader(writer.as_fd()).is_ok(),
            cfg!(target_os = "freebsd")
        );
    }
}
