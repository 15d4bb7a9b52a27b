//! Ids, capabilities, limits.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::{failed, raw};
use crate::{ConfineError, Kind, Profile};

/// Most threads of the user (the kernel counts per user, so a user shared by instances shares this).
const THREADS: u64 = 512;
/// Largest file the gateway may write: its registry.
const STATE_FILE: u64 = 16 << 30;
/// Writable memory of a plugin host.
const PLUGIN_MEMORY: u64 = 1 << 30;

/// Resource limits, hard and soft alike. The thread limit is per user, hence of use only after the ids.
pub(super) fn limits(profile: &Profile<'_>) -> Result<(), ConfineError> {
    raw::ignore_file_size_signal().map_err(failed("ignore SIGXFSZ"))?;
    let mut limits = vec![
        (Resource::Core, 0),
        (Resource::Nofile, profile.open_files),
        (Resource::Nproc, THREADS),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Rtprio, 0),
    ];
    match profile.kind {
        Kind::Gateway => limits.push((Resource::Fsize, STATE_FILE)),
        Kind::Egress => limits.push((Resource::Fsize, 0)),
        Kind::PluginHost => limits.extend([(Resource::Fsize, 0), (Resource::Data, PLUGIN_MEMORY)]),
    }
    for (resource, most) in limits {
        // Only ever down: a container may hold root without the right to raise a limit.
        let before = rustix::process::getrlimit(resource).maximum;
        let most = before.map_or(most, |before| before.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(failed("setrlimit"))?;
    }
    Ok(())
}

/// Becomes `ids`, without a capability in any set and no way back.
pub(super) fn become_user(ids: (u32, u32)) -> Result<(), ConfineError> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    for capability in CapabilitySet::all() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // EINVAL: this kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("drop the bounding set")(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("clear the ambient set"))?;
    let (uid, gid) = (Uid::from_raw(ids.0), Gid::from_raw(ids.1));
    rustix::thread::set_thread_groups(&[]).map_err(failed("setgroups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("setresgid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("setresuid"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(failed("capset"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("dumpable"))
}

/// Looks again at what [`become_user`] did.
pub(super) fn verify(ids: (u32, u32)) -> Result<(), ConfineError> {
    use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};
    let mine = [getuid().as_raw(), geteuid().as_raw()] == [ids.0; 2]
        && [getgid().as_raw(), getegid().as_raw()] == [ids.1; 2];
    let groups = getgroups().map_err(failed("getgroups"))?;
    let sets = rustix::thread::capabilities(None).map_err(failed("capget"))?;
    let capable = sets.effective | sets.permitted | sets.inheritable;
    let locked = rustix::thread::no_new_privs().map_err(failed("no_new_privs"))?;
    if !mine || !groups.is_empty() || !capable.is_empty() || !locked {
        return Err(ConfineError::Refused("privileges are left"));
    }
    Ok(())
}
