//! xattr(7).

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{XattrFlags, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use super::MAX_VALUE;

/// Longest list of names read, in bytes (the kernel's own limit).
const MAX_LIST: usize = 64 * 1024;

/// Names and values of a file's attributes that begin with `prefix`, prefix cut off. Follows links.
/// A file system without attributes has none.
///
/// # Errors
/// The path cannot be looked up.
pub fn list(path: &Path, prefix: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut small = [0_u8; 512];
    let mut large;
    let names: &[u8] = match rustix::fs::listxattr(path, &mut small) {
        Ok(n) => &small[..n],
        Err(Errno::RANGE) => {
            large = vec![0_u8; MAX_LIST];
            let n = rustix::fs::listxattr(path, &mut large[..])?;
            &large[..n]
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => &[],
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        let Some(key) = std::str::from_utf8(name)
            .ok()
            .and_then(|n| n.strip_prefix(prefix))
        else {
            continue;
        };
        let mut value = [0_u8; MAX_VALUE];
        // Removed or grown meanwhile: as if it were not there.
        if let Ok(n) = rustix::fs::getxattr(path, name, &mut value) {
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
    let mut small = [0_u8; 512];
    let mut large;
    let names: &[u8] = match flistxattr(fd, &mut small) {
        Ok(n) => &small[..n],
        Err(Errno::RANGE) => {
            large = vec![0_u8; MAX_LIST];
            let n = flistxattr(fd, &mut large[..])?;
            &large[..n]
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => &[],
        Err(errno) => return Err(errno.into()),
    };
    for name in names.split(|byte| *byte == 0) {
        let stale = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.strip_prefix(prefix))
            .is_some_and(|key| !wanted.iter().any(|(wanted, _)| wanted == key));
        if stale {
            fremovexattr(fd, name)?;
        }
    }
    for (key, value) in wanted {
        fsetxattr(
            fd,
            format!("{prefix}{key}"),
            value.as_bytes(),
            XattrFlags::empty(),
        )?;
    }
    Ok(())
}
