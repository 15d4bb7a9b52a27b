//! The configuration file (bhyve_config(5)): one `key=value` a line.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::Guest;

/// The firmware that the package edk2-bhyve installs.
pub const FIRMWARE: &str = "BHYVE_UEFI.fd";
/// Where that package has it on the host.
pub const FIRMWARE_DIR: &str = "/usr/local/share/uefi-firmware";
/// Where the machine's jail has that directory.
pub const FIRMWARE_PLACE: &str = "/firmware";
/// The directory in which bhyve binds the socket of the link (it takes the path apart and binds below its directory).
pub const LINK_DIR: &str = "/link";
/// The socket of the link in it.
pub const LINK: &str = "agent";
/// Name of the console's port, by which the guest finds it: /dev/virtio-ports/NAME on Linux, ttyV0.0 on FreeBSD.
pub const PORT: &str = "org.warder.agent.0";

/// The keys of a guest with their values, in order.
///
/// What is not here is bhyve's own default, or is left out on purpose: no frame buffer and no VNC, no passed-through
/// device, no shared directory, no debugger, no TPM, no serial port that reaches the host.
#[must_use]
pub fn settings(guest: &Guest) -> Vec<(&'static str, String)> {
    let text = str::to_owned;
    let cpus = guest.cpus.max(1);
    let [a, b, c, d, e, f] = guest.mac;
    let mut settings = vec![
        ("name", guest.name()),
        // One socket, or systems that are licensed by it use one processor.
        ("cpus", cpus.to_string()),
        ("sockets", text("1")),
        ("cores", cpus.to_string()),
        ("threads", text("1")),
        ("memory.size", format!("{}M", guest.memory_mib)),
        // Only passed-through devices need it. Wired, idle guests would hold all of their memory, and no limit of the
        // jail's could have it paged out.
        ("memory.wired", text("false")),
        // No guest's memory in a core file on the host.
        ("memory.guest_in_core", text("false")),
        ("acpi_tables", text("true")),
        ("bootrom", format!("{FIRMWARE_PLACE}/{FIRMWARE}")),
        // What a guest switches off is gone from the kernel at once.
        ("destroy_on_poweroff", text("true")),
        ("rtc.use_localtime", text("false")),
        // An idle guest yields its processor instead of using all of it.
        ("x86.vmexit_on_hlt", text("true")),
        // The firmware and every system that it starts read ACPI.
        ("x86.mptable", text("false")),
        // What an agent cannot know before it has a network: its identity and its addresses (smbios(4)). There is no ARP:
        // both ends have permanent neighbours.
        ("system.manufacturer", text("Warder")),
        ("system.serial_number", guest.sandbox.to_string()),
        ("chassis.asset_tag", {
            let [a, b, c, d, e, f] = guest.gateway_mac;
            format!(
                "address={}/31 gateway={} via={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}",
                guest.address, guest.gateway
            )
        }),
        // Without one the image's own are used. On the host's loopback, say, one is none for a guest, which refuses them.
        ("board.asset_tag", {
            let all = guest.resolvers.iter().filter(|one| reachable(one));
            let all = all.map(ToString::to_string).collect::<Vec<_>>();
            format!("resolvers={}", all.join(","))
        }),
        ("pci.0.0.0.device", text("hostbridge")),
        ("pci.0.2.0.device", text("virtio-blk")),
        ("pci.0.2.0.path", text(guest.disk.as_str())),
        // As far as it fits (pci_virtio_block.c): the guest's disk has a name that does not change with its path.
        ("pci.0.2.0.ser", text("warder-disk")),
        ("pci.0.3.0.device", text("virtio-net")),
        ("pci.0.3.0.backend", format!("vmnet{}", guest.tap)),
        ("pci.0.3.0.type", text("vmnet")),
        (
            "pci.0.3.0.mac",
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        ),
        ("pci.0.4.0.device", text("virtio-console")),
        ("pci.0.4.0.port.0.name", text(PORT)),
        ("pci.0.4.0.port.0.path", format!("{LINK_DIR}/{LINK}")),
        ("pci.0.5.0.device", text("virtio-rnd")),
        // The firmware needs it.
        ("pci.0.31.0.device", text("lpc")),
    ];
    if guest.serial {
        settings.push(("lpc.com1.path", text("stdio")));
    }
    settings
}

fn reachable(address: &Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The file.
#[must_use]
pub fn file(guest: &Guest) -> String {
    settings(guest)
        .iter()
        .fold(String::new(), |mut file, (key, value)| {
            // Writing to a text cannot fail.
            let _ = writeln!(file, "{key}={value}");
            file
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use warder_wire::{InstanceTag, SandboxId};

    use super::*;
    use crate::Place;

    fn guest(disk: Place) -> Guest {
        Guest {
            tag: InstanceTag::of_state_dir(b"/var/db/warder"),
            counter: 7,
            sandbox: SandboxId::new("iabcdefghij0123456789").expect("an id"),
            cpus: 2,
            memory_mib: 512,
            disk,
            tap: 3,
            mac: [2, 1, 10, 64, 0, 5],
            address: Ipv4Addr::new(10, 64, 0, 5),
            gateway: Ipv4Addr::new(10, 64, 0, 4),
            gateway_mac: [2, 1, 10, 64, 0, 4],
            resolvers: vec![Ipv4Addr::new(192, 0, 2, 53)],
            serial: false,
        }
    }

    #[test]
    fn a_key_is_there_once_and_every_device_has_a_model() {
        let settings = settings(&guest(Place::of_file()));
        let keys: BTreeSet<&str> = settings.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys.len(), settings.len());
        for key in keys.iter().filter(|key| key.starts_with("pci.")) {
            let node: Vec<&str> = key.split('.').take(4).collect();
            assert!(
                keys.contains(format!("{}.device", node.join(".")).as_str()),
                "{key}"
            );
        }
    }

    #[test]
    fn a_guest_gets_nothing_of_the_hosts() {
        let file = file(&guest(Place::of_file()));
        for never in [
            "passthru",
            "fbuf",
            "rfb",
            "virtio-9p",
            "gdb",
            "tpm",
            "com1",
            "stdio",
            "virtio-scsi",
            "virtio-input",
            "slirp",
        ] {
            assert!(!file.contains(never), "{never}");
        }
    }

    proptest! {
        /// Whatever a place is asked to be, no key comes into being that is not meant to be there, nothing is expanded,
        /// and each value is read as it was written.
        #[test]
        fn nothing_becomes_a_key(text in "\\PC{0,40}|[/a-z%().=\\n\\r\\t ]{0,40}", zvol in any::<bool>()) {
            let Ok(disk) = Place::new(&text) else { return Ok(()); };
            let mut wanted = guest(disk);
            wanted.serial = zvol;
            let file = file(&wanted);
            let read: Vec<(&str, &str)> = file
                .lines()
                .map(|line| line.split_once('=').expect("a key and a value"))
                .collect();
            let settings = settings(&wanted);
            let written: Vec<(&str, &str)> =
                settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
            prop_assert_eq!(&read, &written);
            for (key, value) in read {
                prop_assert!(!value.is_empty(), "{} is empty", key);
                prop_assert!(!value.contains(['%', '\r', '\0']), "{}", value);
            }
        }
    }
}
