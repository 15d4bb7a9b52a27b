//! ioctl(2) requests that hold no pointers, or pointers that their owner keeps alive.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

/// `IFNAMSIZ` (net/if.h), the final zero byte included.
pub const NAME: usize = 16;

/// A request that the kernel reads (sys/ioccom.h, `_IOW`).
pub(super) const fn reads(group: u8, number: u8, size: usize) -> libc::c_ulong {
    command(0x8000_0000, group, number, size)
}

/// One that it reads and writes (`_IOWR`).
pub(super) const fn changes(group: u8, number: u8, size: usize) -> libc::c_ulong {
    command(0xc000_0000, group, number, size)
}

/// One that it writes (`_IOR`).
pub(super) const fn writes(group: u8, number: u8, size: usize) -> libc::c_ulong {
    command(0x4000_0000, group, number, size)
}

const fn command(way: u64, group: u8, number: u8, size: usize) -> libc::c_ulong {
    way | ((size as u64 & 0x1fff) << 16) | ((group as u64) << 8) | number as u64
}

/// A structure of nothing but numbers, as large as its requests say.
///
/// # Safety
/// Every pattern of bytes is a value of it; a pointer in it leads to as much as the kernel reads or writes.
pub(super) unsafe trait Plain {}

/// Sends a request.
pub(super) fn request<T: Plain>(
    fd: BorrowedFd<'_>,
    command: libc::c_ulong,
    value: &mut T,
) -> Result<()> {
    if (command >> 16) & 0x1fff != size_of::<T>() as u64 {
        return Err(Errno::INVAL);
    }
    // SAFETY: the kernel copies as many bytes as the command says, which are those of `value`.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), command, std::ptr::from_mut(value)) };
    if answer == -1 {
        return Err(last());
    }
    Ok(())
}

/// What the last call said.
pub(super) fn last() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A name with its final zero bytes.
pub(super) fn name(text: &str) -> Result<[u8; NAME]> {
    let mut bytes = [0; NAME];
    if text.is_empty() || text.len() >= NAME || text.contains('\0') {
        return Err(Errno::INVAL);
    }
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Ok(bytes)
}

/// A name without them.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_headers() {
        // sys/sockio.h: SIOCSIFFLAGS, SIOCGIFFLAGS, SIOCIFCREATE2.
        assert_eq!(reads(b'i', 16, 32), 0x8020_6910);
        assert_eq!(changes(b'i', 17, 32), 0xc020_6911);
        assert_eq!(changes(b'i', 124, 32), 0xc020_697c);
        assert_eq!(writes(b'B', 106, 4), 0x4004_426a);
    }

    #[test]
    fn names_fit_or_are_refused() {
        assert_eq!(name("sixteen-bytes-xx"), Err(Errno::INVAL));
        assert_eq!(name(""), Err(Errno::INVAL));
        assert_eq!(
            text(&name("fifteen-bytes-x").expect("fits")),
            "fifteen-bytes-x"
        );
    }
}
