//! What root in a sandbox may do, and resource limits that are not cgroups'.

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use warder_common::{At, Result};

/// The capabilities (capabilities(7)) that root in the sandbox keeps, all of them over its own user
/// namespace only: it may change owners, act as any of its users, bind low ports, kill, trace, and set
/// file capabilities. Not: SYS_ADMIN, NET_ADMIN, NET_RAW, MKNOD, SYS_MODULE, SYS_BOOT and the rest.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::IPC_OWNER)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Takes every other capability away from everything this process will ever exec.
pub(crate) fn bound() -> Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno).at("drop a capability"),
        }
    }
    Ok(())
}

/// Sets limits of each process.
pub(crate) fn limit(processes: u32) -> Result<()> {
    // 1, not 0: a handler that core_pattern(5) pipes to would be run, as root of the host, at any other value.
    set(Resource::Core, 1)?;
    set(Resource::Nofile, 65_536)?;
    set(Resource::Nproc, processes.into())
}

/// Soft and hard limit, as far as the daemon's own hard limit allows.
pub(super) fn set(resource: Resource, wanted: u64) -> Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum;
    let limit = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    rustix::process::setrlimit(resource, limit).at("setrlimit")
}
