//! Subvolumes of btrfs. Each has a quota group of its own, which counts what its files refer to, metadata included; see
//! btrfs-subvolume(8), btrfs-quota(8) and linux/btrfs.h.

use std::fs;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, Result};

use super::ioctl;

/// linux/magic.h.
const BTRFS_SUPER_MAGIC: u64 = 0x9123_683e;
/// The number of the first directory of a subvolume, and of no other (linux/btrfs_tree.h, BTRFS_FIRST_FREE_OBJECTID).
const TOP: u64 = 256;

// linux/btrfs.h: BTRFS_IOC_ before each.
const SUBVOL_CREATE: libc::Ioctl = 0x5000_940e;
const SNAP_DESTROY: libc::Ioctl = 0x5000_940f;
const INO_LOOKUP: libc::Ioctl = 0xd000_9412;
const FS_INFO: libc::Ioctl = 0x8400_941f;
const QGROUP_CREATE: libc::Ioctl = 0x4010_942a;
const QGROUP_LIMIT: libc::Ioctl = 0x8030_942b;
/// BTRFS_QGROUP_LIMIT_MAX_RFER.
const REFERRED: u64 = 1;
/// A limit that is taken away.
const CLEAR: u64 = u64::MAX;

/// Whether subvolumes of the file system of `file` are held to limits, and making one waits for no disk (Linux 6.3). Simple
/// quotas hold nobody who has one volume copied to another and removed, and what has lost count holds nobody at all.
pub(super) fn in_force(file: BorrowedFd<'_>) -> bool {
    let Some(groups) = is_btrfs(file).then(|| groups(file).ok()).flatten() else {
        return false;
    };
    let read = |name| fs::read_to_string(format!("{groups}/{name}"));
    // `mode` is there since 6.7, where there are two.
    let full = read("mode").map_or(true, |mode| mode == "qgroup\n");
    let counts = read("inconsistent").is_ok_and(|lost| lost == "0\n");
    full && counts && crate::features::is_kernel((6, 3))
}

/// Whether a directory is the first of a subvolume.
pub(crate) fn is_one(directory: BorrowedFd<'_>) -> bool {
    is_btrfs(directory) && rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_ino == TOP)
}

fn is_btrfs(file: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type.cast_unsigned() == BTRFS_SUPER_MAGIC)
}

/// Makes an empty subvolume, for root alone.
pub(crate) fn create(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    ioctl(parent, SUBVOL_CREATE, &mut named(name)?)?;
    rustix::fs::chmodat(
        parent,
        name,
        rustix::fs::Mode::RWXU,
        rustix::fs::AtFlags::empty(),
    )
}

/// Removes a subvolume with all that is in it; the file system frees the room later.
pub(crate) fn destroy(parent: BorrowedFd<'_>, name: &str, opened: BorrowedFd<'_>) -> Result<()> {
    let number = number(opened)?;
    ioctl(parent, SNAP_DESTROY, &mut named(name)?)?;
    // Before Linux 6.12 its group outlives it. From 6.10 this is refused until it is gone for good, and then not needed.
    let _ = ioctl(parent, QGROUP_CREATE, &mut [0, number]);
    Ok(())
}

/// What a subvolume may take from now on; `None`: what is there.
pub(super) fn limit(subvolume: BorrowedFd<'_>, bytes: Option<u64>) -> Result<()> {
    // struct btrfs_ioctl_qgroup_limit_args; group 0 is the own one.
    let mut wanted = [0, REFERRED, bytes.unwrap_or(CLEAR), 0, 0, 0];
    ioctl(subvolume, QGROUP_LIMIT, &mut wanted)
}

/// Bytes that a subvolume takes, as of the last transaction.
pub(super) fn used(subvolume: BorrowedFd<'_>) -> Option<u64> {
    if !is_one(subvolume) {
        return None;
    }
    let group = format!("{}/0_{}", groups(subvolume).ok()?, number(subvolume).ok()?);
    let text = fs::read_to_string(group + "/referenced").ok()?;
    text.trim_end().parse().ok()
}

fn number(subvolume: BorrowedFd<'_>) -> Result<u64> {
    // struct btrfs_ioctl_ino_lookup_args: the number of the tree, 0 for that of the file, and whose path.
    let mut found = [0_u64; 512];
    found[1] = TOP;
    ioctl(subvolume, INO_LOOKUP, &mut found)?;
    Ok(found[0])
}

/// Where the kernel shows the groups of a file system, if it has any: by its UUID.
fn groups(file: BorrowedFd<'_>) -> Result<String> {
    // struct btrfs_ioctl_fs_info_args: two integers, then the UUID.
    let mut info = [[0_u8; 16]; 64];
    ioctl(file, FS_INFO, &mut info)?;
    let id = format!("{:032x}", u128::from_be_bytes(info[1]));
    let (a, b, c, d, e) = (&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    Ok(format!("/sys/fs/btrfs/{a}-{b}-{c}-{d}-{e}/qgroups"))
}

/// struct btrfs_ioctl_vol_args: a descriptor that these calls do not take, and a name.
fn named(name: &str) -> Result<[u8; 4096]> {
    let mut args = [0; 4096];
    let place = args[8..4095].get_mut(..name.len());
    place
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(name.as_bytes());
    Ok(args)
}
