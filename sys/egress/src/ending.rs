//! The end of a TCP connection, as the kernel sees it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// States in which an end was sent, or waits behind what was, and is not acknowledged: FIN_WAIT_1, CLOSING, LAST_ACK
/// (RFC 9293, section 3.3.2), by the kernel's numbers.
#[cfg(target_os = "linux")]
const ON_ITS_WAY: [u8; 3] = [4, 11, 9];
/// From netinet/tcp_fsm.h.
#[cfg(not(target_os = "linux"))]
const ON_ITS_WAY: [u8; 3] = [6, 7, 8];

/// Whether a connection whose sending side was shut down still has something to send, or to hear acknowledged. Not so
/// once it is gone altogether.
#[must_use]
pub fn is_on_its_way(socket: BorrowedFd<'_>) -> bool {
    state(socket).is_ok_and(|state| ON_ITS_WAY.contains(&state))
}

/// The state is the first byte of what the option gives (tcp(7), tcp(4)), and only as much is written as there is room.
fn state(socket: BorrowedFd<'_>) -> io::Result<u8> {
    let mut state = 0_u8;
    let mut length: libc::socklen_t = 1;
    // SAFETY: `state` is one byte, as `length` says, and both outlive the call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    if got == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_not_taken_is_on_its_way() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("open");
        let (mut receiver, _) = listener.accept().expect("open");
        assert!(!is_on_its_way(sender.as_fd()));
        sender.set_nonblocking(true).expect("set");
        while sender.write(&[0; 65536]).is_ok() {}
        sender.shutdown(Shutdown::Write).expect("open");
        assert!(is_on_its_way(sender.as_fd()));
        receiver.read_to_end(&mut Vec::new()).expect("in order");
        while is_on_its_way(sender.as_fd()) {
            std::thread::yield_now();
        }
        let pair = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(!is_on_its_way(pair.0.as_fd()));
    }
}
