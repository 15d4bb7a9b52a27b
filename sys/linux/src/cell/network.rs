//! The network a cell lives in, as privd gets it from netd and gives it back after a restart.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use warder_common::{At, HostError, Result};
use warder_wire::priv_net::Slot;

use super::Cell;

/// A network namespace, owned by the host's user namespace.
#[derive(Debug)]
pub struct Network(OwnedFd);

impl Network {
    /// What netd answered: its slot, and the descriptors that came along.
    ///
    /// # Errors
    /// `Invalid` unless that is one descriptor.
    pub fn received(_slot: Slot, fds: Vec<OwnedFd>) -> Result<Self> {
        let [namespace] = <[OwnedFd; 1]>::try_from(fds)
            .map_err(|_| HostError::Invalid("a slot without its namespace"))?;
        Ok(Self(namespace))
    }

    pub(super) fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.0).at("stat network namespace")?;
        Ok(stat.st_ino)
    }

    /// What netd needs to recognise it.
    ///
    /// # Errors
    /// `System`.
    pub fn to_send(&self) -> Result<Vec<OwnedFd>> {
        let copy = rustix::io::fcntl_dupfd_cloexec(&self.0, 0).at("copy network namespace")?;
        Ok(vec![copy])
    }
}

impl AsFd for Network {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The network of a running cell.
///
/// # Errors
/// `System`; `Invalid` when the cell has ended.
pub fn network_of(cell: &Cell) -> Result<Network> {
    let path = format!("/proc/{}/ns/net", cell.handle.pid);
    let netns = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at("open /proc/PID/ns/net")?;
    let network = Network(netns);
    if network.inode()? != cell.handle.net_ns || cell.process.has_ended()? {
        return Err(HostError::Invalid("the cell has ended"));
    }
    Ok(network)
}
