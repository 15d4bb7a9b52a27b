//! A template from a tar stream that nobody has looked at.
//!
//! Unpacked by the host's tar in a jail: namespaces of its own (no network), a root with nothing but the host's
//! /usr (read-only, and not mapped: only what everyone may read) and the template to be, ids of an unused range
//! that the mount maps to 0 and up on disk, and the filter of a cell. So a hostile archive can
//! spoil the template it is for, and device nodes are refused by the kernel.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use warder_wire::TemplateName;

use super::Store;
use crate::cell::UserNamespace;
use crate::error::{At, HostError, Result};
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

fn draft(template: &TemplateName) -> String {
    // No template name begins with a dot.
    format!("templates/.new-{template}")
}

impl Store {
    /// Starts unpacking a tar stream into a template to be, without privilege; [`Self::import_end`] follows
    /// when the process has ended (code 0: whole). `users` may be any range that no cell has meanwhile. The caller
    /// must be single-threaded.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Unsupported` without tar; `Invalid` when the name is taken.
    pub fn import_start(
        &self,
        template: &TemplateName,
        users: &UserNamespace,
        tar: BorrowedFd<'_>,
    ) -> Result<Process> {
        if self.has(&format!("templates/{template}")) {
            return Err(HostError::Invalid("a template of that name exists"));
        }
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
        let draft = draft(template);
        self.move_away(&draft, "trash")?;
        rustix::fs::mkdirat(&self.directory, &draft, Mode::RWXU).at("make a template")?;
        let tree = format!("{draft}/tree");
        rustix::fs::mkdirat(&self.directory, &tree, Mode::RWXU).at("make a template")?;
        rustix::fs::chmodat(
            &self.directory,
            &tree,
            Mode::from_raw_mode(0o755),
            AtFlags::empty(),
        )
        .at("make a template")?;
        crate::cell::unpack(&self.path, &tree, users, program.as_fd(), &ARGUMENTS, tar)
    }

    /// Puts an unpacked template into use, or discards it.
    ///
    /// # Errors
    /// `Invalid` when the archive has something else where a cell needs a directory, or the name was taken
    /// meanwhile; then it is discarded too.
    pub fn import_end(&self, template: &TemplateName, keep: bool) -> Result<()> {
        let draft = draft(template);
        let kept = if keep {
            self.accept(template, &draft)
        } else {
            Ok(())
        };
        if !keep || kept.is_err() {
            self.move_away(&draft, "trash")?;
        }
        kept
    }

    fn accept(&self, template: &TemplateName, draft: &str) -> Result<()> {
        let tree = self.open_dir(&format!("{draft}/tree"))?;
        make_mount_points(&tree)?;
        // Half of it must not be found after a crash of the host.
        rustix::fs::syncfs(&tree).at("syncfs")?;
        let to = format!("templates/{template}");
        match rustix::fs::renameat_with(
            &self.directory,
            draft,
            &self.directory,
            to,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(HostError::Invalid("a template of that name exists")),
            Err(errno) => Err(errno).at("put a template in place"),
        }
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
