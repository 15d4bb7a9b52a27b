//! Trust: zone 3 (linked into netd, which runs as root).
//! Input: netd: numbers; the kernel's tables; the instance's directory under /run or /var/run, which only root writes.
//! May: make and change links, addresses, routes and namespaces of its instance; switch forwarding on the host.
//! Unsafe: forbidden.
//!
//! Pairs, addresses, routes and network namespaces.
//!
//! [`plan`] is pure: which name, address and MAC belongs to which instance and slot. The rest is one module
//! for each system with the same functions: on Linux an instance has a network namespace for its router and one for each
//! slot; on FreeBSD slots are jails with a network stack of their own, and the router is the host.
#![forbid(unsafe_code)]

mod forwarding;
#[cfg(any(target_os = "freebsd", test))]
mod pipes;
pub mod plan;
mod site;

#[cfg(target_os = "freebsd")]
#[path = "freebsd/mod.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod system;

// Pure: its tests run everywhere.
#[cfg(test)]
#[cfg(not(target_os = "freebsd"))]
#[path = "freebsd/refused.rs"]
mod refused;

pub use site::Site;
pub use system::{
    LINGER, Maker, Router, Space, Worker, boot_id, confine, fork_worker, port_counter, port_name,
    raise_descriptor_limit,
};

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::net::SendFlags;

/// What went wrong with links.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
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
    /// Something is missing on this host.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody else has what should be the instance's own by its name.
    #[error("{0} is there already and not of this instance")]
    Taken(String),
    /// A slot's jail was removed; a closed connection may hold what is left of it for a minute.
    #[error("jail {0} is gone, or dying (`jls -d`): what is to run in it must be made anew")]
    Dying(String),
    /// There are as many of a thing as there can be.
    #[error("no {0} is left")]
    Exhausted(&'static str),
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

/// What an instance has to itself of what the host numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numbers {
    /// First of its dummynet pipes, three for each slot; none where there are none.
    pub pipes: Option<u32>,
    /// Its log of refused packets, where each has one.
    pub log: u16,
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
    /// Where one can ask what a flow was for before it was redirected, on systems whose sockets do not say.
    pub origins: Option<OwnedFd>,
}

impl Listeners {
    /// Sends a datagram from the UDP socket. It may be lost.
    pub fn reply(&self, to: SocketAddrV4, bytes: &[u8]) {
        let _ = rustix::net::sendto(&self.udp, bytes, SendFlags::DONTWAIT, &to);
    }

    /// Copies of all that egressd gets, in its order.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let first = [&self.tcp, &self.udp, &self.log];
        let all = first.into_iter().chain(&self.origins);
        all.map(OwnedFd::try_clone).collect()
    }
}
