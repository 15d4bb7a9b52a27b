//! Trust: none of its own; runs inside daemons of every zone.
//! Input: bytes and descriptors from the process at the other end, hostile or not.
//! May: send and receive on descriptors it was given, make socket pairs, close descriptors.
//! Unsafe: `start` takes over the descriptor a process was started with; `aio` gives some to tokio; `watchdog` makes a timer.
//!
//! Channels between Warder's processes.
//!
//! A [`Channel`] carries whole frames (`warder_wire::frame`) over an `AF_UNIX` `SOCK_SEQPACKET`
//! socket, with descriptors (`SCM_RIGHTS`, unix(7) and unix(4)). It never blocks unless asked to.

#[cfg(feature = "tokio")]
pub mod aio;
pub mod channel;
pub mod check;
mod error;
mod fds;
mod inbox;
mod start;
mod watchdog;

pub use channel::Channel;
pub use error::IpcError;
pub use fds::discard;
pub use start::{take_listener, take_start};
pub use watchdog::Watchdog;
