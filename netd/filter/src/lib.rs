//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: none of its own; see the crate it re-exports.
//! May: nothing by itself.
//! Unsafe: forbidden.
//!
//! The packet filter of the kernel this is built for, under one name: `warder-nft` and `warder-pf` have the same
//! `filter`, which is all of them that netd names.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
pub use warder_nft::filter::{Filter, FilterError, LISTEN_TCP, LISTEN_UDP, Purpose};
#[cfg(target_os = "freebsd")]
pub use warder_pf::filter::{Filter, FilterError, LISTEN_TCP, LISTEN_UDP, Purpose};
