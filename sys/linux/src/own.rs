//! What a privileged daemon does to itself when it starts.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities,
};
use warder_common::{At, HostError, Result};

use crate::process::Urgency;
use crate::sys;

/// A realtime process that has not slept for so long, in microseconds of processor time, is killed (getrlimit(2),
/// RLIMIT_RTTIME).
const SPUN_US: u64 = 30_000_000;

/// What neither privd nor anything it starts ever needs (capabilities(7)).
const DROPPED: CapabilitySet = CapabilitySet::SYS_MODULE
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_TIME)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::SYS_TTY_CONFIG)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::LEASE)
    .union(CapabilitySet::WAKE_ALARM)
    .union(CapabilitySet::BLOCK_SUSPEND)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::AUDIT_CONTROL)
    .union(CapabilitySet::AUDIT_READ);

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
/// `keep`, creates files for itself alone, drops capabilities it never needs, for good. `no_new_privs` is
/// not set: cells inherit it and setuid programs in them must work. The host's mount namespace stays: the
/// one attached mount of an instance, the pin of its router, must outlive every daemon.
///
/// Answers what could not be done and is not needed.
///
/// # Errors
/// `System`, when something needed could not be done.
pub fn settle(keep: &[RawFd]) -> Result<Vec<String>> {
    close_others(keep)?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    drop_capabilities()?;
    let mut undone = Vec::new();
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(errno) = setrlimit(Resource::Nofile, all) {
        undone.push(format!("descriptor limit not raised: {errno}"));
    }
    // Needs CAP_SYS_RESOURCE, which containers often lack. Cells set their own score.
    if let Err(errno) = std::fs::write("/proc/self/oom_score_adj", "-900") {
        undone.push(format!("not protected when memory runs out: {errno}"));
    }
    // Or a sandbox that keeps every processor busy holds up the others by whole slices. An instance that hangs
    // in a loop all the same is killed by the kernel and started again.
    let spun = Rlimit {
        current: Some(SPUN_US),
        maximum: Some(SPUN_US),
    };
    if let Err(errno) =
        setrlimit(Resource::Rttime, spun).and_then(|()| sys::schedule(Urgency::Realtime))
    {
        undone.push(format!("no realtime scheduling: {errno}"));
    }
    Ok(undone)
}

fn drop_capabilities() -> Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if DROPPED.contains(capability) {
            remove_capability_from_bounding_set(capability).at("drop a capability")?;
        }
    }
    let mut sets = capabilities(None).at("capget")?;
    sets.effective.remove(DROPPED);
    sets.permitted.remove(DROPPED);
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).at("capset")
}

fn close_others(keep: &[RawFd]) -> Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd").at("list descriptors")?;
    let numbers: Vec<RawFd> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        if number <= 2 || keep.contains(&number) {
            continue;
        }
        // SAFETY: runs before this process has opened anything: no value owns this number. The
        // listing's own descriptor is closed already, and F_GETFD says so.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        if fcntl_getfd(fd).is_ok() {
            // SAFETY: it is open and nobody's, as above.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}
