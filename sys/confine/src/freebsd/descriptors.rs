//! The exact list of descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::{failed, raw};
use crate::ConfineError;
use crate::gaps::gaps;

/// Checks that 0, 1, 2 and `keep` are open and closes every other descriptor.
pub(super) fn exactly(keep: &[BorrowedFd<'_>]) -> Result<(), ConfineError> {
    let mut list: Vec<RawFd> = vec![0, 1, 2];
    list.extend(keep.iter().map(AsRawFd::as_raw_fd));
    list.sort_unstable();
    list.dedup();
    for &fd in &list {
        match raw::is_open(fd) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                return Err(ConfineError::MissingDescriptor(fd));
            }
            Err(error) => return Err(failed("fcntl")(error)),
        }
    }
    for (first, last) in gaps(&list) {
        raw::close_range(first, last).map_err(failed("close_range"))?;
    }
    Ok(())
}

/// How many are open: `kern.proc.nfds` (sysctl(3)), which a process in capability mode may ask of itself.
pub(crate) fn open() -> Option<usize> {
    raw::descriptors().ok()
}
