//! What either end knows of a connection: its streams, and what may be sent on it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};
use warder_wire::link::Refusal;

use crate::MuxError;
use crate::frame::{FIRST, Frame, Hello, WINDOW};
use crate::line::{self, Decoder};
use crate::pump::{self, Came, Ends};
use crate::window::{Budget, Window};

/// Frames that wait to be written. What a terminal says waits behind no more than these.
const WAITING: usize = 8;
/// Most bytes that are written at once, but for the last frame.
const AT_ONCE: usize = 64 * 1024;
/// Most bytes that are read at once.
const READ: usize = 16 * 1024;

/// One stream, for whoever reads the connection.
#[derive(Debug)]
pub(crate) struct Entry {
    came: Arc<Came>,
    window: Arc<Window>,
    credit: Arc<Semaphore>,
    unsent: Arc<AtomicUsize>,
    /// Who waits for it to be opened.
    asker: Option<oneshot::Sender<Result<(), Refusal>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.credit.close();
        self.came.never_more();
    }
}

/// The streams there are.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) open: HashMap<u64, Entry>,
    /// The number of the next one. No number is used twice; they last for longer than any machine.
    pub(crate) next: u64,
    pub(crate) over: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    streams: Mutex<Streams>,
    pub(crate) out: Sender<(u64, Frame)>,
    over: Notify,
    /// What is left of the room that the other end said it has, and what was sent into it and not yet taken. Counted
    /// apart: a writer that waits for room already holds a part of it, and gives it back when it is told to wait anew.
    room: Semaphore,
    sent: AtomicU32,
    /// Room here that was used and is free again, and how much of it is worth a word.
    taken: AtomicU32,
    portion: u32,
    /// Whether the gateway asked once more whether this connection is.
    asked_again: AtomicBool,
    /// There is something to say that waits for no room.
    due: Notify,
    /// What may come of all streams.
    budget: Arc<Budget>,
    /// It has no permits, and is closed at the end: every pump sees that, also one whose stream is no longer listed.
    alive: Arc<Semaphore>,
}

impl Session {
    /// One with so much room here.
    pub(crate) fn new(room: u32) -> (Arc<Self>, Receiver<(u64, Frame)>) {
        let (out, waiting) = mpsc::channel(WAITING);
        let session = Self {
            streams: Mutex::new(Streams {
                open: HashMap::new(),
                next: 1,
                over: false,
            }),
            out,
            over: Notify::new(),
            room: Semaphore::new(0),
            sent: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            // The longest frame always fits into the rest.
            portion: room / 3,
            asked_again: AtomicBool::new(false),
            due: Notify::new(),
            budget: Arc::default(),
            alive: Arc::new(Semaphore::new(0)),
        };
        (Arc::new(session), waiting)
    }

    /// The other end has said how much room it has.
    pub(crate) fn greeted(&self, room: u32) {
        // As much as fits into 32 bits fits a semaphore on every system there is.
        self.room.add_permits(room as usize);
    }

    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every stream breaks, and no other begins.
    pub(crate) fn end(&self) {
        let mut streams = self.streams();
        streams.over = true;
        streams.open.clear();
        drop(streams);
        self.room.close();
        self.alive.close();
        self.over.notify_waiters();
        // Whoever comes to wait afterwards.
        self.over.notify_one();
    }

    /// Until it is ended from here.
    pub(crate) async fn ended(&self) {
        self.over.notified().await;
    }

    /// A stream begins: what its pump gets. Its number is the caller's to choose.
    pub(crate) fn begin(
        &self,
        streams: &mut Streams,
        number: u64,
        asker: Option<oneshot::Sender<Result<(), Refusal>>>,
    ) -> Ends {
        let came = Arc::<Came>::default();
        let window = Arc::new(Window::new(&self.budget));
        let credit = Arc::new(Semaphore::new(FIRST));
        let unsent = Arc::new(AtomicUsize::new(FIRST));
        let ends = Ends {
            number,
            out: self.out.clone(),
            credit: Arc::clone(&credit),
            unsent: Arc::clone(&unsent),
            window: Arc::clone(&window),
            came: Arc::clone(&came),
            alive: Arc::clone(&self.alive),
        };
        let entry = Entry {
            came,
            window,
            credit,
            unsent,
            asker,
        };
        streams.next = number.saturating_add(1);
        streams.open.insert(number, entry);
        ends
    }

    /// Joins a socket to a stream until that has ended.
    pub(crate) async fn join(&self, socket: impl AsyncRead + AsyncWrite, ends: Ends) {
        let number = ends.number;
        pump::run(socket, ends).await;
        self.streams().open.remove(&number);
    }

    /// The gateway asks whether this connection is.
    pub(crate) fn ask_again(&self) {
        self.asked_again.store(true, Relaxed);
        self.due.notify_one();
    }

    /// So much room is free again. Whether the other end kept to it does not matter here: the windows of the streams
    /// are what takes memory.
    pub(crate) fn took(&self, cost: usize) {
        // At most a frame: it fits.
        let cost = cost as u32;
        let taken = self.taken.fetch_add(cost, Relaxed);
        if taken.saturating_add(cost) >= self.portion {
            self.due.notify_one();
        }
    }

    /// Takes what the other end says, which cost so much room.
    pub(crate) fn heard(&self, number: u64, frame: Frame, cost: usize) -> Result<(), MuxError> {
        if let Frame::Took(room) = frame {
            let left = |sent: u32| sent.checked_sub(room);
            self.sent
                .fetch_update(Relaxed, Relaxed, left)
                .map_err(|_| MuxError::Violation("took more than it was sent"))?;
            self.room.add_permits(room as usize);
            return Ok(());
        }
        if frame.costs() {
            self.took(cost);
        }
        let mut streams = self.streams();
        if number == 0 || number >= streams.next {
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
                if !entry.window.came(bytes.len()) {
                    return Err(MuxError::Violation("more than the window"));
                }
                entry.came.put(&bytes).map_err(MuxError::Violation)?;
            }
            Frame::End => entry.came.end().map_err(MuxError::Violation)?,
            Frame::Credit(bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let more = |unsent: usize| unsent.checked_add(bytes).filter(|all| *all <= WINDOW);
                entry
                    .unsent
                    .fetch_update(Relaxed, Relaxed, more)
                    .map_err(|_| MuxError::Violation("gave more than a window"))?;
                entry.credit.add_permits(bytes);
            }
            Frame::Reset => {
                streams.open.remove(&number);
            }
            Frame::Opened => {
                let asker = entry.asker.take();
                let asker = asker.ok_or(MuxError::Violation("opened twice"))?;
                // Whoever gives up says so himself.
                let _ = asker.send(Ok(()));
            }
            Frame::Refused(refusal) => {
                let asker = entry.asker.take();
                streams.open.remove(&number);
                let asker = asker.ok_or(MuxError::Violation("refused after it was opened"))?;
                let _ = asker.send(Err(refusal));
            }
            Frame::Open(_) => return Err(MuxError::Violation("opened a stream")),
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Bye | Frame::Took(_) => {
                return Err(MuxError::Violation("not now"));
            }
        }
        Ok(())
    }

    /// What is to be said whether there is room or not: seldom, and short. Waits until there is something.
    async fn due(&self, again: Hello) -> Vec<u8> {
        loop {
            let mut bytes = Vec::new();
            if self.asked_again.swap(false, Relaxed) {
                bytes.extend(line::encode(0, &Frame::Welcome(again)));
            }
            if self.taken.load(Relaxed) >= self.portion {
                let taken = self.taken.swap(0, Relaxed);
                bytes.extend(line::encode(0, &Frame::Took(taken)));
            }
            if !bytes.is_empty() {
                return bytes;
            }
            self.due.notified().await;
        }
    }

    /// A frame is sent into this room.
    fn spend(&self, room: SemaphorePermit<'_>) {
        // No more than the other end named, which fits.
        self.sent.fetch_add(room.num_permits() as u32, Relaxed);
        room.forget();
    }

    /// Writes what waits, as far as the other end has room, several frames at once where several wait. `again` is
    /// the agent's answer to a gateway that asks again.
    pub(crate) async fn write(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        waiting: &mut Receiver<(u64, Frame)>,
        again: Hello,
    ) -> Result<(), MuxError> {
        let mut next = None;
        // What was said before may have been cut off.
        let mut written = vec![0];
        loop {
            let more = async {
                if next.is_none() {
                    let frame = waiting.recv().await.ok_or(MuxError::Over)?;
                    next = Some(packed(&frame));
                }
                let cost = next.as_ref().map_or(0, |(_, cost)| *cost);
                // A frame is far shorter.
                let room = self.room.acquire_many(cost as u32).await;
                self.spend(room.map_err(|_| MuxError::Over)?);
                Ok::<_, MuxError>(())
            };
            let first = tokio::select! {
                biased;
                bytes = self.due(again) => bytes,
                done = more => {
                    done?;
                    next.take().map(|(bytes, _)| bytes).unwrap_or_default()
                }
            };
            let mut bytes = std::mem::take(&mut written);
            bytes.extend(first);
            // Whoever made room by this could fill it again at once.
            while next.is_none()
                && bytes.len() < AT_ONCE
                && let Ok(frame) = waiting.try_recv()
            {
                let (packed, cost) = packed(&frame);
                match self.room.try_acquire_many(cost as u32) {
                    Ok(room) => {
                        self.spend(room);
                        bytes.extend(packed);
                    }
                    Err(_) => next = Some((packed, cost)),
                }
            }
            to.write_all(&bytes).await?;
            to.flush().await?;
        }
    }
}

fn packed((number, frame): &(u64, Frame)) -> (Vec<u8>, usize) {
    let (bytes, cost) = line::pack(*number, frame);
    (bytes, if frame.costs() { cost } else { 0 })
}

/// Frames out of a stream. Nothing is lost when a caller gives up waiting.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    from: R,
    decoder: Decoder,
    room: Vec<u8>,
    at: usize,
    filled: usize,
    /// How many bytes may still come, if not any number.
    pub(crate) most: Option<usize>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            decoder: Decoder::default(),
            room: vec![0; READ],
            at: 0,
            filled: 0,
            most: None,
        }
    }

    /// The next frame, or what came in the place of one.
    pub(crate) async fn next(&mut self) -> Result<Result<line::Came, MuxError>, MuxError> {
        loop {
            while self.at < self.filled {
                let (used, came) = self.decoder.take(&self.room[self.at..self.filled]);
                self.at += used;
                if let Some(came) = came {
                    return Ok(came.map_err(MuxError::from));
                }
            }
            let filled = self.from.read(&mut self.room).await?;
            if filled == 0 {
                return Err(MuxError::Over);
            }
            (self.at, self.filled) = (0, filled);
            if let Some(most) = &mut self.most {
                *most = most
                    .checked_sub(filled)
                    .ok_or(MuxError::Violation("nothing but rubbish"))?;
            }
        }
    }

    /// The next frame where anything else is a fault.
    pub(crate) async fn sound(&mut self) -> Result<line::Came, MuxError> {
        self.next().await?
    }
}

/// Writes one frame behind whatever was written before it, whole or not.
pub(crate) async fn say(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut bytes = vec![0];
    bytes.extend(line::encode(0, frame));
    to.write_all(&bytes).await?;
    to.flush().await
}
