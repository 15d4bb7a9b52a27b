//! Between a socket of this process and one stream.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, Semaphore};

use crate::frame::{Frame, MOST, WINDOW};

/// Taken bytes are told in portions, so that small reads do not cost a frame each.
const PORTION: usize = WINDOW / 4;
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
    /// Bytes that were sent and that the other end has not said it took.
    pub(crate) sent: Arc<AtomicUsize>,
    /// Bytes that came and that the other end was not told are taken.
    pub(crate) owed: Arc<AtomicUsize>,
    /// What came.
    pub(crate) came: Arc<Came>,
}

/// What came for a stream and was not taken yet, in one piece: many short frames cost no more than a long one.
#[derive(Debug, Default)]
pub(crate) struct Came {
    so_far: Mutex<SoFar>,
    news: Notify,
}

#[derive(Debug, Default)]
struct SoFar {
    bytes: Vec<u8>,
    /// No more of them: the other end has said so.
    ended: bool,
    /// Nothing more at all: the stream is broken, or over.
    never_more: bool,
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
        so_far.bytes.extend_from_slice(bytes);
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

    /// What came; `None` at the end.
    async fn take(&self) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            {
                let mut so_far = self.so_far();
                if !so_far.bytes.is_empty() {
                    return Ok(Some(std::mem::take(&mut so_far.bytes)));
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

/// Goes on until both directions have ended, or the stream is broken, of which the other end is told.
pub(crate) async fn run(socket: impl AsyncRead + AsyncWrite, ends: Ends) {
    let Ends {
        number,
        out,
        credit,
        sent,
        owed,
        came,
    } = ends;
    let (read, write) = split(socket);
    let silent = Semaphore::new(0);
    let mut up = pin!(up(read, number, &out, &credit, &sent));
    let mut down = pin!(down(write, number, &out, &owed, &came, &silent));
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
    if both.await.is_err() {
        // When the connection is over there is nobody to tell.
        let _ = out.send((number, Frame::Reset)).await;
    }
}

/// From the socket to the other end, as far as it has room.
async fn up(
    mut socket: impl AsyncRead + Unpin,
    number: u64,
    out: &Sender<(u64, Frame)>,
    credit: &Semaphore,
    sent: &AtomicUsize,
) -> Result<(), Broken> {
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
            // What is only held is not sent.
            sent.fetch_add(read, Relaxed);
            Frame::Data(room[..read].to_vec())
        };
        out.send((number, frame)).await.map_err(|_| Broken)?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// From the other end to the socket, and back the word of what was taken. `silent` is closed when the socket will say
/// no more.
async fn down(
    mut socket: impl AsyncWrite + Unpin,
    number: u64,
    out: &Sender<(u64, Frame)>,
    owed: &AtomicUsize,
    came: &Came,
    silent: &Semaphore,
) -> Result<(), Broken> {
    let mut taken = 0;
    loop {
        let bytes = tokio::select! {
            bytes = came.take() => bytes?,
            () = unread(&mut socket, silent) => return Err(Broken),
        };
        let Some(bytes) = bytes else {
            return socket.shutdown().await.map_err(|_| Broken);
        };
        for piece in bytes.chunks(MOST) {
            socket.write_all(piece).await.map_err(|_| Broken)?;
            taken += piece.len();
            if taken >= PORTION {
                owed.fetch_sub(taken, Relaxed);
                // A window fits.
                let credit = Frame::Credit(taken as u32);
                out.send((number, credit)).await.map_err(|_| Broken)?;
                taken = 0;
            }
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
