//! Template `base`: this host's programs, and nothing else of the host.
//!
//! `tree` is a skeleton of our own (files in `sys/linux/skeleton`) with the few files of /etc that
//! programs need and that hold no secret. /usr is the host's, seen through `mask`.
//!
//! Changing files under a running overlay is undefined: an upgrade of the host's packages may break running
//! sandboxes, and a file made unreadable after `base` was made stays visible to root in a sandbox until it is
//! made anew.

mod borrow;
mod mask;
mod skeleton;

use std::fmt::Write;

pub(crate) use borrow::link_merged_usr;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use super::{Store, write_all};
use crate::error::{At, HostError, Result};

/// Changes with what this code makes of the same host.
const EDITION: u32 = 1;
const NAME: &str = "templates/base";
/// No template name begins with a dot.
const DRAFT: &str = "templates/.base";
/// What tells that the host's programs were changed.
const WATCHED: [&str; 9] = [
    "/usr",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/local/bin",
    "/usr/local/lib",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/var/lib/dpkg/status",
];

impl Store {
    /// Whether template `base` is there and was made of the host's programs as they are.
    ///
    /// # Errors
    /// `System`.
    pub fn base_is_fresh(&self) -> Result<bool> {
        let made_of = std::fs::read_to_string(self.path.join(NAME).join("made-of"));
        Ok(made_of.is_ok_and(|made_of| made_of == host_edition()))
    }

    /// Makes template `base` anew and puts it in place of the old one, which live sandboxes keep. Slow (it
    /// looks at every file in /usr): for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Unsupported` on a host whose /bin is not a link into /usr.
    pub fn make_base(&self) -> Result<()> {
        let edition = host_edition();
        self.move_away(DRAFT, "trash")?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&self.directory, DRAFT, Mode::RWXU).at("make template base")?;
        let draft = self.open_dir(DRAFT)?;
        for name in ["tree", "mask"] {
            rustix::fs::mkdirat(&draft, name, mode).at("make template base")?;
        }
        let tree = self.open_dir(&format!("{DRAFT}/tree"))?;
        skeleton::make(&tree)?;
        link_merged_usr(&tree, "")?;
        borrow::copy_etc(&tree)?;
        mask::make(&self.open_dir(&format!("{DRAFT}/mask"))?)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made_of =
            rustix::fs::openat(&draft, "made-of", flags, Mode::RUSR).at("make template base")?;
        write_all(&made_of, edition.as_bytes())?;
        // Half of it must not be found after a crash of the host.
        rustix::fs::syncfs(&draft).at("syncfs")?;
        self.move_away(NAME, "retired")?;
        rustix::fs::renameat_with(
            &self.directory,
            DRAFT,
            &self.directory,
            NAME,
            RenameFlags::NOREPLACE,
        )
        .at("put template base in place")
    }
}

/// A text that differs when the host's programs do.
fn host_edition() -> String {
    let mut text = format!("edition {EDITION}\n");
    for path in WATCHED {
        let changed =
            rustix::fs::stat(path).map(|stat| (stat.st_ino, stat.st_mtime, stat.st_mtime_nsec));
        match changed {
            Ok((inode, seconds, nanoseconds)) => {
                writeln!(text, "{path} {inode} {seconds}.{nanoseconds:09}")
            }
            Err(_) => writeln!(text, "{path} -"),
        }
        .expect("a String takes all that is written");
    }
    text
}

/// A directory of the host, opened to be read.
fn open_host_dir(path: &str) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open a directory of the host")
}

/// For what cannot be shared as it lies on this host.
fn unmerged() -> HostError {
    HostError::Unsupported {
        operation: "template base on a host whose /bin is not a link into /usr",
    }
}
