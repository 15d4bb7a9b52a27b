//! System V shared memory of the host, and whether a sandbox sees it.

use std::io;

use crate::attempt::Said;

/// A segment of shared memory under a key, as a program of the host might have one; removed when dropped.
#[derive(Debug)]
pub struct Segment(i32);

impl Segment {
    /// Makes one that everybody may read and write (shmget(2)).
    ///
    /// # Errors
    /// When the key is taken or there is no System V shared memory.
    pub fn make(key: i32) -> io::Result<Self> {
        // SAFETY: shmget(2) takes three numbers and touches no memory of this process.
        let id = unsafe {
            libc::shmget(
                key as libc::key_t,
                4096,
                libc::IPC_CREAT | libc::IPC_EXCL | 0o666,
            )
        };
        if id == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(id))
    }

    /// Leaves it where it is.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID reads no buffer; the segment is ours and attached nowhere.
        unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// Whether the segment under `key` is seen from here: it must not be.
#[must_use]
pub fn segment_is_seen(key: i32) -> Said {
    // SAFETY: as in `make`; nothing is created without IPC_CREAT.
    let id = unsafe { libc::shmget(key as libc::key_t, 0, 0) };
    let found = if id == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok("found")
    };
    Said::of(
        found,
        &[libc::ENOENT, libc::ENOSYS, libc::EPERM, libc::EACCES],
    )
}
