//! The few files of the host's own that template `base` has beside /usr, by an allow-list.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};

use super::{open_host_dir, unmerged};
use crate::storage::write_all;

/// Links that lead into /usr on a host with merged directories.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// In /etc: programs need them, packages or the host's administrator made them for everyone to read.
/// Not `ssl/private`, nothing with credentials (`apt`, `gitconfig`, `netrc`), nothing about the host's users.
const SHARED: [&str; 14] = [
    "alternatives",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "protocols",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Links /bin and the like as the host does, below `tree` and `prefix`.
///
/// # Errors
/// `System`; `Unsupported` on a host whose /bin is not a link into /usr.
pub(crate) fn link_merged_usr(tree: impl AsFd, prefix: &str) -> Result<()> {
    for name in MERGED {
        match rustix::fs::readlinkat(CWD, format!("/{name}"), Vec::new()) {
            Ok(target) => {
                let relative = target
                    .to_bytes()
                    .strip_prefix(b"/")
                    .unwrap_or(target.to_bytes());
                if !relative.starts_with(b"usr/") {
                    return Err(unmerged());
                }
                rustix::fs::symlinkat(target.as_c_str(), &tree, format!("{prefix}{name}"))
                    .at("link into /usr")?;
            }
            Err(Errno::NOENT) => {}
            // A directory of its own.
            Err(Errno::INVAL) => return Err(unmerged()),
            Err(errno) => return Err(errno).at("look at /bin"),
        }
    }
    Ok(())
}

/// Copies what is listed and there.
pub(crate) fn copy_etc(tree: &OwnedFd) -> Result<()> {
    let from = open_host_dir("/etc")?;
    let to = rustix::fs::openat(tree, "etc", crate::storage::DIRECTORY, Mode::empty())
        .at("open the skeleton")?;
    for name in SHARED {
        let name = CString::new(name).map_err(|_| HostError::Invalid("zero byte in a name"))?;
        copy(from.as_fd(), to.as_fd(), &name)?;
    }
    Ok(())
}

/// Copies a file, link or directory that everyone may read; skips all else. The depth of the recursion
/// is that of the listed directories, which are root's.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno).at("look at a file in /etc"),
    };
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target =
                rustix::fs::readlinkat(from, name, Vec::new()).at("read a link in /etc")?;
            rustix::fs::symlinkat(target.as_c_str(), to, name).at("copy a link in /etc")
        }
        FileType::Directory if mode.contains(Mode::ROTH | Mode::XOTH) => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o755))
                .at("copy a directory in /etc")?;
            let open =
                |parent| rustix::fs::openat(parent, name, crate::storage::DIRECTORY, Mode::empty());
            let source = open(from).at("open a directory in /etc")?;
            let target = open(to).at("open a directory in the skeleton")?;
            // privd's umask leaves nothing to others.
            rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755))
                .at("copy a directory in /etc")?;
            for entry in Dir::read_from(&source).at("read a directory in /etc")? {
                let entry = entry.at("read a directory in /etc")?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    copy(source.as_fd(), target.as_fd(), entry.file_name())?;
                }
            }
            Ok(())
        }
        FileType::RegularFile if mode.contains(Mode::ROTH) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source =
                rustix::fs::openat(from, name, flags, Mode::empty()).at("open a file in /etc")?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o644))
                .at("copy a file in /etc")?;
            rustix::fs::fchmod(&target, Mode::from_raw_mode(0o644)).at("copy a file in /etc")?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match rustix::io::read(&source, &mut buffer).at("read a file in /etc")? {
                    0 => return Ok(()),
                    length => write_all(&target, &buffer[..length])?,
                }
            }
        }
        _ => Ok(()),
    }
}
