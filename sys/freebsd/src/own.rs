//! What a privileged daemon does to itself when it starts.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use warder_common::{At, HostError, Result, fds};

use crate::process::{Urgency, schedule};
use crate::sys;

/// Takes over a descriptor by its inherited number and marks it close-on-exec. Once for each number,
/// before anything else is opened.
///
/// # Errors
/// `System` when it is not open.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number <= 2 {
        return Err(HostError::Invalid("standard descriptors are not inherited"));
    }
    // SAFETY: the caller was started with this number and owns it; if it is not open, the first call
    // on it says so and the value is forgotten below.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_setfd(&fd, FdFlags::CLOEXEC) {
        Ok(()) => Ok(fd),
        Err(errno) => {
            // Nothing to close.
            std::mem::forget(fd);
            Err(errno).at("inherited descriptor")
        }
    }
}

/// Makes this process a clean place for root to work in: closes every descriptor but 0, 1, 2 and
/// `keep`, creates files for itself alone. Root has no parts here that could be dropped; set-id programs in
/// jails must work, so new privileges stay possible.
///
/// Answers what could not be done and is not needed.
///
/// # Errors
/// `System`, when something needed could not be done.
pub fn settle(keep: &[RawFd]) -> Result<Vec<String>> {
    // Before this process has opened anything: no value owns any of the others.
    fds::close_all_but_numbers(keep).at("close_range")?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut undone = Vec::new();
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(errno) = setrlimit(Resource::Nofile, all) {
        undone.push(format!("descriptor limit not raised: {errno}"));
    }
    // Not inherited: cells and daemons are as good as any other process then (procctl(2), PROC_SPROTECT).
    if let Err(errno) = sys::procctl::protect_from_oom() {
        undone.push(format!("not protected when memory runs out: {errno}"));
    }
    // Or a sandbox that keeps every processor busy holds up the others by whole slices.
    if let Err(errno) = schedule(Urgency::Realtime) {
        undone.push(format!("not scheduled before others: {errno}"));
    }
    Ok(undone)
}
