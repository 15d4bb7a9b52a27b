//! A template from a tar stream that nobody has looked at.
//!
//! Unpacked by the host's tar in a jail: namespaces of its own (no network), a root with nothing but the host's
//! /usr (read-only, and not mapped: only what everyone may read) and the template to be, ids of an unused range
//! that the mount maps to 0 and up on disk, and the filter of a cell. So a hostile archive can
//! spoil the template it is for, and device nodes are refused by the kernel.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};

use super::{Draft, Store};
use crate::cell::UserNamespace;
use crate::process::Process;

/// Directories that a cell mounts over; made where the archive has none.
const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
const TAR: &str = "/usr/bin/tar";
/// Everything in `/template`, numbers for names, modes as they are. What /dev would hold is the cell's matter.
const ARGUMENTS: [&CStr; 9] = [
    c"tar",
    c"--extract",
    c"--file=-",
    c"--directory=/template",
    c"--numeric-owner",
    c"--same-owner",
    c"--same-permissions",
    c"--exclude=dev/*",
    c"--exclude=./dev/*",
];

impl Store {
    /// Starts unpacking a tar stream into a draft, without privilege; [`Self::import_end`] and [`Self::keep`] follow
    /// when the process has ended (code 0: whole). `users` may be any range that no cell has meanwhile. The caller
    /// must be single-threaded.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Unsupported` without tar.
    pub fn import_start(
        &self,
        draft: &Draft,
        users: &UserNamespace,
        tar: BorrowedFd<'_>,
    ) -> Result<Process> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let program = match rustix::fs::openat(CWD, TAR, flags, Mode::empty()) {
            Ok(program) => program,
            Err(Errno::NOENT) => {
                return Err(HostError::Unsupported {
                    operation: "template import without /usr/bin/tar",
                });
            }
            Err(errno) => return Err(errno).at("open tar"),
        };
        self.make_tree(draft)?;
        let tree = format!("{}/tree", draft.place());
        crate::cell::unpack(&self.path, &tree, users, program.as_fd(), &ARGUMENTS, tar)
    }

    /// Completes an unpacked draft.
    ///
    /// # Errors
    /// `System`; `Invalid` when the archive has something else where a cell needs a directory.
    pub fn import_end(&self, draft: &Draft) -> Result<()> {
        make_mount_points(&self.open_dir(&format!("{}/tree", draft.place()))?)
    }
}

/// Makes what a cell mounts over, where it is missing.
pub(super) fn make_mount_points(tree: &OwnedFd) -> Result<()> {
    for name in MOUNT_POINTS {
        match rustix::fs::mkdirat(tree, name, Mode::RWXU) {
            Ok(()) => {
                let mode = if name == "tmp" { 0o1777 } else { 0o755 };
                rustix::fs::chmodat(tree, name, Mode::from_raw_mode(mode), AtFlags::empty())
                    .at("chmod")?;
            }
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(tree, name, AtFlags::SYMLINK_NOFOLLOW)
                    .at("look at a template")?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(HostError::Invalid(
                        "a mount point in the archive is not a directory",
                    ));
                }
            }
            Err(errno) => return Err(errno).at("make a mount point"),
        }
    }
    Ok(())
}
