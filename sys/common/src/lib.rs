//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: what `warder-linux` and `warder-freebsd` pass, and what a process they have forked reports.
//! May: start programs, close and place descriptors of a process that is about to become another one.
//! Unsafe: in `fds` and `signals`, calls of POSIX that take numbers and sets of signals.
//!
//! What the system layers of all kernels have alike: their errors, programs and how they are started, the report of a
//! cell that sets itself up. What differs from kernel to kernel is in their own crates.

pub mod dirs;
mod error;
pub mod fds;
pub mod program;
pub mod report;
pub mod signals;

pub use error::{At, HostError, Result, Said};
