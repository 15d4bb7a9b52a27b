//! Directories made for, or handed to, other processes.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Result, unsupported};

/// How a tree may be used through a detached descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Reading and executing.
    ReadOnly,
    /// Writing too.
    ReadWrite,
}

/// A descriptor of `path` whose `..` ends at itself.
///
/// # Errors
/// `Unsupported`.
pub fn detached(_path: &Path, _access: Access) -> Result<OwnedFd> {
    unsupported("dirs::detached")
}

/// Makes a directory, or checks that the one there is a directory and sets its owner and mode.
///
/// # Errors
/// `Unsupported`.
pub fn make_private_dir(_path: &Path, _uid: u32, _gid: u32, _mode: u32) -> Result<()> {
    unsupported("dirs::make_private_dir")
}
