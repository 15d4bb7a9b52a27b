//! A cell's root: built by host root in the child's own mount namespace, so that nothing of it shows on
//! the host and all of it goes with the namespace.
//!
//! Paths are relative where the kernel shows them in the mount table: no directory of the host appears.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind, mount_change, mount_remount, move_mount, open_tree, unmount,
};
use warder_common::{At, HostError, Result};
use warder_wire::{GuestPath, Limits, SandboxId};

use super::UserNamespace;
use crate::quota::{bound, is_one};
use crate::storage::{DIRECTORY, Root, link_merged_usr, write_names};
use crate::sys;

/// For everything but the root trees, where set-id files (sudo) shall work.
const INERT: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Files of /proc that read as empty: about the host, not the sandbox, or switches of the host.
const HIDDEN_FILES: [&str; 12] = [
    "root/proc/interrupts",
    "root/proc/kallsyms",
    "root/proc/kcore",
    "root/proc/key-users",
    "root/proc/keys",
    "root/proc/kmsg",
    "root/proc/latency_stats",
    "root/proc/modules",
    "root/proc/sched_debug",
    "root/proc/sysrq-trigger",
    "root/proc/timer_list",
    "root/proc/timer_stats",
];
/// Directories of /proc that are empty.
const HIDDEN_DIRS: [&str; 5] = [
    "root/proc/acpi",
    "root/proc/asound",
    "root/proc/driver",
    "root/proc/pressure",
    "root/proc/scsi",
];
/// Directories of /proc that can only be read.
const READ_ONLY_DIRS: [&str; 4] = [
    "root/proc/bus",
    "root/proc/fs",
    "root/proc/irq",
    "root/proc/sys",
];
/// All of /sys there is in a cell.
const SYS_DIRS: [&str; 4] = [
    "class/net",
    "devices/system/cpu",
    "devices/system/node",
    "devices/virtual/net",
];

/// A root that has been entered, but for what shows its network.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    /// The cell's directory, and how many bytes it may hold.
    held: Option<(&'a OwnedFd, u64)>,
    volumes: Vec<(OwnedFd, &'a GuestPath)>,
    /// The first of the sandbox's ids.
    first: u32,
}

/// The directory of a cell's writable ones, to be placed in a namespace to come: whatever it is moved to until then.
pub(crate) fn detach_cell(root: &Root) -> Result<OwnedFd> {
    detach(root.cell(), "", libc::MOUNT_ATTR_NODEV, None)
}

/// Builds the root of a cell over `cell`, but for what shows its network, and enters it: however long that takes to
/// become somebody's, nothing of the host stays mounted in it. The caller is root of the host in a mount and a process-id
/// namespace of its own.
pub(crate) fn build<'a>(
    root: &'a Root,
    cell: BorrowedFd<'_>,
    users: &UserNamespace,
    limits: &Limits,
) -> Result<Built<'a>> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at("make mounts private")?;
    rustix::process::chdir(root.state_dir()).at("enter the state directory")?;
    let held = root.unbound()?;
    let lower = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_RDONLY;
    attach(&root.tree(), "stage/tree", lower, Some(users))?;
    place(cell, "stage/cell")?;
    if let Some(mask) = root.mask() {
        attach("/usr", "stage/usr", lower, Some(users))?;
        attach(&mask, "stage/mask", lower, Some(users))?;
    }
    let (mut trees, mut usrs) = (String::new(), String::new());
    for (n, upper) in (1..).zip(root.uppers()) {
        attach(
            &format!("{upper}/up"),
            &format!("stage/{n}"),
            lower,
            Some(users),
        )?;
        trees += &format!("{n}:");
        if root.mask().is_some() {
            attach(
                &format!("{upper}/usr-up"),
                &format!("stage/u{n}"),
                lower,
                Some(users),
            )?;
            usrs += &format!("u{n}:");
        }
    }
    let guarded = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let volumes: Vec<(OwnedFd, &GuestPath)> = root
        .volumes()
        .map(|(content, at)| Ok((detach(CWD, &content, guarded, Some(users))?, at)))
        .collect::<Result<_>>()?;
    rustix::process::chdir("stage").at("enter the stage")?;
    let apart = is_one(cell);
    overlay("root", (trees + "tree", "lower"), ("up", "wk"), apart)?;
    if root.mask().is_some() {
        let lowers = (usrs + "mask:usr", "usr-lower");
        overlay("root/usr", lowers, ("usr-up", "usr-wk"), apart)?;
    }
    mount_points_are_directories()?;
    // Modes below are meant as they stand.
    rustix::process::umask(Mode::empty());
    let first = users.range().first;
    dev(first, limits)?;
    proc(first)?;
    let run = format!("mode=0755,uid={first},gid={first},size=64m");
    tmpfs("root/run", INERT - MountFlags::NOEXEC, run)?;
    rustix::process::chdir("root").at("enter the root")?;
    pivot()?;
    let most = u64::from(limits.disk_mib) << 20;
    Ok(Built {
        held: held.map(|cell| (cell, most)),
        volumes,
        first,
    })
}

/// Gives a root that was built for another the names of `sandbox`. No process that could have put a link in the place
/// of /etc, or of a file there, has run in it.
pub(crate) fn rename(sandbox: &SandboxId) -> Result<()> {
    let etc = rustix::fs::open("/etc", DIRECTORY, Mode::empty()).at("open /etc")?;
    write_names(&etc, sandbox)
}

/// Completes a root, in the sandbox's network namespace.
pub(crate) fn complete(built: Built<'_>) -> Result<()> {
    sys()?;
    for (volume, at) in &built.volumes {
        attach_volume(volume.as_fd(), at, built.first)?;
    }
    match built.held {
        Some((cell, most)) => bound(cell, Some(most)).map(drop),
        None => Ok(()),
    }
}

/// Attaches a volume at a place in the working directory, the finished root. Directories missing on the way are made
/// and are the sandbox's root's. No process that could change the tree runs meanwhile.
fn attach_volume(volume: BorrowedFd<'_>, at: &GuestPath, root: u32) -> Result<()> {
    let way = |errno| match errno {
        // A link, or something else that is no directory, is what a guest or a template can have put there.
        Errno::LOOP => Errno::NOTDIR,
        errno => errno,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let step = |from: BorrowedFd<'_>, name: &str| {
        rustix::fs::openat2(from, name, flags, Mode::empty(), resolve).map_err(way)
    };
    let mut place = step(CWD, ".").at("open the root")?;
    for name in at.as_str().split('/').skip(1) {
        place = match step(place.as_fd(), name) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&place, name, Mode::from_raw_mode(0o755))
                    .at("make the way to a volume")?;
                let owner = (Some(Uid::from_raw(root)), Some(Gid::from_raw(root)));
                rustix::fs::chownat(&place, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                    .at("make the way to a volume")?;
                step(place.as_fd(), name)
            }
            found => found,
        }
        .at("mount a volume: something on the way to its place is not a directory")?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(volume, "", &place, "", flags).at("attach a volume")
}

/// Builds the root in which an archive is unpacked, and enters it: the host's /usr with the rights of everyone,
/// and `tree`, whose files get the ids that `users` maps. The caller as for [`enter_root`].
pub(crate) fn enter_unpacking_root(
    state_dir: &Path,
    tree: &str,
    users: &UserNamespace,
) -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at("make mounts private")?;
    rustix::process::chdir(state_dir).at("enter the state directory")?;
    tmpfs(
        "stage/root",
        INERT,
        "mode=0755,size=64k,nr_inodes=32".to_owned(),
    )?;
    for path in ["stage/root/usr", "stage/root/template"] {
        rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).at("make a mount point")?;
    }
    link_merged_usr(CWD, "stage/root/")?;
    let inert = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    attach(
        "/usr",
        "stage/root/usr",
        inert | libc::MOUNT_ATTR_RDONLY,
        None,
    )?;
    attach(
        tree,
        "stage/root/template",
        inert | libc::MOUNT_ATTR_NOEXEC,
        Some(users),
    )?;
    rustix::process::chdir("stage/root").at("enter the root")?;
    pivot()
}

/// Makes the working directory the root, and takes off the old one.
fn pivot() -> Result<()> {
    // Puts the old root on top of the new one, from where it is taken off; see pivot_root(2), NOTES.
    rustix::process::pivot_root(".", ".").at("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).at("unmount the old root")?;
    rustix::process::chdir("/").at("enter the new root")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Refuses a template, or a tree a guest left, that would lead the mounts below elsewhere by symbolic links.
/// No process that could change the tree runs meanwhile.
fn mount_points_are_directories() -> Result<()> {
    for path in ["root/dev", "root/proc", "root/run", "root/sys"] {
        let stat = rustix::fs::lstat(path).at("look at a mount point")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(HostError::Invalid(
                "a mount point in the template is not a directory",
            ));
        }
    }
    Ok(())
}

/// Attaches the tree at `from` at `to`, in this namespace only. See [`detach`].
fn attach(from: &str, to: &str, attributes: u64, users: Option<&UserNamespace>) -> Result<()> {
    place(detach(CWD, from, attributes, users)?.as_fd(), to)
}

fn place(tree: BorrowedFd<'_>, to: &str) -> Result<()> {
    move_mount(tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at("attach a tree")
}

/// The tree at `from` in `directory`, or that itself (without mounts below it), attached nowhere; with `users`, its files have the ids that those
/// map.
fn detach(
    directory: BorrowedFd<'_>,
    from: &str,
    attributes: u64,
    users: Option<&UserNamespace>,
) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(directory, from, flags).at("open a tree")?;
    sys::set_mount(tree.as_fd(), attributes, users.map(AsFd::as_fd)).at("map the ids of a tree")?;
    Ok(tree)
}

/// Mounts what is below under this sandbox's `upper` at `target`. Where the upper is `apart`, in a subvolume, its files have
/// numbers that those below have as well, and overlayfs takes what is on one file system for numbered once: so what is
/// below becomes a file system of its own first, at `place`, and the number of that is shown with each file's (`xino`).
fn overlay(
    target: &str,
    (lower, place): (String, &str),
    (upper, work): (&str, &str),
    apart: bool,
) -> Result<()> {
    let (lower, numbers) = if apart {
        let (flags, all) = (
            MountFlags::NODEV | MountFlags::RDONLY,
            format!("lowerdir={lower}:void"),
        );
        let options = text(all + ",redirect_dir=follow,metacopy=off,index=off")?;
        mount("overlay", place, "overlay", flags, options.as_c_str()).at("mount what is below")?;
        (place.to_owned(), ",xino=on")
    } else {
        (lower, "")
    };
    // A volatile overlay leaves this mark, against mounting it again after the host crashed. What outlives a boot
    // was synced when its sandbox was paused, or is discarded by privd.
    let mark = format!("cell/{work}/work/incompat/volatile");
    for (path, flags) in [
        (format!("{mark}/dirty"), AtFlags::empty()),
        (mark, AtFlags::REMOVEDIR),
    ] {
        match rustix::fs::unlinkat(CWD, path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).at("remove the mark of a volatile overlay"),
        }
    }
    // volatile: nothing of a running sandbox must survive power loss, and unmounting does not wait for the disk.
    // redirect_dir: directories of the template can be renamed. Only host root can write what it trusts.
    let options = format!(
        "lowerdir={lower},upperdir=cell/{upper},workdir=cell/{work},volatile,redirect_dir=on,metacopy=off,index=off{numbers}"
    );
    mount(
        "overlay",
        target,
        "overlay",
        MountFlags::NODEV,
        text(options)?.as_c_str(),
    )
    .at("mount the root overlay")
}

fn tmpfs(target: &'static str, flags: MountFlags, options: String) -> Result<()> {
    mount("tmpfs", target, "tmpfs", flags, text(options)?.as_c_str()).at("mount a tmpfs")
}

fn text(options: String) -> Result<CString> {
    CString::new(options).map_err(|_| HostError::Invalid("zero byte in mount options"))
}

/// /dev with the devices that every program may use, a terminal name space and shared memory.
fn dev(first: u32, limits: &Limits) -> Result<()> {
    const DEVICES: [(&str, u32, u32); 6] = [
        ("root/dev/null", 1, 3),
        ("root/dev/zero", 1, 5),
        ("root/dev/full", 1, 7),
        ("root/dev/random", 1, 8),
        ("root/dev/urandom", 1, 9),
        ("root/dev/tty", 5, 0),
    ];
    const LINKS: [(&str, &str); 5] = [
        ("/proc/self/fd", "root/dev/fd"),
        ("/proc/self/fd/0", "root/dev/stdin"),
        ("/proc/self/fd/1", "root/dev/stdout"),
        ("/proc/self/fd/2", "root/dev/stderr"),
        ("pts/ptmx", "root/dev/ptmx"),
    ];
    let owner = format!("uid={first},gid={first}");
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    tmpfs(
        "root/dev",
        flags,
        format!("mode=0755,{owner},size=64k,nr_inodes=256"),
    )?;
    for (path, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(
            CWD,
            path,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .at("make a device")?;
    }
    for (to, path) in LINKS {
        rustix::fs::symlink(to, path).at("make a link in /dev")?;
    }
    for path in ["root/dev/pts", "root/dev/shm"] {
        rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).at("make a directory in /dev")?;
    }
    // Group 5 is tty in every template.
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={}", first + 5);
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(
        "devpts",
        "root/dev/pts",
        "devpts",
        flags,
        text(options)?.as_c_str(),
    )
    .at("mount devpts")?;
    let half = (limits.memory_mib / 2).max(1);
    tmpfs(
        "root/dev/shm",
        INERT - MountFlags::NOEXEC,
        format!("mode=1777,{owner},size={half}m"),
    )
}

/// /proc of this process-id namespace, without what is about the host.
fn proc(first: u32) -> Result<()> {
    mount("proc", "root/proc", "proc", INERT, None).at("mount proc")?;
    for path in READ_ONLY_DIRS {
        match mount_bind(path, path) {
            Ok(()) => mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | INERT, c"")
                .at("make /proc read-only")?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).at("bind in /proc"),
        }
    }
    for path in HIDDEN_FILES {
        hide("root/dev/null", path)?;
    }
    boot_id(first)?;
    tmpfs(
        "void",
        INERT | MountFlags::RDONLY,
        "mode=0555,size=4k,nr_inodes=2".to_owned(),
    )?;
    for path in HIDDEN_DIRS {
        hide("void", path)?;
    }
    Ok(())
}

/// A boot id of the cell's own: another one whenever it is started anew, so that programs see that their
/// processes are gone.
fn boot_id(first: u32) -> Result<()> {
    const SHOWN: &str = "root/proc/sys/kernel/random/boot_id";
    let fresh = std::fs::read("/proc/sys/kernel/random/uuid").at("read a random id")?;
    tmpfs("void", INERT, "mode=0555,size=4k,nr_inodes=2".to_owned())?;
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open("void/boot_id")
        .at("make the boot id")?;
    file.write_all(&fresh).at("write the boot id")?;
    std::os::unix::fs::fchown(&file, Some(first), Some(first)).at("own the boot id")?;
    mount_bind("void/boot_id", SHOWN).at("cover the boot id")?;
    let read_only = MountFlags::BIND | MountFlags::RDONLY | INERT;
    mount_remount(SHOWN, read_only, c"").at("make the boot id read-only")
}

/// Covers `path`, if this kernel has it.
fn hide(by: &'static str, path: &'static str) -> Result<()> {
    match mount_bind(by, path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).at("cover a part of /proc"),
    }
}

/// /sys, read-only and only what is listed: the sandbox's network devices and the processors.
fn sys() -> Result<()> {
    let read_only = INERT | MountFlags::RDONLY;
    mount("sysfs", "/sys", "sysfs", read_only, None).at("mount sysfs")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut shown = Vec::new();
    for dir in SYS_DIRS {
        match open_tree(CWD, format!("/sys/{dir}"), flags) {
            Ok(tree) => shown.push((dir, Some(tree))),
            Err(Errno::NOENT) => shown.push((dir, None)),
            Err(errno) => return Err(errno).at("open a tree of /sys"),
        }
    }
    unmount("/sys", UnmountFlags::DETACH).at("unmount sysfs")?;
    let options = "mode=0755,size=4k,nr_inodes=64".to_owned();
    tmpfs("/sys", INERT, options)?;
    for (dir, tree) in shown {
        let mut made = String::from("/sys");
        for name in dir.split('/') {
            made.push('/');
            made.push_str(name);
            match rustix::fs::mkdir(made.as_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).at("make a directory in /sys"),
            }
        }
        if let Some(tree) = tree {
            place(tree.as_fd(), &made)?;
        }
    }
    mount_remount("/sys", MountFlags::BIND | read_only, c"").at("make /sys read-only")
}
