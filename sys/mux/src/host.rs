//! The gateway's end: it opens streams.

use std::io;
use std::os::unix::net::UnixStream as Plain;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use warder_wire::link::Role;

use crate::MuxError;
use crate::frame::{Frame, Hello, SOCKET_ROOM, Target, VERSION};
use crate::pump::Ends;
use crate::session::{Frames, Session, say};

/// Streams at any time.
const STREAMS: usize = 1024;
/// How long an agent may take to answer. It may still be starting. One that takes longer, even for a single stream to
/// itself, loses the connection: it may have forgotten it, and its word of that may be lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// It is asked again after this time, which doubles up to [`SELDOM`]: what is said before it listens is lost.
const AGAIN: Duration = Duration::from_millis(100);
/// See [`AGAIN`].
const SELDOM: Duration = Duration::from_secs(2);
/// What the kernel keeps of a stream in each direction: memory of this process, which clients and guests fill as they
/// do windows. Linux takes twice as much, and counts its own.
const IN_SOCKET: usize = 16 * 1024;
/// Most bytes of an earlier connection, or rubbish (what a machine says while it starts), before the agent's answer.
const RUBBISH: usize = 4 * 1024 * 1024;

/// The gateway's end: it opens streams.
#[derive(Clone, Debug)]
pub struct Host {
    session: Arc<Session>,
    /// A place for each socket that is joined, or is to be, whatever the other end says of its stream.
    places: Arc<Semaphore>,
    /// Whether the agent has answered: until then `None`, then what it said, or why it never will.
    greeted: watch::Receiver<Option<Result<(), Silence>>>,
}

/// Why there will be no answer.
#[derive(Clone, Copy, Debug)]
enum Silence {
    Version(u16),
    Over,
}

impl Host {
    /// Starts on a stream, whatever is in it. The nonce must be one that nobody has used on it before. To be called in
    /// a runtime.
    #[must_use]
    pub fn start(stream: impl AsyncRead + AsyncWrite + Send + 'static, nonce: [u8; 16]) -> Self {
        let (session, mut waiting) = Session::new(SOCKET_ROOM);
        let (tell, greeted) = watch::channel(None);
        let host = Self {
            session: Arc::clone(&session),
            places: Arc::new(Semaphore::new(STREAMS)),
            greeted,
        };
        let ours = Hello {
            version: VERSION,
            nonce,
            room: SOCKET_ROOM,
        };
        tokio::spawn(async move {
            let (from, mut to) = split(stream);
            let mut from = Frames::new(from);
            let serving = async {
                let theirs = greet(&mut from, &mut to, ours).await?;
                session.greeted(theirs.room);
                tell.send_replace(Some(Ok(())));
                tokio::select! {
                    ended = hear(&session, &mut from, nonce) => ended,
                    ended = session.write(&mut to, &mut waiting, ours) => ended,
                }
            };
            let ended: Result<(), MuxError> = tokio::select! {
                ended = serving => ended,
                () = session.ended() => Ok(()),
            };
            session.end();
            // Why it ended matters to nobody, the other end is a guest; but an agent of another version is the
            // operator's to replace.
            let why = match ended {
                Err(MuxError::Version(theirs)) => Silence::Version(theirs),
                _ => Silence::Over,
            };
            tell.send_replace(Some(Err(why)));
        });
        host
    }

    /// Until the agent has answered.
    ///
    /// # Errors
    /// [`MuxError::Over`], after a minute at most; [`MuxError::Version`].
    pub async fn ready(&self) -> Result<(), MuxError> {
        let mut greeted = self.greeted.clone();
        let answer = greeted.wait_for(Option::is_some).await;
        match answer.map_or(Some(Err(Silence::Over)), |answer| *answer) {
            Some(Ok(())) => Ok(()),
            Some(Err(Silence::Version(theirs))) => Err(MuxError::Version(theirs)),
            Some(Err(Silence::Over)) | None => Err(MuxError::Over),
        }
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.streams().over
    }

    /// Ends it, with every stream.
    pub fn end(&self) {
        self.session.end();
    }

    /// A socket at whose other end the agent serves its API. What is written before it does waits.
    ///
    /// # Errors
    /// The process's limit of descriptors; [`MuxError::TooMany`].
    pub fn agent(&self, role: Role) -> Result<Plain, MuxError> {
        let place = self.place()?;
        let (ours, theirs) = pair()?;
        let host = self.clone();
        tokio::spawn(async move {
            // Refused, or not answered: the socket's other end is closed, as that of an agent that went away.
            let open = host.open(Target::Agent(role), place);
            match tokio::time::timeout(PATIENCE, open).await {
                Ok(Ok((ends, place))) => {
                    host.session.join(theirs, ends).await;
                    drop(place);
                }
                Ok(Err(_)) => {}
                // It answers nothing: whoever asks next begins anew.
                Err(_) => host.session.end(),
            }
        });
        Ok(ours)
    }

    /// A socket at whose other end a TCP port of the guest is.
    ///
    /// # Errors
    /// [`MuxError`].
    pub async fn port(&self, port: u16) -> Result<Plain, MuxError> {
        let place = self.place()?;
        // Before it is asked for: what fails later would leave the stream open with nobody at it.
        let (ours, theirs) = pair()?;
        let (ends, place) = self.open(Target::Port(port), place).await?;
        let session = Arc::clone(&self.session);
        tokio::spawn(async move {
            session.join(theirs, ends).await;
            drop(place);
        });
        Ok(ours)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, MuxError> {
        let places = Arc::clone(&self.places);
        places.try_acquire_owned().map_err(|_| MuxError::TooMany)
    }

    async fn open(
        &self,
        target: Target,
        place: OwnedSemaphorePermit,
    ) -> Result<(Ends, OwnedSemaphorePermit), MuxError> {
        let (asker, answer) = oneshot::channel();
        let session = &self.session;
        let turn = session.out.reserve().await.map_err(|_| MuxError::Over)?;
        let ends = {
            let mut streams = session.streams();
            if streams.over {
                return Err(MuxError::Over);
            }
            let number = streams.next;
            let ends = session.begin(&mut streams, number, Some(asker));
            // Under the lock: numbers grow on the wire too.
            turn.send((number, Frame::Open(target)));
            ends
        };
        let mut asked = Asked {
            session,
            number: ends.number,
            place: Some(place),
        };
        let answer = answer.await;
        let place = asked.place.take().ok_or(MuxError::Over)?;
        match answer {
            Ok(Ok(())) => Ok((ends, place)),
            Ok(Err(refusal)) => Err(MuxError::Refused(refusal)),
            Err(_) => Err(MuxError::Over),
        }
    }
}

/// Where a stream ends in this process, and what joins it there.
fn pair() -> io::Result<(Plain, UnixStream)> {
    let (ours, theirs) = Plain::pair()?;
    for end in [&ours, &theirs] {
        // Systems differ in which of the two bounds what is on its way.
        sockopt::set_socket_send_buffer_size(end, IN_SOCKET)?;
        sockopt::set_socket_recv_buffer_size(end, IN_SOCKET)?;
    }
    theirs.set_nonblocking(true)?;
    Ok((ours, UnixStream::from_std(theirs)?))
}

/// A stream that was asked for. Whoever stops waiting says so, and keeps his place until it is said.
struct Asked<'a> {
    session: &'a Arc<Session>,
    number: u64,
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.session.streams().open.remove(&self.number);
        let (session, number) = (Arc::clone(self.session), self.number);
        tokio::spawn(async move {
            tokio::select! {
                _ = session.out.send((number, Frame::Reset)) => {}
                () = session.ended() => {}
            }
            drop(place);
        });
    }
}

/// Says hello until the agent does, and passes over what else comes.
async fn greet<S: AsyncRead + AsyncWrite>(
    from: &mut Frames<ReadHalf<S>>,
    to: &mut WriteHalf<S>,
    ours: Hello,
) -> Result<Hello, MuxError> {
    from.most = Some(RUBBISH);
    let asked = async {
        let mut pause = AGAIN;
        loop {
            say(to, &Frame::Hello(ours)).await?;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SELDOM);
        }
    };
    let answered = async {
        loop {
            let came = from.next().await?;
            if let Ok((_, Frame::Welcome(theirs), _)) = came
                && theirs.nonce == ours.nonce
            {
                from.most = None;
                return match theirs.version {
                    VERSION => Ok(theirs),
                    other => Err(MuxError::Version(other)),
                };
            }
        }
    };
    tokio::select! {
        failed = asked => failed,
        answer = answered => answer,
        () = tokio::time::sleep(PATIENCE) => Err(MuxError::Over),
    }
}

async fn hear<R: AsyncRead + Unpin>(
    session: &Session,
    from: &mut Frames<R>,
    nonce: [u8; 16],
) -> Result<(), MuxError> {
    loop {
        match from.sound().await? {
            // Asked more than once, it answers more than once.
            (_, Frame::Welcome(again), _) if again.nonce == nonce => {}
            (_, Frame::Bye, _) => return Err(MuxError::Over),
            (number, frame, cost) => session.heard(number, frame, cost)?,
        }
    }
}
