//! Name by name. Every directory on the way stays open, and `..` goes back to the one it was reached from: so it is
//! never asked of the kernel, and what is renamed meanwhile changes nothing about where the way leads.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

/// Links followed before it is taken for a circle (as many as Linux follows; FreeBSD has 32, MAXSYMLINKS).
const LINKS: usize = 40;

/// Opens `path` with `root` as its root: absolute links and `..` stay inside, however the tree changes meanwhile.
///
/// # Errors
/// Of open(2), with `LOOP` for a link that was not to be followed.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let mut walk = Walk {
        root,
        below: Vec::new(),
        links: 0,
    };
    let mut names = VecDeque::new();
    walk.queue(&mut names, path.as_os_str());
    while let Some(name) = names.pop_front() {
        if name == ".." {
            walk.below.pop();
        } else if !names.is_empty() {
            walk.enter(&name, &mut names)?;
        } else {
            match openat(walk.here(), &name, flags | OFlags::NOFOLLOW, mode) {
                Ok(fd) => return Ok(fd),
                // Whether it is one is asked of the name itself: systems have their own errors for it.
                Err(errno) => match walk.link(&name, errno)? {
                    _ if flags.contains(OFlags::NOFOLLOW) => return Err(Errno::LOOP.into()),
                    target => walk.queue(&mut names, &target),
                },
            }
        }
    }
    // The root, or a directory that was gone back to.
    Ok(openat(walk.here(), ".", flags, mode)?)
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories between the root and where it is.
    below: Vec<OwnedFd>,
    links: usize,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.below.last().map_or(self.root, OwnedFd::as_fd)
    }

    /// Puts the names of a path in front of those that wait; an absolute one begins at the root again.
    fn queue(&mut self, names: &mut VecDeque<OsString>, path: &OsStr) {
        let bytes = path.as_bytes();
        if bytes.starts_with(b"/") {
            self.below.clear();
        }
        // What ends in a slash is to be a directory: `.` asks for one.
        if bytes.ends_with(b"/") {
            names.push_front(OsString::from("."));
        }
        for name in bytes.rsplit(|byte| *byte == b'/') {
            if !name.is_empty() && name != b"." {
                names.push_front(OsStr::from_bytes(name).to_owned());
            }
        }
    }

    /// Goes into a directory, or on to where a link leads.
    fn enter(&mut self, name: &OsStr, names: &mut VecDeque<OsString>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(self.here(), name, flags, Mode::empty()) {
            Ok(_) if name == "." => {}
            Ok(fd) => self.below.push(fd),
            Err(errno) => {
                let target = self.link(name, errno)?;
                self.queue(names, &target);
            }
        }
        Ok(())
    }

    /// Where a name that could not be opened leads, if it is a link; else the error that it gave.
    fn link(&mut self, name: &OsStr, errno: Errno) -> io::Result<OsString> {
        let maybe = matches!(errno, Errno::LOOP | Errno::MLINK | Errno::NOTDIR);
        let Some(target) = maybe
            .then(|| readlinkat(self.here(), name, Vec::new()).ok())
            .flatten()
        else {
            return Err(errno.into());
        };
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::LOOP.into());
        }
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }
}
