//! By the kernel (openat2(2)).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Opens `path` with `root` as its root: absolute links and `..` stay inside, however the tree changes meanwhile.
///
/// # Errors
/// Of openat2(2).
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    // It gives up when directories are renamed at the same time; a stranger must not be able to keep it from
    // ending, so not for ever.
    const TRIES: usize = 64;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, mode, inside) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if tries < TRIES => tries += 1,
            other => return Ok(other?),
        }
    }
}
