//! A layer made of what a sandbox has changed: a copy of its upper directories, with ids from 0 up.
//!
//! A guest wrote what is copied, and the caller holds it still meanwhile. Owners, access control lists and file capabilities
//! name the sandbox's users by the host's ids, and are given its own. Nothing here recurses or follows a link; what is kept in
//! memory grows with the depth alone, and that is bounded.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_wire::SandboxId;

use super::trash::remove;
use super::{DIRECTORY, Draft, Store};
use crate::cell::IdRange;

/// In a draft until it is kept: a name for each file that has several.
pub(super) const LINKS: &str = "links";
/// Twice what a path can name.
const MOST_DEPTH: usize = 4096;
/// Levels that stay open while what is below them is copied; those beyond are found again by `..`.
const MOST_OPEN: usize = 32;
/// What is copied is not said to have been read.
const SOURCE: OFlags = DIRECTORY.union(OFlags::NOATIME);
/// Who is none of a sandbox's users.
const NOBODY: u32 = 65_534;
/// One batch of names, read at once.
const BATCH: usize = 4096;
/// Longest list of names, and value, of extended attributes; see xattr(7).
const MOST_XATTR: usize = 65_536;
/// The first two mean something in an upper only: which file in another layer this was copied up from, and that a directory
/// has such files. By the others XFS shows access control lists once more, with the ids as they lie on disk.
const NOT_COPIED: [&CStr; 4] = [
    c"trusted.overlay.origin",
    c"trusted.overlay.impure",
    c"trusted.SGI_ACL_FILE",
    c"trusted.SGI_ACL_DEFAULT",
];
/// Room on the file system is looked at whenever so much was copied.
const STEP: u64 = 64 << 20;
/// What an entry costs beside its content, roughly.
const ENTRY: u64 = 4096;

impl Store {
    /// Copies what a sandbox has changed into a draft above its layers, leaving `reserve` bytes free; [`Self::keep`]
    /// follows, unless it is [`Draft::whole_when_copied`]. No process of the sandbox may run meanwhile. Slow: for a worker that
    /// keeps this store's descriptor.
    ///
    /// # Errors
    /// `NoSpace`, `System`; `Invalid` for a tree that is too deep or changes meanwhile.
    pub fn copy_changes(
        &self,
        draft: &Draft,
        sandbox: &SandboxId,
        ids: IdRange,
        reserve: u64,
    ) -> Result<()> {
        let links = format!("{}/{LINKS}", draft.place());
        self.make_dir(&links)?;
        let mut copy = Copy {
            store: self,
            ids,
            links: self.open_dir(&links)?,
            clones: true,
            reserve,
            copied: STEP,
            names: vec![0; MOST_XATTR],
            value: vec![0; MOST_XATTR],
        };
        for name in ["up", "usr-up"] {
            let path = format!("cells/{sandbox}/{name}");
            if self.has(&path) {
                let from = rustix::fs::openat(self, path, SOURCE, Mode::empty())
                    .at("open what was changed")?;
                let to = format!("{}/{name}", draft.place());
                self.make_dir(&to)?;
                copy.tree(from, self.open_dir(&to)?)?;
            }
        }
        remove(self.open_dir(&draft.place())?.as_fd(), LINKS, &mut 0)?;
        match draft.whole_when_copied() {
            true => self.put_layer(draft),
            false => Ok(()),
        }
    }
}

struct Copy<'a> {
    store: &'a Store,
    ids: IdRange,
    /// By its number in the source: a name for the copy of each file that has several.
    links: OwnedFd,
    /// Whether this file system shares content between files.
    clones: bool,
    reserve: u64,
    copied: u64,
    names: Vec<u8>,
    value: Vec<u8>,
}

/// A directory being copied.
struct Place {
    from: OwnedFd,
    to: OwnedFd,
    level: Level,
}

/// What is kept of it while one below it is copied, and its directories are not.
struct Level {
    from: Stat,
    to: (u64, u64),
    /// Directories of the last batch that are still to be copied.
    pending: Vec<CString>,
    /// Where the next batch begins.
    resume: u64,
}

/// A directory with one below it that is being copied.
enum Above {
    Open(Place),
    Closed(Level),
}

impl Place {
    fn new(from: OwnedFd, to: OwnedFd, ids: IdRange) -> Result<Self> {
        let stat = rustix::fs::fstat(&from).at("look at a directory")?;
        let level = Level {
            from: seen(stat, ids),
            to: id(&rustix::fs::fstat(&to).at("look at a directory")?),
            pending: Vec::new(),
            resume: 0,
        };
        Ok(Self { from, to, level })
    }

    fn enter(&self, name: &CStr, ids: IdRange) -> Result<Self> {
        let from =
            rustix::fs::openat(&self.from, name, SOURCE, Mode::empty()).at("open a directory")?;
        rustix::fs::mkdirat(&self.to, name, Mode::RWXU).at("make a directory")?;
        let to =
            rustix::fs::openat(&self.to, name, DIRECTORY, Mode::empty()).at("open a directory")?;
        Self::new(from, to, ids)
    }

    /// Goes up again to where `level` was left.
    fn leave(self, level: Level) -> Result<Self> {
        let up = |fd: &OwnedFd, how| rustix::fs::openat(fd, "..", how, Mode::empty());
        let from = up(&self.from, SOURCE).at("open a directory again")?;
        let to = up(&self.to, DIRECTORY).at("open a directory again")?;
        let same = |fd: &OwnedFd, known| rustix::fs::fstat(fd).is_ok_and(|s| id(&s) == known);
        if !same(&from, id(&level.from)) || !same(&to, level.to) {
            return Err(changed());
        }
        rustix::fs::seek(&from, SeekFrom::Start(level.resume)).at("seek in a directory")?;
        Ok(Self { from, to, level })
    }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn changed() -> HostError {
    HostError::Invalid("the tree changed while it was copied")
}

impl Copy<'_> {
    fn tree(&mut self, from: OwnedFd, to: OwnedFd) -> Result<()> {
        let mut above: Vec<Above> = Vec::new();
        let mut here = Place::new(from, to, self.ids)?;
        loop {
            if let Some(name) = here.level.pending.pop() {
                if above.len() >= MOST_DEPTH {
                    return Err(HostError::Invalid("directories nested too deeply"));
                }
                self.count(ENTRY)?;
                let inner = here.enter(&name, self.ids)?;
                let outer = std::mem::replace(&mut here, inner);
                above.push(match above.len() {
                    ..MOST_OPEN => Above::Open(outer),
                    _ => Above::Closed(outer.level),
                });
            } else if !self.batch(&mut here)? {
                // Its times last, when nothing is put into it any more.
                self.attributes(here.from.as_fd(), here.to.as_fd(), &here.level.from)?;
                match above.pop() {
                    Some(Above::Open(place)) => here = place,
                    Some(Above::Closed(level)) => here = here.leave(level)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Copies the files of the next batch of names, and notes its directories. False at the end.
    fn batch(&mut self, here: &mut Place) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BATCH];
        let mut names = RawDir::new(&here.from, &mut buffer);
        let mut any = false;
        while let Some(entry) = names.next() {
            let entry = entry.at("read a directory")?;
            any = true;
            here.level.resume = entry.next_entry_cookie();
            let name = entry.file_name();
            match (name.to_bytes(), entry.file_type()) {
                (b"." | b"..", _) => {}
                (_, FileType::Directory) => here.level.pending.push(name.to_owned()),
                _ => {
                    let (from, to) = (here.from.as_fd(), here.to.as_fd());
                    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)
                        .at("look at a file")?;
                    let stat = seen(stat, self.ids);
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::Directory => here.level.pending.push(name.to_owned()),
                        kind => self.file(kind, &stat, from, to, name)?,
                    }
                }
            }
            if names.is_buffer_empty() {
                break;
            }
        }
        Ok(any)
    }

    fn file(
        &mut self,
        kind: FileType,
        stat: &Stat,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<()> {
        self.count(ENTRY)?;
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            // A whiteout: the overlay's own. All of them may be links to one.
            return rustix::fs::mknodat(to, name, kind, Mode::empty(), 0).at("make a whiteout");
        }
        let first = format!("{:x}", stat.st_ino);
        if stat.st_nlink > 1 {
            match rustix::fs::linkat(&self.links, &first, to, name, AtFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at("link a file"),
            }
        }
        match kind {
            FileType::RegularFile => self.regular(stat, from, to, name)?,
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(from, name, Vec::new()).at("read a symbolic link")?;
                rustix::fs::symlinkat(&*target, to, name).at("make a symbolic link")?;
                self.special(stat, from, to, name)?;
            }
            FileType::Fifo | FileType::Socket => {
                rustix::fs::mknodat(to, name, kind, Mode::empty(), 0).at("make a file")?;
                self.special(stat, from, to, name)?;
            }
            _ => return Err(HostError::Invalid("a device in a sandbox's tree")),
        }
        if stat.st_nlink > 1 {
            rustix::fs::linkat(to, name, &self.links, first, AtFlags::empty()).at("link a file")?;
        }
        Ok(())
    }

    fn regular(
        &mut self,
        stat: &Stat,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<()> {
        let flags = SOURCE.difference(OFlags::DIRECTORY) | OFlags::NONBLOCK;
        let source = rustix::fs::openat(from, name, flags, Mode::empty()).at("open a file")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target =
            rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).at("make a file")?;
        let size = u64::try_from(stat.st_size).map_err(|_| changed())?;
        let held = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        if size > 0 && !self.shared(&source, &target)? {
            if held >= size {
                self.copy(&source, &target, 0, size)?;
            } else {
                self.sparse(&source, &target)?;
                rustix::fs::ftruncate(&target, size).at("set the size of a file")?;
            }
        }
        self.attributes(source.as_fd(), target.as_fd(), stat)
    }

    /// Lets a file share the content of another, where the file system can.
    fn shared(&mut self, source: &OwnedFd, target: &OwnedFd) -> Result<bool> {
        if !self.clones {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(target, source) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV) => {
                self.clones = false;
                Ok(false)
            }
            // Not this one.
            Err(Errno::INVAL) => Ok(false),
            Err(errno) => Err(errno).at("share the content of a file"),
        }
    }

    fn sparse(&mut self, source: &OwnedFd, target: &OwnedFd) -> Result<()> {
        let mut at = 0;
        loop {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()),
                Err(errno) => return Err(errno).at("find the data of a file"),
            };
            at = rustix::fs::seek(source, SeekFrom::Hole(start)).at("find a hole in a file")?;
            self.copy(source, target, start, at)?;
        }
    }

    fn copy(&mut self, source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> Result<()> {
        let (mut read, mut written) = (start, start);
        while read < end {
            let most = usize::try_from((end - read).min(STEP)).unwrap_or(usize::MAX);
            let done = rustix::io::retry_on_intr(|| {
                rustix::fs::copy_file_range(
                    source,
                    Some(&mut read),
                    target,
                    Some(&mut written),
                    most,
                )
            })
            .at("copy a file")?;
            if done == 0 {
                return Err(changed());
            }
            self.count(done as u64)?;
        }
        Ok(())
    }

    /// Looks from time to time whether there is room for more.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.copied += bytes;
        if self.copied >= STEP {
            self.copied = 0;
            if self.store.room()?.0 < self.reserve {
                let call = "copy what a sandbox has changed";
                return Err(HostError::NoSpace { call });
            }
        }
        Ok(())
    }

    /// Gives a file or directory what it has beside its content. In this order: a new owner takes capabilities
    /// and set-id bits away.
    fn attributes(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        rustix::fs::fchown(to, owner(stat), group(stat)).at("fchown")?;
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode)).at("fchmod")?;
        self.xattrs(from, to)?;
        rustix::fs::futimens(to, &times(stat)).at("set the times of a file")
    }

    /// The same for what cannot be opened.
    fn special(
        &mut self,
        stat: &Stat,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<()> {
        let here = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(to, name, owner(stat), group(stat), here).at("chown")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).at("chmod")?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |at| rustix::fs::openat(at, name, flags, Mode::empty()).at("open a file");
        self.xattrs(open(from)?.as_fd(), open(to)?.as_fd())?;
        rustix::fs::utimensat(to, name, &times(stat), here).at("set the times of a file")
    }

    fn xattrs(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        // Which names a descriptor that is for its path only, too: its own calls want an open file.
        let path = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let listed = match rustix::fs::flistxattr(from, &mut self.names[..]) {
            Err(Errno::BADF) => rustix::fs::listxattr(path(from), &mut self.names[..]),
            listed => listed,
        };
        let length = match listed {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(errno) => return Err(errno).at("list extended attributes"),
        };
        let mut copied = 0;
        for name in self.names[..length].split_inclusive(|byte| *byte == 0) {
            let name = CStr::from_bytes_with_nul(name)
                .map_err(|_| HostError::Invalid("an attribute's name without end"))?;
            if NOT_COPIED.contains(&name) {
                continue;
            }
            let (from, to) = (path(from), path(to));
            let length = rustix::fs::getxattr(&from, name, &mut self.value[..])
                .at("read an extended attribute")?;
            let value = &mut self.value[..length];
            let kept = match name.to_bytes() {
                b"system.posix_acl_access" | b"system.posix_acl_default" => acl(value, self.ids),
                b"security.capability" => capability(value, self.ids),
                _ => Some(length),
            };
            let Some(length) = kept else { continue };
            rustix::fs::setxattr(&to, name, &self.value[..length], XattrFlags::empty())
                .at("set an extended attribute")?;
            copied += length as u64;
        }
        self.count(copied)
    }
}

/// An id as the sandbox knows it, if it is one of its own.
fn within(id: u32, ids: IdRange) -> Option<u32> {
    id.checked_sub(ids.first).filter(|id| *id < ids.count)
}

/// A file with the owners that the sandbox sees.
fn seen(mut stat: Stat, ids: IdRange) -> Stat {
    stat.st_uid = within(stat.st_uid, ids).unwrap_or(NOBODY);
    stat.st_gid = within(stat.st_gid, ids).unwrap_or(NOBODY);
    stat
}

/// Gives who is named in an access control list the ids that the sandbox knows them by, and takes out who is none of its users:
/// before Linux 6.2 overlayfs copies lists up as they lie in a layer. Answers its new length. See acl(5).
fn acl(list: &mut [u8], ids: IdRange) -> Option<usize> {
    let mut length = list.len().min(4);
    for at in (length..list.len()).step_by(8) {
        let end = list.len().min(at + 8);
        // A named user or group: linux/posix_acl_xattr.h.
        if let [2 | 8, 0, _, _, a, b, c, d] = &mut list[at..end] {
            let Some(id) = within(u32::from_le_bytes([*a, *b, *c, *d]), ids) else {
                continue;
            };
            [*a, *b, *c, *d] = id.to_le_bytes();
        }
        list.copy_within(at..end, length);
        length += end - at;
    }
    Some(length)
}

/// The same for a file's capabilities, which may hold for one root only; none where that is none of the sandbox's users. What
/// holds for the sandbox's own has no such id in a layer. Version 3 of linux/capability.h, 24 bytes with the root last.
fn capability(value: &mut [u8], ids: IdRange) -> Option<usize> {
    if let Ok([_, _, _, version @ 3, .., a, b, c, d]) = <&mut [u8; 24]>::try_from(&mut *value) {
        let root = within(u32::from_le_bytes([*a, *b, *c, *d]), ids)?;
        [*a, *b, *c, *d] = root.to_le_bytes();
        if root == 0 {
            *version = 2;
            return Some(20);
        }
    }
    Some(value.len())
}

fn owner(stat: &Stat) -> Option<Uid> {
    Some(Uid::from_raw(stat.st_uid))
}

fn group(stat: &Stat) -> Option<Gid> {
    Some(Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |tv_sec, nanoseconds| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: IdRange = IdRange {
        first: 100_000,
        count: 1000,
    };

    #[test]
    fn a_list_names_the_users_of_the_sandbox() {
        let entry = |tag: u8, id: u32| [&[tag, 0, 7, 0][..], &id.to_le_bytes()].concat();
        let head = vec![2, 0, 0, 0];
        let all = [
            head.clone(),
            entry(1, u32::MAX),
            entry(2, 100_005),
            entry(2, 99_999),
            entry(2, u32::MAX),
        ];
        let rest = [
            entry(4, u32::MAX),
            entry(8, 101_000),
            entry(8, 100_999),
            entry(16, u32::MAX),
        ];
        let mut list = [all.concat(), rest.concat()].concat();
        let length = acl(&mut list, IDS).expect("a length");
        let kept = [
            head,
            entry(1, u32::MAX),
            entry(2, 5),
            entry(4, u32::MAX),
            entry(8, 999),
            entry(16, u32::MAX),
        ];
        assert_eq!(list[..length], kept.concat());
        for mut short in [vec![], vec![2], vec![2, 0, 0, 0, 2, 0]] {
            assert_eq!(acl(&mut short, IDS), Some(short.len()));
        }
    }

    #[test]
    fn capabilities_hold_for_the_root_of_the_sandbox() {
        let value = |version: u8, root: Option<u32>| {
            let root = root.map(u32::to_le_bytes);
            let head = [&[1, 0, 0, version][..], &[7; 16]].concat();
            [head, root.into_iter().flatten().collect()].concat()
        };
        let seen = |mut value: Vec<u8>| {
            let length = capability(&mut value, IDS)?;
            value.truncate(length);
            Some(value)
        };
        assert_eq!(seen(value(3, Some(100_000))), Some(value(2, None)));
        assert_eq!(seen(value(3, Some(100_005))), Some(value(3, Some(5))));
        for other in [0, 99_999, 101_000, u32::MAX] {
            assert_eq!(seen(value(3, Some(other))), None);
        }
        assert_eq!(seen(value(2, None)), Some(value(2, None)));
        assert_eq!(seen(vec![3]), Some(vec![3]));
    }
}
