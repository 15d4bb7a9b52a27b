//! Trust: zones 0 and 1 (linked into envd and gatewayd).
//! Input: the other end, which is hostile to the gateway: a byte stream out of a virtual machine.
//! May: read and write that stream and sockets of its own process.
//! Unsafe: forbidden.
//!
//! Many streams on one, for backends that cannot pass descriptors: a machine's agent is reached by one byte stream
//! (a virtio console, say). It stands in for the link's messages with descriptors, `warder_wire::link`: the gateway
//! opens streams, to the agent itself or to a TCP port beside it, and each ends in a socket on both sides.
//!
//! Each stream has a window of its own ([`frame::WINDOW`] bytes on the way at most), so one that nobody reads holds
//! up no other, and neither end keeps more than its streams' windows. Frames are short and streams take turns, so
//! bulk does not hold up a terminal by more than a few frames.
#![forbid(unsafe_code)]

mod connection;
pub mod frame;
mod pump;

pub use connection::{Guest, Host, Incoming, MuxError};
