//! How much of the file system a sandbox, or a volume, may take: where that has quotas, each is a project of its own, on
//! btrfs a subvolume.
//!
//! Which project, its directory itself says, so that nothing else has to be kept in step with it. A number is free again
//! when nothing of what had it is left in the trash. Overlayfs writes with the rights of who mounted it, without
//! the one to go beyond quotas (CAP_SYS_RESOURCE); in a user namespace nobody may change the number of a file, nor that
//! it is passed on. What an overlay shows of its lower layers is judged by those, and so a cell's filter lets nobody set
//! attributes at all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use warder_common::{At, HostError, Result};
use warder_wire::SandboxId;

use super::{Root, Store};
use crate::quota::{self, Counted, bound};

/// Numbers of projects, beyond the ids of all sandboxes: other software takes such as it gives to users, or counts up.
const FIRST: u32 = 0xfe00_0000;
const NUMBERS: u32 = 0x0100_0000;
/// Most looked at for one that is free.
const MOST_TRIES: u32 = 4096;

impl Store {
    /// Makes a directory for what is to count as one, if the file system can hold that to a limit: [`Self::set_apart`]
    /// follows.
    pub(super) fn make_counted(
        &self,
        parent: BorrowedFd<'_>,
        name: &str,
    ) -> rustix::io::Result<()> {
        match self.quotas {
            Some(Counted::Subvolumes) => quota::create(parent, name),
            _ => rustix::fs::mkdirat(parent, name, Mode::RWXU),
        }
    }

    /// Has all that will be in an empty directory count as one, if the file system can hold it to a limit.
    pub(super) fn set_apart(&self, directory: &OwnedFd) -> Result<()> {
        if self.quotas != Some(Counted::Projects) {
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
        let counted = self.quotas.is_some();
        let directory = counted.then(|| self.open_dir(&format!("{tree}/{held}")));
        let there = self.move_away(tree)?;
        if let Some(Ok(directory)) = directory {
            bound(&directory, None)?;
        }
        Ok(there)
    }

    /// Whether a sandbox is held to its limit of disk. Not if its tree was made before the file system had quotas.
    #[must_use]
    pub fn bounds(&self, sandbox: &SandboxId) -> bool {
        self.counted(sandbox).is_some()
    }

    /// Bytes that a sandbox uses, where the file system knows.
    pub(super) fn counted(&self, sandbox: &SandboxId) -> Option<u64> {
        self.quotas?;
        quota::taken(self.open_dir(&format!("cells/{sandbox}")).ok()?.as_fd())
    }
}

impl Root {
    /// The tree without a limit, while a cell is being set up: what that takes must be there even in a full one.
    pub(crate) fn unbound(&self) -> Result<Option<&OwnedFd>> {
        let bounds = self.quotas && bound(&*self.cell, None)?;
        Ok(bounds.then_some(&*self.cell))
    }
}
