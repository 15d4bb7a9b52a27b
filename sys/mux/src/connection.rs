//! The two ends of a connection.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Plain;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use warder_wire::link::{Refusal, Role};

use crate::frame::{Frame, HEAD, Head, MOST, NotAFrame, Target, WINDOW};
use crate::pump::{self, Came, Ends};

/// Frames that wait to be written. What a terminal says waits behind no more than these.
const WAITING: usize = 8;
/// Streams at any time.
const STREAMS: usize = 1024;
/// How long an agent may take to answer. It may still be starting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes that are written at once, but for the last frame.
const AT_ONCE: usize = 4 * MOST;

/// Why there is no stream, or no connection any more.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// The other end would not.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// Too many are open.
    #[error("too many streams")]
    TooMany,
    /// The connection ended.
    #[error("the connection has ended")]
    Over,
    /// The other end said what it must not.
    #[error("the other end broke the rules: {0}")]
    Violation(&'static str),
    /// The other end sent what is nothing.
    #[error(transparent)]
    NotAFrame(#[from] NotAFrame),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One stream, for whoever reads the connection.
#[derive(Debug)]
struct Entry {
    came: Arc<Came>,
    credit: Arc<Semaphore>,
    owed: Arc<AtomicUsize>,
    /// Who waits for it to be opened.
    asker: Option<oneshot::Sender<Result<(), Refusal>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.came.never_more();
    }
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u32, Entry>,
    /// The number of the next one.
    next: u32,
    over: bool,
}

#[derive(Debug)]
struct Shared {
    streams: Mutex<Streams>,
    out: Sender<(u32, Frame)>,
    over: Notify,
    /// A place for each socket that is joined, or is to be, whatever the other end says of its stream.
    places: Arc<Semaphore>,
}

impl Shared {
    fn new() -> (Arc<Self>, Receiver<(u32, Frame)>) {
        let (out, waiting) = mpsc::channel(WAITING);
        let shared = Self {
            streams: Mutex::default(),
            out,
            over: Notify::new(),
            places: Arc::new(Semaphore::new(STREAMS)),
        };
        (Arc::new(shared), waiting)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream breaks, and no other begins.
    fn end(&self) {
        let mut streams = self.streams();
        streams.over = true;
        for (_, entry) in streams.open.drain() {
            entry.credit.close();
        }
        drop(streams);
        self.over.notify_waiters();
        // Whoever comes to wait afterwards.
        self.over.notify_one();
    }

    /// Joins a socket to a stream until that has ended.
    async fn join(&self, socket: impl AsyncRead + AsyncWrite, ends: Ends) {
        let number = ends.number;
        pump::run(socket, ends).await;
        self.streams().open.remove(&number);
    }

    /// Takes what the other end says of a stream.
    fn heard(self: &Arc<Self>, number: u32, frame: Frame) -> Result<(), MuxError> {
        let mut streams = self.streams();
        if number >= streams.next {
            return Err(MuxError::Violation("a stream that was never opened"));
        }
        let Some(entry) = streams.open.get_mut(&number) else {
            // It ended here already; the other end did not know.
            return Ok(());
        };
        if entry.asker.is_some() && !matches!(frame, Frame::Opened | Frame::Refused(_)) {
            return Err(MuxError::Violation("a stream was used before it was open"));
        }
        match frame {
            Frame::Data(bytes) => {
                let owed = entry.owed.fetch_add(bytes.len(), Relaxed) + bytes.len();
                if owed > WINDOW {
                    return Err(MuxError::Violation("more than the window"));
                }
                entry.came.put(&bytes).map_err(MuxError::Violation)?;
            }
            Frame::End => entry.came.end().map_err(MuxError::Violation)?,
            Frame::Credit(bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let room = WINDOW - entry.credit.available_permits().min(WINDOW);
                if bytes > room {
                    return Err(MuxError::Violation("took more than it was sent"));
                }
                entry.credit.add_permits(bytes);
            }
            Frame::Reset => {
                entry.credit.close();
                streams.open.remove(&number);
            }
            Frame::Opened => {
                let asker = entry.asker.take();
                let asker = asker.ok_or(MuxError::Violation("opened twice"))?;
                if asker.send(Ok(())).is_err() {
                    // Nobody wants it any more.
                    streams.open.remove(&number);
                    let shared = Arc::clone(self);
                    tokio::spawn(async move { shared.out.send((number, Frame::Reset)).await });
                }
            }
            Frame::Refused(refusal) => {
                let asker = entry.asker.take();
                streams.open.remove(&number);
                let asker = asker.ok_or(MuxError::Violation("refused after it was opened"))?;
                let _ = asker.send(Err(refusal));
            }
            Frame::Open(_) => return Err(MuxError::Violation("opened a stream")),
        }
        Ok(())
    }
}

/// A stream about to be: its entry, and what its pump gets.
fn begin(
    shared: &Shared,
    number: u32,
    asker: Option<oneshot::Sender<Result<(), Refusal>>>,
) -> (Entry, Ends) {
    let came = Arc::<Came>::default();
    let (credit, owed) = (
        Arc::new(Semaphore::new(WINDOW)),
        Arc::<AtomicUsize>::default(),
    );
    let ends = Ends {
        number,
        out: shared.out.clone(),
        credit: Arc::clone(&credit),
        owed: Arc::clone(&owed),
        came: Arc::clone(&came),
    };
    let entry = Entry {
        came,
        credit,
        owed,
        asker,
    };
    (entry, ends)
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<(u32, Frame), MuxError> {
    let mut head = [0; HEAD];
    match from.read_exact(&mut head).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(MuxError::Over),
        done => done?,
    };
    let head = Head::decode(head)?;
    let mut rest = vec![0; head.length];
    from.read_exact(&mut rest).await?;
    Ok((head.stream, head.complete(rest)?))
}

/// Writes what waits, several frames at once where several wait.
async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    waiting: &mut Receiver<(u32, Frame)>,
) -> Result<(), MuxError> {
    let mut bytes = Vec::new();
    while let Some((number, frame)) = waiting.recv().await {
        frame.encode(number, &mut bytes);
        // Whoever made room by this could fill it again at once.
        while bytes.len() < AT_ONCE
            && let Ok((number, frame)) = waiting.try_recv()
        {
            frame.encode(number, &mut bytes);
        }
        to.write_all(&bytes).await?;
        to.flush().await?;
        bytes.clear();
    }
    Ok(())
}

/// The gateway's end: it opens streams.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

impl Host {
    /// Starts on a stream. To be called in a runtime.
    #[must_use]
    pub fn start(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (shared, mut waiting) = Shared::new();
        let host = Self {
            shared: Arc::clone(&shared),
        };
        tokio::spawn(async move {
            let (mut from, mut to) = split(stream);
            let heard = async {
                loop {
                    let (number, frame) = read(&mut from).await?;
                    shared.heard(number, frame)?;
                }
            };
            let ended: Result<(), MuxError> = tokio::select! {
                ended = heard => ended,
                ended = write(&mut to, &mut waiting) => ended,
                () = shared.over.notified() => Ok(()),
            };
            // Why it ended matters to nobody here: the other end is a guest.
            drop(ended);
            shared.end();
        });
        host
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.streams().over
    }

    /// Ends it, with every stream.
    pub fn end(&self) {
        self.shared.end();
    }

    /// A socket at whose other end the agent serves its API. What is written before it does waits.
    ///
    /// # Errors
    /// The process's limit of descriptors; [`MuxError::TooMany`].
    pub fn agent(&self, role: Role) -> Result<Plain, MuxError> {
        let place = self.place()?;
        let (ours, theirs) = Plain::pair()?;
        theirs.set_nonblocking(true)?;
        let theirs = UnixStream::from_std(theirs)?;
        let host = self.clone();
        tokio::spawn(async move {
            // Refused, or not answered: the socket's other end is closed, as that of an agent that went away.
            let open = host.open(Target::Agent(role));
            if let Ok(Ok(ends)) = tokio::time::timeout(PATIENCE, open).await {
                host.shared.join(theirs, ends).await;
            }
            drop(place);
        });
        Ok(ours)
    }

    /// A socket at whose other end a TCP port of the guest is.
    ///
    /// # Errors
    /// [`MuxError`].
    pub async fn port(&self, port: u16) -> Result<Plain, MuxError> {
        let place = self.place()?;
        let ends = self.open(Target::Port(port)).await?;
        let (ours, theirs) = Plain::pair()?;
        theirs.set_nonblocking(true)?;
        let theirs = UnixStream::from_std(theirs)?;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            shared.join(theirs, ends).await;
            drop(place);
        });
        Ok(ours)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, MuxError> {
        let places = Arc::clone(&self.shared.places);
        places.try_acquire_owned().map_err(|_| MuxError::TooMany)
    }

    async fn open(&self, target: Target) -> Result<Ends, MuxError> {
        let (asker, answer) = oneshot::channel();
        let place = self
            .shared
            .out
            .reserve()
            .await
            .map_err(|_| MuxError::Over)?;
        let ends = {
            let mut streams = self.shared.streams();
            if streams.over {
                return Err(MuxError::Over);
            }
            if streams.open.len() >= STREAMS || streams.next == u32::MAX {
                return Err(MuxError::TooMany);
            }
            let number = streams.next;
            streams.next += 1;
            let (entry, ends) = begin(&self.shared, number, Some(asker));
            streams.open.insert(number, entry);
            // Under the lock: numbers grow on the wire too.
            place.send((number, Frame::Open(target)));
            ends
        };
        match answer.await {
            Ok(Ok(())) => Ok(ends),
            Ok(Err(refusal)) => Err(MuxError::Refused(refusal)),
            Err(_) => Err(MuxError::Over),
        }
    }
}

/// The agent's end: it serves streams.
#[derive(Debug)]
pub struct Guest;

/// A stream that the gateway asks for.
#[derive(Debug)]
#[must_use = "the gateway waits for an answer"]
pub struct Incoming {
    /// Where it is to lead.
    pub target: Target,
    shared: Arc<Shared>,
    ends: Ends,
}

impl Guest {
    /// Serves until the connection ends.
    ///
    /// # Errors
    /// [`MuxError`]; [`MuxError::Over`] is the ordinary end.
    pub async fn serve(
        stream: impl AsyncRead + AsyncWrite,
        mut asked: impl FnMut(Incoming),
    ) -> Result<(), MuxError> {
        let (shared, mut waiting) = Shared::new();
        let (mut from, mut to) = split(stream);
        let heard = async {
            loop {
                let (number, frame) = read(&mut from).await?;
                let Frame::Open(target) = frame else {
                    shared.heard(number, frame)?;
                    continue;
                };
                let mut streams = shared.streams();
                if number != streams.next {
                    return Err(MuxError::Violation("numbers out of order"));
                }
                streams.next = number.checked_add(1).ok_or(MuxError::TooMany)?;
                let (entry, ends) = begin(&shared, number, None);
                streams.open.insert(number, entry);
                drop(streams);
                asked(Incoming {
                    target,
                    shared: Arc::clone(&shared),
                    ends,
                });
            }
        };
        let ended = tokio::select! {
            ended = heard => ended,
            ended = write(&mut to, &mut waiting) => ended,
        };
        shared.end();
        ended
    }
}

impl Incoming {
    /// Joins it to a socket until it ends.
    pub async fn join(self, socket: impl AsyncRead + AsyncWrite) {
        let opened = (self.ends.number, Frame::Opened);
        if self.shared.out.send(opened).await.is_ok() {
            self.shared.join(socket, self.ends).await;
        }
    }

    /// Says that it cannot be.
    pub async fn refuse(self, why: Refusal) {
        let number = self.ends.number;
        self.shared.streams().open.remove(&number);
        // Nobody waits when the connection has ended.
        let _ = self.shared.out.send((number, Frame::Refused(why))).await;
    }
}
