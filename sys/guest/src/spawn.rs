//! Starting a process as a user of the sandbox.

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What to start, and as whom.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Path of the program; not looked up. Relative to `cwd`.
    pub program: CString,
    /// Arguments, with the name in front.
    pub argv: Vec<CString>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// Descriptors 0, 1 and 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptor 0 is a terminal and becomes the controlling one.
    pub terminal: bool,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the own one first (before FreeBSD 15.0, setgroups(2) takes the first for the own one).
    pub groups: Vec<u32>,
    /// Name of the user. FreeBSD keeps it with the session (getlogin(2)); Linux has no such thing.
    pub login: CString,
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No process could be made: too many, or no memory.
    #[error("cannot make a process")]
    Fork(#[source] io::Error),
    /// The new process could not become the user or take its descriptors.
    #[error("cannot set the process up")]
    Setup(#[source] io::Error),
    /// The working directory is gone or closed to the user.
    #[error("cannot enter the working directory")]
    Cwd(#[source] io::Error),
    /// The program is not there, not executable, or closed to the user.
    #[error("cannot execute the program")]
    Exec(#[source] io::Error),
}

/// Soft limit of descriptors this process was started with, and the hard one.
static DESCRIPTORS: OnceLock<Rlimit> = OnceLock::new();

/// Uses the hard limit of descriptors from now on; what [`spawn`] starts gets the old one.
pub(crate) fn raise_descriptor_limit() {
    let old = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: old.maximum,
        maximum: old.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = DESCRIPTORS.set(old);
    }
}

/// Most supplementary groups that a process can have (sysconf(3)).
#[must_use]
pub fn most_groups() -> usize {
    // SAFETY: asks for a number.
    let most = unsafe { libc::sysconf(libc::_SC_NGROUPS_MAX) };
    // POSIX promises this many.
    usize::try_from(most).unwrap_or(8)
}

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::spawn;

#[cfg(not(target_os = "linux"))]
mod freebsd;
#[cfg(not(target_os = "linux"))]
pub use freebsd::spawn;

#[cfg(test)]
mod tests;
