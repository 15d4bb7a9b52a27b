//! By rustix.

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
