//! Descriptors of a process that is about to become another one (close_range(2), dup2(2)).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::{Errno, Result};

/// Closes every descriptor but 0, 1, 2 and `keep`.
///
/// # Errors
/// None that close_range(2) names for such ranges.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let numbers: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    close_all_but_numbers(&numbers)
}

/// The same, by number: for a process that has not taken over what it inherited.
///
/// # Errors
/// As [`close_all_but`].
pub fn close_all_but_numbers(keep: &[RawFd]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd < first {
            continue;
        }
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from 3 up to be closed by the next exec.
///
/// # Errors
/// As [`close_all_but`].
pub fn close_all_on_exec() -> Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed())
}

fn close_range(first: u32, last: u32, flags: libc::c_int) -> Result<()> {
    // SAFETY: takes three integers. The callers run in a process of their own just before an exec or
    // exit, where no owner of a closed descriptor runs any more.
    checked(unsafe { libc::close_range(first, last, flags) })
}

/// Makes `target` another number of `fd`, open across exec.
///
/// # Errors
/// `EBADF` when the number is beyond the limit.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    // SAFETY: takes two integers. As for close_range: whoever owned `target` does not run any more.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), target) })
}

/// The answer of the call just made.
pub(crate) fn checked(answer: libc::c_int) -> Result<()> {
    if answer >= 0 {
        return Ok(());
    }
    let said = std::io::Error::last_os_error().raw_os_error();
    Err(Errno::from_raw_os_error(said.unwrap_or(libc::EIO)))
}
