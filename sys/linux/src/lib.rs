//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: privd and netd; the kernel's own files under /proc and /sys; on disk, trees written by guests.
//! May: every privileged call of Warder on Linux: namespaces, mounts, cgroups, processes, storage.
//! Unsafe: system calls that rustix does not wrap, each in a function of its own.
//!
//! The Linux system layer.
#![cfg(target_os = "linux")]

pub mod cell;
pub mod dirs;
pub mod features;
pub mod netlink;
pub mod netns;
pub mod own;
pub mod process;
mod quota;
pub mod signals;
pub mod sockets;
pub mod storage;
mod sys;
pub mod watch;

pub use warder_common::{HostError, Result};
