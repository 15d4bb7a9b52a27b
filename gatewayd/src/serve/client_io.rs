//! A client's connection, watched while a request's head is read.
//!
//! Four things hyper does not do: end a connection whose head has begun and does not end (its own time-out
//! also covers idle connections, which may stay), or whose client takes nothing of what it is sent; refuse a
//! request with both Content-Length and Transfer-Encoding (it drops the first and closes afterwards; a client that
//! sends both is mistaken or hostile, and is told so); and say in words what is wrong with first bytes that are no
//! HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits;

/// Shared between the connection and its service.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Halves of exchanges under way; while there are any, what is read is a body.
    pub(super) halves: Arc<AtomicUsize>,
    /// The last head was longer than allowed; hyper's own bound is only its buffer's.
    pub(super) too_long: Arc<AtomicBool>,
    /// The last head had both lengths.
    pub(super) two_lengths: Arc<AtomicBool>,
    /// A request has come.
    pub(super) begun: Arc<AtomicBool>,
    /// It was upgraded: what is read from now on is no head, and may come whenever it likes.
    pub(super) upgraded: Arc<AtomicBool>,
}

/// The connection.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    state: State,
    head: Vec<u8>,
    deadline: Pin<Box<Sleep>>,
    // Whether a head must have come by the deadline.
    due: bool,
    stuck: Stuck,
    // What is said to who never sent a request.
    said: bool,
}

/// In the place of hyper's own answer, which has no body.
fn refusal(own: &[u8]) -> Vec<u8> {
    let status = own.get(9..12).and_then(|s| std::str::from_utf8(s).ok());
    let status = status.filter(|s| s.bytes().all(|b| b.is_ascii_digit()));
    let (status, reason, message) = match status {
        Some("414") => (414, "URI Too Long", "the request line is too long"),
        Some("431") => (
            431,
            "Request Header Fields Too Large",
            "the request's head is too long",
        ),
        _ => (400, "Bad Request", "this is no HTTP request"),
    };
    let body = format!(r#"{{"code":{status},"message":"{message}"}}"#);
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

impl<S> ClientIo<S> {
    /// On a new connection, whose first head must be whole when it is `due`. `kernel_cuts` who takes nothing of it.
    pub(super) fn new(stream: S, due: Instant, kernel_cuts: bool) -> Self {
        let deadline = Box::pin(sleep_until(due));
        Self {
            stream,
            state: State::default(),
            head: Vec::new(),
            deadline,
            due: true,
            stuck: Stuck {
                kernel_cuts,
                ..Stuck::default()
            },
            said: false,
        }
    }

    /// What its service shares.
    pub(super) fn state(&self) -> State {
        self.state.clone()
    }

    /// Bytes of a head. Those after its end are the body's.
    fn saw(&mut self, bytes: &[u8]) {
        if self.head.is_empty() && !self.due {
            self.due = true;
            self.deadline
                .as_mut()
                .reset(Instant::now() + limits::HEAD_TIMEOUT);
        }
        // Three bytes back: the end may straddle two reads.
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let end = self.head[from..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| from + at);
        if let Some(end) = end {
            if both_lengths(&self.head[..end]) {
                self.state.two_lengths.store(true, Ordering::Release);
            }
            if end > limits::HEAD_BYTES {
                self.state.too_long.store(true, Ordering::Release);
            }
            self.head.clear();
            self.due = false;
        }
    }
}

/// Whether a head has both fields. Field names cannot be escaped or folded, so looking at line starts is exact.
fn both_lengths(head: &[u8]) -> bool {
    let has = |name: &[u8]| {
        head.split(|b| *b == b'\n').any(|line| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
                && line.get(name.len()) == Some(&b':')
        })
    };
    has(b"transfer-encoding") && has(b"content-length")
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state.halves.load(Ordering::Acquire) > 0
            || this.state.upgraded.load(Ordering::Acquire)
        {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        if this.due && this.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if this.head.len() > limits::HEAD_BYTES * 4 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if let Some(new) = buf.filled().get(before..).filter(|new| !new.is_empty()) {
            this.saw(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.said || this.state.begun.load(Ordering::Acquire) {
            let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
            return this.stuck.unless(written, cx);
        }
        // Nothing was asked yet: it is hyper that cannot read what came. Little enough for any socket's buffer.
        let _ = ready!(Pin::new(&mut this.stream).poll_write(cx, &refusal(bytes)))?;
        this.said = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.said || self.state.begun.load(Ordering::Acquire) {
            let this = self.get_mut();
            let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
            return this.stuck.unless(written, cx);
        }
        let first = parts.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[][..], |part| part))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What waits to be flushed is held by TLS, which has not got rid of it.
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.stuck.unless(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.stuck.unless(shut, cx)
    }
}

/// Whether, and since when, the client takes so little of what is there for it that its socket takes nothing more. Not
/// every kernel looks after that: a client that is there and keeps its window shut has a live connection for ever
/// (tcp(4)). One that does counts every byte.
#[derive(Debug, Default)]
struct Stuck {
    kernel_cuts: bool,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stuck {
    /// What came of an attempt to send, or an error when there was none that succeeded for [`limits::IDLE_CLIENT`].
    fn unless<T>(
        &mut self,
        sent: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if sent.is_ready() || self.kernel_cuts {
            self.since = None;
            return sent;
        }
        let due = *self.since.get_or_insert_with(Instant::now) + limits::IDLE_CLIENT;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // Moved only when it has gone off: bodies wait for their readers thousands of times a second.
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + limits::HEAD_TIMEOUT
    }

    #[test]
    fn both_lengths_in_any_order_and_case() {
        assert!(both_lengths(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTRANSFER-ENCODING: chunked"
        ));
        assert!(both_lengths(
            b"POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\ncontent-length:3"
        ));
        assert!(!both_lengths(
            b"POST /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3"
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_has_no_heads() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut server = ClientIo::new(server, soon(), false);
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        let mut bytes = vec![0; 1 << 20];
        assert_eq!(server.read(&mut bytes).await.expect("open"), 18);
        server.state().upgraded.store(true, Ordering::Release);
        client.write_all(&bytes[18..]).await.expect("open");
        server.read_exact(&mut bytes[18..]).await.expect("no head");
        tokio::time::sleep(limits::HEAD_TIMEOUT * 2).await;
        client.write_all(b"later").await.expect("open");
        assert_eq!(server.read(&mut bytes).await.expect("no deadline"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_cut_and_an_idle_connection_is_not() {
        let (client, server) = tokio::io::duplex(1024);
        let (mut client, mut server) = (client, ClientIo::new(server, soon(), false));
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        let mut bytes = [0; 100];
        assert_eq!(server.read(&mut bytes).await.expect("open"), 18);
        let idle = tokio::time::timeout(limits::HEAD_TIMEOUT * 2, server.read(&mut bytes)).await;
        assert!(idle.is_err(), "idle is allowed");
        client.write_all(b"GET").await.expect("open");
        assert_eq!(server.read(&mut bytes).await.expect("open"), 3);
        let error = server.read(&mut bytes).await.expect_err("slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
