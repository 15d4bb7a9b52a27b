//! Directories made for, or handed to, other processes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{At, Result};
use crate::sys;

/// How a tree may be used through a detached descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Reading and executing.
    ReadOnly,
    /// Writing, not executing.
    ReadWrite,
}

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

/// Makes a directory, or takes the one there, and sets its owner and mode. Its parent must belong to
/// root: only the last name is kept from being a symbolic link.
///
/// # Errors
/// `System`, also when something else than a directory has that name.
pub fn make_private_dir(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("mkdir"),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).at("open a directory")?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at("fchown")?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).at("fchmod")
}
