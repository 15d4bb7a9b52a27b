//! Template `base`: this host's base system, and nothing else of the host.
//!
//! The tree is a skeleton of our own (files in `skeleton/`). [`BASE_DIRS`] are empty in it: a cell mounts the host's there,
//! read-only, so that an upgrade of the host is one of every sandbox. Nothing of the host's /etc, /root, /var, /usr/local or
//! /home is in it.

mod skeleton;
mod trust;

use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use warder_wire::TemplateName;

use crate::calls;
use crate::error::{At, Result, ZfsError};
use crate::store::{Host, Store};
use crate::templates::Draft;

/// The directories of the base system (hier(7)) that a cell has from its host.
pub const BASE_DIRS: [&str; 9] = [
    "bin",
    "sbin",
    "lib",
    "libexec",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/libexec",
    "usr/share",
];
/// Directories that every cell mounts over; made where an archive has none.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "tmp"];
/// Changes with what this code makes of the same host.
const EDITION: u32 = 2;
/// What tells that the base system was changed.
const WATCHED: [&str; 5] = ["/bin", "/lib", "/usr/bin", TRUSTED, UNTRUSTED];
/// certctl(8).
const TRUSTED: &str = "/usr/share/certs/trusted";
/// The same.
const UNTRUSTED: &str = "/usr/share/certs/untrusted";

/// The template's name.
pub(crate) fn name() -> TemplateName {
    TemplateName::new("base").expect("a name")
}

impl<H: Host> Store<H> {
    /// Whether template `base` is there and was made of the host's files as they are.
    #[must_use]
    pub fn base_is_fresh(&self) -> bool {
        let base = self.templates.get(&name());
        base.is_some_and(|base| base.made_of.as_deref() == Some(&host_edition()))
    }

    /// Makes the tree of template `base` anew; those of live sandboxes stay as they are. [`Self::keep`] follows. Slow.
    ///
    /// # Errors
    /// [`ZfsError`].
    pub fn make_base(&self, draft: &Draft) -> Result<()> {
        let tree = self.make_tree_of(draft, Some(&host_edition()))?;
        skeleton::make(&tree)?;
        let (trusted, untrusted) = (Path::new(TRUSTED), Path::new(UNTRUSTED));
        trust::bundle(trusted, untrusted, &tree.join("etc/ssl/cert.pem"))?;
        // Without these getpwnam(3) knows nobody.
        let call = calls::pwd_mkdb(&tree.join("etc"));
        let call = call.ok_or(ZfsError::Invalid("the state directory's name is not UTF-8"))?;
        self.at.host.run(&call).map(drop).map_err(ZfsError::Tool)
    }

    /// Completes a draft whose tree was filled from an archive.
    ///
    /// # Errors
    /// `Invalid` when the archive has something else where a cell needs a directory.
    pub fn import_end(&self, draft: &Draft) -> Result<()> {
        make_mount_points(&self.tree(draft))
    }
}

/// Makes what a cell mounts over in the tree at `path`, where it is missing. Whoever filled it does not run any more.
pub(crate) fn make_mount_points(path: &Path) -> Result<()> {
    set_mode(path, 0o755)?;
    for name in MOUNT_POINTS {
        let path = path.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(ZfsError::Invalid(
                    "a mount point in the archive is not a directory",
                ));
            }
            Err(_) => {
                std::fs::create_dir(&path).at("make a mount point")?;
                set_mode(&path, if name == "tmp" { 0o1777 } else { 0o755 })?;
            }
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).at("chmod in a template")
}

/// A text that differs when the host's files do; short, since it becomes a property.
fn host_edition() -> String {
    let mut text = String::new();
    for path in WATCHED {
        let line = match std::fs::metadata(path) {
            Ok(stat) => writeln!(
                text,
                "{} {}.{:09}",
                stat.ino(),
                stat.mtime(),
                stat.mtime_nsec()
            ),
            Err(_) => writeln!(text, "-"),
        };
        line.expect("a String takes all that is written");
    }
    // FNV-1a.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!(
        "{EDITION}-{:016x}",
        text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
    )
}
