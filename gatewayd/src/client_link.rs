//! A client's connection, so that it can be ended from elsewhere: at once, and without what still waits to be sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Names a connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientLink {
    cut: CancellationToken,
    single: bool,
}

impl ClientLink {
    /// Of a new connection; `single` if it carries one exchange at a time.
    pub(crate) fn new(single: bool) -> Self {
        Self {
            cut: CancellationToken::new(),
            single,
        }
    }

    /// Whether it carries one exchange at a time.
    pub(crate) fn is_single(&self) -> bool {
        self.single
    }

    /// Ends it.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Until it is ended.
    pub(crate) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}

/// What a connection can be made on.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// When it is closed, throws away what was not sent, and tells the other end so.
    fn forget(&self);
}

impl Transport for TcpStream {
    fn forget(&self) {
        // Sent is a reset then (tcp(7), SO_LINGER). If that fails, it is closed as any other.
        let _ = set_socket_linger(self, Some(Duration::ZERO));
    }
}

impl Transport for TlsStream<TcpStream> {
    fn forget(&self) {
        self.get_ref().0.forget();
    }
}

/// A connection that, once cut, is closed without what waits to be sent. Whoever serves it drops it then.
#[derive(Debug)]
pub(crate) struct Cuttable<S: Transport> {
    stream: S,
    link: ClientLink,
}

impl<S: Transport> Cuttable<S> {
    /// Under this name.
    pub(crate) fn new(stream: S, link: ClientLink) -> Self {
        Self { stream, link }
    }
}

impl<S: Transport> Drop for Cuttable<S> {
    fn drop(&mut self) {
        if self.link.cut.is_cancelled() {
            self.stream.forget();
        }
    }
}

impl<S: Transport> AsyncRead for Cuttable<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: Transport> AsyncWrite for Cuttable<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What the other end reads of a connection that was dropped with something on its way.
    async fn read_after(cut: bool) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        let link = ClientLink::new(true);
        let mut served = Cuttable::new(server, link.clone());
        served.write_all(&[1; 100_000]).await?;
        let mut some = [0; 1000];
        client.read_exact(&mut some).await?;
        if cut {
            link.cut();
        }
        drop(served);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await
    }

    #[tokio::test]
    async fn what_is_cut_is_reset_and_what_is_closed_is_sent() {
        assert_eq!(read_after(false).await.expect("all of it"), 99_000);
        let error = read_after(true).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
