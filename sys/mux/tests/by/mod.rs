//! An end that says what it is told to, for tests of the other one.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::VecDeque;
use std::os::unix::net::UnixStream as Plain;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use warder_mux::Host;
use warder_mux::frame::{FIRST, Frame, Hello, VERSION, WINDOW};
use warder_mux::line::{Decoder, encode};

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const NONCE: [u8; 16] = [1; 16];

pub(crate) async fn soon<T>(done: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, done).await.expect("in time")
}

pub(crate) fn socket(plain: Plain) -> UnixStream {
    plain.set_nonblocking(true).expect("own");
    UnixStream::from_std(plain).expect("in a runtime")
}

pub(crate) fn hello(nonce: [u8; 16], room: u32) -> Hello {
    Hello {
        version: VERSION,
        nonce,
        room,
    }
}

/// An end that says what it is told to.
pub(crate) struct By {
    pub(crate) stream: UnixStream,
    pub(crate) decoder: Decoder,
    pub(crate) came: VecDeque<(u64, Frame)>,
    /// What the frames that came cost.
    pub(crate) cost: usize,
}

impl By {
    pub(crate) fn hand(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            came: VecDeque::new(),
            cost: 0,
        }
    }

    /// A gateway, and the agent's end of its stream.
    pub(crate) fn guest() -> (Host, Self) {
        let (ours, theirs) = UnixStream::pair().expect("room");
        (Host::start(ours, NONCE), Self::hand(theirs))
    }

    /// The same behind the hello.
    pub(crate) async fn greeted(room: u32) -> (Host, Self) {
        let (host, mut guest) = Self::guest();
        let Some((0, Frame::Hello(theirs))) = guest.hear().await else {
            panic!("no hello");
        };
        assert_eq!((theirs.version, theirs.nonce), (VERSION, NONCE));
        guest.say(0, Frame::Welcome(hello(NONCE, room))).await;
        soon(host.ready()).await.expect("greeted");
        // The hello cost nothing.
        guest.cost = 0;
        (host, guest)
    }

    /// Says that a stream is open, and gives it as much as it may have.
    pub(crate) async fn take_in(&mut self, stream: u64) {
        self.say(stream, Frame::Opened).await;
        let rest = u32::try_from(WINDOW - FIRST).expect("fits");
        self.say(stream, Frame::Credit(rest)).await;
    }

    pub(crate) async fn say(&mut self, stream: u64, frame: Frame) {
        // Whether anybody reads it is another matter.
        let _ = self.stream.write_all(&encode(stream, &frame)).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn hear(&mut self) -> Option<(u64, Frame)> {
        while self.came.is_empty() {
            let mut bytes = [0; 4096];
            let read = soon(self.stream.read(&mut bytes)).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            let mut bytes = &bytes[..read];
            while !bytes.is_empty() {
                let (used, came) = self.decoder.take(bytes);
                bytes = &bytes[used..];
                if let Some(came) = came {
                    let (stream, frame, cost) = came.expect("sound");
                    if stream > 0 {
                        self.cost += cost;
                    }
                    self.came.push_back((stream, frame));
                }
            }
        }
        self.came.pop_front()
    }

    /// The next frame of a stream.
    pub(crate) async fn hear_of_a_stream(&mut self) -> Option<(u64, Frame)> {
        loop {
            match self.hear().await {
                Some((0, _)) => {}
                other => return other,
            }
        }
    }
}
