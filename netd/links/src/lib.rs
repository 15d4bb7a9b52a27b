//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: numbers; the kernel's tables; the instance's directory under /run, which only root writes.
//! May: make and change links, addresses, routes and namespaces of its instance; switch forwarding on the host.
//! Unsafe: forbidden.
//!
//! Pairs, addresses, routes and network namespaces.
//!
//! [`plan`] is pure: which name, address and MAC belongs to which instance and slot. The rest is one module
//! for each system with the same functions; where a system has no network namespaces they answer
//! [`LinksError::Unsupported`].
#![forbid(unsafe_code)]

pub mod plan;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{
    Maker, Router, Site, boot_id, confine, fork_worker, netns_inode, raise_descriptor_limit, reap,
};

#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{
    Maker, Router, Site, boot_id, confine, fork_worker, netns_inode, raise_descriptor_limit, reap,
};

use std::io;
use std::os::fd::OwnedFd;

/// What went wrong with links.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// This system cannot do it (yet).
    #[error("{0} is not supported on this system")]
    Unsupported(&'static str),
    /// A call or a request to the kernel failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What came of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host uses the instance's addresses for something else.
    #[error("the instance's uplink {pair} collides with {with} of this host")]
    Collision {
        /// The uplink's two addresses.
        pair: String,
        /// What is there already.
        with: String,
    },
    /// The instance's number has no addresses.
    #[error("instance number {0} is beyond the addresses for uplinks")]
    Instance(u16),
}

impl LinksError {
    /// A failed system call.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: Box::new(source.into()),
        }
    }
}

/// A link in the router's namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouterLink {
    /// Its name.
    pub name: String,
    /// The router's number for the namespace of its other end, if that is another namespace.
    pub peer: Option<i32>,
    /// Whether it is up: one that is not was sealed.
    pub up: bool,
}

/// Where the traffic of sandboxes arrives, and what is told of it.
#[derive(Debug)]
pub struct Listeners {
    /// A TCP listener.
    pub tcp: OwnedFd,
    /// A UDP socket.
    pub udp: OwnedFd,
    /// The log of refused packets.
    pub log: OwnedFd,
}
