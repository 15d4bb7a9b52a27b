//! Between a socket of this process and one stream.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use crate::frame::{Frame, MOST, WINDOW};

/// Taken bytes are told in portions, so that small reads do not cost a frame each.
const PORTION: usize = WINDOW / 4;

/// What a stream is to its pump.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) number: u32,
    /// Frames for the other end, in turn with those of other streams.
    pub(crate) out: Sender<(u32, Frame)>,
    /// Bytes that may still be sent.
    pub(crate) credit: Arc<Semaphore>,
    /// Bytes that came and that the other end was not told are taken.
    pub(crate) owed: Arc<AtomicUsize>,
    /// What came; closed when the stream is broken.
    pub(crate) came: UnboundedReceiver<Came>,
}

/// What came for a stream. Never more than its window.
#[derive(Debug)]
pub(crate) enum Came {
    /// Bytes.
    Data(Vec<u8>),
    /// No more of them.
    End,
}

/// The stream ended before both its directions had.
struct Broken;

/// Goes on until both directions have ended, or the stream is broken, of which the other end is told.
pub(crate) async fn run(socket: impl AsyncRead + AsyncWrite, ends: Ends) {
    let Ends {
        number,
        out,
        credit,
        owed,
        came,
    } = ends;
    let (read, write) = split(socket);
    let mut up = pin!(up(read, number, &out, &credit));
    let mut down = pin!(down(write, number, &out, &owed, came));
    let both = async {
        tokio::select! {
            ended = &mut up => {
                ended?;
                down.await.map(drop)
            }
            ended = &mut down => {
                let mut came = ended?;
                // Nothing more comes but, at any time, the end of the other direction too.
                tokio::select! {
                    ended = &mut up => ended,
                    () = gone(&mut came) => Err(Broken),
                }
            }
        }
    };
    if both.await.is_err() {
        // When the connection is over there is nobody to tell.
        let _ = out.send((number, Frame::Reset)).await;
    }
}

/// Until the stream is broken.
async fn gone(came: &mut UnboundedReceiver<Came>) {
    while came.recv().await.is_some() {}
}

/// From the socket to the other end, as far as it has room.
async fn up(
    mut socket: impl AsyncRead + Unpin,
    number: u32,
    out: &Sender<(u32, Frame)>,
    credit: &Semaphore,
) -> Result<(), Broken> {
    let mut room = vec![0; MOST];
    loop {
        let first = credit.acquire().await.map_err(|_| Broken)?;
        let more = credit.available_permits().min(MOST - 1);
        // At most 16 KiB: it fits.
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
            Frame::Data(room[..read].to_vec())
        };
        out.send((number, frame)).await.map_err(|_| Broken)?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// From the other end to the socket, and back the word of what was taken.
async fn down(
    mut socket: impl AsyncWrite + Unpin,
    number: u32,
    out: &Sender<(u32, Frame)>,
    owed: &AtomicUsize,
    mut came: UnboundedReceiver<Came>,
) -> Result<UnboundedReceiver<Came>, Broken> {
    let mut taken = 0;
    loop {
        match came.recv().await.ok_or(Broken)? {
            Came::Data(bytes) => {
                socket.write_all(&bytes).await.map_err(|_| Broken)?;
                taken += bytes.len();
                if taken >= PORTION {
                    owed.fetch_sub(taken, Relaxed);
                    // A window fits.
                    let credit = Frame::Credit(taken as u32);
                    out.send((number, credit)).await.map_err(|_| Broken)?;
                    taken = 0;
                }
            }
            Came::End => {
                socket.shutdown().await.map_err(|_| Broken)?;
                return Ok(came);
            }
        }
    }
}
