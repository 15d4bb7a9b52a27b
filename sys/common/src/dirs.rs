//! Directories made for other processes.

use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, RawMode, Uid};
use rustix::io::Errno;

use crate::error::{At, Result};

/// How a tree may be used through a detached descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Reading and executing.
    ReadOnly,
    /// Writing, not executing.
    ReadWrite,
}

/// Makes a directory, or takes the one there, and sets its owner and mode. Its parent must belong to
/// root: only the last name is kept from being a symbolic link.
///
/// # Errors
/// `System`, also when something else than a directory has that name.
pub fn make_private_dir(path: &Path, uid: u32, gid: u32, mode: RawMode) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("mkdir"),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).at("open a directory")?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).at("fchown")?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).at("fchmod")
}
