//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: privd and netd; nothing foreign.
//! May: nothing yet; every operation answers `Unsupported`.
//! Unsafe: forbidden.
//!
//! The FreeBSD system layer. It has the public items of `warder-linux`, so that the daemons are
//! written once; the operations themselves follow with the jail backend.
#![forbid(unsafe_code)]
#![cfg(target_os = "freebsd")]

pub mod cell;
pub mod dirs;
mod error;
pub mod features;
pub mod own;
pub mod process;
pub mod signals;
pub mod storage;
pub mod watch;

pub use error::{HostError, Result};
