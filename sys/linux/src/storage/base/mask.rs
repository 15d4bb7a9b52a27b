//! The layer over the host's /usr that hides what not everyone may read there.
//!
//! Root in a sandbox owns what root of the host owns in /usr (the mount maps ids, so that sudo works and
//! files can be replaced), so modes alone would not keep it out. Hidden is what needs more than the rights of
//! "other"; the layer holds a whiteout in its place (overlayfs in the kernel's documentation: a
//! character device 0:0), and the directories leading there, like the host's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, Stat, Uid};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};

use super::open_host_dir;
use crate::storage::DIRECTORY;

/// Fills the layer, an empty directory.
pub(crate) fn make(mask: &OwnedFd) -> Result<()> {
    let usr = open_host_dir("/usr")?;
    let root = rustix::fs::fstat(&usr).at("look at /usr")?;
    let walk = Walk {
        mask: mask.as_fd(),
        device: root.st_dev,
    };
    imitate(mask, &root)?;
    let mut path = Vec::new();
    walk.directory(usr, &mut path)
}

struct Walk<'a> {
    mask: BorrowedFd<'a>,
    /// What is mounted below /usr is not part of the sandbox's /usr.
    device: u64,
}

impl Walk<'_> {
    /// `path` leads from /usr to the directory: each step with the mode and owner it has there. The recursion is
    /// as deep as the host's own /usr.
    fn directory(
        &self,
        directory: OwnedFd,
        path: &mut Vec<(std::ffi::CString, Stat)>,
    ) -> Result<()> {
        for entry in Dir::read_from(&directory).at("read /usr")? {
            let entry = entry.at("read /usr")?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || entry.file_type() == FileType::Symlink {
                continue;
            }
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno).at("look at a file in /usr"),
            };
            if stat.st_dev != self.device {
                continue;
            }
            let mode = Mode::from_raw_mode(stat.st_mode);
            let open_to_all = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => true,
                FileType::RegularFile => mode.contains(Mode::ROTH),
                FileType::Directory => mode.contains(Mode::ROTH | Mode::XOTH),
                // Sockets, pipes and devices of the host lead out of the sandbox.
                _ => false,
            };
            if !open_to_all {
                self.hide(path, name)?;
            } else if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let inner = rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty())
                    .at("open a directory in /usr")?;
                path.push((name.to_owned(), stat));
                self.directory(inner, path)?;
                path.pop();
            }
        }
        Ok(())
    }

    /// Puts a whiteout for `name` in the directory that `path` leads to.
    fn hide(&self, path: &[(std::ffi::CString, Stat)], name: &std::ffi::CStr) -> Result<()> {
        let mut at: Option<OwnedFd> = None;
        for (step, stat) in path {
            let parent = at.as_ref().map_or(self.mask, AsFd::as_fd);
            match rustix::fs::mkdirat(parent, step, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).at("make a directory of the mask"),
            }
            let inner = rustix::fs::openat(parent, step, DIRECTORY, Mode::empty())
                .at("open a directory of the mask")?;
            imitate(&inner, stat)?;
            at = Some(inner);
        }
        let parent = at.as_ref().map_or(self.mask, AsFd::as_fd);
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            .at("make a whiteout")
    }
}

/// The merged directory shows mode and owner of the topmost layer: they must be the host's.
fn imitate(directory: &OwnedFd, like: &Stat) -> Result<()> {
    if like.st_uid == u32::MAX || like.st_gid == u32::MAX {
        return Err(HostError::Invalid("a directory in /usr without owner"));
    }
    rustix::fs::fchown(
        directory,
        Some(Uid::from_raw(like.st_uid)),
        Some(Gid::from_raw(like.st_gid)),
    )
    .at("fchown")?;
    rustix::fs::fchmod(directory, Mode::from_raw_mode(like.st_mode)).at("fchmod")
}
