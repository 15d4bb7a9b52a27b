//! Turns of bodies, and of what is read from guests: who moves much lets others go first.
//!
//! The runtime looks for new events when nothing is left to do, or after some sixty polls. Bodies that keep each other
//! awake, a piece at a time, would make a keystroke wait for megabytes at each of its hops.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// Bytes of a body that pass before its turn is over.
const TURN: usize = 32 * 1024;

/// The turns of one body.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    moved: usize,
    pause: Option<Arc<Pause>>,
}

/// Until the runtime has looked for what else there is. However often it is polled: one turn of hyper's tasks polls a
/// body several times.
#[derive(Debug)]
struct Pause {
    over: AtomicBool,
    waits: Mutex<Waker>,
}

impl Wake for Pause {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Ordering::Release);
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.wake_by_ref();
    }
}

impl Pause {
    fn begin(cx: &Context<'_>) -> Arc<Self> {
        let pause = Arc::new(Self {
            over: AtomicBool::new(false),
            waits: Mutex::new(cx.waker().clone()),
        });
        // Polled once, it leaves the waker with the runtime, which wakes it when it has looked.
        let waker = Waker::from(Arc::clone(&pause));
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        pause
    }

    fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.clone_from(cx.waker());
        self.over.load(Ordering::Acquire)
    }
}

impl Turns {
    /// Ready when it is its turn.
    pub(crate) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.moved >= TURN {
            self.moved = 0;
            self.pause = Some(Pause::begin(cx));
        }
        if self.pause.as_ref().is_some_and(|pause| !pause.is_over(cx)) {
            return Poll::Pending;
        }
        self.pause = None;
        Poll::Ready(())
    }

    /// So many bytes were moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }
}

/// A stream whose reader takes turns: what is read may be no body, such as interim answers without end, which all are read in
/// one poll.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    stream: S,
    turns: Turns,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            turns: Turns::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.turns.poll_turn(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.turns.moved(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    /// What came in the meantime is served after each turn, not after sixty.
    #[tokio::test]
    async fn others_come_first_after_each_turn() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("socketpair");
        let echo = tokio::spawn(async move {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                theirs.write_all(&byte).await.expect("open");
            }
        });
        let counted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&counted);
        let bulk = tokio::spawn(async move {
            let mut turns = Turns::default();
            loop {
                poll_fn(|cx| turns.poll_turn(cx)).await;
                turns.moved(TURN);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        yield_now().await;
        for _ in 0..100 {
            ours.write_all(b"k").await.expect("open");
            ours.read_exact(&mut [0]).await.expect("open");
        }
        bulk.abort();
        let turns = counted.load(Ordering::Relaxed);
        assert!(turns <= 100 * 16, "{turns} turns for 100 keystrokes");
        drop(ours);
        echo.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_reader_pauses_after_as_much() {
        let bytes = vec![0; TURN * 2];
        let mut paced = Paced::new(bytes.as_slice());
        let mut space = vec![0; TURN];
        let mut read = async |paced: &mut Paced<_>| {
            poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut space);
                Poll::Ready(Pin::new(&mut *paced).poll_read(cx, &mut buf).is_pending())
            })
            .await
        };
        assert!(!read(&mut paced).await);
        assert!(read(&mut paced).await, "its turn is over");
        assert!(read(&mut paced).await, "however often it is polled");
        yield_now().await;
        assert!(!read(&mut paced).await);
    }

    #[tokio::test]
    async fn little_pauses_nothing() {
        let mut turns = Turns::default();
        turns.moved(TURN - 1);
        let waits = poll_fn(|cx| Poll::Ready(turns.poll_turn(cx).is_pending())).await;
        assert!(!waits);
        turns.moved(1);
        for _ in 0..3 {
            let waits = poll_fn(|cx| Poll::Ready(turns.poll_turn(cx).is_pending())).await;
            assert!(waits, "however often it is polled");
        }
        poll_fn(|cx| turns.poll_turn(cx)).await;
    }
}
