//! The synchronous half: what the poll loops of zone 3 use.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType, recvmsg, socketpair, sockopt,
};
use serde::{Serialize, de::DeserializeOwned};
use warder_wire::frame::{MAX_FDS, MAX_FRAME};

use crate::fds::{self, Fds, MOST_FDS};
use crate::inbox::Inbox;
use crate::{IpcError, check};

/// Whether this kernel gives back records as they were sent (unix(7): Linux does).
const KEEPS_BOUNDARIES: bool = cfg!(target_os = "linux");
/// Bytes that may lie in the kernel on their way.
const BUFFER: usize = 256 * 1024;
/// Most messages that wait for a peer that does not read.
const QUEUE: usize = 4096;

/// A channel of whole messages with descriptors.
#[derive(Debug)]
pub struct Channel {
    // Shared only with the runtime that watches it.
    fd: Arc<OwnedFd>,
    inbox: Inbox,
    outbox: VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>,
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// [`IpcError::System`] when there are no descriptors left.
    pub fn pair() -> Result<(Self, Self), IpcError> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|e| IpcError::system("socketpair", e))?;
        Ok((Self::wrap(a), Self::wrap(b)))
    }

    /// Takes over a descriptor from elsewhere.
    ///
    /// # Errors
    /// [`IpcError::Violation`] when it is not a `SOCK_SEQPACKET` socket of the Unix domain.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, IpcError> {
        check::unix_seqpacket(fd.as_fd()).map_err(|_| IpcError::Violation("not a channel"))?;
        Ok(Self::wrap(fd))
    }

    fn wrap(fd: OwnedFd) -> Self {
        // Best effort: a larger buffer lets a burst of leases or events pass without queueing.
        let _ = sockopt::set_socket_send_buffer_size(&fd, BUFFER);
        // FreeBSD has no send buffers here: what is sent lies in the receiver's (unix(4), BUFFERING).
        #[cfg(target_os = "freebsd")]
        let _ = sockopt::set_socket_recv_buffer_size(&fd, BUFFER);
        Self {
            fd: Arc::new(fd),
            inbox: Inbox::default(),
            outbox: VecDeque::new(),
        }
    }

    /// The socket; what was received and not taken is lost.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        Arc::into_inner(self.fd)
            .expect("only AsyncChannel shares the descriptor, and it never gives the channel back")
    }

    /// For a runtime to watch.
    #[cfg(feature = "tokio")]
    pub(crate) fn watched(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Sends a message, or queues it until [`Self::flush`]. Never blocks.
    ///
    /// # Errors
    /// Any but [`IpcError::TimedOut`].
    pub fn send<T: Serialize>(&mut self, message: &T, fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        let frame = warder_wire::encode(message)?;
        if fds.len() > MAX_FDS {
            return Err(IpcError::Violation("too many descriptors to send"));
        }
        if self.outbox.len() >= QUEUE {
            return Err(IpcError::Overrun);
        }
        self.outbox.push_back((frame, 0, fds));
        self.flush()
    }

    /// Whether messages wait for [`PollFlags::OUT`].
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what waits, as far as the peer takes it.
    ///
    /// # Errors
    /// Any but [`IpcError::TimedOut`].
    pub fn flush(&mut self) -> Result<(), IpcError> {
        while let Some((frame, sent, fds)) = self.outbox.front_mut() {
            let riding: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match fds::send(self.fd.as_fd(), &frame[*sent..], &riding) {
                Ok(n) => {
                    *sent += n;
                    fds.clear();
                    if *sent >= frame.len() {
                        self.outbox.pop_front();
                    }
                }
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                    return Err(IpcError::Closed);
                }
                Err(errno) => return Err(IpcError::system("sendmsg", errno)),
            }
        }
        Ok(())
    }

    /// The next whole message with its descriptors, or `None` when nothing whole is there.
    ///
    /// # Errors
    /// [`IpcError::Closed`] at the end; anything else means the channel must be dropped.
    pub fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, IpcError> {
        loop {
            if let Some((frame, fds)) = self.inbox.pop()? {
                return Ok(Some((warder_wire::decode(&frame)?, fds.take())));
            }
            let mut buffer = [0_u8; MAX_FRAME];
            let (n, fds) = match recv_record(self.fd.as_fd(), &mut buffer) {
                Ok(got) => got,
                Err(RecvError::Errno(Errno::AGAIN)) => return Ok(None),
                Err(RecvError::Errno(Errno::INTR)) => continue,
                Err(RecvError::Errno(Errno::CONNRESET)) => return Err(IpcError::Closed),
                Err(RecvError::Errno(errno)) => return Err(IpcError::system("recvmsg", errno)),
                Err(RecvError::Truncated) => {
                    return Err(IpcError::Violation("a record or its descriptors were cut"));
                }
            };
            // Where boundaries are not kept, descriptors can come in front of the first byte of their frame.
            let ended = n == 0 && (KEEPS_BOUNDARIES || fds.len() == 0);
            if ended {
                let clean = fds.len() == 0 && !self.inbox.is_partial();
                return Err(if clean {
                    IpcError::Closed
                } else {
                    IpcError::Violation("ended inside a frame")
                });
            }
            self.inbox.push(&buffer[..n], fds, KEEPS_BOUNDARIES)?;
        }
    }

    /// Waits for a message. For start-up, tests and plain programs; a poll loop never calls it.
    ///
    /// # Errors
    /// [`IpcError::TimedOut`] after `timeout`; otherwise as [`Self::recv`].
    pub fn recv_timeout<T: DeserializeOwned>(
        &mut self,
        timeout: Duration,
    ) -> Result<(T, Vec<OwnedFd>), IpcError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(got) = self.recv()? {
                return Ok(got);
            }
            self.wait(PollFlags::IN, end)?;
        }
    }

    /// Sends and waits until the peer's queue has it all. For start-up, tests and plain programs.
    ///
    /// # Errors
    /// [`IpcError::TimedOut`] after `timeout`; otherwise as [`Self::send`].
    pub fn send_timeout<T: Serialize>(
        &mut self,
        message: &T,
        fds: Vec<OwnedFd>,
        timeout: Duration,
    ) -> Result<(), IpcError> {
        let end = Instant::now() + timeout;
        self.send(message, fds)?;
        while self.wants_write() {
            self.wait(PollFlags::OUT, end)?;
            self.flush()?;
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, end: Instant) -> Result<(), IpcError> {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| IpcError::TimedOut)?;
        match poll(&mut [PollFd::new(&self.fd, what)], Some(&timeout)) {
            Ok(0) => Err(IpcError::TimedOut),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(IpcError::system("poll", errno)),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

enum RecvError {
    Errno(Errno),
    Truncated,
}

/// One `recvmsg`. More descriptors than [`MAX_FDS`] are a violation, which the inbox finds.
fn recv_record(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Fds), RecvError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(fd, &mut [IoSliceMut::new(buffer)], &mut control, flags)
        .map_err(RecvError::Errno)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let fds = Fds::from(fds);
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(RecvError::Truncated);
    }
    Ok((got.bytes, fds))
}

/// A socket whose last close waits a minute, and its peer.
#[cfg(test)]
pub(crate) fn lingering_socket() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let socket = std::net::TcpStream::connect(address).expect("loopback");
    let peer = listener.accept().expect("loopback").0;
    socket.set_nonblocking(true).expect("fcntl");
    while std::io::Write::write(&mut &socket, &[0; 65536]).is_ok() {}
    // FreeBSD does not wait for one that is non-blocking (soclose, uipc_socket.c); its sender may change that.
    socket.set_nonblocking(false).expect("fcntl");
    sockopt::set_socket_linger(&socket, Some(Duration::from_secs(60))).expect("setsockopt");
    (socket, peer)
}

/// A socket in whose queue one that lingers lies unread, and that one's peer.
#[cfg(test)]
pub(crate) fn hidden_socket() -> (OwnedFd, std::net::TcpStream) {
    let (lingering, peer) = lingering_socket();
    let (into, hiding) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    fds::send(into.as_fd(), b"x", &[lingering.as_fd()]).expect("sends");
    (hiding.into(), peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Watchdog;

    /// Neither those a violation came with nor those nobody has read, even when sockets that linger lie unread in
    /// the queues of all of them.
    #[test]
    fn descriptors_nobody_wants_stop_nobody() {
        let frame = warder_wire::encode(&7_u32).expect("encodes");
        let watchdog = Watchdog::new().expect("a timer");
        for many in [1, MOST_FDS] {
            let (a, mut b) = Channel::pair().expect("socketpair");
            let (mut hidden, mut unread): (Vec<_>, Vec<_>) =
                (0..many.min(8)).map(|_| hidden_socket()).unzip();
            let mut riding: Vec<BorrowedFd<'_>> = hidden.iter().map(AsFd::as_fd).collect();
            riding.resize(many, a.as_fd());
            fds::send(a.as_fd(), b"no frame", &riding).expect("sends");
            for bytes in [b"".as_slice(), &frame] {
                let (hiding, peer) = hidden_socket();
                fds::send(a.as_fd(), bytes, &[hiding.as_fd(); 2]).expect("sends");
                hidden.push(hiding);
                unread.push(peer);
            }
            drop(hidden);
            let begin = Instant::now();
            watchdog.arm(Duration::from_millis(5));
            assert!(matches!(
                b.recv::<u32>(),
                Err(IpcError::Violation(_) | IpcError::Frame(_))
            ));
            drop(b);
            watchdog.disarm();
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "waited for a close"
            );
        }
    }

    #[test]
    fn messages_and_descriptors_arrive_together() {
        let (mut a, mut b) = Channel::pair().expect("socketpair");
        let (c, _d) = Channel::pair().expect("socketpair");
        assert!(b.recv::<u32>().expect("open").is_none());
        a.send(&7_u32, vec![c.into_fd()]).expect("sends");
        let (value, fds) = b
            .recv_timeout::<u32>(Duration::from_secs(5))
            .expect("arrives");
        assert_eq!((value, fds.len()), (7, 1));
        Channel::from_fd(fds.into_iter().next().expect("one")).expect("is a channel");
        drop(a);
        assert!(matches!(b.recv::<u32>(), Err(IpcError::Closed)));
    }

    /// As a kernel that keeps no boundaries does when the queue has room for no more.
    #[test]
    #[cfg(not(target_os = "linux"))]
    fn descriptors_that_come_in_front_of_their_frame_belong_to_it() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let null = std::fs::File::open("/dev/null").expect("null");
        let frame = warder_wire::encode(&7_u32).expect("fits");
        fds::send(a.as_fd(), b"", &[null.as_fd()]).expect("kernel takes it");
        assert!(b.recv::<u32>().expect("open").is_none());
        for piece in frame.chunks(2) {
            rustix::net::send(&a, piece, rustix::net::SendFlags::empty()).expect("room");
        }
        let (value, fds) = b.recv::<u32>().expect("open").expect("whole");
        assert_eq!((value, fds.len()), (7, 1));
        fds::send(a.as_fd(), b"", &[null.as_fd()]).expect("kernel takes it");
        drop(a);
        assert!(matches!(b.recv::<u32>(), Err(IpcError::Violation(_))));
    }

    #[test]
    fn a_peer_that_does_not_read_overruns_and_nothing_blocks() {
        let (mut a, _b) = Channel::pair().expect("socketpair");
        // More than the kernel takes by far, all together.
        let big = vec![1_u8; 1024];
        let end = (0..2 * QUEUE).find_map(|_| a.send(&big, Vec::new()).err());
        assert!(matches!(end, Some(IpcError::Overrun)));
    }

    #[test]
    fn queued_messages_arrive_in_order() {
        let (mut a, mut b) = Channel::pair().expect("socketpair");
        for n in 0..2000_u32 {
            a.send(&(n, vec![0_u8; 1000]), Vec::new())
                .expect("queue has room");
        }
        for n in 0..2000_u32 {
            a.flush().expect("open");
            let ((got, _), _) = b
                .recv_timeout::<(u32, Vec<u8>)>(Duration::from_secs(5))
                .expect("arrives");
            assert_eq!(got, n);
        }
    }

    #[test]
    fn too_many_descriptors_end_the_channel() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let frame = warder_wire::encode(&1_u8).expect("fits");
        fds::send(a.as_fd(), &frame, &[a.as_fd(); MAX_FDS * 2]).expect("kernel takes them");
        assert!(matches!(b.recv::<u8>(), Err(IpcError::Violation(_))));
    }

    #[test]
    fn garbage_and_oversize_end_the_channel() {
        for bytes in [vec![0xff_u8; 64], vec![0_u8; 3], vec![1, 0, 0, 0, 1, 1]] {
            let (a, mut b) = Channel::pair().expect("socketpair");
            rustix::net::send(&a, &bytes, rustix::net::SendFlags::empty())
                .expect("kernel takes it");
            // Where boundaries are not kept, what is wrong shows with what follows, and nothing does.
            drop(a);
            let end = loop {
                match b.recv::<u32>() {
                    Ok(message) => assert!(message.is_some(), "an end was sent"),
                    Err(end) => break end,
                }
            };
            assert!(
                matches!(end, IpcError::Violation(_) | IpcError::Frame(_)),
                "{bytes:?}: {end}"
            );
        }
    }
}
