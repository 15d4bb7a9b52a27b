//! Opening below a directory as if it were the root (openat2(2)).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens `path` with `root` as its root: absolute links and `..` stay inside, however the tree changes meanwhile.
///
/// # Errors
/// Of openat2(2); `Unsupported`.
#[cfg(target_os = "linux")]
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    // It gives up when directories are renamed at the same time; a stranger must not be able to keep it from
    // ending, so not for ever.
    const TRIES: usize = 64;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, mode, inside) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if tries < TRIES => tries += 1,
            other => return Ok(other?),
        }
    }
}

/// Not written for this system yet.
///
/// # Errors
/// Always `Unsupported`.
#[cfg(not(target_os = "linux"))]
pub fn open(
    _root: BorrowedFd<'_>,
    _path: &Path,
    _flags: OFlags,
    _mode: Mode,
) -> io::Result<OwnedFd> {
    Err(crate::unsupported("opening below a root"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("made");
        fs::write(root.join("etc/passwd"), "inside").expect("written");
        symlink("/etc/passwd", root.join("absolute")).expect("linked");
        symlink("../../../../etc/passwd", root.join("etc/up")).expect("linked");
        let fd = fs::File::open(&root).expect("opens");
        for path in [
            "absolute",
            "etc/up",
            "../../etc/passwd",
            "/etc/passwd",
            "etc/../../etc/passwd",
        ] {
            let opened = open(fd.as_fd(), path.as_ref(), OFlags::RDONLY, Mode::empty());
            let mut text = String::new();
            fs::File::from(opened.expect(path))
                .read_to_string(&mut text)
                .expect("reads");
            assert_eq!(text, "inside", "{path}");
        }
    }
}
