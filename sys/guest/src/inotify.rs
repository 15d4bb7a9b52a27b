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
mod imp {
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::inotify::{
        CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
    };
    use rustix::io::Errno;

    use super::{Change, Inotify, OsString, Path, What, io};

    impl Inotify {
        /// A set without directories.
        ///
        /// # Errors
        /// The user's limit of sets is reached (`fs.inotify.max_user_instances`), or of descriptors.
        pub fn new() -> io::Result<Self> {
            let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            Ok(Self { fd })
        }

        /// Watches a directory. The same directory always gives the same number.
        ///
        /// # Errors
        /// It is gone or no directory, or the user's limit of watches is reached.
        pub fn add(&self, path: &Path) -> io::Result<i32> {
            let flags = WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR
                | WatchFlags::EXCL_UNLINK;
            Ok(add_watch(&self.fd, path, flags)?)
        }

        /// Stops watching.
        pub fn remove(&self, watch: i32) {
            // EINVAL: the kernel ended it already.
            let _ = remove_watch(&self.fd, watch);
        }

        /// The changes that are there now; empty when there are none.
        ///
        /// # Errors
        /// The kernel's, other than "nothing there".
        pub fn read(&self) -> io::Result<Vec<Change>> {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&self.fd, &mut buffer);
            let mut changes = Vec::new();
            loop {
                match reader.next() {
                    Ok(event) => {
                        let flags = event.events();
                        let Some(what) = what(flags) else { continue };
                        changes.push(Change {
                            watch: event.wd(),
                            what,
                            is_dir: flags.contains(ReadFlags::ISDIR),
                            name: event.file_name().map(|name| {
                                OsString::from(std::ffi::OsStr::from_bytes(name.to_bytes()))
                            }),
                        });
                        if reader.is_buffer_empty() {
                            return Ok(changes);
                        }
                    }
                    Err(Errno::AGAIN) => return Ok(changes),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
    }

    fn what(flags: ReadFlags) -> Option<What> {
        let any = |set: ReadFlags| flags.intersects(set);
        Some(if any(ReadFlags::QUEUE_OVERFLOW) {
            What::Overflow
        } else if any(ReadFlags::IGNORED) {
            What::Ended
        } else if any(ReadFlags::CREATE) {
            What::Created
        } else if any(ReadFlags::MOVED_TO) {
            What::MovedHere
        } else if any(ReadFlags::DELETE | ReadFlags::DELETE_SELF) {
            What::Removed
        } else if any(ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF) {
            What::MovedAway
        } else if any(ReadFlags::MODIFY) {
            What::Modified
        } else if any(ReadFlags::ATTRIB) {
            What::Attributes
        } else {
            return None;
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Change, Inotify, Path, io};
    use crate::unsupported;

    impl Inotify {
        /// Not written for this system yet.
        ///
        /// # Errors
        /// Always `Unsupported`.
        pub fn new() -> io::Result<Self> {
            Err(unsupported("watching a directory"))
        }

        /// As [`Self::new`].
        ///
        /// # Errors
        /// Always `Unsupported`.
        pub fn add(&self, _path: &Path) -> io::Result<i32> {
            Err(unsupported("watching a directory"))
        }

        /// Nothing is ever watched.
        pub fn remove(&self, _watch: i32) {}

        /// As [`Self::new`].
        ///
        /// # Errors
        /// Always `Unsupported`.
        pub fn read(&self) -> io::Result<Vec<Change>> {
            Err(unsupported("watching a directory"))
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
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
