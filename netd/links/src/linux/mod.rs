//! Linux: network namespaces and veth pairs over rtnetlink.

mod confine;
mod forwarding;
mod maker;
mod router;
mod rtnl;
mod site;

use std::io;
use std::os::fd::BorrowedFd;

pub use confine::{confine, raise_descriptor_limit};
pub use maker::Maker;
pub use router::Router;
pub use site::Site;

use warder_linux::netns;

use crate::LinksError;

/// Inode of the network namespace `ns`, which names it while it lives.
///
/// # Errors
/// [`LinksError::System`] when it is no network namespace.
pub fn netns_inode(ns: BorrowedFd<'_>) -> Result<u64, LinksError> {
    netns::id(ns)
        .map(|id| id.inode)
        .map_err(|e| LinksError::io("not a network namespace", e))
}

/// Starts a copy of this process that runs `body` with the descriptors in `keep` and no other beside the
/// standard three, and ends with its result. Returns its process id.
///
/// # Errors
/// [`LinksError::System`].
pub fn fork_worker(
    keep: &[BorrowedFd<'_>],
    body: impl FnOnce() -> i32,
) -> Result<rustix::process::Pid, LinksError> {
    netns::fork_worker(keep, body).map_err(|e| LinksError::io("start a worker", e))
}

/// What tells this boot from every other.
///
/// # Errors
/// [`LinksError::System`].
pub fn boot_id() -> Result<String, LinksError> {
    netns::sysctl_get("kernel/random/boot_id").map_err(|e| LinksError::io("boot id", e))
}

/// Waits for a worker whose channel is closed, so that nothing of it is left.
pub fn reap(worker: rustix::process::Pid) {
    let wait = || rustix::process::waitpid(Some(worker), rustix::process::WaitOptions::empty());
    // An error means that it is no child any more: nothing is left either way.
    let _ = rustix::io::retry_on_intr(wait);
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
