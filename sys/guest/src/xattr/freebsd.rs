//! extattr(2), whose names have their namespace apart: `user.x` is `x` of the users' one.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libc::{EXTATTR_NAMESPACE_USER, c_void};
use rustix::io::Errno;

use super::MAX_VALUE;

/// Longest list of names read, in bytes: as much as Linux lets a file have.
const MAX_LIST: usize = 64 * 1024;

/// Names and values of a file's attributes that begin with `prefix`, prefix cut off. Follows links.
/// A file system without attributes has none.
///
/// # Errors
/// The path cannot be looked up.
pub fn list(path: &Path, prefix: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let prefix = own(prefix)?;
    let names = names(|data, room| {
        // SAFETY: a string, and room of that length or none, which only asks for the length.
        unsafe { libc::extattr_list_file(path.as_ptr(), EXTATTR_NAMESPACE_USER, data, room) }
    })?;
    let mut found = Vec::new();
    for name in entries(&names) {
        let Some(key) = std::str::from_utf8(name)
            .ok()
            .and_then(|n| n.strip_prefix(prefix))
        else {
            continue;
        };
        let Ok(name) = CString::new(name) else {
            continue;
        };
        // One byte more than wanted shows what is longer.
        let mut value = [0_u8; MAX_VALUE + 1];
        // SAFETY: two strings, and room of that length.
        let n = unsafe {
            libc::extattr_get_file(
                path.as_ptr(),
                EXTATTR_NAMESPACE_USER,
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        // Removed or grown meanwhile: as if it were not there.
        if let Ok(n @ 0..=MAX_VALUE) = usize::try_from(n) {
            found.push((key.to_owned(), value[..n].to_vec()));
        }
    }
    Ok(found)
}

/// Makes the attributes that begin with `prefix` exactly `wanted` (names without prefix). A file that
/// has none and is to have none is not touched, so that nobody who watches it sees a change.
///
/// # Errors
/// The file system has no attributes or no room for them.
pub fn replace(fd: BorrowedFd<'_>, prefix: &str, wanted: &[(String, String)]) -> io::Result<()> {
    let prefix = own(prefix)?;
    let fd: c_int = fd.as_raw_fd();
    let names = names(|data, room| {
        // SAFETY: an open descriptor, and room of that length or none, which only asks for the length.
        unsafe { libc::extattr_list_fd(fd, EXTATTR_NAMESPACE_USER, data, room) }
    })?;
    for name in entries(&names) {
        let stale = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix(prefix))
            .is_some_and(|key| !wanted.iter().any(|(wanted, _)| wanted == key));
        if stale {
            let name = CString::new(name)?;
            // SAFETY: an open descriptor and a string.
            let gone =
                unsafe { libc::extattr_delete_fd(fd, EXTATTR_NAMESPACE_USER, name.as_ptr()) };
            if gone < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    for (key, value) in wanted {
        set(fd, &CString::new(format!("{prefix}{key}"))?, value)?;
    }
    Ok(())
}

fn set(fd: c_int, name: &CString, value: &str) -> io::Result<()> {
    let name: *const c_char = name.as_ptr();
    // SAFETY: an open descriptor, a string, and bytes of that length.
    let n = unsafe {
        libc::extattr_set_fd(
            fd,
            EXTATTR_NAMESPACE_USER,
            name,
            value.as_ptr().cast(),
            value.len(),
        )
    };
    match usize::try_from(n) {
        Ok(n) if n == value.len() => Ok(()),
        Ok(_) => Err(Errno::NOSPC.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// What a name of Linux is called here.
fn own(prefix: &str) -> io::Result<&str> {
    prefix
        .strip_prefix("user.")
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The whole list, as the kernel gives it.
fn names(ask: impl Fn(*mut c_void, usize) -> isize) -> io::Result<Vec<u8>> {
    let length = match usize::try_from(ask(ptr::null_mut(), 0)) {
        Ok(length) => length.min(MAX_LIST),
        Err(_) => {
            let error = io::Error::last_os_error();
            return match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
                _ => Err(error),
            };
        }
    };
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut names = vec![0_u8; length];
    match usize::try_from(ask(names.as_mut_ptr().cast(), length)) {
        Ok(n) => {
            names.truncate(n);
            Ok(names)
        }
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Each name has its length in front, in one byte; what is cut off at the end of the list is none.
fn entries(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        list = rest;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_names_with_their_length_in_front() {
        let all: Vec<_> = entries(b"\x01a\x03e2b\x00\x02x").collect();
        assert_eq!(all, [&b"a"[..], b"e2b", b""]);
        assert!(own("system.x").is_err());
    }
}
