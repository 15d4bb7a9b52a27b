//! What is mounted in a cell's root tree, and what of it is left when a cell is gone.

use std::path::{Component, Path, PathBuf};

use warder_wire::{Limits, SandboxId};

use crate::limits::for_files;

/// One mount, in the order in which they are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// The file system, as nmount(2) calls it.
    pub kind: &'static str,
    /// Where in the root; absolute. Every name of it is a directory, none a symbolic link; what is missing is made.
    pub place: String,
    /// What of the host it shows.
    pub from: Option<PathBuf>,
    /// Nothing in it can be changed.
    pub read_only: bool,
    /// Programs in it run as who starts them, not as their owner.
    pub no_set_id: bool,
    /// What else the file system is told.
    pub options: Vec<(&'static str, String)>,
}

/// The mounts of a cell, but volumes. `base` are directories of the host that make up its programs, as paths
/// below `/`.
#[must_use]
pub fn of_cell(base: &[&str], ruleset: u16, limits: &Limits) -> Vec<Mount> {
    let of_base = base.iter().map(|path| Mount {
        kind: "nullfs",
        place: format!("/{path}"),
        from: Some(format!("/{path}").into()),
        read_only: true,
        no_set_id: false,
        options: Vec::new(),
    });
    let mut mounts: Vec<Mount> = of_base.collect();
    mounts.push(devices(ruleset));
    mounts.push(Mount {
        kind: "tmpfs",
        place: "/tmp".to_owned(),
        from: None,
        read_only: false,
        no_set_id: true,
        // racct counts neither what lies in it nor the kernel memory of many empty files.
        options: vec![
            ("size", for_files(limits).to_string()),
            ("inodes", "65536".to_owned()),
            ("mode", "1777".to_owned()),
        ],
    });
    mounts
}

/// What bhyve(8) needs of the host, as paths below `/`: the run-time linker, its libraries, and to compile the ACPI tables
/// (acpi.c), which it has iasl(8) do through sh(1) before the guest runs and it is in capability mode.
pub const LIBRARIES: [&str; 5] = ["lib", "libexec", "usr/lib", "bin", "usr/sbin"];

/// What the run-time linker and the C library read without being told. Empty in a machine's jail, whatever its tree holds.
const READ_UNASKED: [&str; 2] = ["/etc", "/var"];

/// The mounts of a machine's jail, whose tree holds its disk; `firmware` is a directory of the host, shown at the place
/// given.
#[must_use]
pub fn of_machine(ruleset: u16, firmware: &str, place: &str) -> Vec<Mount> {
    let shown = |place: String, from: String| Mount {
        kind: "nullfs",
        place,
        from: Some(from.into()),
        read_only: true,
        no_set_id: true,
        options: Vec::new(),
    };
    let libraries = LIBRARIES.map(|path| shown(format!("/{path}"), format!("/{path}")));
    let mut mounts = Vec::from(libraries);
    mounts.push(shown(place.to_owned(), firmware.to_owned()));
    mounts.extend(READ_UNASKED.map(|place| Mount {
        kind: "tmpfs",
        place: place.to_owned(),
        from: None,
        read_only: true,
        no_set_id: true,
        options: vec![("mode", "555".to_owned())],
    }));
    // Sources and results of these tables, some ten KiB.
    mounts.push(Mount {
        kind: "tmpfs",
        place: "/tmp".to_owned(),
        from: None,
        read_only: false,
        no_set_id: true,
        options: vec![
            ("size", "1048576".to_owned()),
            ("inodes", "64".to_owned()),
            ("mode", "700".to_owned()),
        ],
    });
    mounts.push(devices(ruleset));
    mounts
}

fn devices(ruleset: u16) -> Mount {
    Mount {
        kind: "devfs",
        place: "/dev".to_owned(),
        from: None,
        read_only: false,
        no_set_id: true,
        options: vec![("ruleset", ruleset.to_string())],
    }
}

/// The mount of a volume.
#[must_use]
pub fn of_volume(from: PathBuf, place: &str) -> Mount {
    Mount {
        kind: "nullfs",
        place: place.to_owned(),
        from: Some(from),
        read_only: false,
        no_set_id: true,
        // Sandboxes that share a volume must not meet at a socket in it: a directory passed through one would lead
        // its receiver out of its root (mount_nullfs(8)).
        options: vec![("nounixbypass", String::new())],
    }
}

/// The sandbox whose cell a mount is part of: one made here, in a tree of this instance.
#[must_use]
pub fn owner(state_dir: &Path, kind: &str, on: &Path) -> Option<SandboxId> {
    if !matches!(kind, "nullfs" | "devfs" | "tmpfs") {
        return None;
    }
    let below = on.strip_prefix(state_dir).ok()?;
    below.components().find_map(|component| match component {
        // Trees are named after their sandbox, and a number behind a dot.
        Component::Normal(name) => SandboxId::new(name.to_str()?.split('.').next()?).ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_mib: 512,
        cpu_percent: 100,
        pids: 256,
        disk_mib: 1024,
    };

    #[test]
    fn what_is_the_hosts_cannot_be_changed() {
        let mounts = of_cell(&["bin", "usr/lib"], 22_272, &LIMITS);
        for (mount, place) in mounts.iter().zip(["/bin", "/usr/lib"]) {
            assert_eq!((mount.kind, mount.place.as_str()), ("nullfs", place));
            assert_eq!(mount.from.as_deref(), Some(Path::new(place)));
            assert!(mount.read_only);
        }
        assert_eq!(mounts.iter().filter(|m| m.from.is_some()).count(), 2);
    }

    #[test]
    fn each_cell_has_its_devices_and_a_bounded_tmp() {
        let mounts = of_cell(&[], 22_272, &LIMITS);
        let dev = mounts.iter().find(|m| m.place == "/dev").expect("/dev");
        assert_eq!(dev.options, [("ruleset", "22272".to_owned())]);
        let tmp = mounts.iter().find(|m| m.place == "/tmp").expect("/tmp");
        assert!(tmp.options.contains(&("size", "134217728".to_owned())));
        assert!(tmp.options.contains(&("mode", "1777".to_owned())));
    }

    #[test]
    fn a_machines_jail_has_what_bhyve_needs_and_may_write_nothing_of_it() {
        let mounts = of_machine(22_273, "/usr/local/share/uefi-firmware", "/firmware");
        for mount in mounts.iter().filter(|m| m.kind != "devfs") {
            assert_eq!(mount.read_only, mount.place != "/tmp", "{}", mount.place);
            assert!(mount.no_set_id, "{}", mount.place);
        }
        let places: Vec<&str> = mounts.iter().map(|m| m.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "/lib",
                "/libexec",
                "/usr/lib",
                "/bin",
                "/usr/sbin",
                "/firmware",
                "/etc",
                "/var",
                "/tmp",
                "/dev"
            ]
        );
        let empty = mounts.iter().filter(|m| m.from.is_none());
        let kinds: Vec<&str> = empty.map(|m| m.kind).collect();
        assert_eq!(kinds, ["tmpfs", "tmpfs", "tmpfs", "devfs"]);
    }

    #[test]
    fn volumes_pass_no_sockets_and_no_ids() {
        let volume = of_volume("/state/volumes/v".into(), "/data/a");
        assert!(volume.no_set_id && !volume.read_only);
        assert!(
            volume
                .options
                .iter()
                .any(|(name, _)| *name == "nounixbypass")
        );
    }

    #[test]
    fn only_mounts_in_trees_of_ours_are_ours() {
        let state = Path::new("/var/db/warder");
        let id = "iabcdefghij0123456789";
        let own = |kind: &str, on: String| owner(state, kind, Path::new(&on));
        let expected = SandboxId::new(id).ok();
        assert_eq!(
            own("nullfs", format!("/var/db/warder/sandboxes/{id}/bin")),
            expected
        );
        assert_eq!(
            own("devfs", format!("/var/db/warder/sandboxes/{id}/root/dev")),
            expected
        );
        // The tree itself is the store's.
        assert_eq!(own("zfs", format!("/var/db/warder/sandboxes/{id}")), None);
        assert_eq!(
            own("nullfs", format!("/var/db/warder2/sandboxes/{id}/bin")),
            None
        );
        assert_eq!(own("nullfs", format!("/jails/{id}/bin")), None);
        assert_eq!(own("tmpfs", "/var/db/warder/privd".to_owned()), None);
    }
}
