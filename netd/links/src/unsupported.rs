//! Where there are no network namespaces.

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::os::fd::{BorrowedFd, OwnedFd};

use warder_wire::InstanceTag;

use crate::plan::{Pair, SlotSpec, Uplink};
use crate::{LinksError, Listeners, RouterLink};

const NETNS: LinksError = LinksError::Unsupported("network namespaces");

/// The instance's place under /run.
#[derive(Debug)]
pub struct Site(Infallible);

impl Site {
    /// Opens it.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn open(_tag: InstanceTag) -> Result<Self, LinksError> {
        Err(NETNS)
    }

    /// The instance.
    #[must_use]
    pub fn tag(&self) -> InstanceTag {
        match self.0 {}
    }
}

/// The router's namespace.
#[derive(Debug)]
pub struct Router(Infallible);

impl Router {
    /// Takes it over or makes it.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn open(_site: &Site, _uplink: &Uplink) -> Result<(Self, bool), LinksError> {
        Err(NETNS)
    }

    /// The namespace.
    #[must_use]
    pub fn ns(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }

    /// What every link carries at most.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        match self.0 {}
    }

    /// What must wait until rules are in force.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn settle(&self) -> Result<(), LinksError> {
        match self.0 {}
    }

    /// Switches the host's forwarding on.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn claim_forwarding(&self, _site: &Site) -> Result<(), LinksError> {
        match self.0 {}
    }

    /// Every link but the uplink.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn ports(&mut self) -> Result<Vec<RouterLink>, LinksError> {
        match self.0 {}
    }

    /// The router's number for a namespace.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn number_of(&mut self, _ns: BorrowedFd<'_>) -> Result<Option<i32>, LinksError> {
        match self.0 {}
    }

    /// Where the traffic of sandboxes arrives.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn listen(&self, _tcp: u16, _udp: u16, _log: u16) -> Result<Listeners, LinksError> {
        match self.0 {}
    }

    /// A socket on behalf of a sandbox.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn dial(
        &self,
        _mark: u32,
        _to: SocketAddrV4,
        _stream: bool,
    ) -> Result<OwnedFd, LinksError> {
        match self.0 {}
    }

    /// Takes a port down.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn seal(&mut self, _port: &str) -> Result<(), LinksError> {
        match self.0 {}
    }

    /// Takes the seal off a port.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn unseal(&mut self, _counter: u32, _pair: &Pair) -> Result<(), LinksError> {
        match self.0 {}
    }

    /// Removes everything.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn purge(self, _site: Site, _uplink: &Uplink) -> Result<(), LinksError> {
        match self.0 {}
    }
}

/// Makes slots.
#[derive(Debug)]
pub struct Maker(Infallible);

impl Maker {
    /// For slots of a router.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn new(_ns: BorrowedFd<'_>, _mtu: u32) -> Result<Self, LinksError> {
        Err(NETNS)
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn make(&mut self, _spec: &SlotSpec) -> Result<OwnedFd, LinksError> {
        match self.0 {}
    }

    /// Whether a port is there.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn is_there(&mut self, _port: &str) -> Result<bool, LinksError> {
        match self.0 {}
    }

    /// Removes a port.
    ///
    /// # Errors
    /// [`LinksError::Unsupported`].
    pub fn remove(&mut self, _port: &str) -> Result<(), LinksError> {
        match self.0 {}
    }
}

/// Inode of a network namespace.
///
/// # Errors
/// [`LinksError::Unsupported`].
pub fn netns_inode(_ns: BorrowedFd<'_>) -> Result<u64, LinksError> {
    Err(NETNS)
}

/// Gives up what netd does not need.
///
/// # Errors
/// [`LinksError::Unsupported`].
pub fn confine() -> Result<String, LinksError> {
    Err(LinksError::Unsupported("confinement of netd"))
}

/// Raises the limit of descriptors.
///
/// # Errors
/// [`LinksError::Unsupported`].
pub fn raise_descriptor_limit() -> Result<(), LinksError> {
    Err(LinksError::Unsupported("limits of netd"))
}

/// What tells this boot from every other.
///
/// # Errors
/// [`LinksError::Unsupported`].
pub fn boot_id() -> Result<String, LinksError> {
    Err(LinksError::Unsupported("boot identity"))
}

/// Starts a worker.
///
/// # Errors
/// [`LinksError::Unsupported`].
pub fn fork_worker(
    _keep: &[BorrowedFd<'_>],
    _body: impl FnOnce() -> i32,
) -> Result<rustix::process::Pid, LinksError> {
    Err(LinksError::Unsupported("workers of netd"))
}

/// Waits for a worker.
pub fn reap(_worker: rustix::process::Pid) {}
