//! Who is at the other end of a Unix socket (unix(4), `LOCAL_PEERCRED`).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

use super::checked;

/// Of `struct xucred` (sys/ucred.h).
pub const XUCRED_VERSION: libc::c_uint = 0;
/// The option's level (sys/un.h).
pub const SOL_LOCAL: libc::c_int = 0;

/// Who made the connection, or listened, as it was then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its number.
    pub pid: i32,
}

/// The peer of a connected socket.
///
/// # Errors
/// `ENOTCONN`; `EINVAL` for another kind of socket.
pub fn of(socket: BorrowedFd<'_>) -> Result<Peer> {
    // SAFETY: plain integers and a pointer that is not read; all zeroes is a value.
    let mut said: libc::xucred = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::xucred>() as libc::socklen_t;
    // SAFETY: the answer has the length given; both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            SOL_LOCAL,
            libc::LOCAL_PEERCRED,
            (&raw mut said).cast(),
            &raw mut length,
        )
    };
    checked(answer)?;
    if said.cr_version != XUCRED_VERSION || said.cr_ngroups < 1 {
        return Err(Errno::PROTO);
    }
    Ok(Peer {
        uid: said.cr_uid,
        gid: said.cr_groups[0],
        // SAFETY: the kernel has written an integer there, since FreeBSD 13 (`cru2xt` of kern_prot.c).
        pid: unsafe { said.cr_pid__c_anonymous_union.cr_pid },
    })
}
