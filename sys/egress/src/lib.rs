//! Trust: zone 1 (egressd).
//! Input: sockets that netd made; what sandboxes send to them.
//! May: receive and send on those sockets.
//! Unsafe: in `datagrams`, `ending` and `packet_log`, for control messages and addresses that have no safe wrapper.
//!
//! The few kernel services of egressd that differ between systems or need `unsafe`. What a system lacks is
//! [`unsupported`], an error that names the operation.

use std::io;

mod datagrams;
mod ending;
#[cfg(target_os = "linux")]
mod packet_log;
#[cfg(not(target_os = "linux"))]
#[path = "packet_log_unsupported.rs"]
mod packet_log;

pub use datagrams::{Datagrams, Received};
pub use ending::is_on_its_way;
pub use packet_log::PacketLog;

/// An operation that is not written for this system yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{operation} is not supported on this system")]
pub struct Unsupported {
    /// What was asked for.
    pub operation: &'static str,
}

/// The error for an operation that is not written for this system yet: an [`io::Error`] of kind
/// `Unsupported` that holds an [`Unsupported`].
#[must_use]
pub fn unsupported(operation: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, Unsupported { operation })
}
