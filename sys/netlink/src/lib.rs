//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: its callers; what the kernel answers.
//! May: nothing; pure.
//! Unsafe: forbidden.
//!
//! Netlink messages built and taken apart as bytes (netlink(7) on Linux, netlink(4) on FreeBSD). The sockets are in
//! `sys/linux` and `sys/freebsd`.
#![forbid(unsafe_code)]

mod message;

pub use message::{Attrs, HEADER, Message, NESTED, attrs, attrs_after, messages};
