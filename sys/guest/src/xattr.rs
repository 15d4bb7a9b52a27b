//! Extended attributes (xattr(7)): what uploads keep with a file.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Longest value read, in bytes.
pub const MAX_VALUE: usize = 4096;
/// Longest list of names read, in bytes (the kernel's own limit).
#[cfg(target_os = "linux")]
const MAX_LIST: usize = 64 * 1024;

/// Names and values of a file's attributes that begin with `prefix`, prefix cut off. Follows links.
/// A file system without attributes has none.
///
/// # Errors
/// The path cannot be looked up.
#[cfg(target_os = "linux")]
pub fn list(path: &Path, prefix: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    use rustix::io::Errno;

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
#[cfg(target_os = "linux")]
pub fn replace(fd: BorrowedFd<'_>, prefix: &str, wanted: &[(String, String)]) -> io::Result<()> {
    use rustix::fs::{XattrFlags, flistxattr, fremovexattr, fsetxattr};
    use rustix::io::Errno;

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

/// Not written for this system yet; no file has any.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn list(_path: &Path, _prefix: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    Ok(Vec::new())
}

/// Not written for this system yet.
///
/// # Errors
/// `Unsupported` when there is anything to keep.
#[cfg(not(target_os = "linux"))]
pub fn replace(_fd: BorrowedFd<'_>, _prefix: &str, wanted: &[(String, String)]) -> io::Result<()> {
    if wanted.is_empty() {
        Ok(())
    } else {
        Err(crate::unsupported("keeping metadata with a file"))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn replacing_removes_what_is_not_named_again() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let set = |wanted: &[(&str, &str)]| {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            replace(file.as_file().as_fd(), "user.e2b.", &wanted).expect("attributes");
            let mut found = list(file.path(), "user.e2b.").expect("list");
            found.sort();
            found
        };
        assert_eq!(
            set(&[("a", "1"), ("b", "2")]),
            [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]
        );
        assert_eq!(set(&[("b", "3")]), [("b".into(), b"3".to_vec())]);
        assert_eq!(set(&[]), []);
    }
}
