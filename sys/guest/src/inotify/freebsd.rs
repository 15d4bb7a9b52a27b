//! FreeBSD has the same calls since 15.0 (inotify(2), sys/inotify.h), with the numbers of Linux. They are looked
//! up when they are wanted, so that a program made for 15 starts on 14 as well and says there what it lacks.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::mem::transmute;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use rustix::io::Errno;

use super::{Change, Inotify, OsString, Path, What, io};

/// Of sys/inotify.h.
#[allow(
    missing_docs,
    reason = "the names are those of the header, without `IN_`"
)]
pub mod number {
    pub const NONBLOCK: i32 = 0x4;
    pub const CLOEXEC: i32 = 0x0010_0000;
    pub const MODIFY: u32 = 0x2;
    pub const ATTRIB: u32 = 0x4;
    pub const MOVED_FROM: u32 = 0x40;
    pub const MOVED_TO: u32 = 0x80;
    pub const CREATE: u32 = 0x100;
    pub const DELETE: u32 = 0x200;
    pub const DELETE_SELF: u32 = 0x400;
    pub const MOVE_SELF: u32 = 0x800;
    pub const UNMOUNT: u32 = 0x2000;
    pub const Q_OVERFLOW: u32 = 0x4000;
    pub const IGNORED: u32 = 0x8000;
    pub const ONLYDIR: u32 = 0x0100_0000;
    pub const ISDIR: u32 = 0x4000_0000;
}
use number::{
    ATTRIB, CLOEXEC, CREATE, DELETE, DELETE_SELF, IGNORED, ISDIR, MODIFY, MOVE_SELF, MOVED_FROM,
    MOVED_TO, NONBLOCK, ONLYDIR, Q_OVERFLOW, UNMOUNT,
};

type Init = unsafe extern "C" fn(c_int) -> c_int;
type Add = unsafe extern "C" fn(c_int, *const c_char, u32) -> c_int;
type Remove = unsafe extern "C" fn(c_int, c_int) -> c_int;

#[derive(Clone, Copy)]
struct Calls {
    init: Init,
    add: Add,
    remove: Remove,
}

fn calls() -> io::Result<Calls> {
    static CALLS: OnceLock<Option<Calls>> = OnceLock::new();
    CALLS
        .get_or_init(|| {
            let find = |name: &CStr| {
                // SAFETY: looks a name up among the libraries that are loaded already.
                let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
                (!found.is_null()).then_some(found)
            };
            let (init, add, remove) = (
                find(c"inotify_init1")?,
                find(c"inotify_add_watch")?,
                find(c"inotify_rm_watch")?,
            );
            Some(Calls {
                // SAFETY: the C library's function of this name, with the signature of inotify(2).
                init: unsafe { transmute::<*mut libc::c_void, Init>(init) },
                // SAFETY: as above.
                add: unsafe { transmute::<*mut libc::c_void, Add>(add) },
                // SAFETY: as above.
                remove: unsafe { transmute::<*mut libc::c_void, Remove>(remove) },
            })
        })
        .ok_or_else(|| crate::unsupported("watching a directory (it needs FreeBSD 15.0 or newer)"))
}

impl Inotify {
    /// A set without directories.
    ///
    /// # Errors
    /// `Unsupported` before FreeBSD 15.0; the user's limit of sets is reached (`vfs.inotify.max_user_instances`), or
    /// of descriptors.
    pub fn new() -> io::Result<Self> {
        let calls = calls()?;
        // SAFETY: flags alone.
        let fd = unsafe { (calls.init)(NONBLOCK | CLOEXEC) };
        if fd < 0 {
            return Err(too_old(io::Error::last_os_error()));
        }
        // SAFETY: it has just been made and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Watches a directory. The same directory always gives the same number.
    ///
    /// # Errors
    /// It is gone or no directory, or the user's limit of watches is reached (`vfs.inotify.max_user_watches`).
    pub fn add(&self, path: &Path) -> io::Result<i32> {
        const TRIES: usize = 64;
        let calls = calls()?;
        let name = CString::new(path.as_os_str().as_bytes())?;
        // What is removed says nothing any more, as if IN_EXCL_UNLINK were set (inotify(2), BUGS).
        let mask = CREATE
            | MODIFY
            | ATTRIB
            | DELETE
            | MOVED_FROM
            | MOVED_TO
            | DELETE_SELF
            | MOVE_SELF
            | ONLYDIR;
        let mut tries = 0;
        loop {
            // SAFETY: a descriptor that is open, a string, and flags.
            let watch = unsafe { (calls.add)(self.fd.as_raw_fd(), name.as_ptr(), mask) };
            if watch >= 0 {
                return Ok(watch);
            }
            let error = io::Error::last_os_error();
            // The kernel looks up all that is in the directory (vn_inotify_add_watch, vfs_inotify.c), and says the same
            // of an entry that went meanwhile. Whoever removes entries must not keep this from ending.
            tries += 1;
            if error.kind() != io::ErrorKind::NotFound || tries > TRIES || !path.is_dir() {
                return Err(error);
            }
        }
    }

    /// Stops watching.
    pub fn remove(&self, watch: i32) {
        if let Ok(calls) = calls() {
            // EINVAL: the kernel ended it already.
            // SAFETY: a descriptor that is open, and a number.
            unsafe { (calls.remove)(self.fd.as_raw_fd(), watch) };
        }
    }

    /// The changes that are there now; empty when there are none.
    ///
    /// # Errors
    /// The kernel's, other than "nothing there".
    pub fn read(&self) -> io::Result<Vec<Change>> {
        let mut buffer = [0_u8; 4096];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(n) => return Ok(parse(&buffer[..n])),
                Err(Errno::AGAIN) => return Ok(Vec::new()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The library has the name, the kernel below it does not.
fn too_old(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOSYS) => {
            crate::unsupported("watching a directory (it needs a kernel of FreeBSD 15.0 or newer)")
        }
        _ => error,
    }
}

/// Records of `struct inotify_event`: four numbers of 32 bits (watch, mask, cookie, length), then so many bytes of
/// name with zeroes behind. The kernel gives whole ones only.
fn parse(mut bytes: &[u8]) -> Vec<Change> {
    const HEAD: usize = 16;
    let mut changes = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let field = |n: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&head[n * 4..n * 4 + 4]);
            u32::from_ne_bytes(bytes)
        };
        let length = usize::try_from(field(3)).unwrap_or(usize::MAX);
        let Some((name, rest)) = rest.split_at_checked(length) else {
            break;
        };
        bytes = rest;
        let mask = field(1);
        let Some(what) = what(mask) else { continue };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        changes.push(Change {
            watch: field(0).cast_signed(),
            what,
            is_dir: mask & ISDIR != 0,
            name: (!name.is_empty()).then(|| OsString::from(OsStr::from_bytes(name))),
        });
    }
    changes
}

fn what(mask: u32) -> Option<What> {
    let any = |set: u32| mask & set != 0;
    Some(if any(Q_OVERFLOW) {
        What::Overflow
    } else if any(IGNORED) {
        What::Ended
    } else if any(CREATE) {
        What::Created
    } else if any(MOVED_TO) {
        What::MovedHere
    } else if any(DELETE | DELETE_SELF) {
        What::Removed
    } else if any(MOVED_FROM | MOVE_SELF) {
        What::MovedAway
    } else if any(MODIFY) {
        What::Modified
    } else if any(ATTRIB) {
        What::Attributes
    } else {
        // IN_UNMOUNT: IN_IGNORED follows.
        debug_assert!(mask & !(ISDIR | UNMOUNT) == 0, "not asked for: {mask:#x}");
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(watch: i32, mask: u32, name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).expect("short");
        let head = [watch.cast_unsigned(), mask, 0, length];
        let mut bytes: Vec<u8> = head.iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(name);
        bytes
    }

    #[test]
    fn records_are_read_in_order() {
        let bytes = [
            record(1, CREATE | ISDIR, b"d\0\0\0"),
            record(-1, Q_OVERFLOW, b""),
            record(1, UNMOUNT, b""),
            record(1, IGNORED, b""),
        ]
        .concat();
        let change = |watch, what, is_dir, name: Option<&str>| Change {
            watch,
            what,
            is_dir,
            name: name.map(OsString::from),
        };
        let want = [
            change(1, What::Created, true, Some("d")),
            change(-1, What::Overflow, false, None),
            change(1, What::Ended, false, None),
        ];
        assert_eq!(parse(&bytes), want);
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).len() < 3);
        }
    }
}
