//! What each descriptor may still be used for (rights(4), cap_rights_limit(2), cap_ioctls_limit(2),
//! cap_fcntls_limit(2)). Rights are only ever taken: one that came with fewer keeps those it has.
//!
//! Sockets accepted from a listener begin with the listener's rights, files opened beneath a directory with the
//! directory's.

use std::io;
use std::os::fd::BorrowedFd;

use capsicum::{CapRights, FileRights, IoctlRights, IoctlsBuilder, Right};
use rustix::fs::FileType;

use super::{failed, raw};
use crate::{ConfineError, Kind, Profile};

/// What may be done with descriptors of one sort.
#[derive(Debug)]
struct Allowed {
    rights: &'static [Right],
    ioctls: &'static [libc::c_ulong],
    fcntls: u32,
}

/// Standard input is /dev/null, and read by nobody.
const INPUT: Allowed = Allowed {
    rights: &[Right::Fstat],
    ioctls: &[],
    fcntls: 0,
};

/// Standard output and error: a pipe to privd, or a file in tests.
const OUTPUT: Allowed = Allowed {
    rights: &[
        Right::Write,
        Right::Seek,
        Right::Event,
        Right::Fstat,
        Right::Fcntl,
    ],
    ioctls: &[],
    fcntls: libc::CAP_FCNTL_GETFL,
};

/// A connected socket, or a listener, whose connections begin with its rights. No CAP_BIND, CAP_CONNECT, CAP_LISTEN.
const SOCKET: Allowed = Allowed {
    rights: &[
        Right::Accept,
        Right::Read,
        Right::Write,
        Right::Event,
        Right::Fstat,
        Right::Fcntl,
        Right::Ioctl,
        Right::Getpeername,
        Right::Getsockname,
        Right::Getsockopt,
        Right::Setsockopt,
        Right::Shutdown,
    ],
    ioctls: &[libc::FIONBIO, libc::FIONREAD],
    fcntls: libc::CAP_FCNTL_GETFL | libc::CAP_FCNTL_SETFL,
};

/// An end of a pipe, or a file for reading.
const PLAIN: Allowed = Allowed {
    rights: &[
        Right::Read,
        Right::Write,
        Right::Seek,
        Right::Event,
        Right::Fstat,
        Right::Fcntl,
    ],
    ioctls: &[],
    fcntls: libc::CAP_FCNTL_GETFL | libc::CAP_FCNTL_SETFL,
};

/// The gateway's state directory: its files are made, locked, read, written, cut and synced. None is run, linked,
/// renamed or removed.
const STATE: Allowed = Allowed {
    rights: &[
        Right::Lookup,
        Right::Create,
        Right::Read,
        Right::Write,
        Right::Seek,
        Right::Ftruncate,
        Right::Fsync,
        Right::Flock,
        Right::Fstat,
        Right::Fcntl,
    ],
    ioctls: &[],
    fcntls: libc::CAP_FCNTL_GETFL,
};

/// The directory of a plugin: its files are read and mapped as code, never written.
const PLUGIN: Allowed = Allowed {
    rights: &[
        Right::Lookup,
        Right::Read,
        Right::Seek,
        Right::MmapR,
        Right::MmapX,
        Right::Fstat,
        Right::Fstatfs,
    ],
    ioctls: &[],
    fcntls: 0,
};

/// Limits the standard descriptors and `keep`.
pub(super) fn limit_all(
    profile: &Profile<'_>,
    keep: &[BorrowedFd<'_>],
) -> Result<(), ConfineError> {
    let step = "limit the rights of a descriptor";
    INPUT.limit(rustix::stdio::stdin()).map_err(failed(step))?;
    for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        OUTPUT.limit(output).map_err(failed(step))?;
    }
    for fd in keep {
        let allowed = match (sort(*fd)?, profile.kind) {
            (FileType::Socket, _) => &SOCKET,
            (FileType::Fifo | FileType::RegularFile, _) => &PLAIN,
            (FileType::Directory, Kind::Gateway) => &STATE,
            (FileType::Directory, Kind::PluginHost) => &PLUGIN,
            _ => {
                return Err(ConfineError::Refused(
                    "a descriptor that this profile has no use for",
                ));
            }
        };
        allowed.limit(*fd).map_err(failed(step))?;
    }
    Ok(())
}

/// The same for what arrived later: sockets, pipes and files. What is anything else has no rights left.
pub(crate) fn limit_received(fd: BorrowedFd<'_>) -> Result<(), ConfineError> {
    let step = "limit the rights of a descriptor";
    let has = FileRights::from_file(&fd).map_err(failed(step))?;
    let allowed = if has.is_set(Right::Fstat) {
        match sort(fd)? {
            FileType::Socket => &SOCKET,
            FileType::Fifo | FileType::RegularFile => &PLAIN,
            _ => &INPUT,
        }
    } else {
        // Its sender has limited it: to that and to a socket.
        &SOCKET
    };
    allowed.limit(fd).map_err(failed(step))
}

fn sort(fd: BorrowedFd<'_>) -> Result<FileType, ConfineError> {
    let stat = rustix::fs::fstat(fd).map_err(failed("fstat"))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

impl Allowed {
    /// Ioctls and fcntls first: they go with the rights to them.
    fn limit(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let has = FileRights::from_file(&fd)?;
        if has.is_set(Right::Ioctl) && self.rights.contains(&Right::Ioctl) {
            self.ioctls_of(fd)?.limit(&fd)?;
        }
        if has.is_set(Right::Fcntl) && self.rights.contains(&Right::Fcntl) {
            raw::limit_fcntls(fd, self.fcntls)?;
        }
        let mut rights = FileRights::new();
        for right in self.rights.iter().filter(|right| has.is_set(**right)) {
            rights.allow(*right);
        }
        rights.limit(&fd)
    }

    fn ioctls_of(&self, fd: BorrowedFd<'_>) -> io::Result<IoctlRights> {
        /// The longest list there may be (IOCTLS_MAX_COUNT, sys/capsicum.h).
        const MOST: usize = 256;
        let has = IoctlRights::from_file(&fd, MOST)?;
        let had = |command| match &has {
            IoctlRights::Unlimited => true,
            IoctlRights::Limited(list) => list.contains(command),
        };
        let left = self.ioctls.iter().filter(|command| had(command));
        Ok(left
            .fold(IoctlsBuilder::new(), |left, command| left.allow(*command))
            .finalize())
    }
}
