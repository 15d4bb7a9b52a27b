//! Trust: zone 3 (linked into privd on FreeBSD, which runs as root).
//! Input: `warder-freebsd`; through it texts and lists of the kernel.
//! May: nothing.
//! Unsafe: forbidden.
//!
//! What `warder-freebsd` decides: names and parameters of jails, mounts, devfs rules, resource limits, the
//! order of stopping. No call of any system in it, so that all of it is compiled and tested on every one.
#![forbid(unsafe_code)]

pub mod devfs;
pub mod jail;
pub mod limits;
pub mod mounts;
pub mod stops;
pub mod tree;
