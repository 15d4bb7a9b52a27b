//! How much of the file system a sandbox, or a volume, may take: where that has quotas of projects, each is a project of
//! its own.
//!
//! Which number it has, its directory itself says, so that nothing else has to be kept in step with it. A number is free
//! again when nothing of what had it is left in the trash. Overlayfs writes with the rights of who mounted it, without
//! the one to go beyond quotas (CAP_SYS_RESOURCE); in a user namespace nobody may change the number of a file, nor that
//! it is passed on. What an overlay shows of its lower layers is judged by those, and so a cell's filter lets nobody set
//! attributes at all.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use warder_common::{At, HostError, Result};
use warder_wire::SandboxId;

use super::{Root, Store};
use crate::quota;

/// Numbers of projects, beyond the ids of all sandboxes: other software takes such as it gives to users, or counts up.
const FIRST: u32 = 0xfe00_0000;
const NUMBERS: u32 = 0x0100_0000;
/// Most looked at for one that is free.
const MOST_TRIES: u32 = 4096;

impl Store {
    /// Has all that will be in an empty directory count as one, if the file system can hold it to a limit.
    pub(super) fn set_apart(&self, directory: &OwnedFd) -> Result<()> {
        if !self.quotas {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.unwrap_or_default().subsec_nanos();
        for n in 0..MOST_TRIES {
            let number = FIRST + seed.wrapping_add(n) % NUMBERS;
            let files = || -> Result<u64> {
                let used = quota::used(directory.as_fd(), number);
                Ok(used.at("look at a project's quota")?.files)
            };
            if files()? == 0 {
                quota::assign(directory.as_fd(), number).at("give a directory a project")?;
                // Another instance may have found it free at the same time.
                if files()? == 1 {
                    return Ok(());
                }
            }
        }
        Err(HostError::Invalid("no project for quotas is free"))
    }

    /// Moves a tree to the trash, with its directory `held` free for whatever is left to do there; false if there is none.
    pub(super) fn retire(&self, tree: &str, held: &str) -> Result<bool> {
        let directory = match self.quotas {
            true => self.open_dir(&format!("{tree}/{held}")).ok(),
            false => None,
        };
        let there = self.move_away(tree)?;
        if let Some(directory) = directory {
            bound(&directory, None)?;
        }
        Ok(there)
    }

    /// Whether a sandbox is held to its limit of disk. Not if its tree was made before the file system had quotas.
    #[must_use]
    pub fn bounds(&self, sandbox: &SandboxId) -> bool {
        self.project_of(sandbox).is_some()
    }

    fn project_of(&self, sandbox: &SandboxId) -> Option<(OwnedFd, u32)> {
        if !self.quotas {
            return None;
        }
        let cell = self.open_dir(&format!("cells/{sandbox}")).ok()?;
        let project = quota::project(&cell).ok().flatten()?;
        Some((cell, project))
    }

    /// Bytes that a sandbox uses, where the file system knows.
    pub(super) fn counted(&self, sandbox: &SandboxId) -> Option<u64> {
        let (cell, project) = self.project_of(sandbox)?;
        Some(quota::used(cell.as_fd(), project).ok()?.bytes)
    }
}

impl Root {
    /// The tree without a limit, while a cell is being set up: what that takes must be there even in a full one.
    pub(crate) fn unbound(&self) -> Result<Option<&OwnedFd>> {
        if !self.quotas {
            return Ok(None);
        }
        Ok(bound(&self.cell, None)?.then_some(&*self.cell))
    }
}

/// Holds what is in a directory to a limit, or frees it of one. False where it is in no project.
pub(crate) fn bound(directory: &OwnedFd, bytes: Option<u64>) -> Result<bool> {
    match quota::project(directory) {
        Ok(Some(project)) => {
            quota::limit(directory.as_fd(), project, bytes).at("set a project's quota")?;
            Ok(true)
        }
        Ok(None) | Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno).at("look at a directory's project"),
    }
}
