//! Directories made for, or handed to, other processes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;
pub use warder_common::dirs::{Access, make_private_dir};
use warder_common::{At, Result};

use crate::sys;

/// A descriptor of `path` (a directory or a file) as a mount of its own, attached nowhere: `..` ends at
/// it, and the host's path does not show in whoever holds it. See open_tree(2).
///
/// # Errors
/// `System`.
pub fn detached(path: &Path, access: Access) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, path, flags).at("open_tree")?;
    let attributes = match access {
        Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => libc::MOUNT_ATTR_NOEXEC,
    };
    let attributes = attributes | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::set_mount(tree.as_fd(), attributes, None).at("mount_setattr")?;
    Ok(tree)
}
