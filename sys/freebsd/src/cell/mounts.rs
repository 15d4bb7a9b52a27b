//! What is mounted in a cell's tree: made by the child that becomes the cell, before its jail is there, and
//! taken away when the jail is gone. nmount(2) takes paths, and a tree may hold symbolic links that a guest or
//! a template left: every place is walked to name by name, and mounted on as the working directory.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_freebsd_plan::mounts::{Mount, owner};
use warder_wire::SandboxId;

use crate::sys::mount::{self, MNT_NOSUID, MNT_RDONLY};
use crate::sys::{Params, Said};

/// Makes the mounts, in order. Leaves the working directory at the host's root.
pub(super) fn make(root: &Path, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let place = walk(root, mount)?;
        rustix::process::fchdir(&place).at("enter a mount point")?;
        make_here(mount)?;
    }
    rustix::process::chdir("/").at("leave the mount points")
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory to mount on. No process that could change the tree runs meanwhile.
fn walk(root: &Path, mount: &Mount) -> Result<OwnedFd> {
    const WHAT: &str = "mount: something on the way to its place is not a directory";
    let way = |errno| match errno {
        // open(2): a symbolic link where none is followed.
        Errno::MLINK | Errno::LOOP => Errno::NOTDIR,
        errno => errno,
    };
    let mut place = rustix::fs::open(root, DIRECTORY, Mode::empty()).at("open the root tree")?;
    for name in mount.place.split('/').filter(|name| !name.is_empty()) {
        // Such a name comes from no caller: volumes' places are checked where they come in.
        if matches!(name, "." | "..") {
            return Err(HostError::Invalid("a mount point above its root"));
        }
        let step = || rustix::fs::openat(&place, name, DIRECTORY, Mode::empty()).map_err(way);
        let next = match step() {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&place, name, Mode::from_raw_mode(0o755))
                    .at("make the way to a mount point")?;
                step()
            }
            found => found,
        };
        place = next.at(WHAT)?;
    }
    Ok(place)
}

/// Mounts on the working directory.
fn make_here(mount: &Mount) -> Result<()> {
    let mut params = Params::new().text("fspath", ".");
    match &mount.from {
        Some(from) => params.push_text("from", from),
        None => params.push_text("from", mount.kind),
    }
    for (name, value) in &mount.options {
        match value.as_str() {
            "" => params.push_flag(name),
            value => params.push_text(name, value),
        }
    }
    let flags = |on, flag| if on { flag } else { 0 };
    let flags = flags(mount.read_only, MNT_RDONLY) | flags(mount.no_set_id, MNT_NOSUID);
    let (call, missing) = match mount.kind {
        "nullfs" => ("mount nullfs", NULLFS),
        "tmpfs" => ("mount tmpfs", TMPFS),
        _ => ("mount devfs", DEVFS),
    };
    match mount::mount(mount.kind, &params, flags) {
        // The kernel loads what it lacks by itself, unless its security level forbids it.
        Err(Said {
            errno: Errno::NODEV,
            ..
        }) => Err(missing),
        answer => answer.at(call),
    }
}

const NULLFS: HostError = HostError::Missing {
    what: "file system nullfs",
    remedy: "nullfs_load=\"YES\" in /boot/loader.conf",
};
const TMPFS: HostError = HostError::Missing {
    what: "file system tmpfs",
    remedy: "tmpfs_load=\"YES\" in /boot/loader.conf",
};
const DEVFS: HostError = HostError::Missing {
    what: "file system devfs",
    remedy: "a kernel with it: every one of FreeBSD's own has",
};

/// Unmounts what is left of a cell, last mounted first, whoever still has files open in it. By number: a guest may
/// have moved directories on the way to a mount, and links lead nowhere here.
pub(super) fn remove(state_dir: &Path, sandbox: &SandboxId) -> Result<()> {
    let of_it = |m: &mount::Mounted| owner(state_dir, &m.kind, &m.on).as_ref() == Some(sandbox);
    // Something may have been mounted while the list was read: until there is nothing.
    for _ in 0..8 {
        let mut mounted = mount::mounted().at("list mounts")?;
        mounted.retain(of_it);
        if mounted.is_empty() {
            return Ok(());
        }
        for mounted in mounted.iter().rev() {
            match mount::unmount(mounted.fsid, true) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at("unmount what a cell left"),
            }
        }
    }
    Err(Errno::BUSY).at("unmount what a cell left")
}

/// The tree of a sandbox that has a devfs mounted in it.
pub(super) fn tree(state_dir: &Path, sandbox: &SandboxId) -> Result<Option<PathBuf>> {
    let of_it = |m: &&mount::Mounted| {
        m.kind == "devfs" && owner(state_dir, &m.kind, &m.on).as_ref() == Some(sandbox)
    };
    let mounted = mount::mounted().at("list mounts")?;
    let devices = mounted.iter().find(of_it);
    Ok(devices.and_then(|m| m.on.parent().map(Path::to_owned)))
}

/// Sandboxes that something is mounted for.
pub(super) fn owners(state_dir: &Path) -> Result<Vec<SandboxId>> {
    let mounted = mount::mounted().at("list mounts")?;
    let owners = mounted.iter().map(|m| owner(state_dir, &m.kind, &m.on));
    Ok(owners.flatten().collect())
}
