//! Trust: zone 3 (linked into privd and netd, which run as root).
//! Input: none of its own; see the crate it re-exports.
//! May: nothing by itself.
//! Unsafe: forbidden.
//!
//! The system layer of the kernel this is built for, under one name. privd and netd name only this
//! crate; `warder-linux` and `warder-freebsd` have the same public items, and what one kernel lacks
//! answers [`HostError::Unsupported`].
#![forbid(unsafe_code)]

#[cfg(target_os = "freebsd")]
pub use warder_freebsd::{
    HostError, Result, cell, dirs, features, own, process, signals, storage, watch,
};
#[cfg(target_os = "linux")]
pub use warder_linux::{
    HostError, Result, cell, dirs, features, own, process, signals, storage, watch,
};
