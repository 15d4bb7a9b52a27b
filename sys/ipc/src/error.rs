//! What can go wrong on a channel.

use std::io;

use warder_wire::frame::FrameError;

/// A channel failed. Only [`IpcError::TimedOut`] leaves it usable; after anything else, drop it.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The other end is gone.
    #[error("the channel is closed")]
    Closed,
    /// Nothing came in time.
    #[error("nothing came in time")]
    TimedOut,
    /// The other end sent what a correct peer cannot send.
    #[error("protocol violation: {0}")]
    Violation(&'static str),
    /// The same, found by the frame's decoder; also a message of our own that does not fit.
    #[error("bad frame")]
    Frame(#[from] FrameError),
    /// The other end does not read; the queue is full.
    #[error("the other end does not read its messages")]
    Overrun,
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// The call.
        call: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
}

impl IpcError {
    pub(crate) fn system(call: &'static str, errno: rustix::io::Errno) -> Self {
        Self::System {
            call,
            source: errno.into(),
        }
    }
}
