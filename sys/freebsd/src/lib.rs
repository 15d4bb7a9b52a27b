//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: privd and netd; the kernel's answers; on disk, trees written by guests.
//! May: every privileged call of Warder on FreeBSD: jails, mounts, limits, processes, storage, interfaces, routes.
//! Unsafe: system calls that rustix does not wrap, in `sys` and `net`, each in a function of its own.
//!
//! The FreeBSD system layer. It has the public items of `warder-linux`, so that the daemons are
//! written once. What calls the kernel is compiled for FreeBSD only; what decides (plans, command
//! lines, parsers) is compiled and tested on every system.
#![cfg_attr(not(target_os = "freebsd"), forbid(unsafe_code))]

#[cfg(target_os = "freebsd")]
pub mod cell;
#[cfg(target_os = "freebsd")]
pub mod dirs;
#[cfg(target_os = "freebsd")]
pub mod features;
#[cfg(target_os = "freebsd")]
pub mod net;
#[cfg(target_os = "freebsd")]
pub mod own;
#[cfg(target_os = "freebsd")]
pub mod process;
#[cfg(target_os = "freebsd")]
pub mod signals;
#[cfg(target_os = "freebsd")]
pub mod storage;
#[cfg(target_os = "freebsd")]
pub mod sys;
pub mod text;
#[cfg(target_os = "freebsd")]
pub mod watch;

#[cfg(target_os = "freebsd")]
pub use warder_common::{HostError, Result};
