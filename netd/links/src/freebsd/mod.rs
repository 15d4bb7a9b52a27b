//! FreeBSD: jails with network stacks of their own, and epair(4), whose other ends are in the host's.

mod maker;
mod needs;
mod refused;
mod router;
mod space;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

pub use maker::Maker;
pub use router::Router;
pub use space::Space;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use warder_common::fds;
use warder_freebsd::features;
use warder_freebsd::sys::{process, sysctl};
use warder_wire::InstanceTag;

use crate::{LinksError, plan};

/// Nothing goes by itself here: slots are jails without processes.
pub const LINGER: Duration = Duration::ZERO;

/// Where instances keep what lasts as long as the kernel. What is left over a boot is told apart by [`here`].
pub(crate) const RUN: &str = "/var/run/warder";
const FORWARDING: &str = "net.inet.ip.forwarding";

/// The host's interface of the slot made as the `counter`-th; empty, which is no name, past the last.
#[must_use]
pub fn port_name(tag: InstanceTag, counter: u32) -> String {
    plan::tagged_name(tag, counter).unwrap_or_default()
}

/// The counter in a port's name.
#[must_use]
pub fn port_counter(tag: InstanceTag, name: &str) -> Option<u32> {
    plan::tagged_counter(tag, name)
}

/// A copy of this process that works for it, and is killed when the descriptor closes with it.
#[derive(Debug)]
pub struct Worker {
    pid: u32,
    descriptor: OwnedFd,
}

impl Worker {
    /// Waits for one whose channel is closed, so that nothing of it is left.
    pub fn reap(self) {
        // An error means that it is no child any more: nothing is left either way.
        let _ = process::wait(self.pid, true);
        drop(self.descriptor);
    }
}

/// Starts a copy of this process that runs `body` with the descriptors in `keep` and no other beside the standard three,
/// and ends with its result.
///
/// # Errors
/// [`LinksError::System`].
pub fn fork_worker(
    keep: &[BorrowedFd<'_>],
    body: impl FnOnce() -> i32,
) -> Result<Worker, LinksError> {
    let forked = process::fork(false, || match fds::close_all_but(keep) {
        Ok(()) => body(),
        Err(_) => 1,
    });
    let (pid, descriptor) = forked.map_err(|e| LinksError::io("start a worker", e))?;
    Ok(Worker { pid, descriptor })
}

/// What tells this boot from every other.
///
/// # Errors
/// [`LinksError::System`].
pub fn boot_id() -> Result<String, LinksError> {
    features::boot_id().map_err(|e| LinksError::System {
        what: "boot id".to_owned(),
        source: Box::new(e),
    })
}

/// Gives up what netd does not need, which on this system is nothing: jails, interfaces and pf's rules are root's.
///
/// # Errors
/// None.
pub fn confine() -> Result<String, LinksError> {
    Ok("uid 0, with every privilege of root: this system divides none".to_owned())
}

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// [`LinksError::System`].
pub fn raise_descriptor_limit() -> Result<(), LinksError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| LinksError::io("raise RLIMIT_NOFILE", e))
}

/// What the host's network is known by: the boot, as a number (FNV-1a).
pub(crate) fn here() -> Result<u64, LinksError> {
    let boot = boot_id()?;
    let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Ok(boot.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// Whether what was recorded of a network is of use `here`: another boot is over.
pub(crate) fn keeps(network: u64, here: u64) -> bool {
    network == here
}

/// Whether the host forwards packets.
pub(crate) fn forwards() -> Result<bool, LinksError> {
    let value = sysctl::int(FORWARDING).map_err(|e| LinksError::io(FORWARDING, e))?;
    Ok(value != 0)
}

/// Switches it on or off.
pub(crate) fn set_forwarding(on: bool) -> Result<(), LinksError> {
    sysctl::set_int(FORWARDING, on.into()).map_err(|e| LinksError::io(FORWARDING, e))
}
