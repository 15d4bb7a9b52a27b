//! Watching directories (inotify(7)).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

/// A set of watched directories.
#[derive(Debug)]
pub struct Inotify {
    fd: OwnedFd,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Made here.
    Created,
    /// Moved here.
    MovedHere,
    /// Written to or cut.
    Modified,
    /// Owner, mode, times, links or attributes changed.
    Attributes,
    /// Removed.
    Removed,
    /// Moved away.
    MovedAway,
    /// The watched directory itself is gone, or its file system is: the watch has ended.
    Ended,
    /// The queue was full and changes were lost.
    Overflow,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Which watch (-1 for [`What::Overflow`]).
    pub watch: i32,
    /// What happened.
    pub what: What,
    /// Whether it happened to a directory.
    pub is_dir: bool,
    /// Name in the watched directory; `None` for the directory itself.
    pub name: Option<OsString>,
}

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub mod freebsd;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_appears_then_changes_then_goes() {
        let dir = tempfile::tempdir().expect("dir");
        let watches = Inotify::new().expect("inotify");
        let watch = watches.add(dir.path()).expect("watch");
        assert_eq!(watches.add(dir.path()).expect("again"), watch);
        assert_eq!(watches.read().expect("quiet"), []);
        std::fs::write(dir.path().join("f"), "x").expect("write");
        std::fs::remove_file(dir.path().join("f")).expect("remove");
        let seen: Vec<What> = watches
            .read()
            .expect("read")
            .into_iter()
            .map(|c| c.what)
            .collect();
        assert_eq!(seen, [What::Created, What::Modified, What::Removed]);
        watches.remove(watch);
        assert_eq!(watches.read().expect("read")[0].what, What::Ended);
        watches.remove(watch);
    }
}
