//! The agent's end: it serves streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::{Instant, sleep_until};
use warder_wire::link::Refusal;

use crate::MuxError;
use crate::frame::{Frame, Hello, Target, VERSION};
use crate::pump::Ends;
use crate::session::{Frames, Session, say};

/// A gateway that believes to be connected is told that it is not once in this time.
const SELDOM: Duration = Duration::from_millis(100);

/// The agent's end: it serves streams.
#[derive(Debug)]
pub struct Guest;

/// A stream that the gateway asks for.
#[derive(Debug)]
#[must_use = "the gateway waits for an answer"]
pub struct Incoming {
    /// Where it is to lead.
    pub target: Target,
    session: Arc<Session>,
    ends: Ends,
}

impl Guest {
    /// Serves one gateway after the other, each from its hello on, until the stream ends. `room` is how much may be
    /// sent ahead ([`crate::frame::CONSOLE_ROOM`]).
    ///
    /// # Errors
    /// Always: [`MuxError::Over`] is the ordinary end, [`MuxError::Io`] the other one. What a gateway does wrong, or
    /// what was lost or came between on the way, ends its connection and not this.
    pub async fn serve(
        stream: impl AsyncRead + AsyncWrite,
        room: u32,
        mut asked: impl FnMut(Incoming),
    ) -> Result<Infallible, MuxError> {
        let (from, mut to) = split(stream);
        let mut from = Frames::new(from);
        // Whoever was there before does not know yet that its agent is gone.
        say(&mut to, &Frame::Bye).await?;
        let mut silent_until = Instant::now() + SELDOM;
        let mut owed = false;
        let mut greeting = None;
        loop {
            let Some(theirs) = greeting.take() else {
                tokio::select! {
                    came = from.next() => match came? {
                        Ok((_, Frame::Hello(hello), _)) => greeting = Some(hello),
                        // A gateway that believes to be connected: an earlier word of it may have been lost.
                        Ok(_) => owed = true,
                        Err(_) => {}
                    },
                    // Not for each frame: much of it may be on the way.
                    () = sleep_until(silent_until), if owed => {
                        say(&mut to, &Frame::Bye).await?;
                        silent_until = Instant::now() + SELDOM;
                        owed = false;
                    }
                }
                continue;
            };
            let ours = Hello {
                version: VERSION,
                nonce: theirs.nonce,
                room,
            };
            owed = false;
            say(&mut to, &Frame::Welcome(ours)).await?;
            if theirs.version != VERSION {
                continue;
            }
            let (session, mut waiting) = Session::new(room);
            session.greeted(theirs.room);
            let ended = tokio::select! {
                ended = hear(&session, &mut from, theirs, &mut asked) => ended,
                ended = session.write(&mut to, &mut waiting, ours) => {
                    ended.and(Err(MuxError::Over))
                }
            };
            session.end();
            match ended {
                Ok(next) => greeting = Some(next),
                Err(failed @ (MuxError::Io(_) | MuxError::Over)) => return Err(failed),
                Err(_) => {
                    say(&mut to, &Frame::Bye).await?;
                    silent_until = Instant::now() + SELDOM;
                }
            }
        }
    }
}

/// Serves one gateway; the hello of the next.
async fn hear<R: AsyncRead + Unpin>(
    session: &Arc<Session>,
    from: &mut Frames<R>,
    theirs: Hello,
    asked: &mut impl FnMut(Incoming),
) -> Result<Hello, MuxError> {
    loop {
        match from.sound().await? {
            (_, Frame::Hello(again), _) if again == theirs && session.streams().next == 1 => {
                session.ask_again();
            }
            (_, Frame::Hello(next), _) => return Ok(next),
            (number, Frame::Open(target), cost) => {
                session.took(cost);
                let mut streams = session.streams();
                if number != streams.next {
                    return Err(MuxError::Violation("numbers out of order"));
                }
                let ends = session.begin(&mut streams, number, None);
                drop(streams);
                asked(Incoming {
                    target,
                    session: Arc::clone(session),
                    ends,
                });
            }
            (number, frame, cost) => session.heard(number, frame, cost)?,
        }
    }
}

impl Incoming {
    /// Joins it to a socket until it ends.
    pub async fn join(self, socket: impl AsyncRead + AsyncWrite) {
        let opened = (self.ends.number, Frame::Opened);
        if self.session.out.send(opened).await.is_ok() {
            self.session.join(socket, self.ends).await;
        }
    }

    /// Says that it cannot be.
    pub async fn refuse(self, why: Refusal) {
        let number = self.ends.number;
        self.session.streams().open.remove(&number);
        // Nobody waits when the connection has ended.
        let _ = self.session.out.send((number, Frame::Refused(why))).await;
    }
}
