//! Own namespaces and an empty, read-only root.
//!
//! mount_namespaces(7), open_tree(2), move_mount(2), pivot_root(2). Everything that goes into the new root
//! is cloned as a detached mount while this process still is in the old mount namespace, since a mount
//! of another namespace cannot be cloned afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::{failed, raw};
use crate::{ConfineError, PLUGIN_DIR};

/// Where the new root is put together; any directory would do, and this one is always there.
const STAGE: &str = "/proc";

/// What a plugin may be linked to, and where loaders look when there is no cache file.
const LIBRARIES: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "ld-linux-riscv64-lp64d.so.1",
];
const LIBRARY_DIRS: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// A mount that is in no namespace yet, and where it goes.
struct Part {
    mount: OwnedFd,
    place: PathBuf,
    directory: bool,
}

pub(super) fn enter(plugin: Option<BorrowedFd<'_>>) -> Result<(), ConfineError> {
    let parts = match plugin {
        Some(directory) => {
            let mut parts = libraries()?;
            parts.push(Part {
                mount: plugin_mount(directory)?,
                place: PathBuf::from(PLUGIN_DIR),
                directory: true,
            });
            parts
        }
        None => Vec::new(),
    };
    raw::unshare_spaces().map_err(failed("unshare"))?;
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(failed("make the mounts private"))?;
    pivot(&parts)
}

fn pivot(parts: &[Part]) -> Result<(), ConfineError> {
    let stage = tmpfs()?;
    rustix::mount::move_mount(
        &stage,
        "",
        CWD,
        STAGE,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed("mount the new root"))?;
    for part in parts {
        attach(stage.as_fd(), part)?;
    }
    rustix::process::fchdir(&stage).map_err(failed("enter the new root"))?;
    // pivot_root(2), NOTES: with both arguments the same, the old root ends up on top and is taken off.
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("take off the old root"))?;
    rustix::process::chdir("/").map_err(failed("chdir"))?;
    raw::make_read_only(&stage).map_err(failed("make the root read-only"))
}

fn tmpfs() -> Result<OwnedFd, ConfineError> {
    let step = "make a tmpfs";
    let context =
        rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed(step))?;
    for (key, value) in [("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")] {
        rustix::mount::fsconfig_set_string(&context, key, value).map_err(failed(step))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(failed(step))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed(step))
}

/// The plugin's directory as a mount of its own. privd hands over a detached mount, which is taken as it
/// is; a plain directory is cloned.
fn plugin_mount(directory: BorrowedFd<'_>) -> Result<OwnedFd, ConfineError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    match rustix::mount::open_tree(directory, "", flags) {
        Ok(mount) => Ok(mount),
        Err(Errno::INVAL) => directory
            .try_clone_to_owned()
            .map_err(failed("take the plugin's directory")),
        Err(error) => Err(failed("clone the plugin's directory")(error)),
    }
}

fn libraries() -> Result<Vec<Part>, ConfineError> {
    let mut parts = Vec::new();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for name in LIBRARIES {
        for directory in LIBRARY_DIRS {
            let place = Path::new(directory).join(name);
            match rustix::mount::open_tree(CWD, &place, flags) {
                Ok(mount) => {
                    parts.push(Part {
                        mount,
                        place,
                        directory: false,
                    });
                    break;
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("clone a library")(error)),
            }
        }
    }
    Ok(parts)
}

fn attach(root: BorrowedFd<'_>, part: &Part) -> Result<(), ConfineError> {
    let step = "put a part into the new root";
    let relative = part.place.strip_prefix("/").unwrap_or(&part.place);
    let parent = relative.parent().unwrap_or(Path::new(""));
    let directories = if part.directory { relative } else { parent };
    let mut made = PathBuf::new();
    for component in directories.components() {
        made.push(component);
        match rustix::fs::mkdirat(root, &made, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(step)(error)),
        }
    }
    if !part.directory {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(root, relative, flags, Mode::from_raw_mode(0o444))
            .map_err(failed(step))?;
    }
    raw::make_read_only(&part.mount).map_err(failed(step))?;
    rustix::mount::move_mount(
        &part.mount,
        "",
        root,
        relative,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed(step))
}
