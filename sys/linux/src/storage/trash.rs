//! Removal of trees that guests wrote.
//!
//! Such a tree may be deeper than any stack, have any modes and names, and hold any symbolic link. Nothing
//! here recurses or follows a link: a directory that is not empty is moved up beside the others, so
//! the work is always one level deep, and it can be interrupted and taken up again anywhere.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use warder_common::{At, HostError, Result};

use super::{DIRECTORY, Store};
use crate::quota;

impl Store {
    /// Whether anything waits to be removed.
    ///
    /// # Errors
    /// `System`.
    pub fn has_trash(&self) -> Result<bool> {
        Ok(!self.names("trash", named)?.is_empty())
    }

    /// Removes what was discarded. Slow: for a worker that
    /// keeps this store's descriptor.
    ///
    /// # Errors
    /// `System` when something cannot be removed.
    pub fn empty_trash(&self) -> Result<()> {
        let trash = self.open_dir("trash")?;
        let mut lifted = 0;
        loop {
            let names = self.names("trash", named)?;
            let all = names.len();
            // What cannot be removed keeps nothing else there.
            let results = names
                .iter()
                .map(|name| remove(trash.as_fd(), name, &mut lifted));
            let failed: Vec<_> = results.filter_map(Result::err).collect();
            if failed.len() == all {
                return failed.into_iter().next().map_or(Ok(()), Err);
            }
        }
    }
}

fn named(name: &str) -> Option<String> {
    (name != "." && name != "..").then(|| name.to_owned())
}

/// Removes `name` from a directory, the trash; directories in it that are not empty move to that directory itself.
pub(super) fn remove(trash: BorrowedFd<'_>, name: &str, lifted: &mut u64) -> Result<()> {
    match rustix::fs::unlinkat(trash, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR) => {
            return rustix::fs::unlinkat(trash, name, AtFlags::empty()).at("remove a file");
        }
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("remove a directory"),
    }
    let directory =
        rustix::fs::openat(trash, name, DIRECTORY, Mode::empty()).at("open what was discarded")?;
    if quota::is_one(directory.as_fd()) {
        // Nothing can be moved out of it.
        return quota::destroy(trash, name, directory.as_fd()).at("remove a subvolume");
    }
    // Removing while reading may skip entries: again, until it can be removed.
    loop {
        let mut moved = false;
        for entry in Dir::read_from(&directory).at("read what was discarded")? {
            let entry = entry.at("read what was discarded")?;
            let inner = entry.file_name();
            if matches!(inner.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = match entry.file_type() {
                FileType::Directory => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            match rustix::fs::unlinkat(&directory, inner, flags) {
                Ok(()) => moved = true,
                // ISDIR and PERM: a directory on a file system that does not say so in its listing.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::PERM) => {
                    lift(directory.as_fd(), inner, trash, lifted)?;
                    moved = true;
                }
                Err(errno) => return Err(errno).at("remove what was discarded"),
            }
        }
        match rustix::fs::unlinkat(trash, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if moved => {}
            Err(errno) => return Err(errno).at("remove a directory"),
        }
    }
}

/// Moves a directory up into the trash, under a name not taken there.
fn lift(
    from: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    trash: BorrowedFd<'_>,
    lifted: &mut u64,
) -> Result<()> {
    loop {
        *lifted = lifted
            .checked_add(1)
            .ok_or(HostError::Invalid("no names left in the trash"))?;
        match rustix::fs::renameat_with(
            from,
            name,
            trash,
            format!("lifted.{lifted}"),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("move a directory up"),
        }
    }
}
