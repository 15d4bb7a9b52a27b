//! Directories made for, or handed to, other processes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
pub use warder_common::dirs::{Access, make_private_dir};
use warder_common::{At, Result};

use crate::sys;

/// What rights(4) leave to whoever holds a tree, or a file, to read and execute.
const READING: [u64; 10] = [
    libc::CAP_MMAP_RX,
    libc::CAP_PREAD,
    libc::CAP_FEXECVE,
    libc::CAP_LOOKUP,
    libc::CAP_FSTAT,
    libc::CAP_FSTATFS,
    libc::CAP_FPATHCONF,
    libc::CAP_FCNTL,
    libc::CAP_FLOCK,
    libc::CAP_EVENT,
];

/// What they leave for writing too.
const WRITING: [u64; 22] = [
    libc::CAP_MMAP_RW,
    libc::CAP_PREAD,
    libc::CAP_PWRITE,
    libc::CAP_CREATE,
    libc::CAP_FSYNC,
    libc::CAP_FTRUNCATE,
    libc::CAP_LOOKUP,
    libc::CAP_FSTAT,
    libc::CAP_FSTATFS,
    libc::CAP_FPATHCONF,
    libc::CAP_FCNTL,
    libc::CAP_FLOCK,
    libc::CAP_FCHMOD,
    libc::CAP_FUTIMES,
    libc::CAP_LINKAT_SOURCE,
    libc::CAP_LINKAT_TARGET,
    libc::CAP_MKDIRAT,
    libc::CAP_RENAMEAT_SOURCE,
    libc::CAP_RENAMEAT_TARGET,
    libc::CAP_SYMLINKAT,
    libc::CAP_UNLINKAT,
    libc::CAP_EVENT,
];

/// A descriptor of `path` (a directory or a file) with no more rights than `access` (rights(4)); what is opened below
/// it has no others. Its holder is in capability mode, where no name leads above it (capsicum(4)).
///
/// # Errors
/// `System`.
pub fn detached(path: &Path, access: Access) -> Result<OwnedFd> {
    let open = |flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    let mut tree = open(OFlags::RDONLY).at("open a tree")?;
    if access == Access::ReadWrite {
        let stat = rustix::fs::fstat(&tree).at("fstat")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            tree = open(OFlags::RDWR).at("open a file")?;
        }
    }
    let rights = match access {
        Access::ReadOnly => READING.as_slice(),
        Access::ReadWrite => WRITING.as_slice(),
    };
    sys::rights::limit(tree.as_fd(), rights).at("cap_rights_limit")?;
    Ok(tree)
}
