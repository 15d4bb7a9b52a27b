//! Ids, limits, root directory.
//!
//! The limit of processes counts those of the user. A predecessor that is dying still hinders nobody: becoming the user is
//! not limited, only fork(2) is.

use super::{failed, raw};
use crate::{ConfineError, Kind, Profile};

/// Largest file the gateway may write: its registry.
const STATE_FILE: u64 = 16 << 30;
/// Address space of a plugin host: 1 GiB for the plugin, as on Linux, beside libraries, stacks and what malloc(3) reserves
/// ahead. FreeBSD's `RLIMIT_DATA` leaves out what malloc(3) maps, so it is the address space that is limited.
const PLUGIN_SPACE: u64 = 3 << 29;
/// Kernel event queues of the user; each runtime has one.
const QUEUES: u64 = 64;
/// An empty directory that root alone could change (hier(7)).
const EMPTY: &std::ffi::CStr = c"/var/empty";

/// Resource limits, hard and soft alike (setrlimit(2)).
pub(super) fn limits(profile: &Profile<'_>) -> Result<(), ConfineError> {
    raw::ignore_file_size_signal().map_err(failed("ignore SIGXFSZ"))?;
    let mut limits = vec![
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, profile.open_files),
        // fork(2), which capability mode allows. Threads are not counted here. This process itself is one; zero would be
        // no limit at all (chglimit, kern_resource.c).
        (libc::RLIMIT_NPROC, 1),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_KQUEUES, QUEUES),
    ];
    match profile.kind {
        Kind::Gateway => limits.push((libc::RLIMIT_FSIZE, STATE_FILE)),
        Kind::Egress => limits.push((libc::RLIMIT_FSIZE, 0)),
        Kind::PluginHost => {
            limits.extend([(libc::RLIMIT_FSIZE, 0), (libc::RLIMIT_VMEM, PLUGIN_SPACE)]);
        }
    }
    for (resource, most) in limits {
        raw::limit(resource, most).map_err(failed("setrlimit"))?;
    }
    Ok(())
}

/// The second wall behind capability mode, which looks up no path anyway.
pub(super) fn leave_root() -> Result<(), ConfineError> {
    raw::chroot(EMPTY).map_err(failed("chroot to /var/empty"))
}

/// Becomes `ids` for good, untraceable and without a way to gain anything by exec (procctl(2)).
pub(super) fn become_user(ids: (u32, u32)) -> Result<(), ConfineError> {
    raw::private_files();
    raw::no_groups().map_err(failed("setgroups"))?;
    raw::set_group(ids.1).map_err(failed("setresgid"))?;
    raw::set_user(ids.0).map_err(failed("setresuid"))?;
    raw::control(libc::PROC_NO_NEW_PRIVS_CTL, libc::PROC_NO_NEW_PRIVS_ENABLE)
        .map_err(failed("PROC_NO_NEW_PRIVS_CTL"))?;
    raw::control(libc::PROC_TRACE_CTL, libc::PROC_TRACE_CTL_DISABLE)
        .map_err(failed("PROC_TRACE_CTL"))
}

/// Looks again at what [`become_user`] did, and tries to undo it.
pub(super) fn verify(ids: (u32, u32)) -> Result<(), ConfineError> {
    let (users, groups) = raw::ids().map_err(failed("getresuid"))?;
    let others = raw::groups().map_err(failed("getgroups"))?;
    // Before FreeBSD 15 the list begins with the effective group (getgroups(2)).
    let left = others.iter().any(|&group| group != ids.1);
    if users != [ids.0; 3] || groups != [ids.1; 3] || left {
        return Err(ConfineError::Refused("privileges are left"));
    }
    if raw::set_user(0).is_ok() || raw::set_group(0).is_ok() {
        return Err(ConfineError::Refused("root can be had again"));
    }
    Ok(())
}
