//! Streams whose other holder is a hostile guest.
//!
//! A descriptor that came from a sandbox is a copy of an open file description the guest still has: it can
//! clear O_NONBLOCK or set SO_LINGER at any moment. So every read and write says MSG_DONTWAIT itself
//! (recv(2), send(2)), and the last close, which SO_LINGER may delay, happens on a thread of its own, which waits
//! for no close longer than a moment. So does that of descriptors which a guest sends along with bytes and nobody
//! asked for: those that find no room when they are received are closed at once, by the receiving thread.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, recvmsg, send,
    shutdown, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Watched, watch};
use crate::Watchdog;
use crate::fds::{MOST_FDS, REAPER, close_together};

/// How long the reaper waits for one close, or for all descriptors that came at once.
const PATIENCE: Duration = Duration::from_millis(1);

/// Closes descriptors where a slow close stops nobody.
#[derive(Clone, Debug)]
pub struct Reaper(mpsc::Sender<Vec<OwnedFd>>);

impl Reaper {
    /// Starts the thread. Before the process forbids itself to make threads. From now on what a channel of this
    /// process has no use for is closed there too.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Vec<OwnedFd>>();
        let (begun, beginning) = mpsc::channel();
        std::thread::Builder::new()
            .name("reaper".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                let watchdog = Watchdog::new();
                let failed = watchdog.as_ref().err().map(io::Error::kind);
                let _ = begun.send(failed);
                let Ok(watchdog) = watchdog else { return };
                for fds in receiver {
                    // A close that nothing delays is quick; the guest may turn lingering on again, or hide it.
                    for fd in &fds {
                        let _ = sockopt::set_socket_linger(fd, None);
                    }
                    watchdog.arm(PATIENCE);
                    close_together(fds);
                    watchdog.disarm();
                }
            })?;
        if let Ok(Some(kind)) = beginning.recv() {
            return Err(kind.into());
        }
        let _ = REAPER.set(sender.clone());
        Ok(Self(sender))
    }

    /// Closes `fd` later. When the thread is gone the process is ending, and the close happens here.
    pub fn close(&self, fd: OwnedFd) {
        let _ = self.0.send(vec![fd]);
    }

    /// As [`Self::close`], once nothing else holds it.
    pub(super) fn close_shared(&self, fd: Arc<OwnedFd>) {
        if let Some(fd) = Arc::into_inner(fd) {
            self.close(fd);
        }
    }
}

/// A connected stream socket that came from a guest, and that no runtime watches yet.
#[derive(Debug)]
pub struct GuestSocket {
    // None only while being dropped.
    fd: Option<OwnedFd>,
    reaper: Reaper,
}

impl GuestSocket {
    /// A socket whose kind was checked (`check::connected_tcp`).
    #[must_use]
    pub fn new(fd: OwnedFd, reaper: &Reaper) -> Self {
        Self {
            fd: Some(fd),
            reaper: reaper.clone(),
        }
    }

    /// Gives it to the runtime of the calling thread.
    ///
    /// # Errors
    /// When that cannot watch it.
    pub fn watch(mut self) -> io::Result<GuestStream> {
        let fd = self.fd.take().ok_or(io::ErrorKind::NotConnected)?;
        match watch(Arc::new(fd)) {
            Ok(watched) => Ok(GuestStream {
                watched: Some(watched),
                reaper: self.reaper.clone(),
            }),
            Err((fd, error)) => {
                self.reaper.close_shared(fd);
                Err(error)
            }
        }
    }
}

impl Drop for GuestSocket {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            self.reaper.close(fd);
        }
    }
}

/// A connected stream socket that came from a guest.
#[derive(Debug)]
pub struct GuestStream {
    // None only while being dropped.
    watched: Option<AsyncFd<Watched>>,
    reaper: Reaper,
}

impl GuestStream {
    /// As [`GuestSocket::new`] and [`GuestSocket::watch`].
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn new(fd: OwnedFd, reaper: &Reaper) -> io::Result<Self> {
        GuestSocket::new(fd, reaper).watch()
    }

    fn watched(&self) -> io::Result<&AsyncFd<Watched>> {
        self.watched
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        if let Some(watched) = self.watched.take() {
            self.reaper.close_shared(watched.into_inner().0);
        }
    }
}

/// Takes bytes. Descriptors that come with them are no part of any stream, and end it.
fn receive(fd: BorrowedFd<'_>, space: &mut [u8], reaper: &Reaper) -> io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(fd, &mut [IoSliceMut::new(space)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            let _ = reaper.0.send(fds.collect());
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(got.bytes)
}

impl AsyncRead for GuestStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let watched = self.watched()?;
        loop {
            let mut guard = ready!(watched.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let room = space.len();
            match guard.try_io(|inner| receive(inner.get_ref().0.as_fd(), space, &self.reaper)) {
                Ok(Ok(n)) => {
                    // A short read has emptied it, and what comes next is told of anew (epoll(7), edge-triggered); that
                    // the other side has closed is kept. Spares asking in vain after every answer.
                    if 0 < n && n < room {
                        guard.clear_ready();
                    }
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let watched = self.watched()?;
        loop {
            let mut guard = ready!(watched.poll_write_ready(cx))?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match guard.try_io(|inner| Ok(send(inner.get_ref().0.as_fd(), bytes, flags)?)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fd = self.watched()?.get_ref().0.as_fd();
        match shutdown(fd, Shutdown::Write) {
            // The guest may have shut it down already.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(errno) => Poll::Ready(Err(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        (ours, listener.accept().expect("loopback").0)
    }

    #[tokio::test]
    async fn a_guest_that_clears_nonblocking_stops_nobody() {
        let reaper = Reaper::start().expect("thread");
        let (ours, mut theirs) = tcp_pair();
        let guests_copy = ours.try_clone().expect("dup");
        ours.set_nonblocking(true).expect("fcntl");
        let mut stream = GuestStream::new(ours.into(), &reaper).expect("epoll");
        guests_copy.set_nonblocking(false).expect("fcntl");

        // Nothing to read and nobody who reads: both must wait on the runtime, not in the kernel.
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await;
        assert!(read.is_err(), "read came back without data");
        let flood = tokio::time::timeout(
            Duration::from_millis(200),
            stream.write_all(&vec![0; 64 << 20]),
        )
        .await;
        assert!(flood.is_err(), "64 MiB went into a socket nobody reads");

        theirs.write_all(b"x").expect("open");
        stream.read_exact(&mut byte).await.expect("open");
        assert_eq!(&byte, b"x");
        theirs
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("setsockopt");
        theirs.read_exact(&mut byte).expect("the flood");
    }

    /// What came in one piece is read in one, and the end that came with it is not forgotten.
    #[tokio::test]
    async fn the_end_behind_a_short_read_is_seen() {
        let reaper = Reaper::start().expect("thread");
        for unix in [false, true] {
            let (ours, mut theirs): (OwnedFd, Box<dyn Write>) = if unix {
                let (a, b) = std::os::unix::net::UnixStream::pair().expect("socketpair");
                (a.into(), Box::new(b))
            } else {
                let (a, b) = tcp_pair();
                (a.into(), Box::new(b))
            };
            rustix::io::ioctl_fionbio(&ours, true).expect("ioctl");
            let mut stream = GuestStream::new(ours, &reaper).expect("epoll");
            let mut bytes = [0; 64];
            for _ in 0..3 {
                theirs.write_all(b"piece").expect("open");
                assert_eq!(stream.read(&mut bytes).await.expect("open"), 5);
            }
            theirs.write_all(b"last").expect("open");
            drop(theirs);
            // Both are there before the first is read.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(stream.read(&mut bytes).await.expect("open"), 4);
            let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await;
            assert_eq!(end.expect("told of the end").expect("open"), 0);
        }
    }

    #[tokio::test]
    async fn a_lingering_close_stops_nobody() {
        let reaper = Reaper::start().expect("thread");
        let (ours, _theirs) = tcp_pair();
        ours.set_nonblocking(true).expect("fcntl");
        let guests_copy = ours.try_clone().expect("dup");
        let mut stream = GuestStream::new(ours.into(), &reaper).expect("epoll");
        let _ = tokio::time::timeout(
            Duration::from_millis(50),
            stream.write_all(&vec![0; 64 << 20]),
        )
        .await;
        sockopt::set_socket_linger(&guests_copy, Some(Duration::from_secs(60)))
            .expect("setsockopt");
        drop(guests_copy);
        let begin = std::time::Instant::now();
        drop(stream);
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "the event loop closed it itself"
        );
    }

    /// Sockets that linger, hidden in the queues of others: neither the event loop nor the reaper waits for them.
    #[tokio::test]
    async fn descriptors_nobody_asked_for_stop_nobody() {
        let reaper = Reaper::start().expect("thread");
        let begin = std::time::Instant::now();
        let mut unread = Vec::new();
        for _ in 0..8 {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
            ours.set_nonblocking(true).expect("fcntl");
            let mut stream = GuestStream::new(ours.into(), &reaper).expect("epoll");
            let (hidden, peers): (Vec<_>, Vec<_>) =
                (0..8).map(|_| crate::channel::hidden_socket()).unzip();
            let riding: Vec<BorrowedFd<'_>> = hidden.iter().map(AsFd::as_fd).collect();
            // Those that are read, and those that are in the queue when the stream ends.
            for _ in 0..2 {
                crate::fds::send(theirs.as_fd(), b"x", &riding).expect("sends");
            }
            unread.extend(peers);
            let end = stream.read_exact(&mut [0]).await;
            assert_eq!(
                end.expect_err("no part of a stream").kind(),
                io::ErrorKind::InvalidData
            );
        }
        let (last, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        reaper.close(last.into());
        tokio::task::spawn_blocking(move || (&theirs).read(&mut [0]))
            .await
            .expect("no panic")
            .expect("the end, when the reaper has come to it");
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "somebody waited for a close"
        );
    }
}
