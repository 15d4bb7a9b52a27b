//! How much of a file system the content of a directory may take: ext4 and XFS count by projects, btrfs by subvolumes.

mod projects;
mod subvolumes;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};
use warder_common::At;

pub(crate) use projects::{assign, used};
pub(crate) use subvolumes::{create, destroy, is_one};

/// What a file system holds to limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    Projects,
    Subvolumes,
}

/// What the file system of a directory holds to limits, if anything. Not projects where the directory is in one of somebody
/// else's: nothing of another may be moved into it.
pub(crate) fn in_force(directory: BorrowedFd<'_>) -> Option<Counted> {
    if subvolumes::in_force(directory) {
        return Some(Counted::Subvolumes);
    }
    let free = projects::in_force(directory) && projects::given(directory) == Ok(None);
    free.then_some(Counted::Projects)
}

/// Holds what is in a directory to a limit, or frees it of one. False where nothing counts it by itself.
pub(crate) fn bound(directory: impl AsFd, bytes: Option<u64>) -> warder_common::Result<bool> {
    let directory = directory.as_fd();
    let limited = match project(directory) {
        Ok(Some(project)) => projects::limit(directory, project, bytes),
        Ok(None) if is_one(directory) => subvolumes::limit(directory, bytes),
        Ok(None) => return Ok(false),
        Err(errno) => Err(errno),
    };
    match limited {
        // Nothing is counted any more: nothing is left to be freed of.
        Err(Errno::NOTCONN) if bytes.is_none() => Ok(false),
        limited => limited.at("set a quota").map(|()| true),
    }
}

/// Bytes that the content of a directory takes, where it is counted by itself.
pub(crate) fn taken(directory: BorrowedFd<'_>) -> Option<u64> {
    match project(directory).ok()? {
        Some(project) => Some(used(directory, project).ok()?.bytes),
        None => subvolumes::used(directory),
    }
}

fn project(directory: BorrowedFd<'_>) -> Result<Option<u32>> {
    match projects::given(directory) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(None),
        project => project,
    }
}

/// What the kernel may write any bytes to.
///
/// # Safety
/// Any bytes are a value of it.
unsafe trait Plain {}

// SAFETY: integers.
unsafe impl<const N: usize> Plain for [u64; N] {}
// SAFETY: integers.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: integers.
unsafe impl<const N: usize> Plain for [[u8; 16]; N] {}

/// ioctl(2) of a command that says how large its struct is.
fn ioctl<T: Plain>(file: BorrowedFd<'_>, command: libc::Ioctl, data: &mut T) -> Result<()> {
    // How much the kernel reads and writes is part of the command (asm-generic/ioctl.h).
    let size = command as usize >> 16 & 0x3fff;
    if size != size_of::<T>() || size == 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: the kernel reads and writes as many bytes as data has, and any are a value of it.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), command, std::ptr::from_mut(data)) };
    checked(answer.into())
}

fn checked(answer: libc::c_long) -> Result<()> {
    match answer {
        0.. => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
