//! What a descriptor may be used for (rights(4), cap_rights_limit(2)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;

use super::checked;

/// What a descriptor of a device such as /dev/null is used for. Not for its mode and owner, which are those of the host's
/// own device, and which root in a jail may change by a descriptor (fchmod(2), devfs_setattr in devfs_vnops.c).
pub const DEVICE: [u64; 6] = [
    libc::CAP_PREAD,
    libc::CAP_PWRITE,
    libc::CAP_FSTAT,
    libc::CAP_FCNTL,
    libc::CAP_IOCTL,
    libc::CAP_EVENT,
];

/// Leaves a descriptor, its copies to come and what is opened below it with `rights` (`CAP_*`), for good.
///
/// # Errors
/// `ENOTCAPABLE` when it has not all of them any more.
pub fn limit(fd: BorrowedFd<'_>, rights: &[u64]) -> Result<()> {
    // SAFETY: plain integers, for which all zeroes is a value.
    let mut set: libc::cap_rights_t = unsafe { std::mem::zeroed() };
    let end: u64 = 0;
    // SAFETY: the set is valid and the list of rights ends with a zero.
    unsafe { libc::__cap_rights_init(libc::CAP_RIGHTS_VERSION, &raw mut set, end) };
    for right in rights {
        // SAFETY: as above; the set was initialised.
        unsafe { libc::__cap_rights_set(&raw mut set, *right, end) };
    }
    // SAFETY: the set is valid and outlives the call.
    checked(unsafe { libc::cap_rights_limit(fd.as_raw_fd(), &raw const set) }).map(drop)
}
