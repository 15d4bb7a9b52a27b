//! Ids of a sandbox.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use warder_common::{At, HostError, Result};

use crate::process::{Process, Signal, dies_with};

/// The host's ids of one sandbox: its id 0 is `first`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct IdRange {
    /// First host id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A user namespace that maps an [`IdRange`], with no process in it. Cells of the range enter it, and
/// idmapped mounts take their map from it.
#[derive(Debug)]
pub struct UserNamespace {
    descriptor: OwnedFd,
    range: IdRange,
}

impl UserNamespace {
    /// Makes one for `range`; takes about 0.1 ms. The caller must be single-threaded.
    ///
    /// # Errors
    /// `System`; `Invalid` for a range that is empty, holds the host's own ids or wraps.
    pub fn new(range: IdRange) -> Result<Self> {
        // Below lie the ids of the host's own users.
        const LOWEST: u32 = 65_536;
        if range.count == 0
            || range.first < LOWEST
            || range.first.checked_add(range.count).is_none()
        {
            return Err(HostError::Invalid("id range"));
        }
        let line = format!("0 {} {}\n", range.first, range.count);
        let parent = rustix::process::getpid();
        let holder = Process::fork(libc::CLONE_NEWUSER, None, || {
            // Only its namespace is wanted: waits to be killed.
            if dies_with(parent) {
                let _ = rustix::event::poll(&mut [], None);
            }
            0
        })?;
        let descriptor = map(holder.pid(), &line);
        holder.signal(Signal::Kill)?;
        holder.reap()?;
        Ok(Self {
            descriptor: descriptor?,
            range,
        })
    }

    /// The ids it maps.
    #[must_use]
    pub fn range(&self) -> IdRange {
        self.range
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Writes both maps of a child that is not reaped yet, so its number is still its own.
fn map(pid: u32, line: &str) -> Result<OwnedFd> {
    std::fs::write(format!("/proc/{pid}/uid_map"), line).at("write uid_map")?;
    std::fs::write(format!("/proc/{pid}/gid_map"), line).at("write gid_map")?;
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at("open /proc/PID/ns/user")
}
