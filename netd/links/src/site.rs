//! The instance's directory for what lasts as long as the kernel, and the lock all instances share. On Linux that is
//! memory; what FreeBSD leaves there over a boot is told apart by the boot.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use warder_wire::InstanceTag;

use crate::LinksError;
use crate::system::RUN;

const LOCK: &str = "lock";
/// Other instances hold the lock for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The instance's place there.
#[derive(Debug)]
pub struct Site {
    tag: InstanceTag,
    run: OwnedFd,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "nothing is pinned there")
    )]
    dir: OwnedFd,
}

/// The host-wide lock, held until dropped.
#[derive(Debug)]
pub(crate) struct HostLock(#[expect(dead_code, reason = "closing it unlocks")] OwnedFd);

impl Site {
    /// Opens the directory and makes what is missing of it. It is refused when anyone but root may write there.
    ///
    /// # Errors
    /// [`LinksError::System`].
    pub fn open(tag: InstanceTag) -> Result<Self, LinksError> {
        make(rustix::fs::mkdir(RUN, Mode::RWXU))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let run = rustix::fs::open(RUN, flags, Mode::empty())
            .map_err(|e| LinksError::io(format!("open {RUN}"), e))?;
        trusted(run.as_fd(), RUN)?;
        let name = tag.to_string();
        make(rustix::fs::mkdirat(&run, &name, Mode::RWXU))?;
        let dir = rustix::fs::openat(&run, &name, flags, Mode::empty())
            .map_err(|e| LinksError::io(format!("open {RUN}/{name}"), e))?;
        trusted(dir.as_fd(), &name)?;
        Ok(Self { tag, run, dir })
    }

    /// The instance.
    #[must_use]
    pub fn tag(&self) -> InstanceTag {
        self.tag
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(crate) fn run(&self) -> BorrowedFd<'_> {
        self.run.as_fd()
    }

    /// Whether another instance has a directory here.
    pub(crate) fn lives(&self, tag: &str) -> bool {
        rustix::fs::statat(&self.run, tag, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn lock(&self) -> Result<HostLock, LinksError> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.run, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| LinksError::io("open the host-wide lock", e))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(HostLock(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(e) => return Err(LinksError::io("take the host-wide lock", e)),
            }
        }
    }

    /// Removes the instance's directory if nothing is in it any more.
    pub(crate) fn remove(self) {
        // privd may keep something of its own there, and removes the directory then.
        let _ = rustix::fs::unlinkat(&self.run, self.tag.to_string(), AtFlags::REMOVEDIR);
    }
}

fn make(result: Result<(), Errno>) -> Result<(), LinksError> {
    match result {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(LinksError::io("make a directory for the instance", e)),
    }
}

fn trusted(dir: BorrowedFd<'_>, name: &str) -> Result<(), LinksError> {
    let stat = rustix::fs::fstat(dir).map_err(|e| LinksError::io("fstat", e))?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        let what = format!("{name} is not root's alone");
        return Err(LinksError::io(what, Errno::PERM));
    }
    Ok(())
}
