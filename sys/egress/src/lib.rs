//! Trust: zone 1 (egressd).
//! Input: sockets that netd made; what sandboxes send to them.
//! May: receive and send on those sockets.
//! Unsafe: in `datagrams`, `ending`, `origins` and `packet_log`, for messages and requests that have no safe wrapper.
//!
//! The few kernel services of egressd that differ between systems or need `unsafe`. What a system lacks is
//! [`unsupported`], an error that names the operation.

use std::io;

mod datagrams;
mod ending;
mod origins;
#[cfg_attr(target_os = "freebsd", path = "packet_log_bpf.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "freebsd")),
    path = "packet_log_unsupported.rs"
)]
mod packet_log;
pub mod pflog;

pub use datagrams::{Datagrams, Received};
pub use ending::is_on_its_way;
pub use origins::Origins;
#[cfg(any(target_os = "freebsd", test))]
pub use origins::natlook;
pub use packet_log::PacketLog;

/// How the pieces of a [`PacketLog`] are to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Messages of the netfilter log (`linux/netfilter/nfnetlink_log.h`).
    Nflog,
    /// Packets of bpf(4) from pflog(4) (`net/if_pflog.h`).
    Pflog,
}

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
