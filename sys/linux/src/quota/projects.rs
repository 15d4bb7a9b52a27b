//! Quotas of projects. A project is a number that a directory gives to all that is made in it, and a quota is what all
//! files with one number may take together; see quotactl(2), ext4(5) and xfs(5) for `prjquota`.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

use super::{checked, ioctl};

// linux/quota.h and linux/dqblk_xfs.h.
const PRJQUOTA: u32 = 2;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
const Q_XGETQSTAT: u32 = 0x5805;
/// That projects are counted (FS_QUOTA_PDQ_ACCT), and held to their limits (FS_QUOTA_PDQ_ENFD).
const IN_FORCE: u16 = 1 << 4 | 1 << 5;
/// QIF_BLIMITS and QIF_ILIMITS: which members of a dqblk are meant.
const LIMITS: u32 = 1 | 4;
/// A limit is in units of so many bytes.
const UNIT: u64 = 1024;
/// Files that a project may have: one for so many bytes, as much as the smallest with any content takes. Empty ones would
/// use up what all share.
const PER_FILE: u64 = 4096;

// linux/fs.h.
const FS_IOC_FSGETXATTR: libc::Ioctl = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::Ioctl = 0x401c_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

/// linux/fs.h, struct fsxattr.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

// SAFETY: integers.
unsafe impl super::Plain for Attributes {}

/// What a project uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// Whether the file system that `file` is on holds projects to their limits.
pub(super) fn in_force(file: BorrowedFd<'_>) -> bool {
    // The flags follow a version of one byte.
    let mut state = [0_u16; 64];
    ask(file, Q_XGETQSTAT, 0, &mut state).is_ok() && state[1] & IN_FORCE == IN_FORCE
}

/// What a project uses of the file system that `file` is on.
pub(crate) fn used(file: BorrowedFd<'_>, project: u32) -> Result<Used> {
    let mut quota = none();
    match ask(file, Q_GETQUOTA, project, &mut quota) {
        // XFS: nobody has used that number yet.
        Ok(()) | Err(Errno::NOENT) => Ok(Used {
            bytes: quota.dqb_curspace,
            files: quota.dqb_curinodes,
        }),
        Err(errno) => Err(errno),
    }
}

/// What a project may use from now on; `None`: what is there.
pub(super) fn limit(file: BorrowedFd<'_>, project: u32, bytes: Option<u64>) -> Result<()> {
    let mut quota = none();
    quota.dqb_valid = LIMITS;
    if let Some(bytes) = bytes {
        // Zero would be no limit.
        quota.dqb_bhardlimit = (bytes / UNIT).max(1);
        quota.dqb_ihardlimit = (bytes / PER_FILE).max(1);
    }
    ask(file, Q_SETQUOTA, project, &mut quota)
}

/// The number that a directory gives to what is made in it, if any.
pub(super) fn given(directory: BorrowedFd<'_>) -> Result<Option<u32>> {
    let found = attributes(directory)?;
    let given = found.flags & FS_XFLAG_PROJINHERIT != 0 && found.project != 0;
    Ok(given.then_some(found.project))
}

/// Has an empty directory belong to a project, and all that will be made in it.
pub(crate) fn assign(directory: BorrowedFd<'_>, project: u32) -> Result<()> {
    let mut wanted = attributes(directory)?;
    wanted.flags |= FS_XFLAG_PROJINHERIT;
    wanted.project = project;
    ioctl(directory, FS_IOC_FSSETXATTR, &mut wanted)
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes> {
    let mut found = Attributes::default();
    ioctl(file, FS_IOC_FSGETXATTR, &mut found).map(|()| found)
}

fn none() -> libc::dqblk {
    // SAFETY: a dqblk is plain integers, for which all zeroes is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// quotactl_fd(2): `data` is what the command takes, or longer.
fn ask<T>(file: BorrowedFd<'_>, command: u32, project: u32, data: &mut T) -> Result<()> {
    // SAFETY: with each command of this file the kernel reads or writes no more than data, and any bytes are a value of it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command << 8 | PRJQUOTA,
            project,
            std::ptr::from_mut(data),
        )
    };
    checked(answer)
}
