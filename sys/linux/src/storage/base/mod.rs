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

use rustix::fs::{CWD, Mode, OFlags};
use warder_common::{At, HostError, Result};
use warder_wire::TemplateName;

use super::{Draft, Store, bottom, write_all};

/// Changes with what this code makes of the same host.
const EDITION: u32 = 1;
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
        let name = TemplateName::new("base").map_err(|_| HostError::Invalid("template base"))?;
        let Ok(layers) = self.manifests.of_template(&name) else {
            return Ok(false);
        };
        let made_of = self.path.join(bottom(&layers)).join("made-of");
        Ok(std::fs::read_to_string(made_of).is_ok_and(|made_of| made_of == host_edition()))
    }

    /// Makes the layer of template `base` anew; those of live sandboxes stay as they are. [`Self::keep`] follows.
    /// Slow (it looks at every file in /usr): for a worker that keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Unsupported` on a host whose /bin is not a link into /usr.
    pub fn make_base(&self, draft: &Draft) -> Result<()> {
        let edition = host_edition();
        let tree = self.make_tree(draft)?;
        skeleton::make(&tree)?;
        link_merged_usr(&tree, "")?;
        borrow::copy_etc(&tree)?;
        let directory = self.open_dir(&draft.place())?;
        rustix::fs::mkdirat(&directory, "mask", Mode::RWXU).at("make template base")?;
        mask::make(&self.open_dir(&format!("{}/mask", draft.place()))?)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made_of = rustix::fs::openat(&directory, "made-of", flags, Mode::RUSR)
            .at("make template base")?;
        write_all(&made_of, edition.as_bytes())
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
