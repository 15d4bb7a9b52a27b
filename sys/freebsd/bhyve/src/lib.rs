//! Trust: zone 3 (linked into privd on FreeBSD, which runs as root).
//! Input: `warder-freebsd`; through it checked requests, and names and numbers of the kernel.
//! May: nothing.
//! Unsafe: forbidden.
//!
//! What a guest of bhyve(8) is made of: its names, its configuration (bhyve_config(5)), the command line, its disk,
//! and how it is found again. Pure, so that all of it is compiled and tested everywhere.
//!
//! A machine is a cell whose first process is bhyve(8): its jail lies below that of its slot, whose network stack is
//! empty, so that an escape from the machine into bhyve finds no network, no file but its own disk and the base
//! system's libraries, and no device but the machine's. What the guest sends and receives goes through the tap(4)
//! that netd made in the place of the slot's pair, under the same rules.
//!
//! It boots from firmware and never by bhyveload(8): that one reads the guest's file system and runs the scripts of the
//! guest's boot loader on the host.
#![forbid(unsafe_code)]

pub mod command;
pub mod config;
pub mod disk;
pub mod host;
pub mod life;
pub mod name;

use std::net::Ipv4Addr;

use warder_wire::{InstanceTag, Limits, SandboxId};

pub use disk::Place;

/// Memory that bhyve(8) itself may use beside the guest's, in MiB: its program, its stacks, buffers of its devices.
pub const OVERHEAD_MIB: u32 = 192;
/// Threads that it may have beside the guest's processors: eight for each disk, a few for the other devices.
pub const OVERHEAD_THREADS: u32 = 64;

/// What a guest is made from. Every field is a number or a type whose constructor checks it, so nothing in here can
/// be read as anything but a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guest {
    /// The instance.
    pub tag: InstanceTag,
    /// Counter of its slot.
    pub counter: u32,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Virtual processors, at least one.
    pub cpus: u16,
    /// Its memory.
    pub memory_mib: u32,
    /// Its disk, as bhyve(8) finds it.
    pub disk: Place,
    /// Number of its tap(4), of the kind vmnet.
    pub tap: u32,
    /// MAC of its interface.
    pub mac: [u8; 6],
    /// Its address.
    pub address: Ipv4Addr,
    /// Its next hop.
    pub gateway: Ipv4Addr,
    /// MAC of that.
    pub gateway_mac: [u8; 6],
    /// Servers of names that it is told of.
    pub resolvers: Vec<Ipv4Addr>,
    /// Whether the guest's serial port is bhyve's standard output: for a person who looks, never under privd, where it
    /// would let a guest write the host's log full.
    pub serial: bool,
}

impl Guest {
    /// Name of the machine, of its device below /dev/vmm, and of whatever else the kernel names after it.
    #[must_use]
    pub fn name(&self) -> String {
        name::of(self.tag, self.counter, &self.sandbox)
    }
}

/// Virtual processors for a limit in hundredths of one, where the host allows `most` a machine (`hw.vmm.maxcpu`).
#[must_use]
pub fn cpus(cpu_percent: u32, most: u32) -> u16 {
    let wanted = cpu_percent.div_ceil(100).clamp(1, most.max(1));
    u16::try_from(wanted).unwrap_or(u16::MAX)
}

/// What the machine's jail may use, so that bhyve(8) has room beside what is the guest's. The guest is held to its own
/// by having no more memory and no larger disk; how many processes it has is its own affair.
#[must_use]
pub fn jail_limits(limits: &Limits) -> Limits {
    Limits {
        memory_mib: limits.memory_mib + OVERHEAD_MIB,
        pids: OVERHEAD_THREADS + limits.cpu_percent.div_ceil(100),
        ..*limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_processor_is_one_and_none_is_more_than_the_host_has() {
        for (percent, most, cpus) in [
            (10, 16, 1),
            (100, 16, 1),
            (101, 16, 2),
            (102_400, 16, 16),
            (200, 1, 1),
            (200, 0, 1),
            (102_400, u32::MAX, 1_024),
        ] {
            assert_eq!(super::cpus(percent, most), cpus, "{percent} of {most}");
        }
    }

    #[test]
    fn bhyve_has_room_beside_its_guest() {
        let limits = Limits {
            memory_mib: 512,
            cpu_percent: 150,
            pids: 16,
            disk_mib: 1024,
        };
        let jail = jail_limits(&limits);
        assert_eq!((jail.memory_mib, jail.pids), (704, 66));
        assert_eq!((jail.cpu_percent, jail.disk_mib), (150, 1024));
    }
}
