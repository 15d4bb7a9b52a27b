//! Linux: network namespaces and veth pairs over rtnetlink.

mod confine;
mod maker;
mod router;
mod rtnl;
mod space;
mod tap;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

pub use confine::{confine, raise_descriptor_limit};
pub use maker::Maker;
pub use router::Router;
pub use space::Space;

use rustix::process::Pid;
use warder_linux::netns;
use warder_wire::InstanceTag;

use crate::{LinksError, plan};

/// How long the port of a slot that nobody has any more may take to go by itself, which it does when the last
/// process or socket of its namespace ends. Removing it by force waits for grace periods.
pub const LINGER: Duration = Duration::from_secs(3);

/// The interface of the slot made as the `counter`-th. Counters are never used twice: the name of a pair that was
/// removed stays taken for a while. Names need no tag in a namespace that is the instance's own.
#[must_use]
pub fn port_name(_tag: InstanceTag, counter: u32) -> String {
    plan::port_name(counter)
}

/// The counter in a port's name.
#[must_use]
pub fn port_counter(_tag: InstanceTag, name: &str) -> Option<u32> {
    plan::port_counter(name)
}

/// A copy of this process that works for it.
#[derive(Debug)]
pub struct Worker(Pid);

impl Worker {
    /// Waits for one whose channel is closed, so that nothing of it is left.
    pub fn reap(self) {
        let wait = || rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty());
        // An error means that it is no child any more: nothing is left either way.
        let _ = rustix::io::retry_on_intr(wait);
    }
}

/// Starts a copy of this process that runs `body` with the descriptors in `keep` and no other beside the
/// standard three, and ends with its result.
///
/// # Errors
/// [`LinksError::System`].
pub fn fork_worker(
    keep: &[BorrowedFd<'_>],
    body: impl FnOnce() -> i32,
) -> Result<Worker, LinksError> {
    let pid = netns::fork_worker(keep, body).map_err(|e| LinksError::io("start a worker", e))?;
    Ok(Worker(pid))
}

/// What tells this boot from every other.
///
/// # Errors
/// [`LinksError::System`].
pub fn boot_id() -> Result<String, LinksError> {
    netns::sysctl_get("kernel/random/boot_id").map_err(|e| LinksError::io("boot id", e))
}

/// Where instances keep what lasts as long as the kernel.
pub(crate) const RUN: &str = "/run/warder";
const FORWARDING: &str = "net/ipv4/ip_forward";

/// What the calling thread's network is known by.
pub(crate) fn here() -> Result<u64, LinksError> {
    let ns = netns::current().map_err(|e| LinksError::io("own namespace", e))?;
    space::identity(ns.as_fd())
}

/// Whether what was recorded of a network is of use `here`: any other may be there still.
pub(crate) fn keeps(_network: u64, _here: u64) -> bool {
    true
}

/// Whether that network forwards packets.
pub(crate) fn forwards() -> Result<bool, LinksError> {
    let value = netns::sysctl_get(FORWARDING).map_err(|e| LinksError::io(FORWARDING, e))?;
    Ok(value == "1")
}

/// Switches it on or off.
pub(crate) fn set_forwarding(on: bool) -> Result<(), LinksError> {
    sysctls(&[(FORWARDING, if on { "1" } else { "0" })])
}

/// Writes what must be there and what may be missing on kernels without the feature.
fn sysctls(values: &[(&str, &str)]) -> Result<(), LinksError> {
    for (path, value) in values {
        netns::sysctl_set(path, value).map_err(|e| LinksError::io(format!("set {path}"), e))?;
    }
    Ok(())
}

/// Runs `work` inside `ns`.
fn inside<T>(
    ns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, LinksError>,
) -> Result<T, LinksError> {
    netns::inside(ns, work).map_err(|e: io::Error| LinksError::io("enter a namespace", e))?
}
