//! Mounts (nmount(2), unmount(2), getfsstat(2)).

use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::{Errno, Result};
use warder_common::Said;

use super::params::{Params, c_text};
use super::{checked, raw};

pub use super::raw::{MNT_EMPTYDIR, MNT_NOCOVER, MNT_NOEXEC, MNT_NOSUID, MNT_RDONLY, MNT_UPDATE};

/// What names one mount for as long as it is there.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FsId(pub [i32; 2]);

/// A file system that is mounted.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Its name.
    pub fsid: FsId,
    /// Its kind: `zfs`, `nullfs`, `devfs`, `tmpfs`.
    pub kind: String,
    /// What is mounted: a dataset, a directory, a device.
    pub from: PathBuf,
    /// Where, as the host sees it.
    pub on: PathBuf,
    /// `MNT_*` of sys/mount.h.
    pub flags: u64,
    /// Bytes of a block, the unit of the counts that follow.
    pub block: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free ones.
    pub free: u64,
    /// Those free for everybody; less than none when the reserve is in use.
    pub available: i64,
}

/// Mounts a file system of `kind`. `params` has its options, `fspath` (where) among them and mostly `from` or
/// `target`; options that are `MNT_*` flags can be given as either.
///
/// # Errors
/// What nmount(2) says: `EINVAL` and `Invalid fstype` when the kernel knows no such kind.
pub fn mount(kind: &str, params: &Params, flags: u64) -> std::result::Result<(), Said> {
    // nmount(2) takes an int: the flags above it have names for options only.
    let flags = libc::c_int::try_from(flags).map_err(|_| Said::from(Errno::INVAL))?;
    let mut params = params.clone().text("fstype", kind);
    params
        .call(|list, count| {
            // SAFETY: the list has so many elements, each of which names memory that lives during the call.
            unsafe { libc::nmount(list, count, flags) }
        })
        .map(drop)
}

/// Unmounts by name: no path is looked up, so none can lead elsewhere.
///
/// # Errors
/// `ENOENT` when it is not mounted any more, `EBUSY` without `force` when it is in use.
pub fn unmount(fsid: FsId, force: bool) -> Result<()> {
    let FsId([first, second]) = fsid;
    let name = CString::new(format!("FSID:{first}:{second}")).map_err(|_| Errno::INVAL)?;
    let flags = raw::MNT_BYFSID | if force { raw::MNT_FORCE } else { 0 };
    let flags = libc::c_int::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: the name ends with a null and outlives the call.
    checked(unsafe { libc::unmount(name.as_ptr(), flags) }).map(drop)
}

/// Everything that is mounted, what was mounted first in front. Sizes are those known without asking a device.
///
/// # Errors
/// Those of getfsstat(2).
pub fn mounted() -> Result<Vec<Mounted>> {
    // SAFETY: without a buffer the call only counts.
    let count = checked(unsafe { libc::getfsstat(std::ptr::null_mut(), 0, raw::MNT_NOWAIT) })?;
    // More may be mounted meanwhile; when those that are there fill it all, some may be missing.
    let mut room = usize::try_from(count).unwrap_or(0) + 16;
    loop {
        let mut list: Vec<raw::Statfs> = Vec::with_capacity(room);
        let bytes = room * size_of::<raw::Statfs>();
        let bytes = libc::c_long::try_from(bytes).map_err(|_| Errno::TOOBIG)?;
        // SAFETY: the list has room for so many bytes.
        let count = unsafe { libc::getfsstat(list.as_mut_ptr().cast(), bytes, raw::MNT_NOWAIT) };
        let count = usize::try_from(checked(count)?).unwrap_or(0);
        if count < room {
            // SAFETY: the kernel filled in so many elements, no more than there is room for.
            unsafe { list.set_len(count) };
            return Ok(list.iter().map(seen).collect());
        }
        room *= 2;
    }
}

/// The file system that a path lies in.
///
/// # Errors
/// Those of statfs(2).
pub fn of(path: &Path) -> Result<Mounted> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut said = raw::Statfs::EMPTY;
    // SAFETY: the path ends with a null; the answer has the kernel's layout and outlives the call.
    checked(unsafe { libc::statfs(path.as_ptr(), (&raw mut said).cast()) })?;
    Ok(seen(&said))
}

/// The file system that an open file lies in.
///
/// # Errors
/// Those of fstatfs(2).
pub fn of_fd(file: BorrowedFd<'_>) -> Result<Mounted> {
    let mut said = raw::Statfs::EMPTY;
    // SAFETY: the answer has the kernel's layout and outlives the call.
    checked(unsafe { libc::fstatfs(file.as_raw_fd(), (&raw mut said).cast()) })?;
    Ok(seen(&said))
}

fn seen(said: &raw::Statfs) -> Mounted {
    let path = |chars: &[libc::c_char]| PathBuf::from(OsString::from_vec(c_text(chars)));
    Mounted {
        fsid: FsId(said.f_fsid),
        kind: String::from_utf8_lossy(&c_text(&said.f_fstypename)).into_owned(),
        from: path(&said.f_mntfromname),
        on: path(&said.f_mntonname),
        flags: said.f_flags,
        block: said.f_bsize,
        blocks: said.f_blocks,
        free: said.f_bfree,
        available: said.f_bavail,
    }
}
