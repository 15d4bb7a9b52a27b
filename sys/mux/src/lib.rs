//! Trust: zones 0 and 1 (linked into envd and gatewayd).
//! Input: the other end, which is hostile to the gateway: a byte stream out of a virtual machine.
//! May: read and write that stream and sockets of its own process.
//! Unsafe: forbidden.
//!
//! Many streams on one, for backends that cannot pass descriptors: a machine's agent is reached by one byte stream
//! (a virtio console, say). It stands in for the link's messages with descriptors, `warder_wire::link`: the gateway
//! opens streams, to the agent itself or to a TCP port beside it, and each ends in a socket on both sides. The
//! protocol is described in `docs/link.md`.
//!
//! Each stream has a window of its own ([`frame::WINDOW`] bytes on the way at most), so one that nobody reads holds
//! up no other, and neither end keeps more than its streams' windows, which are bounded together. Frames are short and streams take turns, so
//! bulk does not hold up a terminal by more than a few frames. All streams together have the room that the other end
//! and the device between can do with.
#![forbid(unsafe_code)]

use std::io;

use warder_wire::link::Refusal;

pub mod frame;
mod guest;
mod host;
pub mod line;
mod pump;
mod session;
mod window;

pub use guest::{Guest, Incoming};
pub use host::Host;

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
    /// The agent is of another time.
    #[error("the agent speaks version {0} and not {version}", version = frame::VERSION)]
    Version(u16),
    /// The other end said what it must not.
    #[error("the other end broke the rules: {0}")]
    Violation(&'static str),
    /// The other end sent what is nothing.
    #[error(transparent)]
    NotAFrame(#[from] frame::NotAFrame),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}
