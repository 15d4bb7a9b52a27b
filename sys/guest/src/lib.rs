//! Trust: zone 0 (envd, the first process of a sandbox).
//! Input: arguments from envd, which got them from clients; answers of the kernel.
//! May: start processes as any user of the sandbox, open terminals, watch files, read signals.
//! Unsafe: in `spawn`, `start`, `watched`, `signals` and `addresses`, on FreeBSD in `inotify`, `xattr` and `usage` too; each block says why it is sound.
//!
//! The few kernel services of the agent that differ between systems or need `unsafe`. What a system
//! lacks is [`unsupported`], an error that names the operation.

use std::io;

pub mod addresses;
pub mod console;
pub mod inotify;
pub mod inside;
pub mod mounts;
pub mod signals;
pub mod spawn;
pub mod start;
pub mod terminal;
pub mod usage;
pub mod watched;
pub mod xattr;

/// An operation that this system, or this version of it, does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{operation} is not supported on this system")]
pub struct Unsupported {
    /// What was asked for.
    pub operation: &'static str,
}

/// The error for an operation that this system does not have: an [`io::Error`] of kind
/// `Unsupported` that holds an [`Unsupported`].
#[must_use]
pub fn unsupported(operation: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, Unsupported { operation })
}
