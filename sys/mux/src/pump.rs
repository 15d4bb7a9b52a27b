//! Between a socket of this process and one stream.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, Semaphore};

use crate::frame::{Frame, MOST};
use crate::window::Window;

/// What came is kept in pieces of this length, so that it takes no more memory than its bytes and a piece.
const KEPT: usize = 2 * MOST;
/// How often a socket from which no more will come is asked whether somebody still reads it.
const LOOK: Duration = Duration::from_secs(2);

/// What a stream is to its pump.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) number: u64,
    /// Frames for the other end, in turn with those of other streams.
    pub(crate) out: Sender<(u64, Frame)>,
    /// Bytes that may still be sent.
    pub(crate) credit: Arc<Semaphore>,
    /// The same bytes, with those that are only held.
    pub(crate) unsent: Arc<AtomicUsize>,
    /// How much may come.
    pub(crate) window: Arc<Window>,
    /// What came.
    pub(crate) came: Arc<Came>,
    /// Closed when the connection is over.
    pub(crate) alive: Arc<Semaphore>,
}

/// What came for a stream and was not taken yet: many short frames cost no more than a long one.
#[derive(Debug, Default)]
pub(crate) struct Came {
    so_far: Mutex<SoFar>,
    news: Notify,
}

#[derive(Debug, Default)]
struct SoFar {
    pieces: VecDeque<Vec<u8>>,
    /// No more of them: the other end has said so.
    ended: bool,
    /// Nothing more at all: the stream is broken, or over.
    never_more: bool,
}

impl SoFar {
    fn keep(&mut self, mut bytes: &[u8]) {
        if let Some(last) = self.pieces.back_mut() {
            let (fits, rest) = bytes.split_at(bytes.len().min(KEPT - last.len()));
            last.extend_from_slice(fits);
            bytes = rest;
        }
        for piece in bytes.chunks(KEPT) {
            let mut kept = Vec::with_capacity(KEPT);
            kept.extend_from_slice(piece);
            self.pieces.push_back(kept);
        }
    }
}

impl Came {
    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More bytes. Their sum is the caller's to bound.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut so_far = self.so_far();
        if so_far.ended {
            return Err("bytes behind the end");
        }
        so_far.keep(bytes);
        drop(so_far);
        self.news.notify_one();
        Ok(())
    }

    /// No more of them.
    pub(crate) fn end(&self) -> Result<(), &'static str> {
        if std::mem::replace(&mut self.so_far().ended, true) {
            return Err("a second end");
        }
        self.news.notify_one();
        Ok(())
    }

    /// The stream is broken, or over.
    pub(crate) fn never_more(&self) {
        self.so_far().never_more = true;
        self.news.notify_one();
    }

    /// A piece of what came; `None` at the end.
    async fn take(&self) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            {
                let mut so_far = self.so_far();
                if let Some(piece) = so_far.pieces.pop_front() {
                    return Ok(Some(piece));
                }
                if so_far.ended {
                    return Ok(None);
                }
                if so_far.never_more {
                    return Err(Broken);
                }
            }
            self.news.notified().await;
        }
    }

    /// Until the stream is broken.
    async fn broken(&self) {
        while !self.so_far().never_more {
            self.news.notified().await;
        }
    }
}

/// The stream ended before both its directions had.
struct Broken;

/// Goes on until both directions have ended, or the stream is broken, of which the other end is told. When the
/// connection is over, what the socket has not taken by then is dropped: whoever does not read keeps no memory.
pub(crate) async fn run(socket: impl AsyncRead + AsyncWrite, ends: Ends) {
    let (read, write) = split(socket);
    let silent = Semaphore::new(0);
    let mut up = pin!(up(read, &ends));
    let mut down = pin!(down(write, &ends, &silent));
    let came = &ends.came;
    let both = async {
        tokio::select! {
            ended = &mut up => {
                ended?;
                silent.close();
                down.await
            }
            ended = &mut down => {
                ended?;
                // Nothing more comes but, at any time, the end of the other direction too.
                tokio::select! {
                    ended = &mut up => ended,
                    () = came.broken() => Err(Broken),
                }
            }
        }
    };
    let ended = tokio::select! {
        biased;
        ended = both => ended,
        // It never gives a permit. There is nobody to tell.
        _ = ends.alive.acquire() => return,
    };
    if ended.is_err() {
        let _ = ends.out.send((ends.number, Frame::Reset)).await;
    }
}

/// From the socket to the other end, as far as it has room.
async fn up(mut socket: impl AsyncRead + Unpin, ends: &Ends) -> Result<(), Broken> {
    let Ends {
        number,
        out,
        credit,
        unsent,
        ..
    } = ends;
    let mut room = vec![0; MOST];
    loop {
        let first = credit.acquire().await.map_err(|_| Broken)?;
        let more = credit.available_permits().min(MOST - 1);
        // At most a frame: it fits.
        let more = credit.try_acquire_many(more as u32).ok();
        let most = 1 + more
            .as_ref()
            .map_or(0, tokio::sync::SemaphorePermit::num_permits);
        let read = socket.read(&mut room[..most]).await.map_err(|_| Broken)?;
        let frame = if read == 0 {
            Frame::End
        } else {
            first.forget();
            if let Some(mut more) = more {
                more.split(read - 1).ok_or(Broken)?.forget();
            }
            unsent.fetch_sub(read, Relaxed);
            Frame::Data(room[..read].to_vec())
        };
        out.send((*number, frame)).await.map_err(|_| Broken)?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// From the other end to the socket, and back the word of what was taken. `silent` is closed when the socket will say
/// no more.
async fn down(
    mut socket: impl AsyncWrite + Unpin,
    ends: &Ends,
    silent: &Semaphore,
) -> Result<(), Broken> {
    loop {
        let piece = tokio::select! {
            piece = ends.came.take() => piece?,
            () = unread(&mut socket, silent) => return Err(Broken),
        };
        let Some(piece) = piece else {
            return socket.shutdown().await.map_err(|_| Broken);
        };
        socket.write_all(&piece).await.map_err(|_| Broken)?;
        if let Some(more) = ends.window.took(piece.len()) {
            let credit = (ends.number, Frame::Credit(more));
            ends.out.send(credit).await.map_err(|_| Broken)?;
        }
    }
}

/// Until nobody reads the socket any more. One that was closed looks like one that will only say no more, and the
/// other end may never say anything that would show it; writing nothing shows it (EPIPE).
async fn unread(socket: &mut (impl AsyncWrite + Unpin), silent: &Semaphore) {
    // It has no permits, so this is until it is closed.
    let _ = silent.acquire().await;
    loop {
        tokio::time::sleep(LOOK).await;
        if socket.write(&[]).await.is_err() {
            return;
        }
    }
}
